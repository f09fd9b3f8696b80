-- Fills the empty shop of the old server, blobs up to :seed_mb megabytes. By psql, as superuser; :owner owns the tables.
\set ON_ERROR_STOP on
SET ROLE :"owner";
SELECT setseed(0.77) \gset
BEGIN;
INSERT INTO tags (name) VALUES ('local'), ('organic'), ('fresh');
INSERT INTO products (name, price)
  SELECT size || ' ' || kind, round((1 + 9 * random())::numeric, 2)
  FROM unnest(ARRAY['Small', 'Big', 'Crooked', 'Early', 'Late', 'Sweet', 'Wild', 'Red', 'Green', 'Golden']) AS size,
    unnest(ARRAY['apples', 'beans', 'carrots', 'figs', 'garlic', 'kale', 'lemons', 'onions', 'plums', 'pumpkins']) AS kind;
INSERT INTO stock SELECT id, 1000000 FROM products;
INSERT INTO orders (number, state, total, created_at)
  SELECT 'seed-' || n, 'shipped', 10, timestamp '2018-01-01' + n * interval '7 minutes' FROM generate_series(1, 5000) AS n;
INSERT INTO line_items (order_id, product_id, quantity, price)
  SELECT id, 1 + (id * 7 + line * 13) % 100, 1 + id % 4, 2.5 FROM orders, generate_series(1, 2) AS line;
INSERT INTO orders_tags SELECT id, 1 + id % 3 FROM orders;
INSERT INTO orders_tags SELECT id, 1 + id % 3 FROM orders WHERE id % 100 = 0; -- equal rows, which only a count tells apart
INSERT INTO audits (event, subject, client, created_at) SELECT 'ordered', number, '192.0.2.1', created_at FROM orders;
INSERT INTO job_runs (order_number, host, started_at, finished_at)
  SELECT number, 'prod0.shop.test', created_at + interval '1 second', created_at + interval '2 seconds' FROM orders;

-- Rows of 1.9 kB, four a page and none in TOAST, cut from random bytes: quick to make, and not to be compressed away.
WITH pool AS MATERIALIZED (
  SELECT decode(string_agg(md5(random()::text), ''), 'hex') AS bytes FROM generate_series(1, 8000)
)
INSERT INTO blobs (body)
  SELECT encode(substr(bytes, 1 + (random() * 126000)::integer, 1420), 'base64')
  FROM pool, generate_series(1, :seed_mb * 1024 * 1024 / 2048);
COMMIT;
REFRESH MATERIALIZED VIEW product_sales;
RESET ROLE;
VACUUM (FREEZE, ANALYZE);
