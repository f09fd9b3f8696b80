# shellcheck shell=sh
# Either server, as root: mail that waits there to go out, in Postfix or Exim. Read in by looks and recorded scripts.
# Mail that somebody put on hold counts as well: switched off, it would be lost with the server.

queued() { # how many mails wait here
  if command -v postqueue >/dev/null; then
    q=$(postconf -h queue_directory)
    find "$q/maildrop" "$q/incoming" "$q/active" "$q/deferred" "$q/hold" -type f 2>/dev/null | wc -l
  elif command -v exim4 >/dev/null; then exim4 -bpc
  else echo 0; fi
}
no_mail() { [ "$(queued)" -eq 0 ]; }
why_queued() { # what the first of them was answered
  ! command -v postqueue >/dev/null ||
    postqueue -p 2>/dev/null | sed -n 's/^ *(\(.*\)) *$/\1/p' | head -n 1 | cut -c 1-160
}
try_mail_again() {
  if command -v postqueue >/dev/null; then postqueue -f 2>/dev/null || :
  elif command -v exim4 >/dev/null; then exim4 -qf
  fi
}
