# sh functions for the programs that copy the application's database, or compare it: read by copy-database,
# follow-database and prove, which lie beside it. They say before: database, owner (of the database here).
#
# The way to old is `service=old` of /etc/switchover/pg_service.conf. PostgreSQL's own tools do the work.
# shellcheck shell=sh disable=SC2034  # names that only one of them reads
: "${database:?}" "${owner?}"
export PGSERVICEFILE=/etc/switchover/pg_service.conf PGAPPNAME=switchover PGCLIENTENCODING=UTF8
# Texts that both servers read alike, whatever a role or a database has set.
export PGOPTIONS='-c client_min_messages=warning -c lock_timeout=30s -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=3 -c row_security=off'
jobs=$(( $(nproc) + 1 )) # rows wait for old now and then
as_postgres() { env -C / setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
# Debian's psql is a script that looks for the right one, each time: the programs of this server's own version instead.
if [ -z "${SWITCHOVER_BIN:-}" ]; then
  SWITCHOVER_BIN=$(as_postgres psql -XAtq -d postgres -c "SELECT setting FROM pg_config WHERE name = 'BINDIR'" 2>/dev/null) || SWITCHOVER_BIN=/usr/bin
  export SWITCHOVER_BIN PATH="$SWITCHOVER_BIN:$PATH"
fi

here() { as_postgres psql -XAtq -v ON_ERROR_STOP=1 -d "$database" "$@"; }
cluster() { as_postgres psql -XAtq -v ON_ERROR_STOP=1 -d postgres "$@"; }
WAY='service=old keepalives_idle=10 keepalives_interval=5 keepalives_count=3' # a server that is gone is noticed in 25 s
old() { psql -XAtq -v ON_ERROR_STOP=1 "$@" "$WAY"; }
refuse() { printf '%s\n' "$*" >&2; exit 3; }
ident() { printf '"%s"' "$(printf %s "$1" | sed 's/"/""/g')"; }
literal() { printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"; }

# Types whose binary form is the same in every version, from 11 on, and names no oid of this database; enums are labels.
PORTABLE="'{bool,int2,int4,int8,float4,float8,numeric,text,varchar,bpchar,bytea,date,time,timetz,timestamp,timestamptz,interval,uuid,json,jsonb,inet,cidr}'::regtype[]"
# Tables that hold rows of their own, the largest first: size, name, the columns that can be written, how they travel, oid.
TABLES="SELECT pg_table_size(c.oid), format('%I.%I', n.nspname, c.relname), columns, CASE WHEN portable THEN 'binary' ELSE 'text' END, c.oid
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (
    SELECT coalesce('(' || string_agg(format('%I', attname), ', ' ORDER BY attnum) || ')', ''),
      bool_and(typtype = 'e' OR CASE typcategory WHEN 'A' THEN typelem ELSE t.oid END = ANY ($PORTABLE))
    FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
      AND coalesce(to_jsonb(a) ->> 'attgenerated', '') = '' -- PostgreSQL 11 has none
  ) a (columns, portable)
  WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'switchover_own')
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  ORDER BY 1 DESC"
SEQUENCES="SELECT format('SELECT setval(%L, %s, %L);', format('%I.%I', schemaname, sequencename),
    coalesce(last_value, start_value), last_value IS NOT NULL) FROM pg_sequences ORDER BY 1"
VIEWS="SELECT format('REFRESH MATERIALIZED VIEW %I.%I;', schemaname, matviewname) FROM pg_matviews ORDER BY 1"

FILL=/run/switchover-fill # while a database is filled: pieces of work, and the password as new's PostgreSQL reads it
tidy() {
  [ -z "${planning:-}" ] || ! kill "$planning" 2>/dev/null || wait "$planning" 2>/dev/null || : # it writes there
  rm -rf "$FILL"
}

# A fresh database, open to nobody; what was here is kept as DATABASE_before_move.
taken() { [ "$(cluster -c "SELECT count(*) FROM pg_database WHERE datname = $(literal "${database}_before_move")")" = 1 ]; }
end_sessions() { # what they run ends too: a program that reads rows may wait for old
  sessions=$(cluster -c "SELECT string_agg(pid::text, ','), count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $(literal "$database")")
  [ "$sessions" = '|0' ] || pkill -P "${sessions%|*}" || :
}
fresh() {
  name=$(ident "$database") before=$(ident "${database}_before_move")
  if ! taken; then
    # What is here and not on old would be lost to visitors: somebody worked with this database.
    here -F '	' -c "$TABLES" | cut -f 2 | while IFS= read -r table; do
      case "$table" in public.schema_migrations|public.ar_internal_metadata) continue ;; esac
      rows=$(here -c "SELECT count(*) FROM $table")
      [ "$rows" = 0 ] || printf '%s\n' "$table has $rows"
    done | head -n 3 >/run/switchover-rows
    # Rows are compared as texts: those of here that old has too are no loss.
    while read -r table _ rows; do
      lacking=$(here -c "COPY (SELECT md5(t::text) FROM $table t) TO STDOUT" | sort |
        { old -c "COPY (SELECT md5(t::text) FROM $table t) TO STDOUT" 2>/dev/null | sort >/run/switchover-old; comm -23 - /run/switchover-old; } | wc -l)
      [ "$lacking" = 0 ] || refuse "the new database has rows that old lacks: $table, $lacking of $rows. Whose are they? Empty it or carry them over first"
    done </run/switchover-rows
    rm -f /run/switchover-rows /run/switchover-old
    end_sessions
    cluster -c "ALTER DATABASE $name RENAME TO $before"
  else
    end_sessions
  fi
  facts=$(cluster -F ' ' -c "SELECT pg_encoding_to_char(encoding), quote_literal(datcollate), quote_literal(datctype) FROM pg_database WHERE datname = $(literal "${database}_before_move")")
  # shellcheck disable=SC2086  # three words
  set -- $facts
  cluster -c "DROP DATABASE IF EXISTS $name" -c "CREATE DATABASE $name OWNER $(ident "$owner") TEMPLATE template0 ENCODING '$1' LC_COLLATE $2 LC_CTYPE $3 CONNECTION LIMIT 0"
  old -c "SELECT format('CREATE EXTENSION IF NOT EXISTS %I;', extname) FROM pg_extension WHERE extname <> 'plpgsql'" | here
}
put_away() { # the copy here ends: DATABASE_before_move is DATABASE again
  name=$(ident "$database") before=$(ident "${database}_before_move")
  if taken; then
    end_sessions
    cluster -c "DROP DATABASE IF EXISTS $name" -c "ALTER DATABASE $before RENAME TO $name"
  fi
}
