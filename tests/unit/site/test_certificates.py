"""New's own certificate: a key like old's, what certbot is told, what the authority said, and what an undo leaves."""

from __future__ import annotations

import datetime
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from here import right

from lab.judging.shellcheck import faults
from switchover.certificates import read_pem
from switchover.move import Move
from switchover.render import render
from switchover.settings import check

SCRIPT = Path(__file__).parents[3] / "scripts/server/order-certificate"


def certificate(key: Any, *names: str) -> bytes:
    """One that signs itself, PEM."""
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "shop.test")])
    begins = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0xABC)
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=90))
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    signed = made.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "--key-type ecdsa"),
        (ec.generate_private_key(ec.SECP384R1()), "--key-type ecdsa --elliptic-curve secp384r1"),
        (ed25519.Ed25519PrivateKey.generate(), "--key-type ecdsa"),  # of which no authority certifies one
        (rsa.generate_private_key(65537, 1024), "--key-type rsa --rsa-key-size 2048"),
        (rsa.generate_private_key(65537, 2048), "--key-type rsa --rsa-key-size 2048"),
        (rsa.generate_private_key(65537, 3072), "--key-type rsa --rsa-key-size 3072"),
    ],
    ids=["p-256", "p-384", "ed25519", "rsa-1024", "rsa-2048", "rsa-3072"],
)
def test_the_key_is_like_old_s(key: Any, told: str) -> None:
    found = read_pem(certificate(key, "shop.test", "www.shop.test"))
    assert (found.key, found.names) == (told, ("shop.test", "www.shop.test"))
    assert (found.serial, found.ends) == ("abc", "2026-04-01")


def test_a_certificate_without_names_and_a_file_without_one() -> None:
    assert read_pem(certificate(ec.generate_private_key(ec.SECP256R1()))).names == ()
    with pytest.raises(ValueError, match="PEM"):
        read_pem(b"nothing")


def test_a_trial_asks_the_staging_of_let_s_encrypt_or_the_authority_that_is_named() -> None:
    """certbot knows of itself where Let's Encrypt's staging is; under --dry-run it takes another's address from the
    command line alone, not from what it renews."""
    assert Move(check(right(), "move.yaml")).certificate.trial == "--dry-run"
    other = right() | {"certificate": {"server": "https://acme.org/dir"}}
    assert Move(check(other, "move.yaml")).certificate.trial == "--dry-run --server https://acme.org/dir"


# --- what the authority said ---------------------------------------------------------------------------------------

FAILED = """Saving debug log to /var/log/letsencrypt/letsencrypt.log
Requesting a certificate for shop.test and www.shop.test

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: shop.test
  Type:   connection
  Detail: Get "http://shop.test:80/.well-known/acme-challenge/itG": dial tcp 10.77.0.11:80: connect: connection refused

  Domain: www.shop.test
  Type:   unauthorized
  Detail: 10.77.0.11: Invalid response from http://www.shop.test/.well-known/acme-challenge/x: 404

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org.
"""
# certbot 2.1 with Python 3.11 trips over the authority's own error, whatever it is.
TRIPPED = """Saving debug log to /var/log/letsencrypt/letsencrypt.log
An unexpected error occurred:
AttributeError: can't set attribute
Ask for help or search for solutions at https://community.letsencrypt.org.
"""
LIMITED = r"""2026-11-28 21:00:00,000:DEBUG:acme.client:Received response:
HTTP 400
Content-Type: application/problem+json

{
  "type": "urn:ietf:params:acme:error:badNonce",
  "detail": "JWS has an invalid anti-replay nonce",
  "status": 400
}
2026-11-28 21:00:00,000:DEBUG:acme.client:Received response:
HTTP 429
Server: nginx
Content-Type: application/problem+json
Retry-After: 86400

{
  "type": "urn:ietf:params:acme:error:rateLimited",
  "detail": "too many certificates (5) already issued for this exact set of identifiers: \"shop.test\", retry after x",
  "status": 429
}
"""


def said(tmp_path: Path, output: str, log: str = "") -> str:
    """What a person is told."""
    (tmp_path / "output").write_text(output)
    (tmp_path / "log").write_text(log)
    files = [str(tmp_path / name) for name in ("output", "log")]
    return subprocess.run([SCRIPT, "why", *files], capture_output=True, text=True, check=True).stdout


def test_each_domain_that_failed_and_why(tmp_path: Path) -> None:
    assert said(tmp_path, FAILED) == (
        'shop.test: Get "http://shop.test:80/.well-known/acme-challenge/itG": dial tcp 10.77.0.11:80: connect: '
        "connection refused (connection); www.shop.test: 10.77.0.11: Invalid response from "
        "http://www.shop.test/.well-known/acme-challenge/x: 404 (unauthorized)\n"
    )


def test_a_rate_limit_with_when_to_come_again(tmp_path: Path) -> None:
    assert said(tmp_path, TRIPPED, LIMITED) == (
        'too many certificates (5) already issued for this exact set of identifiers: "shop.test", retry after x '
        "(rateLimited); try again after 86400 s\n"
    )


def test_what_certbot_itself_says(tmp_path: Path) -> None:
    asked = "You should register before running non-interactively, or provide --agree-tos and --email flags."
    assert said(tmp_path, f"Saving debug log to /x\n{asked}\nAsk for help\n") == f"{asked}\n"
    assert said(tmp_path, TRIPPED) == "AttributeError: can't set attribute\n"
    assert said(tmp_path, "") == "certbot printed no error: see /var/log/letsencrypt/letsencrypt.log\n"


def test_shellcheck_finds_nothing_in_the_hook() -> None:
    hook = render("templates/renewed.sh.j2", domain="shop.test", live="/etc/letsencrypt/live/it's")
    assert faults({"hook": hook.decode()}, "") == ""


# --- what an undo leaves -------------------------------------------------------------------------------------------

BROUGHT = """
cd "$ETC" && mkdir -p csr keys live/shop.test archive/shop.test renewal accounts/acme/dir/a1
for file in csr/0000 keys/0000 live/README live/shop.test/cert.pem archive/shop.test/cert1.pem \\
  renewal/shop.test.conf accounts/acme/dir/a1/meta.json accounts/acme/dir/a1/private_key.json
do echo ours >"$file"; done
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The program in a journal's directory, on an /etc/letsencrypt beside it."""
    entry = folder / "entry"
    entry.mkdir(exist_ok=True)
    environment = os.environ | {"ETC": str(folder / "etc"), "LOG": str(folder / "letsencrypt.log")}
    return subprocess.run([SCRIPT, *words], cwd=entry, env=environment, capture_output=True, text=True)


def tree(folder: Path) -> dict[str, str]:
    """All below it."""
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else "" for p in sorted(folder.rglob("*"))}


def test_what_came_goes_and_nothing_else(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    for file in ("live/prod2.test/cert.pem", "renewal/prod2.test.conf", "accounts/acme/dir/a0/meta.json", "cli.ini"):
        (etc / file).parent.mkdir(parents=True, exist_ok=True)
        (etc / file).write_text("theirs")
    before = tree(etc)
    for _ in range(2):  # interrupted, and run again
        assert run(tmp_path, "order", "shop.test", "sh", "-c", BROUGHT).returncode == 0
    assert len(tree(etc)) > len(before) + 8
    (etc / "archive/prod2.test").mkdir(parents=True)
    (etc / "archive/prod2.test/cert2.pem").write_text("theirs, renewed since")
    for _ in range(2):
        assert run(tmp_path, "back", "shop.test").returncode == 0
        left = tree(etc)
        assert {k: v for k, v in left.items() if "archive" not in k} == before
        assert left["archive/prod2.test/cert2.pem"] == "theirs, renewed since"


def test_an_account_that_others_use_by_now_stays(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    assert run(tmp_path, "order", "shop.test", "sh", "-c", BROUGHT).returncode == 0
    (etc / "renewal/mail.test.conf").write_text("account = a1\n")
    run(tmp_path, "back", "shop.test")
    assert "accounts/acme/dir/a1/private_key.json" in tree(etc) and "renewal/shop.test.conf" not in tree(etc)


def test_a_certificate_that_was_there_is_back_as_it_was(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    for file in ("live/shop.test/cert.pem", "archive/shop.test/cert1.pem", "renewal/shop.test.conf"):
        (etc / file).parent.mkdir(parents=True, exist_ok=True)
        (etc / file).write_text("expired")
    before = tree(etc)
    assert run(tmp_path, "order", "shop.test", "sh", "-c", BROUGHT).returncode == 0
    assert tree(etc)["live/shop.test/cert.pem"] == "ours\n"
    run(tmp_path, "back", "shop.test")
    assert tree(etc) == before


def test_an_order_that_fails_says_so_in_one_line_of_this_run_alone(tmp_path: Path) -> None:
    """Some releases of certbot keep one log for all runs."""
    (tmp_path / "letsencrypt.log").write_text(LIMITED)
    done = run(tmp_path, "order", "shop.test", "sh", "-c", "echo 'no network' >&2; exit 1")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "no certificate was issued: no network\n")
    log = f"cat >>\"$LOG\" <<'E'\n{LIMITED}E\necho oops >&2; exit 1"
    done = run(tmp_path, "try", "sh", "-c", log)
    assert done.returncode == 3 and done.stderr.startswith("a renewal would fail: too many certificates (5) ")
