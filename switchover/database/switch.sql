-- Both servers, in the application's database, as postgres: what the switch asks of a database. For the move's own role.
-- What is in this schema is each database's own: the other one never sees it.
\set ON_ERROR_STOP on
BEGIN;
CREATE SCHEMA IF NOT EXISTS switchover_own;
GRANT USAGE ON SCHEMA switchover_own TO switchover;

-- A switch towards this database: open before anybody is held; whoever settles it first is right.
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

-- Nobody but the move's own role (and superusers) can connect any more.
CREATE OR REPLACE FUNCTION switchover_own.fence() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  one record;
BEGIN
  IF NOT EXISTS (SELECT FROM switchover_own.fenced) THEN
    INSERT INTO switchover_own.fenced
    SELECT DISTINCT ON (grantee) grantee, is_grantable, datacl IS NULL
    FROM pg_database CROSS JOIN aclexplode(coalesce(datacl, acldefault('d', datdba)))
    WHERE datname = current_database() AND privilege_type = 'CONNECT' AND grantee <> 'switchover'::regrole
    ORDER BY grantee, is_grantable DESC;
  END IF;
  FOR one IN SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS name FROM switchover_own.fenced LOOP
    EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM %s CASCADE', current_database(), one.name);
  END LOOP;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO switchover', current_database());
END $$;

CREATE OR REPLACE FUNCTION switchover_own.unfence() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  one record;
BEGIN
  IF EXISTS (SELECT FROM switchover_own.fenced) THEN
    EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM switchover', current_database());
  END IF;
  FOR one IN
    SELECT CASE f.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(rolname) END AS name, grantable
    FROM switchover_own.fenced f LEFT JOIN pg_roles r ON r.oid = f.grantee WHERE f.grantee = 0 OR rolname IS NOT NULL
  LOOP
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %s%s', current_database(), one.name,
      CASE WHEN one.grantable THEN ' WITH GRANT OPTION' END);
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
CREATE OR REPLACE FUNCTION switchover_own.close() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM switchover_own.unfence();
  EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 0', current_database());
END $$;

-- Ends everybody's sessions but the move's own; says how many there were.
CREATE OR REPLACE FUNCTION switchover_own.end_sessions() RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(pg_terminate_backend(pid))::integer FROM pg_stat_activity
  WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND usename <> 'switchover' AND NOT (usename = 'postgres' AND application_name LIKE 'switchover%')
$$;

-- Ends the sessions of a switch whose program is gone, so that a COMMIT of unknown outcome is over.
CREATE OR REPLACE FUNCTION switchover_own.end_program() RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(pg_terminate_backend(pid))::integer FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'switchover switch'
    AND usename IN ('switchover', 'postgres')
$$;

CREATE OR REPLACE FUNCTION switchover_own.open_switch(number bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO switchover_own.switch (number, state) VALUES (number, 'open')
$$;

-- This database admits the application from now on, and that is the commit of the switch: one transaction.
CREATE OR REPLACE FUNCTION switchover_own.commit_switch(this bigint) RETURNS pg_lsn
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
CREATE OR REPLACE FUNCTION switchover_own.settle(this bigint, OUT state text, OUT lsn pg_lsn)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE switchover_own.switch s SET state = 'aborted', at = clock_timestamp() WHERE s.number = this AND s.state = 'open';
  SELECT s.state, s.lsn INTO state, lsn FROM switchover_own.switch s WHERE s.number = this;
  state := coalesce(state, 'aborted');
END $$;

-- The last value of each sequence that was used.
CREATE OR REPLACE FUNCTION switchover_own.sequences() RETURNS json
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(json_object_agg(name, value), '{}') FROM (
    SELECT seqrelid::regclass::text AS name, pg_sequence_last_value(seqrelid) AS value FROM pg_sequence
    WHERE seqrelid IN (SELECT oid FROM pg_class WHERE relpersistence <> 't')
  ) s WHERE value IS NOT NULL
$$;

CREATE OR REPLACE FUNCTION switchover_own.set_sequences(wanted json) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT count(setval(key::regclass, value::bigint))::integer FROM json_each_text(wanted)
$$;

-- The subscription is gone, and its slot is let be; how it connected is kept.
CREATE OR REPLACE FUNCTION switchover_own.release(subscription name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
CREATE OR REPLACE FUNCTION switchover_own.prepare(subscription name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
CREATE OR REPLACE FUNCTION switchover_own.follow(subscription name, start pg_lsn) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION switchover_own.refresh() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  one regclass;
  done integer := 0;
BEGIN
  FOR one IN SELECT c.oid::regclass FROM pg_class c WHERE relkind = 'm' AND relispopulated ORDER BY c.oid LOOP
    EXECUTE format('REFRESH MATERIALIZED VIEW %s', one);
    done := done + 1;
  END LOOP;
  RETURN done;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA switchover_own FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA switchover_own TO switchover;
COMMIT;
