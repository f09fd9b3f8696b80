# shellcheck shell=sh
# Either server, as root: mail in the queue of Postfix or Exim. Sourced by looks and recorded scripts.
# Mail on hold counts too: it would be lost with the server.

queued() { # prints how many mails are in the queue
  if command -v postqueue >/dev/null; then
    q=$(postconf -h queue_directory)
    find "$q/maildrop" "$q/incoming" "$q/active" "$q/deferred" "$q/hold" -type f 2>/dev/null | wc -l
  elif command -v exim4 >/dev/null; then exim4 -bpc
  else echo 0; fi
}
no_mail() { [ "$(queued)" -eq 0 ]; }
why_queued() { # prints the error of the first of them
  ! command -v postqueue >/dev/null ||
    postqueue -p 2>/dev/null | sed -n 's/^ *(\(.*\)) *$/\1/p' | head -n 1 | cut -c 1-160
}
try_mail_again() {
  if command -v postqueue >/dev/null; then postqueue -f 2>/dev/null || :
  elif command -v exim4 >/dev/null; then exim4 -qf
  fi
}
