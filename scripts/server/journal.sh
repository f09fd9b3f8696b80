# shellcheck shell=sh
# Either server, as root: prints what its journals contain. Sourced by looks; changes nothing.

moves() { # root: for every journal there its directory, TAB, its file `move` in one line, NUL
  cd "$1" 2>/dev/null || return 0
  for move in */move; do
    [ ! -f "$move" ] || printf '%s\t%s\0' "${move%/move}" "$(tr '\n' ' ' <"$move")"
  done
}
entries() { # journal: `retired` where it is; a line for each entry: its state, TAB, its entry.json
  cd "$1" 2>/dev/null || return 0
  [ ! -e retired ] || echo retired
  for entry in [0-9]*-*; do
    [ -f "$entry/entry.json" ] || continue
    state=recorded
    [ ! -e "$entry/done" ] || state='done'
    [ ! -e "$entry/undone" ] || state=undone
    printf '%s\t' "$state"; cat "$entry/entry.json"
  done
}
