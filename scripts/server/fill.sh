# sh functions that fill a database with another's rows: read by copy-database and follow-database after database.sh.
#
# Each of $jobs workers takes the largest piece of work that is free, until none is left: a table's rows, the rows of many
# small tables, an index of a table whose rows are here. Rows of old come by a program that new's PostgreSQL runs
# itself, so that no client stands between; two of these at a time, for old serves visitors.
# shellcheck shell=sh
: "${database:?}" "${owner?}" "${jobs:?}" "${FILL:?}"
SMALL=8388608 # bytes: what is less shares a connection and a transaction with others

# size, name, columns, format and oid of a table, bytes of its indexes; what takes longest is first.
PIECES="SELECT t.*, pg_indexes_size(t.oid) FROM ($TABLES) t (size, name, columns, format, oid) ORDER BY size + 4 * pg_indexes_size(t.oid) DESC"
# What pg_restore calls it (class, oid), its table, its size. A key that is added locks its table, so that no other index
# of it can be made meanwhile: its index first, as any other, then the key that uses it, where it says no more than that.
INDEXES="SELECT CASE WHEN k.oid IS NULL THEN 1259 ELSE 2606 END, coalesce(k.oid, indexrelid), indrelid, pg_relation_size(indexrelid),
    CASE WHEN simple THEN pg_get_indexdef(indexrelid) || ';' END,
    CASE WHEN simple THEN format('ALTER TABLE ONLY %I.%I ADD CONSTRAINT %I %s USING INDEX %3\$I%5\$s%6\$s;', nspname, relname, conname,
      CASE contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END, CASE WHEN condeferrable THEN ' DEFERRABLE' END,
      CASE WHEN condeferred THEN ' INITIALLY DEFERRED' END) END
  FROM pg_index JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = relnamespace
    LEFT JOIN pg_constraint k ON conindid = indexrelid AND contype IN ('p', 'u', 'x')
    CROSS JOIN LATERAL (SELECT contype IN ('p', 'u') AND NOT (indisclustered OR indisreplident)
      AND concat(nspname, relname, conname) !~ '[[:cntrl:]]') s (simple)
  WHERE indrelid >= 16384"

beginning() {
  tidy; umask 022
  mkdir -m 711 "$FILL"
  for name in queue taken later sql lists; do mkdir "$FILL/$name"; done
  : >"$FILL/done"; : >"$FILL/errors"; chown postgres "$FILL/errors"
  install -o postgres -m 400 "$(sed -n 's/^passfile=//p' "$PGSERVICEFILE")" "$FILL/pgpass"
  cat >"$FILL/reader" <<END
exec 2>>$FILL/errors
export PGSERVICEFILE='$PGSERVICEFILE' PGAPPNAME='$PGAPPNAME' PGCLIENTENCODING=UTF8 PGOPTIONS='$PGOPTIONS' PATH='$PATH'
# In long turns: woken for each piece that comes in, it would take the processor from who is at work.
exec chrt -b 0 stdbuf -o 64K psql -XAtq -v ON_ERROR_STOP=1 -f "$FILL/sql/\$1.read" "$WAY passfile=$FILL/pgpass"
END
  most=$(cluster -c "SELECT setting FROM pg_settings WHERE name = 'maintenance_work_mem'")
  # Nothing of it is of use before all of it is done, and the end waits for the disk.
  quick=$(cluster -c "SELECT string_agg(format('-c %s=off', name), ' ') FROM pg_settings WHERE name IN ('synchronous_commit', 'wal_init_zero')")
}

# Old's schema in a file; with SNAPSHOT (of old's, exported and kept open elsewhere) as that sees it.
dump_schema() {
  pg_dump --schema-only -Fc --no-publications --no-subscriptions --exclude-schema=switchover_own ${SNAPSHOT:+--snapshot="$SNAPSHOT"} "$WAY" >"$FILL/schema"
  chown postgres "$FILL/schema"; chmod 400 "$FILL/schema"
}
restore() { as_postgres pg_restore -d "$database" --no-owner --no-acl --role="$owner" --exit-on-error "$@" "$FILL/schema"; }
quickly() { ( export PGOPTIONS="$PGOPTIONS $quick"; "$@" ); }

# The pieces of the rows, for old -> here into tables that are empty, or for here -> old.
plan_rows() { # from
  "$1" -F '	' -c "$PIECES" | awk -F '	' -v small="$SMALL" -v fill="$FILL" -v snapshot="${SNAPSHOT:-}" -v from="$1" '
    function quoted(s) { gsub(/\047/, "\047\047", s); return "\047" s "\047" }
    function piece(id, rank, bytes, tables, words) {
      file = sprintf("%s/queue/%015d-rows-%s", fill, rank, id)
      printf "%.0f\t%d\t%s\n", bytes, tables, words >file; close(file)
    }
    function together() { # the small ones so far
      if (!n) return
      # What comes last is here when all was read and all is written.
      print "SELECT " quoted("COMMIT; SELECT \047whole\047;") ";" >stream; close(stream)
      piece(few, bytes, bytes, n, n " small tables"); n = bytes = 0
    }
    BEGIN {
      if (snapshot) began = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT " quoted(snapshot) ";\n"
      here = from == "old"
    }
    {
      all += $1 + (here ? $6 : 0); id = $5
      empty = here ? "TRUNCATE ONLY " $2 "; " : ""; freeze = here ? "FREEZE, " : ""
    }
    $1 > small {
      file = fill "/sql/" id ".read"; print began "COPY " $2 " " $3 " TO STDOUT (FORMAT " $4 ");" >file; close(file)
      file = fill "/sql/" id ".write"
      print "BEGIN; " empty "COPY " $2 " " $3 " FROM " (here ? "PROGRAM \047exec sh " fill "/reader " id "\047" : "STDIN") \
        " (" freeze "FORMAT " $4 "); COMMIT;" (here ? " ANALYZE " $2 ";" : "") >file; close(file)
      piece(id, $1 + 4 * $6, $1, 1, $2)
    }
    $1 <= small {
      if (n == 100 || bytes + $1 > 2 * small) together()
      if (!n++) { few = "few" ++groups; stream = fill "/sql/" few ".read"; print began "SELECT \047BEGIN;\047;" >stream }
      id = few; bytes += $1
      print "SELECT " quoted(empty "COPY " $2 " " $3 " FROM STDIN (" freeze "FORMAT text);") ";" >stream
      print "COPY " $2 " " $3 " TO STDOUT; SELECT chr(92) || \047.\047;" >stream
    }
    { print $5, id >(fill "/ids") }
    END { together(); printf "%.0f\t%d\n", all, NR >(fill "/total") }'
}
# The indexes of each table, for when its rows are here. The rest of the schema is for the end.
plan_indexes() {
  old -F '	' -c "$INDEXES" >"$FILL/indexes"
  pg_restore --section=post-data -l "$FILL/schema" | awk -v small="$SMALL" -v fill="$FILL" '
    function piece(table, name, bytes, words) {
      file = sprintf("%s/later/%s.%015d-index-%s", fill, table, 4 * bytes, name)
      printf "%.0f\t0\t%s\n", bytes, words >file; close(file)
    }
    FILENAME ~ /ids$/ { piece_of[$1] = $2; next }
    FILENAME ~ /indexes$/ {
      if ($3 in piece_of) { of[$1, $2] = piece_of[$3]; size[$1, $2] = $4; index_of[$1, $2] = $5; key[$1, $2] = $6 }
      next
    }
    /^;/ { next }
    !(($2, $3) in of) { print >(fill "/lists/rest"); next }
    size[$2, $3] > small {
      name = $1 + 0
      if (index_of[$2, $3] != "") { print index_of[$2, $3] >(fill "/sql/" name ".index"); print key[$2, $3] >(fill "/sql/keys") }
      else print >(fill "/lists/" name)
      piece(of[$2, $3], name, size[$2, $3], "the index " $(NF - 1)); next
    }
    { name = of[$2, $3]; print >(fill "/lists/" name); bytes[name] += size[$2, $3] }
    END { for (name in bytes) piece(name, name, bytes[name], "small indexes") }' "$FILL/ids" FS='	' "$FILL/indexes" FS=' ' -
}

bring_rows() { # from to piece
  case "$3" in
  few*) [ "$("$1" -f "$FILL/sql/$3.read" | "$2")" = whole ] ;;
  *)
    if [ "$1" = old ]; then quickly here -f "$FILL/sql/$3.write"; return; fi
    # A reader that dies looks like the end of the table to the writer: its own status decides.
    { "$1" -f "$FILL/sql/$3.read" && : >"$FILL/sql/$3.whole"; } | "$2" -c "$(cat "$FILL/sql/$3.write")" && [ -e "$FILL/sql/$3.whole" ]
    ;;
  esac
}
bring_index() { # piece bytes
  # A sort that stays in the processor's cache is the fastest, as long as its parts are put together at once.
  memory=$(( $2 / 16384 ))
  [ "$memory" -lt "$most" ] || memory=$most
  [ "$memory" -gt 8192 ] || memory=8192
  (
    quick="$quick -c maintenance_work_mem=$memory"
    if [ -e "$FILL/sql/$1.index" ]; then quickly here -c "SET ROLE $(ident "$owner")" -f "$FILL/sql/$1.index"
    else quickly restore -L "$FILL/lists/$1"; fi
  )
}
# Whoever brings rows has one of two turns.
no_turn() { [ -z "$turn" ] || rmdir "$turn"; turn=''; }
work() { # from to: until nothing is left, or somebody failed
  while [ ! -e "$FILL/failed" ]; do
    free=$(ls -r "$FILL/queue") busy=$(ls "$FILL/taken") turn='' # a piece on its way is in one of them
    for each in 1 2; do
      [ -n "$turn" ] || ! mkdir "$FILL/turn$each" 2>/dev/null || turn=$FILL/turn$each
    done
    may=$free
    [ -n "$turn" ] || may=$(printf '%s\n' "$free" | grep -v -e -rows- || :)
    piece=${may%%"
"*}
    case "$piece" in *-rows-*) ;; *) no_turn ;; esac
    if [ -z "$piece" ]; then
      case "$free $busy" in *-rows-*) sleep 0.5; continue ;; *) return 0 ;; esac # rows bring indexes
    fi
    mv "$FILL/queue/$piece" "$FILL/taken/" 2>/dev/null || { no_turn; continue; }
    id=${piece#*-*-}
    if case "$piece" in
      *-rows-*) bring_rows "$1" "$2" "$id" ;;
      *) read -r bytes _ <"$FILL/taken/$piece"; bring_index "$id" "$bytes" ;;
      esac
    then
      for file in "$FILL/later/$id".*; do
        [ ! -e "$file" ] || mv "$file" "$FILL/queue/${file##*/"$id".}"
      done
      cat "$FILL/taken/$piece" >>"$FILL/done"
      rm "$FILL/taken/$piece"
      no_turn
    else
      : >"$FILL/failed"
      end_sessions
    fi
  done
}
# To the end of it: what new's PostgreSQL does for the copy is gentle, and once a second it says how far that is.
watch() {
  # PostgreSQL 12 and later tell how far an index is (here: what share of those under way), 14 and later a COPY.
  far=$(cluster -c "SELECT CASE WHEN to_regclass('pg_stat_progress_copy') IS NULL THEN '0'
      ELSE '(SELECT coalesce(sum(bytes_processed), 0) FROM pg_stat_progress_copy WHERE datname = current_database())' END || ', ' ||
    CASE WHEN to_regclass('pg_stat_progress_create_index') IS NULL THEN '0'
      ELSE '(SELECT coalesce(round(avg(coalesce(blocks_done / nullif(blocks_total, 0.0), 0) + coalesce(tuples_done / nullif(tuples_total, 0.0), 0)) / 2, 2), 0)
        FROM pg_stat_progress_create_index WHERE datname = current_database())' END")
  printf '%s \\watch 0.2\n' "SELECT $far, string_agg(pid::text, ' ') FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()" | here -F ' ' | while read -r bytes share pids; do
    [ -d "$FILL" ] || break
    # shellcheck disable=SC2086  # pids
    [ "$pids" = "${before:-}" ] || gently $pids
    before=$pids
    ticks=$(( (${ticks:-0} + 1) % 5 ))
    [ "$ticks" = 0 ] || continue
    [ ! -e "$FILL/filled" ] || continue
    awk -F '	' -v now="$bytes" -v share="$share" '
      FILENAME ~ /total$/ { all = $1; tables = $2; next }
      FILENAME ~ /done$/ { now += $1; n += $2; next }
      { names = names (names ? ", " : "") $3; if (!$2) now += share * $1 }
      END { printf "doing %d of %d tables done, now %s\nprogress %.0f %.0f bytes\n", n, tables, names, now < all ? now : all, all }
    ' "$FILL/total" "$FILL/done" "$FILL/taken"/* 2>/dev/null || : # nothing is taken just now
  done
}
gently() { :; }

fill() { # from to
  watch 2>/dev/null & # its session may be ended with the others
  n=0 workers=
  while [ "$n" -lt "$jobs" ]; do
    work "$1" "$2" 2>>"$FILL/errors" & workers="$workers $!"
    n=$(( n + 1 ))
  done
  for worker in $workers; do wait "$worker" || : >"$FILL/failed"; done
  : >"$FILL/filled"
  [ ! -e "$FILL/failed" ] ||
    refuse "the rows could not be copied: $(sed -n 's/^.*\(ERROR\|FATAL\): *//p' "$FILL/errors" | grep -m 1 . || tail -n 1 "$FILL/errors" | grep . || echo "a table could not be read to its end")"
}
plan_here() { dump_schema; plan_rows old; plan_indexes; }
# A fresh database here has what old's has: schema, rows, indexes, constraints.
fill_here() {
  plan_here 2>"$FILL/unplanned" & planning=$!
  fresh
  wait "$planning" || refuse "old's schema could not be read: $(sed -n 's/^.*\(ERROR\|FATAL\|error\): *//p' "$FILL/unplanned" | grep -m 1 . || tail -n 1 "$FILL/unplanned")"
  planning=''
  quickly restore --section=pre-data
  fill old here
  echo "doing constraints"
  [ ! -e "$FILL/sql/keys" ] || here -c "SET ROLE $(ident "$owner")" -f "$FILL/sql/keys"
  [ ! -e "$FILL/lists/rest" ] || quickly restore -L "$FILL/lists/rest" -j "$jobs"
}
# Statistics of what has none yet, and of expressions.
analyze() {
  here -c "SELECT format('ANALYZE %s;', c.oid::regclass) FROM pg_class c WHERE relkind IN ('r', 'm', 'p') AND c.oid >= 16384
    AND (NOT EXISTS (SELECT FROM pg_statistic WHERE starelid = c.oid) OR EXISTS (SELECT FROM pg_statistic_ext WHERE stxrelid = c.oid)
      OR EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indexprs IS NOT NULL))" | here
}
