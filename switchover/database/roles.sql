-- Of old: the roles besides the application's and the move's that have something to do in its database, as lines
-- `name TAB statement` for new; their passwords as they are stored. Superusers and PostgreSQL's own roles are left out.
-- Variables: owner, the application's role; new_owner, the same on new.
SET search_path = pg_catalog;
SET statement_timeout = '20s';
WITH RECURSIVE others AS (
  SELECT oid, rolname, rolcanlogin, rolinherit, rolbypassrls, rolconnlimit, rolpassword, rolvaliduntil FROM pg_authid
  WHERE NOT rolsuper AND rolname !~ '^(pg_|switchover)' AND rolname NOT IN (:'owner', :'new_owner')
), acls AS (
  SELECT relacl AS acl FROM pg_class UNION ALL SELECT attacl FROM pg_attribute UNION ALL SELECT nspacl FROM pg_namespace
  UNION ALL SELECT proacl FROM pg_proc UNION ALL SELECT defaclacl FROM pg_default_acl
  UNION ALL SELECT datacl FROM pg_database WHERE datname = current_database()
), wanted (id) AS (
  SELECT grantee FROM acls, aclexplode(acl) WHERE grantee <> 0
  UNION SELECT relowner FROM pg_class
  UNION SELECT member FROM pg_auth_members WHERE roleid = (SELECT oid FROM pg_roles WHERE rolname = :'owner')
  UNION SELECT usesysid FROM pg_stat_activity WHERE datname = current_database() AND usesysid IS NOT NULL
), whole (id) AS (
  SELECT id FROM wanted
  UNION SELECT CASE WHEN m.member = w.id THEN m.roleid ELSE m.member END
    FROM whole w JOIN pg_auth_members m ON w.id IN (m.member, m.roleid)
    WHERE w.id IN (SELECT oid FROM others) -- not from the application's role to all of its members' groups
), carried AS (
  SELECT r.* FROM others r WHERE r.oid IN (SELECT id FROM whole)
)
SELECT quote_ident(rolname) || E'\t' || line FROM (
  SELECT 1 AS place, rolname, format('CREATE ROLE %I;', rolname) AS line FROM carried
  UNION ALL
  SELECT 2, rolname, format('ALTER ROLE %I %s %s %s CONNECTION LIMIT %s%s%s;', rolname,
    CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
    CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, rolconnlimit,
    ' PASSWORD ' || quote_literal(rolpassword), ' VALID UNTIL ' || quote_literal(rolvaliduntil::text))
  FROM carried
  UNION ALL
  SELECT 3, m.rolname,
    format('GRANT %I TO %I;', CASE g.rolname WHEN :'owner' THEN :'new_owner' ELSE g.rolname END, m.rolname)
  FROM pg_auth_members a JOIN carried m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
  WHERE g.oid IN (SELECT oid FROM carried) OR g.rolname IN (:'owner', 'pg_read_all_data', 'pg_write_all_data', 'pg_monitor')
) statements ORDER BY place, rolname, line;
