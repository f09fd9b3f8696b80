#!/bin/sh
# The lab's new server, as root: the database switch as the checklist says it, line by line; what was dumped lies on new.
#
#   by-the-checklist.sh USER APP SITE OWNER DATABASE FOLDER     FOLDER: where pgpass is, and the dump goes
set -e
user=$1 app=$2 site=$3 owner=$4 database=$5 folder=$6
su "$user" -s /bin/sh -c "cd $app && RAILS_ENV=production script/delayed_job stop" >/dev/null 2>&1
"/etc/init.d/unicorn_$site" stop >/dev/null
PGSERVICEFILE=/etc/switchover/pg_service.conf pg_dump -O -x service=old >"$folder/dump.sql"
export PGPASSFILE="$folder/pgpass"
dropdb -h localhost -U "$owner" "$database"
createdb -h localhost -U "$owner" "$database"
psql -q -o /dev/null -h localhost -U "$owner" "$database" <"$folder/dump.sql"
"/etc/init.d/unicorn_$site" start >/dev/null </dev/null
