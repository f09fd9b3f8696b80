-- What scripts/server/prove asks a server so that it can compare its tables: SQL that writes SQL, for PostgreSQL 11 to 17.
-- Both sides' texts must come out alike: see the settings in scripts/server/prove. Only catalogs are read here.
-- Variables:
--   plan     true: tables and the sums to be taken, by pages; false: for the tables of ids, how to find their rows
--   readers  among how many sessions the sums are divided
--   apart    ids of tables whose rows may be too long for one text: their long columns are hashed one by one
--   ids      ids of the tables to be looked into
--   convert  the databases' encodings differ: texts are compared as UTF-8
-- Answers, by tabs: T id filenode columns bytes name-as-json, W worker sql, B id sql (by buckets of the key's hash),
-- R id sql (rows of :buckets). A table's id is a hash of its name, which sh need not quote.
\set pages 4000
\set buckets_all 4096
WITH tables AS (
  SELECT c.oid, nspname, relname, format('%I.%I', nspname, relname) AS name,
    to_hex(hashtextextended(format('%I.%I', nspname, relname) COLLATE "C", 0)) AS id,
    coalesce(pg_relation_filenode(c.oid), 0) AS node,
    coalesce(pg_relation_size(c.oid), 0) / current_setting('block_size')::integer AS pages,
    coalesce(pg_table_size(c.oid), 0) AS bytes
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
  WHERE relkind = 'r' AND relpersistence <> 't'
    AND nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'switchover', 'switchover_own')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE classid = 'pg_class'::regclass AND objid = c.oid AND d.deptype = 'e')
),
columns AS (
  SELECT attrelid,
    string_agg(format('t.%I', attname), ', ' ORDER BY attname::text COLLATE "C") AS plain,
    -- Types of PostgreSQL's own alone: the cast of another could be a function of the application.
    string_agg(CASE
        WHEN atttypid = 'bytea'::regtype THEN format('sha256(t.%I)', attname)
        WHEN atttypid IN ('text'::regtype, 'varchar'::regtype, 'json'::regtype, 'jsonb'::regtype, 'xml'::regtype)
          THEN format('hashtextextended(t.%I::text COLLATE "C", 0)', attname)
        ELSE format('t.%I', attname) END, ', ' ORDER BY attname::text COLLATE "C") AS apart,
    to_hex(hashtextextended(string_agg(attname::text, ',' ORDER BY attname::text COLLATE "C") COLLATE "C", 0)) AS names
  FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped GROUP BY attrelid
),
hashed AS (
  SELECT tables.*, coalesce(names, '0') AS names,
    format(CASE WHEN :'convert'::boolean
        THEN 'hashtextextended(encode(convert_to(ROW(%s)::text, ''UTF8''), ''hex'') COLLATE "C", 0)'
        ELSE 'hashtextextended(ROW(%s)::text COLLATE "C", 0)' END,
      CASE WHEN id = ANY (string_to_array(:'apart', ' ')) THEN apart ELSE plain END) AS hash
  FROM tables LEFT JOIN columns ON attrelid = tables.oid
),
\if :plan
-- Before 14 a range of pages is read by reading the whole table; there ranges of a whole number that is the key serve,
-- where rows lie about in its order. The statistics know its hundredths.
keys AS (
  SELECT DISTINCT ON (t.oid) t.oid, a.attname, s.histogram_bounds::text::bigint[] AS bounds
  FROM tables t JOIN pg_index i ON indrelid = t.oid
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
    JOIN pg_stats s ON s.schemaname = nspname AND s.tablename = relname AND s.attname = a.attname AND NOT s.inherited
  WHERE current_setting('server_version_num')::integer < 140000 AND pages > :pages
    AND indisunique AND indisvalid AND indnkeyatts = 1 AND indpred IS NULL AND indexprs IS NULL
    AND attnotnull AND atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
    AND abs(s.correlation) > 0.9 AND s.histogram_bounds IS NOT NULL
  ORDER BY t.oid, indisprimary DESC
),
counted AS (
  SELECT h.*, attname, bounds, greatest(1, CASE
      WHEN current_setting('server_version_num')::integer >= 140000 THEN ceil(pages / :pages::numeric)
      WHEN bounds IS NOT NULL THEN least(ceil(pages / :pages::numeric), cardinality(bounds) - 1)
      ELSE 1 END)::integer AS ranges
  FROM hashed h LEFT JOIN keys USING (oid)
),
-- The first begins and the last ends with the table, whatever it has grown to.
parts AS (
  SELECT counted.*, part, concat_ws(' AND ',
    CASE WHEN part > 0 THEN CASE WHEN bounds IS NULL THEN format('ctid >= ''(%s,0)''', part * :pages)
      ELSE format('t.%I >= %s', attname, bounds[1 + part * (cardinality(bounds) - 1) / ranges]) END END,
    CASE WHEN part < ranges - 1 THEN CASE WHEN bounds IS NULL THEN format('ctid < ''(%s,0)''', (part + 1) * :pages)
      ELSE format('t.%I < %s', attname, bounds[1 + (part + 1) * (cardinality(bounds) - 1) / ranges]) END END) AS range
  FROM counted, generate_series(0, ranges - 1) part
)
SELECT concat_ws(chr(9), 'T', id, node, names, bytes, to_json(CASE nspname WHEN 'public' THEN format('%I', relname)
  ELSE name END)) FROM hashed
UNION ALL (
  -- sh has no whole numbers that could hold the sum: two remainders of it, which are added by themselves.
  SELECT concat_ws(chr(9), 'W', (row_number() OVER (ORDER BY bytes DESC, name, part) - 1) % :readers,
    format(':pin SELECT ''%s'', count(*), mod(coalesce(sum(h), 0), 1125899906842624), '
      'mod(coalesce(sum(h), 0), 1125899906842597), %s, coalesce(pg_relation_filenode(%s), 0) '
      'FROM (SELECT %s AS h FROM ONLY %s t%s) s; COMMIT;',
      id, bytes / ranges, oid, hash, name, CASE WHEN range <> '' THEN ' WHERE ' || range ELSE '' END))
  FROM parts ORDER BY bytes DESC, name, part);
\else
keys AS (
  SELECT DISTINCT ON (indrelid) indrelid,
    string_agg(format('t.%I', attname), ', ' ORDER BY place) AS plain,
    string_agg(format('%L, format(''%%s'', t.%I)', attname, attname), ', ' ORDER BY place) AS shown
  FROM pg_index i CROSS JOIN LATERAL unnest((indkey::int2[])[0:indnkeyatts - 1]) WITH ORDINALITY k (number, place)
    JOIN pg_attribute a ON attrelid = indrelid AND attnum = number
  WHERE indisunique AND indisvalid AND indimmediate AND indpred IS NULL AND indexprs IS NULL
  GROUP BY indrelid, indexrelid, indisprimary, indnkeyatts HAVING bool_and(attnotnull)
  ORDER BY indrelid, indisprimary DESC, indnkeyatts, indexrelid::regclass::text
),
found AS (
  -- Without a key a row is its own.
  SELECT h.id, h.name, h.hash, format('(%s & %s)', CASE WHEN k.plain IS NULL THEN hash
      ELSE format('hashtextextended(ROW(%s)::text COLLATE "C", 1)', k.plain) END, :buckets_all - 1) AS bucket,
    CASE WHEN k.plain IS NULL THEN format('json_build_object(''row'', left(ROW(%s)::text, 120))', c.plain)
      ELSE format('json_build_object(%s)', shown) END AS shown
  FROM hashed h LEFT JOIN keys k ON indrelid = oid LEFT JOIN columns c ON c.attrelid = oid
  WHERE id = ANY (string_to_array(:'ids', ' '))
)
SELECT concat_ws(chr(9), 'B', id, format(':pin SELECT %s, count(*), sum(%s) FROM ONLY %s t GROUP BY 1; COMMIT;',
  bucket, hash, name)) FROM found
UNION ALL
SELECT concat_ws(chr(9), 'R', id, format(':pin SELECT %s, %s FROM ONLY %s t WHERE %s IN (:buckets); COMMIT;',
  hash, shown, name, bucket)) FROM found;
\endif
