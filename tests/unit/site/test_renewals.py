"""What renews certificates on a server: renewals.sh, on an /etc/letsencrypt and crontabs of the test's own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from recorded_server import RECORDED

from switchover.programs import program

SERVER = "https://acme-v02.api.letsencrypt.org/directory"
Run = Callable[..., str]


def certificate(path: Path, *domains: str, days: int) -> None:
    """One that signs itself, for *domains*, and ends after so many *days*."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, domains[0])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=9), now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a function of renewals.sh where /etc and /var/spool are the test's; *timers*: whether systemd has some."""
    text = program("renewals.sh").decode()
    for path in ("/etc/letsencrypt", "/etc/cron", "/var/spool/cron"):
        text = text.replace(path, f"{tmp_path}{path}")
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)

    def made(call: str, timers: bool = False, enabled: bool = True) -> str:
        shown = f"cat '{RECORDED}/list-timers.txt'" if timers else ":"
        systemctl = f"systemctl() {{ case $1 in list-timers) {shown};; is-enabled) {str(enabled).lower()};; esac; }}"
        script = f"set -u\n{systemctl}\n{text}\n{call}"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
        assert done.stderr == ""
        return done.stdout

    return made


def named(tmp_path: Path, name: str, *domains: str, server: str = SERVER, days: int = 60) -> Path:
    """A certificate that certbot has ordered; the file that says how it is renewed."""
    cert = tmp_path / f"etc/letsencrypt/live/{name}/cert.pem"
    certificate(cert, *domains, days=days)
    conf = tmp_path / f"etc/letsencrypt/renewal/{name}.conf"
    conf.parent.mkdir(exist_ok=True)
    conf.write_text(f"version = 1.12.0\ncert = {cert}\n[renewalparams]\nserver = {server}\nauthenticator = webroot\n")
    return conf


def test_nothing_is_scheduled(run: Run) -> None:
    assert run("scheduled") == ""


def test_a_timer_is(run: Run) -> None:
    assert run("scheduled", timers=True) == "certbot.timer\n"


def test_cron_jobs_are_but_for_what_does_nothing_where_systemd_runs(run: Run, tmp_path: Path) -> None:
    idle = "test -x /usr/bin/certbot -a \\! -d /run/systemd/system"
    for path, text in {
        "etc/cron.d/certbot": f"0 */12 * * * root {idle} && certbot -q renew\n",
        "var/spool/cron/crontabs/root": "# certbot renew\n5 4 * * * /opt/certbot/bin/certbot renew -q\n0 0 * * * x\n",
        "etc/crontab": "1 1 * * * root acme.sh --renew-all\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert run("scheduled", timers=True).splitlines() == [
        f"{tmp_path}/var/spool/cron/crontabs/root: 5 4 * * * /opt/certbot/bin/certbot renew -q",
        f"{tmp_path}/etc/crontab: 1 1 * * * root acme.sh --renew-all",
        "certbot.timer",
    ]


def test_a_certificate_is_known_by_the_name_that_certbot_gave_it(run: Run, tmp_path: Path) -> None:
    named(tmp_path, "a-ended", "shop.test", "www.shop.test", days=0)
    named(tmp_path, "b-lacks-one", "shop.test")
    named(tmp_path, "c-of-another", "shop.test", "www.shop.test", server="https://acme.org/dir")
    named(tmp_path, "shop.test-0001", "shop.test", "www.shop.test", "m.shop.test")
    assert run(f"named {SERVER} shop.test www.shop.test") == "shop.test-0001\n"
    assert run(f"named {SERVER} shop.test") == "b-lacks-one\n"
    assert run("named https://acme.org/dir shop.test") == "c-of-another\n"
    assert run(f"named {SERVER} other.test") == "" == run("named https://acme.org shop.test")


def test_the_site_s_are_renewed_no_more_and_others_are(run: Run, tmp_path: Path) -> None:
    ours, other = named(tmp_path, "shop.test", "shop.test", "www.shop.test"), named(tmp_path, "b", "blog.test")
    gone = named(tmp_path, "gone", "shop.test")
    Path(gone.read_text().split("cert = ")[1].split("\n")[0]).unlink()
    assert run("ours www.shop.test") == f"{ours}\n"
    run("retire shop.test www.shop.test")
    assert sorted(f.name for f in ours.parent.iterdir()) == ["b.conf", "gone.conf", "shop.test.conf.retired"]
    assert other.exists() and run("ours shop.test") == ""


@pytest.mark.parametrize(("conf", "enabled", "idle"), [(True, True, ""), (False, True, "idle"), (False, False, "")])
def test_a_timer_without_anything_to_renew_is_idle(
    run: Run, tmp_path: Path, conf: bool, enabled: bool, idle: str
) -> None:
    if conf:
        named(tmp_path, "shop.test", "shop.test")
    assert run("! idle || echo idle", enabled=enabled).strip() == idle


def test_what_is_run_when_it_was_renewed(run: Run, tmp_path: Path) -> None:
    conf = named(tmp_path, "shop.test", "shop.test")
    conf.write_text(conf.read_text() + "renew_hook = systemctl reload nginx\n")
    folder = tmp_path / "etc/letsencrypt/renewal-hooks/deploy"
    folder.mkdir(parents=True)
    for name, mode in (("nginx", 0o755), ("other", 0o755), ("off", 0o644)):
        (folder / name).write_text(f"echo {name}\n")
        (folder / name).chmod(mode)
    shown = run(f"hooks shop.test {folder}/nginx", timers=True).splitlines()
    assert shown == ["renew_hook = systemctl reload nginx", "echo other", "certbot.timer"]
