# shellcheck shell=sh
# shellcheck disable=SC2154 # sessions, database, WAY: see those
# New server, as root: pins a pair of snapshots, one on either server, that see the same rows while visitors go on. Read
# in by other programs, after database.sh and hold.sh:
#
#   sessions_open; trap sessions_end EXIT
#   pins_open old here          who is followed, who follows
#   pins_take && pins_alike     snapshot_old and snapshot_here are names for SET TRANSACTION SNAPSHOT
#   pins_keep 3600              they live so many seconds, while the caller lives; each ends within a minute without us
#
# A row written on the one is awaited on the other, and both snapshots are taken at once. Whether nothing else was written
# in between, the numbers of the transactions tell, so a pair proves itself: whoever wrote, through PgBouncer or past it.
# Nobody has to be held for that where little is written; in a hold it always comes out.

# Their life is in the servers' hands too: a pin from which nothing is heard for a minute ends.
PINNED='-c idle_in_transaction_session_timeout=60s -c statement_timeout=10s -c search_path=pg_catalog -c client_min_messages=warning'
pins_open() { # from to
  pin_from=$1 pin_to=$2
  session pin_old env PGOPTIONS="$PINNED" psql -XAtq -F ' ' -v ON_ERROR_STOP=1 "$WAY"
  session pin_here env -C / PGOPTIONS="$PINNED" setpriv --reuid=postgres --regid=postgres --init-groups \
    psql -XAtq -F ' ' -v ON_ERROR_STOP=1 -d "${database:?}"
  ask "pin_$pin_from" 'SELECT 1;' >/dev/null && ask "pin_$pin_to" 'SELECT 1;' >/dev/null
}

pins_take() { # fails where the row does not come within half a second, or a session ended
  token=$(date +%s%N).$$
  : >"$sessions/pin_$pin_to.out"; : >"$sessions/pin_$pin_from.out"
  tell "pin_$pin_to" "
DO 'BEGIN FOR try IN 1..500 LOOP
  IF EXISTS (SELECT FROM switchover.marker WHERE name = ''proof'' AND value = ''$token'') THEN RETURN; END IF;
  PERFORM pg_sleep(0.001);
END LOOP; END';
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_export_snapshot(), txid_current_snapshot(), xmin FROM switchover.marker WHERE name = 'proof' AND value = '$token';"
  tell "pin_$pin_from" "
INSERT INTO switchover.marker AS m (name, value) VALUES ('proof', '$token')
  ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at RETURNING txid_current(), txid_current_snapshot();
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_export_snapshot(), txid_current_snapshot();"
  answered "pin_$pin_from" && answered "pin_$pin_to" && [ "$(wc -l <"$sessions/pin_$pin_to.out")" = 2 ]
}

pins_alike() { # whether nothing was written between the row and either snapshot
  # Each snapshot is xmin:xmax:those under way; none was under way where both numbers are one.
  { read -r written before; read -r from after; } <"$sessions/pin_$pin_from.out"
  read -r to seen arrived <"$sessions/pin_$pin_to.out"
  [ "$before" = "$written:$written:" ] && [ "$after" = "$(( written + 1 )):$(( written + 1 )):" ] || return 1
  number=${seen%%:*}
  [ "$seen" = "$number:$number:" ] && [ $(( (number - 1) % 4294967296 )) = "$arrived" ] || return 1
  # shellcheck disable=SC2034  # for whoever compares
  if [ "$pin_from" = old ]; then snapshot_old=$from snapshot_here=$to; else snapshot_old=$to snapshot_here=$from; fi
}

pins_drop() { # another pair may be taken
  for side in old here; do ask "pin_$side" 'ROLLBACK;' >/dev/null || return 1; done
}

pins_keep() { # seconds
  ( left=$(( $1 / 15 ))
    while [ "$left" -gt 0 ] && kill -0 $$ 2>/dev/null; do
      for side in old here; do tell "pin_$side" 'SELECT 1;'; done
      sleep 15; left=$(( left - 1 ))
    done
  ) </dev/null >/dev/null 2>&1 3>&- & echo "$!" >"$sessions/pins.pid"
}
