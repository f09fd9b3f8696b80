#!/bin/sh
# Prints the sites' records as both name servers of this host have them, if it has any: name, kind, a tab, the rest.
# Without their serial numbers, which grow with every change.
config=/etc/bind/second.conf
systemctl is-active --quiet named 2>/dev/null || exit 0
second=$(sed -n 's/.*listen-on { \([^;]*\);.*/\1/p' $config)
zones=$(sed -n 's/^zone "\([^"]*\)".*/\1/p' $config)
for server in 127.0.0.1 "$second"; do
  for zone in $zones; do
    dig +noall +answer "@$server" axfr "$zone" | awk '$4 != "SOA" {print $1, $4 "\t" $2, $5}' | sort
  done
done
