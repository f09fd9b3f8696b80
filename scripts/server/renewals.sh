# shellcheck shell=sh
# What renews certificates on this server.

scheduled() { # prints a line for each that is scheduled: a line of cron, or a timer
  for f in /var/spool/cron/crontabs/* /etc/crontab /etc/cron.d/* /etc/cron.daily/*; do
    # Debian's /etc/cron.d/certbot does nothing where systemd runs.
    [ ! -f "$f" ] || grep -v '^[[:space:]]*#' "$f" | grep -v '/run/systemd/system' |
      grep -E '(certbot|letsencrypt|acme).*renew' | sed "s|^|$f: |"
  done
  systemctl list-timers --no-legend | grep -oE '[^ ]*certbot[^ ]*[.]timer' || :
}

retire() { # domain...: ends the renewal of the site's certificates; turns certbot's timer off where nothing else uses it
  ours "$@" | while IFS= read -r conf; do mv "$conf" "$conf.retired"; done
  ! idle || systemctl -q disable --now certbot.timer
}

ours() { # domain...: prints the renewal files of certificates for these domains; certbot reads only *.conf
  for conf in /etc/letsencrypt/renewal/*.conf; do
    { cert=$(sed -n 's/^cert *= *//p' "$conf" 2>/dev/null) && [ -e "$cert" ]; } || continue
    for domain in "$@"; do
      openssl x509 -in "$cert" -noout -checkhost "$domain" | grep -q 'does match' || continue
      printf '%s\n' "$conf"
      break
    done
  done
}

idle() { # succeeds where the timer is on and has nothing to renew
  systemctl is-enabled -q certbot.timer 2>/dev/null && ! ls /etc/letsencrypt/renewal/*.conf >/dev/null 2>&1
}

named() { # server domain...: prints the name, in certbot, of a valid certificate for every domain from this ACME server
  server=$1
  shift
  for conf in /etc/letsencrypt/renewal/*.conf; do
    grep -qsxF "server = $server" "$conf" || continue
    name=$(basename "$conf" .conf)
    cert=/etc/letsencrypt/live/$name/cert.pem
    openssl x509 -in "$cert" -noout -checkend 86400 >/dev/null 2>&1 || continue
    for domain in "$@"; do
      openssl x509 -in "$cert" -noout -checkhost "$domain" | grep -q 'does match' || continue 2
    done
    echo "$name"
    break
  done
}

hooks() { # name ours: prints all that runs after a renewal of that certificate, except the hook *ours*
  cd /etc/letsencrypt || return 0
  grep -hsE '^(renew_hook|post_hook|deploy-hook|post-hook|renew-hook) *=' "renewal/$1.conf" cli.ini
  for hook in renewal-hooks/deploy/* renewal-hooks/post/*; do
    [ "$PWD/$hook" = "$2" ] || [ ! -x "$hook" ] || cat "$hook"
  done
  scheduled
}
