#!/bin/sh
# This host's mail server takes all mail to customers, into one mailbox.
#
#   mail-receives.sh DOMAIN
set -e
useradd --create-home --home-dir /var/lib/customers customers
postconf -e inet_interfaces=all inet_protocols=ipv4 "mydestination=$1" "myorigin=$1" alias_maps= \
  local_recipient_maps= luser_relay=customers home_mailbox=Maildir/ smtpd_peername_lookup=no \
  smtpd_client_restrictions='check_client_access cidr:/etc/postfix/later'
touch /etc/postfix/later
systemctl enable --quiet postfix
