# shellcheck shell=sh
# What renews certificates on this server.

scheduled() { # a line each: of a crontab, or a timer
  for f in /var/spool/cron/crontabs/* /etc/crontab /etc/cron.d/* /etc/cron.daily/*; do
    # Debian's /etc/cron.d/certbot does nothing where systemd runs.
    [ ! -f "$f" ] || grep -v '^[[:space:]]*#' "$f" | grep -v '/run/systemd/system' |
      grep -E '(certbot|letsencrypt|acme).*renew' | sed "s|^|$f: |"
  done
  systemctl list-timers --no-legend | grep -oE '[^ ]*certbot[^ ]*[.]timer' || :
}

retire() { # domain...: the site's certificates are renewed no more, and certbot's timer is off where nothing is left to it
  ours "$@" | while IFS= read -r conf; do mv "$conf" "$conf.retired"; done
  ! idle || systemctl -q disable --now certbot.timer
}

ours() { # domain...: the files that say what is renewed; certbot looks at those that end in .conf
  for conf in /etc/letsencrypt/renewal/*.conf; do
    { cert=$(sed -n 's/^cert *= *//p' "$conf" 2>/dev/null) && [ -e "$cert" ]; } || continue
    for domain in "$@"; do
      openssl x509 -in "$cert" -noout -checkhost "$domain" | grep -q 'does match' || continue
      printf '%s\n' "$conf"
      break
    done
  done
}

idle() { # the timer runs, and has nothing to renew
  systemctl is-enabled -q certbot.timer 2>/dev/null && ! ls /etc/letsencrypt/renewal/*.conf >/dev/null 2>&1
}

named() { # server domain...: the name that certbot gave to a certificate of every domain that has not ended, by this server
  server=$1
  shift
  for conf in /etc/letsencrypt/renewal/*.conf; do
    grep -qsxF "server = $server" "$conf" || continue
    name=${conf##*/}
    name=${name%.conf}
    cert=/etc/letsencrypt/live/$name/cert.pem
    openssl x509 -in "$cert" -noout -checkend 86400 >/dev/null 2>&1 || continue
    for domain in "$@"; do
      openssl x509 -in "$cert" -noout -checkhost "$domain" | grep -q 'does match' || continue 2
    done
    echo "$name"
    break
  done
}

hooks() { # name ours: what is run when a certificate of that name was renewed, but for the hook *ours*
  cd /etc/letsencrypt || return 0
  grep -hsE '^(renew_hook|post_hook|deploy-hook|post-hook|renew-hook) *=' "renewal/$1.conf" cli.ini
  for hook in renewal-hooks/deploy/* renewal-hooks/post/*; do
    [ "$PWD/$hook" = "$2" ] || [ ! -x "$hook" ] || cat "$hook"
  done
  scheduled
}
