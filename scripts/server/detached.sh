# shellcheck shell=sh
# Either server, as root: a program as a unit of its own, which runs on when the operator's machine is gone. Read in by
# other programs, in the directory of a journal's entry; there lie what it says (said, errors) and, when it has ended,
# its exit status (status):
#
#   systemctl is-active -q NAME || detached --unit=NAME sh -c "$KEEPING" sh PROGRAM WORD...
#   follow NAME                  what it says last, until it has ended
#   follow NAME COMMAND          the same, and COMMAND each five seconds

# shellcheck disable=SC2016,SC2034 # for who reads this; and the unit's sh shall expand it
KEEPING='"$@" >said 2>errors; status=$?; echo "$status" >status; exit "$status"'

detached() { # option of systemd-run... command...
  rm -f said errors status
  systemd-run --quiet --collect -p WorkingDirectory="$PWD" --setenv=LC_ALL=C --setenv=PATH="$PATH" "$@"
}

follow() { # unit [command]
  looks=0
  while systemctl is-active -q "$1"; do
    sleep 0.2
    tail -n 2 said 2>/dev/null || :
    looks=$(( looks + 1 ))
    [ $(( looks % 25 )) != 0 ] || "${2:-:}"
  done
}
