# shellcheck shell=sh
# Old server: reads the log of the proxy (nginx's combined format).

last_seconds_ago() { # log page: prints how many seconds ago the last visitor came; nothing where none did
  # Requests for that page are the move's own. After a rotation the last visitor is in the log before.
  at=$(tac "$1" "$1.1" 2>/dev/null | grep -m 1 -vF " $2 " |
    sed -n 's|^[^"]*\[\([0-9]*\)/\([A-Za-z]*\)/\([0-9]*\):\([^]"]*\)\] ".*|\1 \2 \3 \4|p')
  [ -z "$at" ] || echo $(($(date +%s) - $(date -d "$at" +%s)))
}

visitors() { # log: prints how many seconds ago it was written to, how many addresses it has, the last minute's requests
  [ -s "$1" ] || return 0
  echo $(($(date +%s) - $(stat -c %Y "$1")))
  tail -n 2000 "$1" | awk '{ print $1 }' | sort -u | wc -l
  from=$(date -d '-1 minute' '+%d/%b/%Y:%H:%M:%S')
  # Names of days cannot be compared: the day must be that of a minute ago, or today.
  tail -n 20000 "$1" | awk -v from="[$from" -v today="$(date +%d/%b/%Y)" '
    { day = substr($4, 2, 11) } day == substr(from, 2, 11) ? $4 >= from : day == today' | wc -l
}
