-- What a server's PostgreSQL has outside of its databases' own contents: a name and how it is, a line each.
SELECT 'database ' || datname, concat_ws(' ', pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate,
       'connections', datallowconn, datconnlimit, datacl) FROM pg_database
UNION ALL SELECT 'setting of ' || coalesce(datname, 'all') || ' for ' || coalesce(rolname, 'all'), setconfig::text
  FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = setdatabase LEFT JOIN pg_roles r ON r.oid = setrole
UNION ALL SELECT 'setting ' || name, setting FROM pg_settings
  WHERE source NOT IN ('default', 'override', 'client', 'environment variable', 'session')
UNION ALL SELECT 'slot ' || slot_name, slot_type || ' ' || active FROM pg_replication_slots
UNION ALL SELECT 'subscription ' || subname, subenabled::text FROM pg_subscription
UNION ALL SELECT 'origin ' || regexp_replace(roname, '^pg_[0-9]+$', 'of a subscription'), count(*)::text
  FROM pg_replication_origin GROUP BY 1;
