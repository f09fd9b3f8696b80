#!/bin/sh
# On a booted plain Debian: a user with sudo, the lab's authority trusted; a firewall that lets in ssh and the web.
#
#   setup.sh USER [firewall]
set -e
user=$1

useradd --create-home --shell /bin/bash --groups sudo "$user"
printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$user" >"/etc/sudoers.d/90-$user"
chmod 440 "/etc/sudoers.d/90-$user"
visudo -cqf "/etc/sudoers.d/90-$user"
update-ca-certificates >/dev/null
# Its first run makes some directories: they shall not appear in the middle of a move.
certbot -q renew

if [ "$2" = firewall ]; then
  for port in 22 80 443; do ufw allow "$port/tcp" >/dev/null; done
  ufw --force enable >/dev/null
fi
