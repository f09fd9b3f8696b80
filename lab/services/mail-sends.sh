#!/bin/sh
# This host's mail server passes everything on.
#
#   mail-sends.sh RELAY
postconf -e "myhostname=$(hostname)" mydestination=localhost alias_maps= inet_interfaces=loopback-only \
  inet_protocols=ipv4 "relayhost=[$1]" default_transport=smtp relay_transport=smtp smtp_tls_security_level=none \
  smtp_tls_session_cache_database=
