# shellcheck shell=sh
# New server, as root: holds every query of the application in PgBouncer for a moment. Read in by other programs:
#
#   port=6432 database=NAME; . ./hold.sh
#   sessions_open; console_open; trap 'resume || :; sessions_end' EXIT
#   hold 20 200 10 15 || …      waits for full pools (20), tries PAUSE for 200 ms, lets go, tries again, for 10 s in all;
#                               whatever becomes of the caller, RESUME comes 15 s after the last try (dead_man)
#   …                           no query is under way now, and none gets through
#   resume                      and they go on
#   prove_by_query 10           one got through, as the application's do
#   dead_man off
#
# PAUSE waits for what is under way; meanwhile new queries wait already. So each try is short, and lets go in between.

PGPASS=/etc/switchover/pgpass

# PgBouncer lets its own user in, by the socket, without a password. setpriv, as psql shall be the process that is killed.
AS_PGBOUNCER='env -u PGOPTIONS -C / setpriv --reuid=postgres --regid=postgres --init-groups'
CONSOLE="psql -XAq -P footer=off -h /var/run/postgresql -p ${port:?} -U pgbouncer pgbouncer"
# shellcheck disable=SC2086  # both are words
console() { $AS_PGBOUNCER $CONSOLE -c "$1" 2>&1; }

# Sessions of psql that stay open: what is asked in the middle of a hold must not begin with a login.
sessions_open() { sessions=$(mktemp -d); }
# shellcheck disable=SC2086  # both are words
console_open() { session console $AS_PGBOUNCER $CONSOLE; } # for resume
sessions_end() {
  for pid in "$sessions"/*.pid; do
    [ ! -e "$pid" ] || kill "$(cat "$pid")" 2>/dev/null || :
  done
  rm -rf "$sessions"
}
session() { # name command...: the command is a psql that reads its standard input
  at=$sessions/$1; shift
  mkfifo "$at.in"
  # What holds its input open ends with whoever began this, even where that is killed; then psql ends too.
  setpriv --pdeathsig KILL sleep 3600 >"$at.in" & echo "$!" >"$at.held.pid"
  stdbuf -oL "$@" <"$at.in" >>"$at.out" 2>"$at.err" & echo "$!" >"$at.pid"
}
tell() { # name sql: without waiting for the answer
  kill -0 "$(cat "$sessions/$1.pid")" 2>/dev/null || return 1 # nobody would read it, and writing wait for ever
  printf '%s\n\\echo (end)\n' "$2" >"$sessions/$1.in"
}
ask() { # name sql: prints the answer; fails where the session ended, which is what an error does to it
  : >"$sessions/$1.out"
  tell "$1" "$2" && answered "$1" && sed '$d' "$sessions/$1.out"
}
answered() { # name: waits for the answer to what was told
  until [ "$(tail -n 1 "$sessions/$1.out")" = '(end)' ]; do
    kill -0 "$(cat "$sessions/$1.pid")" 2>/dev/null || { tail -n 1 "$sessions/$1.err" >&2; return 1; }
    sleep 0.005
  done
}

let_go() { # of what a program that died may have left held
  systemctl is-active -q switchover-dead-man.timer || return 0
  resume
  systemctl stop switchover-dead-man.timer switchover-dead-man.service 2>/dev/null || :
}
dead_man() { # seconds; or off, which fails where it has come already
  if [ "$1" = off ]; then
    systemctl is-active -q switchover-dead-man.timer || return 1
    systemctl stop switchover-dead-man.timer
    return
  fi
  let_go
  # shellcheck disable=SC2086  # both are words
  systemd-run --quiet --collect --unit=switchover-dead-man --on-active="$1" --timer-property=AccuracySec=50ms \
    $AS_PGBOUNCER $CONSOLE -c RESUME
}

pools_full() { # connections: each pool that has clients has so many, and no login is under way, which PAUSE would fail
  console 'SHOW POOLS' | awk -F '|' -v size="$1" '
    NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i; next }
    $c["database"] == "pgbouncer" { next }
    $c["sv_login"] > 0 { bad = 1 }
    $c["cl_active"] + $c["cl_waiting"] > 0 &&
      $c["sv_active"] + $c["sv_idle"] + $c["sv_used"] + $c["sv_tested"] < size { bad = 1 }
    END { exit bad || !c["sv_login"] }'
}

pause_within() { # milliseconds: 0, and all is held; or 1, and nothing is
  # shellcheck disable=SC2086  # both are words
  if said=$($AS_PGBOUNCER timeout -s KILL "$(printf '%d.%03d' $(( $1 / 1000 )) $(( $1 % 1000 )))" $CONSOLE -c PAUSE 2>&1)
  then return 0; fi
  # What PAUSE was not ready for goes on; and what was paused at the very last moment too.
  case $said in *already*paused*) ;; *) resume ;; esac
  return 1
}

resume() { # safe to repeat; at once where the console is open
  if [ -p "${sessions:-}/console.in" ] && ask console 'RESUME;' >/dev/null 2>&1; then return 0; fi
  said=$(console RESUME) && return 0
  case $said in *'not paused'*) return 0 ;; *) printf '%s\n' "$said" >&2; return 1 ;; esac
}

hold() { # connections milliseconds seconds [dead man's seconds]: held; or fails within so many seconds, and nothing is
  hold_end=$(( $(date +%s) + $3 )) hold_tries=0
  while [ "$(date +%s)" -lt "$hold_end" ]; do
    if pools_full "$1"; then
      hold_tries=$(( hold_tries + 1 ))
      [ -z "${4:-}" ] || dead_man "$4"
      if pause_within "$2"; then return 0; fi
      sleep 0.5 # what waited goes on now
    else
      sleep 0.1
    fi
  done
  if [ "$hold_tries" -gt 0 ]; then
    echo "a query ran longer than $2 ms in each of $hold_tries tries" >&2
  else
    echo "PgBouncer does not have all its $1 connections to the database" >&2
  fi
  return 1
}

prove_by_query() { # seconds
  proof_end=$(( $(date +%s) + $1 ))
  until env -u PGOPTIONS psql -XAtq "host=127.0.0.1 port=$port dbname=${database:?} user=switchover_app passfile=$PGPASS \
    sslmode=disable connect_timeout=5" -c 'SELECT 1' >/dev/null 2>&1
  do
    [ "$(date +%s)" -lt "$proof_end" ] || { echo "no query gets through PgBouncer" >&2; return 1; }
    sleep 0.05
  done
}
