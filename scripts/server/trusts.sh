# shellcheck shell=sh
trusts() { # domain bundle chain: whether who trusts the authorities in *bundle* takes the *chain* (PEM) for the domain's
  certificate=$(mktemp)
  trap 'rm -f "$certificate"' EXIT
  printf '%s' "$3" >"$certificate"
  said=$(openssl verify -purpose sslserver -verify_hostname "$1" -CAfile "$2" -untrusted "$certificate" "$certificate" 2>&1) || {
    printf '%s\n' "$said" | grep -m 1 -i error
    exit 1
  }
}
