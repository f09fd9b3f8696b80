# shellcheck shell=sh
trusts() { # domain bundle chain: succeeds where *chain* (PEM) is valid for the domain by the authorities in *bundle*
  certificate=$(mktemp)
  trap 'rm -f "$certificate"' EXIT
  printf '%s' "$3" >"$certificate"
  output=$(openssl verify -purpose sslserver -verify_hostname "$1" -CAfile "$2" -untrusted "$certificate" "$certificate" 2>&1) || {
    printf '%s\n' "$output" | grep -m 1 -i error
    exit 1
  }
}
