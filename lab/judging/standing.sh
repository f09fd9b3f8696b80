#!/bin/sh
# Prints what the journal in FOLDER says of the entries of a step that stand: a JSON object each.
#
#   standing.sh FOLDER STEP
cd "$1" 2>/dev/null || exit 0
for entry in */[0-9]*-"$2"; do
  [ ! -e "$entry/entry.json" ] || [ -e "$entry/undone" ] || cat "$entry/entry.json"
done
