# shellcheck shell=sh
# Functions for every recorded `apply` and `undo`, and for looks. Each entry of the journal has a copy, so that it needs
# nothing else, and sources it (`. ./functions.sh`).

cluster() { env -C / runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 "$@"; } # asks PostgreSQL as its superuser
refuse() { printf '%s\n' "$*" >&2; exit 3; }
mark() { date -u '+%Y-%m-%d %H:%M:%SZ' >"$1.new"; sync "$1.new"; mv "$1.new" "$1"; }
there() { [ -e "$1" ] || [ -L "$1" ]; } # a broken link too
same() { # two files: the same bytes, owner and mode; or two links with the same target
  if [ -L "$1" ] || [ -L "$2" ]; then [ "$(readlink "$1")" = "$(readlink "$2")" ]; return; fi
  cmp -s "$1" "$2" && [ "$(stat -c %U:%G:%a "$1")" = "$(stat -c %U:%G:%a "$2")" ]
}
install_file() { # from to: copies beside the target, with owner and mode, then renames it over the target
  cp -aT --remove-destination "$1" "$2.switchover" && { [ -L "$1" ] || sync "$2.switchover"; } &&
    mv -T "$2.switchover" "$2"
}
wait_until() { # seconds command...: tries every 0.1 s until the command succeeds
  tries=$(( $1 * 10 )); shift
  while ! "$@"; do
    [ "$tries" -gt 0 ] || return 1
    tries=$(( tries - 1 )); sleep 0.1
  done
}
wait_showing() { # seconds command...: tries every 0.2 s, and prints how long it has waited
  seconds=$1 waited=0; shift
  while ! "$@"; do
    [ "$waited" -lt $(( seconds * 5 )) ] || return 1
    sleep 0.2; waited=$(( waited + 1 ))
    [ $(( waited % 10 )) -ne 0 ] || echo "progress $(( waited / 5 )) $seconds seconds"
  done
}
ended() { [ ! -d "/proc/$1" ]; } # pid
alive() { # pidfile: its process exists and is not a zombie
  [ -s "$1" ] && pid=$(cat "$1") && [ -d "/proc/$pid" ] || return 1
  ! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null
}
terminate() { # pidfile seconds: ends its process, and one that was started meanwhile
  for _ in 1 2 3; do # not forever, where something restarts it each time
    alive "$1" || return 0
    pid=$(cat "$1"); kill -TERM "$pid" 2>/dev/null || :
    wait_showing "$2" ended "$pid" || return 1
  done
}
service_runs() { # name: systemd says that it runs, starts, or is stopping
  case $(systemctl is-active "$1") in inactive | failed | unknown | '') return 1 ;; esac
}
not() { ! "$@"; }

# A configuration file: before/ has its old contents, after/ its new ones. Variables, set before the function's name:
#   server=new            this server's role
#   test_file='bash -n'   tests the new file by itself; its name is added
#   test='nginx -t'       tests the configuration with the file in its place
#   reload='…'            makes the program read it
passes() { # sh…: its first line of output is in $complaint
  complaint=$(eval "$*" 2>&1) && return
  complaint=$(printf %s "$complaint" | head -n 1)
  return 1
}
put_file() { # path owner mode
  new=after/${1##*/}
  passes "${test:-}" || refuse "the configuration on ${server:?} is already invalid, and was not changed: $complaint"
  [ -z "${test_file:-}" ] || passes "$test_file \"\$new\"" || refuse "$complaint"
  chown "$2" "$new"; chmod "$3" "$new"
  [ -d "${1%/*}/" ] || { mkdir -p "${1%/*}"; touch before/.parent-made; }
  install_file "$new" "$1"
  passes "${test:-}" || { before_again "$1"; refuse "$complaint"; }
  eval "${reload:-}"
}
put_file_back() { # path: refuses where somebody has edited it since
  old=before/${1##*/} new=after/${1##*/}
  if same "$old" "$1" || { not there "$old" && not there "$1"; }; then :
  elif [ ! -L "$1" ] && cmp -s "$new" "$1"; then
    before_again "$1"
    passes "${test:-}" || { install_file "$new" "$1"; refuse "$complaint"; }
    eval "${reload:-}"
  else
    refuse "$1 was edited since. Keep that edit elsewhere, then copy the file from before over it: ${entry:?}/$old"
  fi
  [ ! -e before/.parent-made ] || rmdir "${1%/*}" 2>/dev/null || :
}
remove_file() { # path
  rm -f "$1"
  passes "${test:-}" || { before_again "$1"; refuse "$complaint"; }
  eval "${reload:-}"
}
put_removed_file_back() { # path: refuses where somebody has created another one since
  if not there "$1"; then
    before_again "$1"
    eval "${reload:-}"
  elif ! same "before/${1##*/}" "$1"; then
    refuse "$1 was created again, with other contents. The file from before is ${entry:?}/before/${1##*/}"
  fi
}
before_again() { # path: puts back the file from before, or removes it where there was none
  if there "before/${1##*/}"; then install_file "before/${1##*/}" "$1"; else rm -f "$1"; fi
}
