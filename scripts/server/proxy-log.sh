# shellcheck shell=sh
# On old, of the log of the proxy that passes visitors on (nginx's combined format).

last_seconds_ago() { # log page: how many seconds ago the last visitor came; nothing where nobody did
  # Those who ask for that page alone are the move's own; yesterday's visitors are in the log that was put aside.
  at=$(tac "$1" "$1.1" 2>/dev/null | grep -m 1 -vF " $2 " |
    sed -n 's|^[^"]*\[\([0-9]*\)/\([A-Za-z]*\)/\([0-9]*\):\([^]"]*\)\] ".*|\1 \2 \3 \4|p')
  [ -z "$at" ] || echo $(($(date +%s) - $(date -d "$at" +%s)))
}

visitors() { # log: how many seconds ago it was written to, from how many addresses, how many requests of the last minute
  [ -s "$1" ] || return 0
  echo $(($(date +%s) - $(stat -c %Y "$1")))
  tail -n 2000 "$1" | awk '{ print $1 }' | sort -u | wc -l
  from=$(date -d '-1 minute' '+%d/%b/%Y:%H:%M:%S')
  # The name of a day does not tell whether it came before another's: it must be that of a minute ago, or today's.
  tail -n 20000 "$1" | awk -v from="[$from" -v today="$(date +%d/%b/%Y)" '
    { day = substr($4, 2, 11) } day == substr(from, 2, 11) ? $4 >= from : day == today' | wc -l
}
