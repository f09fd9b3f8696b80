-- Both servers, in the application's database, as postgres: what the switch asks of a database. For the move's own role.
-- What is in this schema is each database's own: the other one never sees it.
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
CREATE SCHEMA IF NOT EXISTS switchover_own;
GRANT USAGE ON SCHEMA switchover_own TO switchover;

-- A switch towards this database: open before anybody is held; whoever commits or aborts it first is right.
CREATE TABLE IF NOT EXISTS switchover_own.switch (
  number bigint PRIMARY KEY,
  state text NOT NULL CHECK (state IN ('open', 'aborted', 'committed')),
  lsn pg_lsn, -- up to here new writes are none: the other database follows from here
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT ON switchover_own.switch TO switchover;
-- Who could connect before the fence, 0 being everybody; empty without one. usual: nobody had ever said anything of it.
CREATE TABLE IF NOT EXISTS switchover_own.fenced (grantee oid NOT NULL, grantable boolean NOT NULL, usual boolean NOT NULL);
-- How a subscription connects, kept while it is not there.
CREATE TABLE IF NOT EXISTS switchover_own.way (name name PRIMARY KEY, conninfo text NOT NULL);
-- What somebody wrote here while this database followed the other one: that one does not have it.
CREATE TABLE IF NOT EXISTS switchover_own.late_writes (
  lsn pg_lsn NOT NULL, at timestamptz NOT NULL, change text NOT NULL, relation text NOT NULL, key text NOT NULL,
  UNIQUE (lsn, change, relation, key)
);
-- Up to where a slot's part of the log was looked at for them: the slot itself forgets that when PostgreSQL crashes.
CREATE TABLE IF NOT EXISTS switchover_own.looked (slot name PRIMARY KEY, upto pg_lsn NOT NULL);

-- Nobody but the move's own role (and superusers) can connect any more.
CREATE OR REPLACE FUNCTION switchover_own.fence() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  role record;
BEGIN
  -- What is written next, the heartbeat, brings this to disk as well.
  PERFORM set_config('synchronous_commit', 'off', true);
  IF NOT EXISTS (SELECT FROM switchover_own.fenced) THEN
    INSERT INTO switchover_own.fenced
    SELECT DISTINCT ON (grantee) grantee, is_grantable, datacl IS NULL
    FROM pg_database CROSS JOIN aclexplode(coalesce(datacl, acldefault('d', datdba)))
    WHERE datname = current_database() AND privilege_type = 'CONNECT' AND grantee <> 'switchover'::regrole
    ORDER BY grantee, is_grantable DESC;
  END IF;
  FOR role IN SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS name FROM switchover_own.fenced LOOP
    EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM %s CASCADE', current_database(), role.name);
  END LOOP;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO switchover', current_database());
END $$;

CREATE OR REPLACE FUNCTION switchover_own.unfence() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  role record;
BEGIN
  IF EXISTS (SELECT FROM switchover_own.fenced) THEN
    EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM switchover', current_database());
  END IF;
  FOR role IN
    SELECT CASE f.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(rolname) END AS name, grantable
    FROM switchover_own.fenced f LEFT JOIN pg_roles r ON r.oid = f.grantee WHERE f.grantee = 0 OR rolname IS NOT NULL
  LOOP
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %s%s', current_database(), role.name,
      CASE WHEN role.grantable THEN ' WITH GRANT OPTION' END);
  END LOOP;
  -- As if nobody had ever said anything of it: no statement does that.
  UPDATE pg_database SET datacl = NULL
  WHERE datname = current_database() AND (SELECT bool_and(usual) FROM switchover_own.fenced);
  DELETE FROM switchover_own.fenced;
  -- A database that was filled while it was open to nobody.
  IF (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) = 0 THEN
    EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT -1', current_database());
  END IF;
END $$;

-- A database that follows again is open to nobody, as before the switch; who could connect to it is as it was.
CREATE OR REPLACE FUNCTION switchover_own.close() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM switchover_own.unfence();
  EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 0', current_database());
END $$;

-- Ends everybody's sessions but the move's own; says how many there were.
CREATE OR REPLACE FUNCTION switchover_own.end_sessions() RETURNS integer LANGUAGE sql AS $$
  SELECT count(pg_terminate_backend(pid))::integer FROM pg_stat_activity
  WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND usename <> 'switchover' AND NOT (usename = 'postgres' AND application_name LIKE 'switchover%')
$$;

-- Ends the sessions of a switch whose program is gone, so that a COMMIT of unknown outcome is over.
CREATE OR REPLACE FUNCTION switchover_own.end_program() RETURNS integer LANGUAGE sql AS $$
  SELECT count(pg_terminate_backend(pid))::integer FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'switchover switch'
    AND usename IN ('switchover', 'postgres')
$$;

CREATE OR REPLACE FUNCTION switchover_own.open_switch(number bigint) RETURNS void LANGUAGE sql AS $$
  INSERT INTO switchover_own.switch (number, state) VALUES (number, 'open') ON CONFLICT DO NOTHING
$$;

-- This database admits the application from now on, and that is the commit of the switch: one transaction.
CREATE OR REPLACE FUNCTION switchover_own.commit_switch(this bigint) RETURNS pg_lsn LANGUAGE plpgsql AS $$
DECLARE
  here pg_lsn := pg_current_wal_insert_lsn();
BEGIN
  UPDATE switchover_own.switch SET state = 'committed', lsn = here, at = clock_timestamp() WHERE number = this AND state = 'open';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the switch % was aborted meanwhile', this;
  END IF;
  PERFORM switchover_own.unfence();
  RETURN here;
END $$;

-- What became of a switch: one that is still open is aborted by this question.
CREATE OR REPLACE FUNCTION switchover_own.outcome(this bigint, OUT state text, OUT lsn pg_lsn) LANGUAGE plpgsql AS $$
BEGIN
  UPDATE switchover_own.switch s SET state = 'aborted', at = clock_timestamp() WHERE s.number = this AND s.state = 'open';
  SELECT s.state, s.lsn INTO state, lsn FROM switchover_own.switch s WHERE s.number = this;
  state := coalesce(state, 'aborted');
END $$;

-- The last value of each sequence that was used.
CREATE OR REPLACE FUNCTION switchover_own.sequences() RETURNS json LANGUAGE sql AS $$
  SELECT coalesce(json_object_agg(name, value), '{}') FROM (
    SELECT seqrelid::regclass::text AS name, pg_sequence_last_value(seqrelid) AS value FROM pg_sequence
    WHERE seqrelid IN (SELECT oid FROM pg_class WHERE relpersistence <> 't')
  ) s WHERE value IS NOT NULL
$$;

CREATE OR REPLACE FUNCTION switchover_own.set_sequences(wanted json) RETURNS integer LANGUAGE sql AS $$
  SELECT count(setval(key::regclass, value::bigint))::integer FROM json_each_text(wanted)
$$;

-- The subscription is gone, and its slot is let be; how it connected is kept.
CREATE OR REPLACE FUNCTION switchover_own.release(subscription name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO switchover_own.way (name, conninfo)
  SELECT subname, subconninfo FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
  WHERE datname = current_database() AND subname = subscription
  ON CONFLICT (name) DO UPDATE SET conninfo = excluded.conninfo;
  IF FOUND THEN
    EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', subscription);
    EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subscription);
    EXECUTE format('DROP SUBSCRIPTION %I', subscription);
  END IF;
END $$;

-- The subscription is there again, and does not follow yet.
CREATE OR REPLACE FUNCTION switchover_own.prepare(subscription name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
    WHERE datname = current_database() AND subname = subscription) THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE SUBSCRIPTION %1$I CONNECTION %2$L PUBLICATION %1$I '
    'WITH (copy_data = false, create_slot = false, enabled = false, slot_name = %1$L)',
    subscription, (SELECT conninfo FROM switchover_own.way WHERE name = subscription));
END $$;

-- This database follows the other one, from *start* of that one's log: what came from here is not brought back.
CREATE OR REPLACE FUNCTION switchover_own.follow(subscription name, start pg_lsn) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  origin text;
BEGIN
  SELECT 'pg_' || s.oid INTO origin FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
  WHERE datname = current_database() AND subname = subscription AND NOT subenabled;
  IF origin IS NOT NULL THEN
    PERFORM pg_replication_origin_advance(origin, start);
    EXECUTE format('ALTER SUBSCRIPTION %I ENABLE', subscription);
  END IF;
END $$;

-- From now on this database keeps for the other one what comes after the last heartbeat: up to there, that one has it.
CREATE OR REPLACE FUNCTION switchover_own.keep(slot name) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  state text;
  beat pg_lsn := (SELECT nullif(split_part(value, ' ', 2), '') FROM switchover.heartbeat WHERE name = 'switch');
BEGIN
  SELECT coalesce(to_jsonb(s) ->> 'wal_status', '') INTO state FROM pg_replication_slots s WHERE slot_name = slot;
  IF state <> 'lost' THEN
    PERFORM pg_replication_slot_advance(slot, greatest(beat, confirmed_flush_lsn))
    FROM pg_replication_slots WHERE slot_name = slot;
  ELSE
    IF state = 'lost' THEN
      PERFORM pg_drop_replication_slot(slot);
    END IF;
    PERFORM pg_create_logical_replication_slot(slot, 'pgoutput');
  END IF;
  INSERT INTO switchover_own.looked SELECT slot_name, confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = slot
  ON CONFLICT ON CONSTRAINT looked_pkey DO UPDATE SET upto = excluded.upto;
END $$;

-- A number in a message of pgoutput, and a text that ends with a zero byte.
CREATE OR REPLACE FUNCTION switchover_own.number_at(data bytea, place integer, size integer) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
  SELECT ('x' || lpad(encode(substring(data FROM place + 1 FOR size), 'hex'), 16, '0'))::bit(64)::bigint
$$;
CREATE OR REPLACE FUNCTION switchover_own.text_at(data bytea, place integer) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT convert_from(substring(rest FROM 1 FOR position('\x00'::bytea IN rest) - 1), pg_client_encoding())
  FROM substring(data FROM place + 1) rest
$$;
CREATE OR REPLACE FUNCTION switchover_own.size(this text) RETURNS integer LANGUAGE sql STABLE AS $$
  SELECT octet_length(convert_to(this, pg_client_encoding())) + 1
$$;

-- pgoutput's message R: a table's name, and its columns, each with whether it is of the key.
CREATE OR REPLACE FUNCTION switchover_own.relation_at(data bytea, OUT schema text, OUT name text, OUT columns jsonb)
LANGUAGE plpgsql STABLE AS $$
DECLARE
  place integer := 5;
  this text;
BEGIN
  schema := switchover_own.text_at(data, place);
  place := place + switchover_own.size(schema);
  name := switchover_own.text_at(data, place);
  place := place + switchover_own.size(name) + 3;
  columns := '[]';
  FOR i IN 1..switchover_own.number_at(data, place - 2, 2) LOOP
    this := switchover_own.text_at(data, place + 1);
    columns := columns || jsonb_build_object('name', this, 'key', get_byte(data, place) & 1 = 1);
    place := place + 1 + switchover_own.size(this) + 8;
  END LOOP;
END $$;

-- The key in a row of pgoutput's messages I, U and D; the whole row where its table has none.
CREATE OR REPLACE FUNCTION switchover_own.key_at(data bytea, columns jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
  place integer := 8;
  size integer;
  found text[] := '{}';
  every boolean := NOT EXISTS (SELECT FROM jsonb_array_elements(columns) c WHERE (c ->> 'key')::boolean);
BEGIN
  FOR i IN 0..switchover_own.number_at(data, 6, 2) - 1 LOOP
    size := 0;
    IF get_byte(data, place) = ascii('t') THEN
      size := switchover_own.number_at(data, place + 1, 4) + 4;
      IF every OR (columns -> i ->> 'key')::boolean THEN
        found := found || format('%s=%s', columns -> i ->> 'name',
          convert_from(substring(data FROM place + 6 FOR size - 4), pg_client_encoding()));
      END IF;
    END IF;
    place := place + 1 + size;
  END LOOP;
  RETURN left(array_to_string(found, ' '), 200);
END $$;

-- Notes the rows that came here by nobody's replication, as far as *slot* keeps them; says up to where it looked, so
-- that the slot may be advanced to there, once this is committed. Nothing, where this database does not follow, or is
-- open; *upto*: it was not, up to there.
CREATE OR REPLACE FUNCTION switchover_own.note_late_writes(slot name, upto pg_lsn DEFAULT NULL) RETURNS pg_lsn
LANGUAGE plpgsql AS $$
DECLARE
  here pg_lsn := coalesce(upto, pg_current_wal_flush_lsn()); -- first: what is found closed below was closed up to here
  since pg_lsn := coalesce((SELECT l.upto FROM switchover_own.looked l WHERE l.slot = note_late_writes.slot), '0/0');
  known jsonb := '{}';
  message record;
  described record;
  mine boolean;
  at timestamptz;
  this text;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
      WHERE datname = current_database() AND subname IN ('switchover', 'switchover_back') AND subenabled)
    OR upto IS NULL AND NOT EXISTS (SELECT FROM switchover_own.fenced)
      AND NOT EXISTS (SELECT FROM pg_database WHERE datname = current_database() AND datconnlimit = 0)
    OR NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = slot AND NOT active AND database = current_database())
  THEN
    RETURN NULL;
  END IF;
  FOR message IN SELECT c.lsn, c.data, chr(get_byte(c.data, 0)) AS kind
    FROM pg_logical_slot_peek_binary_changes(slot, here, NULL, 'proto_version', '1', 'publication_names', quote_ident(slot)) c
  LOOP
    IF message.kind = 'B' THEN
      mine := switchover_own.number_at(message.data, 1, 8) >= pg_wal_lsn_diff(since, '0/0');
      at := '2000-01-01 00:00:00+00'::timestamptz + switchover_own.number_at(message.data, 9, 8) * interval '1 microsecond';
    ELSIF message.kind = 'O' THEN
      mine := false;
    ELSIF message.kind = 'R' THEN
      SELECT * INTO described FROM switchover_own.relation_at(message.data);
      known := known || jsonb_build_object(switchover_own.number_at(message.data, 1, 4)::text, to_jsonb(described));
    ELSIF mine AND message.kind IN ('I', 'U', 'D', 'T') THEN
      this := switchover_own.number_at(message.data, CASE message.kind WHEN 'T' THEN 6 ELSE 1 END, 4)::text;
      IF known -> this ->> 'schema' NOT LIKE 'switchover%' THEN
        INSERT INTO switchover_own.late_writes (lsn, at, change, relation, key)
        VALUES (message.lsn, at, CASE message.kind WHEN 'I' THEN 'insert' WHEN 'U' THEN 'update' WHEN 'D' THEN 'delete' ELSE 'truncate' END,
          concat(nullif(known -> this ->> 'schema', 'public') || '.', known -> this ->> 'name'),
          CASE message.kind WHEN 'T' THEN '' ELSE switchover_own.key_at(message.data, known -> this -> 'columns') END)
        ON CONFLICT DO NOTHING;
      END IF;
    END IF;
  END LOOP;
  INSERT INTO switchover_own.looked VALUES (note_late_writes.slot, here)
  ON CONFLICT ON CONSTRAINT looked_pkey DO UPDATE SET upto = greatest(looked.upto, here);
  RETURN here;
END $$;

-- The late writes on one line; nothing where there are none.
CREATE OR REPLACE FUNCTION switchover_own.late_writes_found() RETURNS text LANGUAGE sql AS $$
  SELECT concat(string_agg(concat_ws(' ', change, relation, nullif(key, '')), ', ' ORDER BY lsn) FILTER (WHERE place <= 5),
    CASE WHEN count(*) > 5 THEN format(' and %s more', count(*) - 5) END)
  FROM (SELECT *, row_number() OVER (ORDER BY lsn) AS place FROM switchover_own.late_writes) s HAVING count(*) > 0
$$;

-- Why this database could not follow the other one by *subscription*; nothing where it can log in. All is rolled back.
CREATE OR REPLACE FUNCTION switchover_own.cannot_follow(subscription name) RETURNS text
LANGUAGE plpgsql SET client_min_messages = error AS $$
DECLARE
  -- The other one may be open to nobody yet; another of that PostgreSQL tells as well.
  way text := (SELECT subconninfo || ' dbname=postgres' FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid
    WHERE datname = current_database() AND subname = subscription);
BEGIN
  IF way IS NULL THEN
    RETURN format('the subscription %s is not there', subscription);
  END IF;
  EXECUTE format('CREATE SUBSCRIPTION switchover_trial CONNECTION %L PUBLICATION %I '
    'WITH (copy_data = false, create_slot = false, enabled = false, slot_name = NONE)', way, subscription);
  RAISE EXCEPTION USING ERRCODE = 'SWLOG';
EXCEPTION WHEN OTHERS THEN
  RETURN CASE WHEN SQLSTATE <> 'SWLOG' THEN split_part(SQLERRM, E'\n', 1) END;
END $$;

-- Whose transaction has been open for too long; nothing where nobody's has.
CREATE OR REPLACE FUNCTION switchover_own.long_transaction(most interval) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s (pid %s%s), %s s', usename, pid, ', ' || nullif(application_name, ''),
    round(extract(epoch FROM clock_timestamp() - xact_start)::numeric, 1))
  FROM pg_stat_activity
  WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND usename <> 'switchover' AND NOT (usename = 'postgres' AND application_name LIKE 'switchover%')
    AND clock_timestamp() - xact_start > most
  ORDER BY xact_start LIMIT 1
$$;

-- What is kept for the other server, where its limit is not far; nothing where it is.
CREATE OR REPLACE FUNCTION switchover_own.disk_filling() RETURNS text LANGUAGE sql AS $$
  SELECT format('keeps %s of changes for the other server, and gives up at %s', pg_size_pretty(kept), pg_size_pretty(most))
  FROM (SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS kept, to_jsonb(s) ->> 'wal_status' AS state
      FROM pg_replication_slots s WHERE slot_name IN ('switchover', 'switchover_back')) slots,
    (SELECT setting::bigint * 1048576 AS most FROM pg_settings WHERE name = 'max_slot_wal_keep_size' AND setting <> '-1') l
  WHERE kept > 0.7 * most OR state = 'lost'
  LIMIT 1
$$;

CREATE OR REPLACE FUNCTION switchover_own.refresh() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  view regclass;
  done integer := 0;
BEGIN
  FOR view IN SELECT c.oid::regclass FROM pg_class c WHERE relkind = 'm' AND relispopulated ORDER BY c.oid LOOP
    EXECUTE format('REFRESH MATERIALIZED VIEW %s', view);
    done := done + 1;
  END LOOP;
  RETURN done;
END $$;

-- Each acts as the superuser who made it, and finds nothing that somebody else has put into another schema.
SELECT format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = pg_catalog, pg_temp', oid::regprocedure)
FROM pg_proc WHERE pronamespace = 'switchover_own'::regnamespace \gexec
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA switchover_own FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA switchover_own TO switchover;
COMMIT;
