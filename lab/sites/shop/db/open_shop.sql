-- A bit of everything a move can lose: an enum, foreign keys, sequences, a table without a key, a materialised view.
CREATE TYPE order_state AS ENUM ('open', 'shipped');

CREATE TABLE products (id bigserial PRIMARY KEY, name text NOT NULL, price numeric(8,2) NOT NULL);
CREATE TABLE stock (product_id bigint PRIMARY KEY REFERENCES products, quantity integer NOT NULL);
CREATE TABLE tags (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE);

CREATE TABLE orders (
  id bigserial PRIMARY KEY, number text NOT NULL UNIQUE, state order_state NOT NULL DEFAULT 'open',
  total numeric(10,2) NOT NULL, created_at timestamp NOT NULL
);
CREATE TABLE line_items (
  id bigserial PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders, product_id bigint NOT NULL REFERENCES products,
  quantity integer NOT NULL, price numeric(8,2) NOT NULL
);
CREATE INDEX ON line_items (order_id);
CREATE TABLE orders_tags (order_id bigint NOT NULL REFERENCES orders, tag_id bigint NOT NULL REFERENCES tags);
CREATE INDEX ON orders_tags (order_id);
CREATE MATERIALIZED VIEW product_sales AS SELECT product_id, sum(quantity) AS sold FROM line_items GROUP BY product_id;
CREATE UNIQUE INDEX ON product_sales (product_id);

CREATE TABLE audits (id bigserial PRIMARY KEY, event text NOT NULL, subject text NOT NULL, client text, created_at timestamp NOT NULL);
CREATE TABLE uploads (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, sha256 text NOT NULL, created_at timestamp NOT NULL);
CREATE TABLE job_runs (id bigserial PRIMARY KEY, order_number text NOT NULL, host text NOT NULL, started_at timestamp NOT NULL, finished_at timestamp NOT NULL);
CREATE TABLE cron_runs (id bigserial PRIMARY KEY, minute timestamptz NOT NULL, host text NOT NULL, at timestamptz NOT NULL);
CREATE TABLE blobs (id bigserial PRIMARY KEY, body text NOT NULL);

CREATE TABLE delayed_jobs (
  id bigserial PRIMARY KEY, priority integer NOT NULL DEFAULT 0, attempts integer NOT NULL DEFAULT 0,
  handler text NOT NULL, last_error text, run_at timestamp, locked_at timestamp, failed_at timestamp, locked_by text,
  queue text, created_at timestamp, updated_at timestamp
);
CREATE INDEX ON delayed_jobs (priority, run_at);
