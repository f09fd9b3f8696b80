-- A line a table, column, constraint, index, sequence and enumerated type of the application's database: two databases
-- are alike where they have the same lines. What PostgreSQL's versions word differently is left out or made alike.
SET search_path = pg_catalog;
SET statement_timeout = '20s';
SET lock_timeout = '1s';
WITH spaces AS (
  SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'switchover', 'switchover_own')
), things AS (
  SELECT c.oid, relkind, format('%I.%I', nspname, relname) AS name FROM pg_class c JOIN spaces n ON n.oid = relnamespace
  WHERE relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
)
SELECT concat_ws(E'\t', kind, name, part, said) FROM (
  SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'view' ELSE 'table' END AS kind, name, '' AS part, '' AS said
  FROM things WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
  UNION ALL
  SELECT 'column', name, quote_ident(attname), concat_ws(' ', format_type(atttypid, atttypmod),
    CASE WHEN attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(adbin, adrelid))
  FROM things t JOIN pg_attribute a ON a.attrelid = t.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
  WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
  UNION ALL
  SELECT 'constraint', name, quote_ident(conname), pg_get_constraintdef(c.oid)
  FROM things t JOIN pg_constraint c ON c.conrelid = t.oid WHERE contype IN ('p', 'u', 'f', 'c', 'x')
  UNION ALL
  SELECT 'index', t.name, quote_ident(i.relname), pg_get_indexdef(i.oid)
  FROM things t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
  WHERE x.indisvalid AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.oid AND contype IN ('p', 'u', 'x'))
  UNION ALL
  SELECT 'unpublished', name, '', '' FROM things t -- of old: its rows are not replicated
  WHERE relkind = 'r' AND EXISTS (SELECT FROM pg_publication WHERE pubname = 'switchover')
    AND NOT EXISTS (SELECT FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid
      WHERE prrelid = t.oid AND pubname = 'switchover')
  UNION ALL
  SELECT 'sequence', name, '', format_type(seqtypid, NULL) FROM things t JOIN pg_sequence s ON s.seqrelid = t.oid
  UNION ALL
  SELECT 'type', format('%I.%I', nspname, typname), '', string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
  FROM pg_type t JOIN spaces n ON n.oid = typnamespace JOIN pg_enum e ON e.enumtypid = t.oid GROUP BY nspname, typname
) lines ORDER BY 1;
