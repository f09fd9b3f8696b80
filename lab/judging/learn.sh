#!/bin/sh
# Prints the files of this host that may hold secrets: path, a tab, the content in base64.
for file in /home/*/apps/*/current/config/database.yml /home/*/apps/*/current/config/secrets.yml \
  /home/*/apps/*/current/config/s3.yml /etc/switchover/pgpass /etc/switchover/*.pem \
  /etc/letsencrypt/archive/*/privkey*.pem /etc/letsencrypt/accounts/*/*/*/private_key.json \
  /etc/ssl/private/* /etc/ssh/ssh_host_*_key /root/.ssh/* /home/*/.ssh/* \
  /var/lib/*/.ssh/*
do
  [ ! -f "$file" ] || { printf '%s\t' "$file"; base64 -w0 "$file"; echo; }
done
