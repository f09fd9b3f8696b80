-- What `inv check` asks a server's PostgreSQL, as its superuser, connected to the application's database.
-- One JSON object a line. A query that fails leaves its line out, and what needs it is then "could not be checked".
-- Nothing is changed, nothing waited for, no row of the application read, no password or query text let out.
-- Variable: owner, the application's role. Runs on PostgreSQL 11 to 17: a column that some lack is taken from to_jsonb().
SET default_transaction_read_only = on;
SET statement_timeout = '20s';
SET lock_timeout = '1s';
SET search_path = pg_catalog; -- the application's functions must not run as superuser
SET jit = off;

SELECT jsonb_build_object('settings', jsonb_object_agg(name, setting)) FROM pg_settings WHERE name IN (
  'server_version_num', 'wal_level', 'max_replication_slots', 'max_wal_senders', 'max_logical_replication_workers',
  'max_worker_processes', 'max_slot_wal_keep_size', 'listen_addresses', 'max_connections');

SELECT jsonb_build_object('superuser', rolsuper) FROM pg_roles WHERE rolname = current_user;

SELECT jsonb_build_object('database', jsonb_build_object(
  'encoding', pg_encoding_to_char(encoding),
  'size', pg_database_size(oid),
  'provider', coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'), -- before 15 there is libc alone
  'collate', datcollate,
  'ctype', datctype,
  'locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', ''),
  'collation_version', coalesce(to_jsonb(d) ->> 'datcollversion', '')))
FROM pg_database d WHERE datname = current_database();

-- Sizes from relpages: pg_relation_size would wait for a lock.
SELECT jsonb_build_object('tables', coalesce(jsonb_agg(jsonb_build_object(
  'name', CASE nspname WHEN 'public' THEN quote_ident(relname) ELSE format('%I.%I', nspname, relname) END,
  'kind', relkind,
  'unlogged', relpersistence = 'u',
  'rows', greatest(reltuples, 0)::bigint,
  'size', relpages::bigint * 8192,
  'changes', coalesce(pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid), 0),
  'row_security', relrowsecurity,
  'readable', has_table_privilege(to_regrole(quote_ident(:'owner')), c.oid, 'SELECT')
    AND has_schema_privilege(to_regrole(quote_ident(:'owner')), n.oid, 'USAGE'),
  'replica', relreplident,
  -- A deferrable key is none for replication.
  'identity', CASE relreplident
    WHEN 'f' THEN 'full'
    WHEN 'd' THEN (SELECT 'key' FROM pg_index WHERE indrelid = c.oid AND indisprimary AND indimmediate AND indisvalid)
    WHEN 'i' THEN (SELECT 'index' FROM pg_index WHERE indrelid = c.oid AND indisreplident AND indisvalid) END,
  -- The shortest index that could be the identity: unique, at once, of the whole table, of columns never null.
  'offer', (SELECT i.indexrelid::regclass::text FROM pg_index i
    WHERE i.indrelid = c.oid AND indisunique AND indimmediate AND indisvalid AND indpred IS NULL AND indexprs IS NULL
      AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attnotnull
        AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
    ORDER BY indnkeyatts, 1 LIMIT 1),
  -- FULL compares whole rows, and these types have no equality.
  'incomparable', (SELECT jsonb_agg(attname ORDER BY attnum) FROM pg_attribute a WHERE a.attrelid = c.oid
    AND attnum > 0 AND NOT attisdropped
    AND format_type(atttypid, NULL) ~ '^(json|xml|point|line|lseg|box|path|polygon|circle)(\[\])?$'),
  'generated', (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT attisdropped
    AND coalesce(to_jsonb(a) ->> 'attgenerated', '') <> ''),
  'identity_columns', (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND attidentity <> ''
    AND NOT attisdropped))
  ORDER BY nspname, relname), '[]'))
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'f', 'm') AND relpersistence <> 't' AND nspname !~ '^pg_'
  AND nspname NOT IN ('information_schema', 'switchover_own')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e');

SELECT jsonb_build_object('sequences', coalesce(jsonb_agg(jsonb_build_object(
  'name', seqrelid::regclass::text,
  'cache', seqcache,
  -- `a`: serial, or OWNED BY; `i`: an identity column's.
  'owned', EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = seqrelid
    AND refclassid = 'pg_class'::regclass AND deptype IN ('a', 'i')))
  ORDER BY seqrelid::regclass::text), '[]'))
FROM pg_sequence JOIN pg_class c ON c.oid = seqrelid WHERE relpersistence <> 't'
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e');

-- Objects beyond the first hundred thousand make no difference.
SELECT jsonb_build_object('large_objects', count(*)) FROM (SELECT FROM pg_largeobject_metadata LIMIT 100000) AS objects;

SELECT jsonb_build_object('extensions', (SELECT jsonb_agg(extname ORDER BY extname) FROM pg_extension),
  'available_extensions', (SELECT jsonb_agg(name) FROM pg_available_extensions));

SELECT jsonb_build_object('publications', coalesce(jsonb_agg(pubname ORDER BY pubname), '[]')) FROM pg_publication;

-- Without subconninfo: it may hold a password.
SELECT jsonb_build_object('subscriptions', coalesce(jsonb_agg(subname ORDER BY subname), '[]'))
FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());

SELECT jsonb_build_object(
  'slots', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', slot_name, 'active', active, 'retained',
    pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
      restart_lsn)) ORDER BY slot_name), '[]') FROM pg_replication_slots WHERE NOT temporary),
  'slots_used', (SELECT count(*) FROM pg_replication_slots),
  -- Each subscription has an origin, and max_replication_slots bounds these too.
  'origins_used', (SELECT count(*) FROM pg_replication_origin),
  'senders_used', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
  'apply_used', (SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^logical replication .*worker'),
  -- Workers that extensions brought, and the launcher; parallel workers come and go.
  'workers_used', (SELECT count(*) FROM pg_stat_activity WHERE backend_type NOT IN ('client backend', 'walsender',
    'walwriter', 'background writer', 'checkpointer', 'autovacuum launcher', 'autovacuum worker', 'archiver', 'startup',
    'walreceiver', 'walsummarizer', 'slotsync worker', 'logger', 'parallel worker', 'standalone backend')));

-- At least this much WAL was written in an hour: segments that are gone already do not count.
SELECT jsonb_build_object('wal_last_hour', coalesce(sum(size), 0))
FROM pg_ls_waldir() WHERE modification > now() - interval '1 hour';

-- Of every database: creating a slot waits for all of them.
SELECT jsonb_build_object('prepared', coalesce(jsonb_agg(gid ORDER BY gid), '[]')) FROM pg_prepared_xacts;

SELECT jsonb_build_object('transactions', coalesce(jsonb_agg(jsonb_build_object(
  'pid', pid, 'user', usename, 'state', state, 'writes', backend_xid IS NOT NULL,
  'seconds', round(extract(epoch FROM clock_timestamp() - xact_start)::numeric, 1)) ORDER BY xact_start), '[]'))
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND xact_start < clock_timestamp() - interval '1 second';

-- A: fires for replicated rows too; R: for these alone.
SELECT jsonb_build_object('triggers', coalesce(jsonb_agg(jsonb_build_object(
  'name', tgname, 'table', tgrelid::regclass::text, 'enabled', tgenabled) ORDER BY tgname), '[]'))
FROM pg_trigger WHERE tgenabled IN ('A', 'R') AND NOT tgisinternal;

SELECT jsonb_build_object('event_triggers', coalesce(jsonb_agg(evtname ORDER BY evtname), '[]'))
FROM pg_event_trigger t WHERE evtenabled <> 'D' AND NOT EXISTS (SELECT FROM pg_depend
  WHERE classid = 'pg_event_trigger'::regclass AND objid = t.oid AND deptype = 'e');

-- Names alone: a value may be a secret (app.jwt_secret).
SELECT jsonb_build_object('role_settings', coalesce(jsonb_agg(jsonb_build_object(
  'role', rolname, 'here', setdatabase <> 0, 'name', split_part(entry, '=', 1)) ORDER BY rolname, entry), '[]'))
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = setrole, unnest(setconfig) entry
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND (setrole = 0 OR NOT rolsuper);

-- Who else has something to do here: by a grant or property of their own, or connected now.
SELECT jsonb_build_object('roles', coalesce(jsonb_agg(jsonb_build_object(
  'name', rolname, 'login', rolcanlogin,
  'password', CASE WHEN rolpassword IS NULL THEN '' WHEN rolpassword LIKE 'SCRAM-%' THEN 'scram' ELSE 'md5' END,
  'access', EXISTS (SELECT FROM pg_class c CROSS JOIN LATERAL aclexplode(relacl) a
      WHERE a.grantee = r.oid AND c.relowner <> r.oid)
    OR EXISTS (SELECT FROM pg_class WHERE relowner = r.oid),
  'sessions', (SELECT count(*) FROM pg_stat_activity WHERE usesysid = r.oid AND datname = current_database()),
  'from', (SELECT jsonb_agg(DISTINCT coalesce(host(client_addr), 'local')) FROM pg_stat_activity
    WHERE usesysid = r.oid AND datname = current_database()))
  ORDER BY rolname), '[]'))
FROM pg_authid r WHERE NOT rolsuper AND rolname !~ '^pg_';

-- How passwords are asked for over the network.
SELECT jsonb_build_object('methods', coalesce(jsonb_agg(DISTINCT auth_method), '[]'))
FROM pg_hba_file_rules WHERE type LIKE 'host%' AND auth_method IN ('md5', 'scram-sha-256', 'password');

-- What depends on a session, by the application's role. Only the command and its parameter's name leave the server.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')
  AND current_setting('shared_preload_libraries') ~ 'pg_stat_statements' AS statements,
  coalesce((SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace
    WHERE extname = 'pg_stat_statements'), '') AS schema \gset
\if :statements
SELECT jsonb_build_object('statements', coalesce(jsonb_agg(jsonb_build_object('what', what, 'calls', calls)
  ORDER BY what), '[]'))
FROM (
  SELECT what, sum(calls) AS calls FROM (
    SELECT calls, CASE
      WHEN query ~* '^\s*SET\s+(SESSION\s+)?(?!LOCAL|TRANSACTION|CONSTRAINTS|SESSION)[a-z_]'
        THEN 'SET ' || lower(substring(query FROM '(?i)^\s*SET\s+(?:SESSION\s+)?([a-z_.]+)'))
      WHEN query ~* '^\s*(LISTEN|PREPARE)\s' AND query !~* '^\s*PREPARE\s+TRANSACTION'
        THEN upper(substring(query FROM '(?i)^\s*(LISTEN|PREPARE)'))
      WHEN query ~* '^\s*CREATE\s+(LOCAL\s+|GLOBAL\s+)?TEMP(ORARY)?\s' AND query !~* 'ON\s+COMMIT\s+DROP'
        THEN 'CREATE TEMPORARY'
      WHEN query ~* '^\s*DECLARE\s.*WITH\s+HOLD' THEN 'DECLARE WITH HOLD'
      -- Exactly so does Rails lock its migrations.
      WHEN query ~ '^\s*SELECT pg_(try_)?advisory_(un)?lock\((\$1|-?\d+)\)\s*$' THEN 'migrations'' advisory lock'
      WHEN query ~* 'pg_(try_)?advisory_lock' THEN 'advisory lock'
    END AS what
    FROM :schema.pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND userid = to_regrole(quote_ident(:'owner'))
  ) kinds WHERE what IS NOT NULL GROUP BY what
) kinds;
\else
SELECT '{"statements": null}';
\endif
