# shellcheck shell=sh
# Either server, as root: facts that decide how the database can move; changes nothing. Prints lines `key TAB value`; a
# key may appear twice, and is missing where its command failed. Sourced by looks, which set before: master (the
# application's main process, if any), app (its directory), yml (its database.yml), other (the other server's address),
# minutes (of the access log to count).
: "${master?}" "${app?}" "${yml?}" "${other?}" "${minutes?}"

say() { sed "s/^/$1\t/"; }
systemctl is-active -q switchover-copy && echo continues | say copy
getconf GNU_LIBC_VERSION 2>/dev/null | say libc
{ dpkg-query -W -f '${Version}\n' pgbouncer 2>/dev/null ||
  apt-cache policy pgbouncer 2>/dev/null | sed -n 's/^ *Candidate: *//p'; } | say pgbouncer
nginx -T 2>/dev/null | grep -E '^\s*(worker_connections|worker_processes|access_log)\s' | say nginx
worker=$(pgrep -P "$(cat /run/nginx.pid 2>/dev/null)" 2>/dev/null | head -n 1)
[ -z "$worker" ] || awk '/open files/ { print $4 }' "/proc/$worker/limits" | say nginx_files
say somaxconn </proc/sys/net/core/somaxconn
[ -z "$master" ] ||
  tr '\0' '\n' 2>/dev/null <"/proc/$master/environ" | grep '^RACK_TIMEOUT_[A-Z_]*=[0-9]*$' | say rack_timeout
grep -sqE '^ +rack-timeout ' "$app/Gemfile.lock" && echo yes | say rack_timeout_gem
timeouts='(Rack::Timeout\.(service_|wait_)?timeout *=|(service|wait)_timeout:) *[0-9]+'
grep -srhoE --include='*.rb' "$timeouts" "$app/config" | say rack_timeout
# database.yml without possible secrets; ERB is not YAML.
grep -vE 'password|url|user|secret|key' "$yml" | sed 's/<%.*%>/erb/g' | say yml
data=$(env -C / runuser -u postgres -- psql -XAtq -c 'SHOW data_directory')
df -Pk "$data/pg_wal/" | awk 'NR == 2 { printf "%.0f\n", $4 * 1024 }' | say wal_free
logs=$(nginx -T 2>/dev/null | sed -nE 's/^\s*access_log\s+(\/[^; ]+).*/\1/p' | sort -u)
[ -z "$logs" ] || for n in $(seq "$minutes"); do
  # shellcheck disable=SC2086 # several files
  tail -qn 50000 $logs | grep -cF "$(date -d "-$n min" '+[%d/%b/%Y:%H:%M:')"
done | say requests
# A connection without a request: it leaves nothing in the other server's access log.
perl -MIO::Socket::IP -MTime::HiRes=time -e '
  my $start = time;
  IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => 80, Timeout => 5) and printf "%.6f\n", time - $start;
' "$other" | say round_trip
