"""New's own certificate, from an authority that comes by old as in life: what it is like, how it renews, what undo
leaves; orders that fail; and the end, when the name leads to new.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_hand import fails, inv, order, recorded, works

from lab.machine.server import LabServer, until
from lab.reached import reached
from lab.servers import Lab
from lab.services import acme, bind
from lab.world import SHOP

OLD, NEW = SHOP.site("old"), SHOP.site("new")
DOMAINS = ["shop.test", "www.shop.test"]
LIVE = "/etc/letsencrypt/live/shop.test"
RENEW = "certbot -q renew --force-renewal --no-random-sleep-on-renew"

pytestmark = [pytest.mark.usefixtures("lab_name"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    """Visitors come by old's proxy, and the site has two names."""
    with reached("prepare-old", "prepare-new", "switch-app", strategy="copy", settings={"domains": DOMAINS}) as running:
        yield running


def changed(lab: Lab, **more: Any) -> dict[str, Any]:
    """The settings as data, with others."""
    found: dict[str, Any] = yaml.safe_load(lab.settings.read_text())
    return found | more


def beside(lab: Lab, name: str, **certificate: Any) -> Path:
    """Settings with other ones of the certificate."""
    file = lab.settings.with_name(f"{name}.yaml")
    data = changed(lab)
    file.write_text(yaml.safe_dump(data | {"certificate": data["certificate"] | certificate}))
    return file


def changes_name(lab: Lab, to: LabServer) -> None:
    """The site's name, and www with it, leads to a server for whoever asks the name servers, as the authority does."""
    lines = ["server 127.0.0.1", "delete shop.test A", "delete shop.test AAAA"]
    lines += [f"add shop.test 5 A {to.address4}", f"add shop.test 5 AAAA {to.address6}", "send"]
    lab.ci.exec(f"nsupdate -k {bind.KEY}", "\n".join(lines) + "\n")


@contextmanager
def shut(lab: Lab) -> Iterator[None]:
    """The authority finds old's port closed; nobody else does."""
    rules = [f"iptables -{{}} INPUT -p tcp -s {lab.ci.address4} --dport 80 -j REJECT --reject-with tcp-reset"]
    rules.append(f"ip6tables -{{}} INPUT -p tcp -s {lab.ci.address6} --dport 80 -j REJECT --reject-with tcp-reset")
    lab.old.exec("; ".join(rule.format("I") for rule in rules))
    try:
        yield
    finally:
        lab.old.exec("; ".join(rule.format("D") for rule in rules))


def letsencrypt(server: LabServer) -> str:
    """All that certbot has there, the site of nginx and what renews."""
    files = "/etc/letsencrypt /etc/nginx /etc/systemd/system /opt"
    return server.exec(f"find {files} | sort; find {files} -type f -exec sha256sum {{}} + | sort").stdout


def reloads(server: LabServer) -> int:
    """How often nginx was told to read its configuration again."""
    return int(server.exec("journalctl -u nginx -o cat | grep -c '^Reloaded nginx' || true").stdout)


def text(server: LabServer, path: str = f"{LIVE}/cert.pem") -> str:
    """A certificate in words."""
    return server.exec(f"openssl x509 -in {path} -noout -text").stdout


@pytest.fixture(scope="module")
def untouched(lab: Lab) -> str:
    """New as it is before."""
    return letsencrypt(lab.new)


# --- what stands in the way ------------------------------------------------------------------------------------------


def test_terms_are_agreed_to_by_a_person(lab: Lab, untouched: str) -> None:
    terms = beside(lab, "terms", agree_tos=False)
    assert f"the terms of {acme.url(SHOP)} are not agreed to  (Read them" in inv(lab, "check", settings=terms).out
    said = fails(lab, "expand-cert", settings=terms)
    assert said.startswith(f"{lab.new}: the terms of {acme.url(SHOP)} are not agreed to. Read them, then set ")
    assert "certificate: {agree_tos: true}" in said and letsencrypt(lab.new) == untouched


def test_an_authority_that_cannot_reach_new_through_old_is_quoted_and_nothing_changes(lab: Lab, untouched: str) -> None:
    with shut(lab):
        ran = inv(lab, "expand-cert")
    [said] = ran.err.splitlines()
    assert ran.status == 1
    assert re.search(
        r"no certificate was issued: .*shop\.test: Get \"http://\S+\": dial tcp .*: connection refused", said
    )
    assert "The change was undone" in said
    assert "new shows the copy of old's certificate. Run this again when that is fixed." in ran.out
    assert letsencrypt(lab.new) == untouched
    order(lab, "in-spite-of-it")


def test_an_authority_that_refuses_is_quoted(lab: Lab, untouched: str) -> None:
    _restarted(lab, "shop.test")
    said = fails(lab, "expand-cert.order")
    assert 'issuance is forbidden by policy: "shop.test" (rejectedIdentifier)' in said
    assert letsencrypt(lab.new) == untouched
    _restarted(lab)


def _restarted(lab: Lab, *refused: str) -> None:
    acme.refusing(lab.ci, *refused)
    lab.ci.exec("systemctl restart pebble")
    acme.trusted(lab.ci, lab.servers, lab.ca)


def test_a_port_80_that_old_does_not_pass_on_is_found_before_the_authority_is_asked(lab: Lab) -> None:
    site = f"/etc/nginx/sites-available/{OLD.name}"
    lab.old.exec(
        f"cp {site} /root/site; sed -i 's|proxy_pass http:.*|return 404 gone;|' {site}; systemctl reload nginx"
    )
    try:
        said = fails(lab, "expand-cert.challenge-passes")
        assert "old does not proxy the authority's challenge to new. Run: inv switch-app (shop.test: gone)" in said
    finally:
        lab.old.exec(f"cp /root/site {site}; systemctl reload nginx")


def test_a_trial_leaves_nothing(lab: Lab, untouched: str) -> None:
    trial = beside(lab, "trial", staging=True)
    assert "new: has its own certificate" in works(lab, "expand-cert", settings=trial).out
    assert not lab.new.exec("ls /etc/letsencrypt/renewal 2>/dev/null", check=False).stdout
    works(lab, "undo", "--yes", "expand-cert", settings=trial)
    assert letsencrypt(lab.new) == untouched


# --- the certificate -------------------------------------------------------------------------------------------------


def test_new_shows_one_of_its_own_with_a_key_like_old_s(lab: Lab) -> None:
    before = acme.shown(lab.old, "shop.test")
    works(lab, "expand-cert")
    shown = acme.shown(lab.new, "shop.test")
    assert shown["issuer"].startswith("Pebble") and shown["serial"] != before["serial"]
    assert shown["names"] == DOMAINS and shown["days"] > 80
    assert acme.shown(lab.old, "shop.test") == before
    assert "Public Key Algorithm: id-ecPublicKey" in text(lab.new)
    for domain in DOMAINS:
        at = f"--resolve {domain}:443:{lab.new.address4}"
        assert lab.old.exec(f"curl -sSf {at} https://{domain}/about -o /dev/null -w '%{{http_code}}'").stdout == "200"
    order(lab, "by-old")
    assert set(works(lab, "expand-cert").outcomes.values()) == {"already", "seen"}


def test_a_renewal_reloads_nginx_once_and_visitors_see_the_new_one(lab: Lab) -> None:
    before, serial = reloads(lab.new), acme.shown(lab.new, "shop.test")["serial"]
    lab.new.exec(RENEW)
    assert reloads(lab.new) == before + 1
    until(lambda: acme.shown(lab.new, "shop.test")["serial"] != serial, 10, "nginx shows the old one", pause=0.2)
    assert json.loads(inv(lab, "watch", "--json").out)["new"]["renewals"] == 1


def test_finish_proves_that_it_renews(lab: Lab) -> None:
    serial = acme.shown(lab.new, "shop.test")["serial"]
    works(lab, "finish.one-renewal", "finish.certificate-renews")
    works(lab, "undo", "--yes", "finish")
    with shut(lab):
        said = fails(lab, "finish.certificate-renews")
    assert "a renewal would fail: " in said and "connection refused" in said
    assert acme.shown(lab.new, "shop.test")["serial"] == serial


def test_monit_says_when_it_ends(lab: Lab) -> None:
    works(lab, "finish.monit-certificate")
    until(lambda: "certificate_age" in lab.new.exec("monit summary", check=False).stdout, 90, "monit does not")
    program = "/usr/local/sbin/certificate-age"
    assert "20 shop.test www.shop.test" in lab.new.exec("cat /etc/monit/conf.d/certificate_age").stdout
    good = lab.new.exec(f"{program} 20 {' '.join(DOMAINS)}").stdout
    assert re.fullmatch(r"(\S*shop\.test: the certificate ends in \d+ days\n){2}", good)
    assert lab.new.exec(f"{program} 9999 shop.test", check=False).returncode == 1
    works(lab, "undo", "--yes", "finish")


def test_someone_else_s_hook_is_enough_and_two_renewals_are_too_many(lab: Lab) -> None:
    works(lab, "undo", "--yes", "expand-cert.site")
    works(lab, "undo", "--yes", "expand-cert.renewed")
    hook = "/etc/letsencrypt/renewal-hooks/post/theirs"
    lab.new.write(hook, "#!/bin/sh\nsystemctl reload nginx\n", mode=0o755)
    lab.new.write("/etc/cron.d/by-hand", "10 13 * * * root certbot renew --quiet\n")
    said = fails(lab, "expand-cert.renewed")
    assert "renewals are scheduled 2 times: /etc/cron.d/by-hand: 10 13" in said and said.endswith("Remove all but one")
    lab.new.exec("systemctl disable --now certbot.timer")
    works(lab, "expand-cert.renewed")
    assert lab.new.exec("ls /etc/letsencrypt/renewal-hooks/deploy; systemctl is-active certbot.timer", check=False
                        ).stdout == "inactive\n"  # fmt: skip
    lab.new.exec(f"rm {hook} /etc/cron.d/by-hand")
    works(lab, "expand-cert.renewed")
    assert lab.new.exec("systemctl is-active certbot.timer").stdout == "active\n"


def test_if_old_would_refuse_visitors_the_certificate_is_not_shown(lab: Lab) -> None:
    """Its nginx trusts another set of authorities than the one that is looked at."""
    site, bundle = f"/etc/nginx/sites-available/{OLD.name}", "/root/before.pem"
    lab.old.exec(f"cp {site} /root/site; cp /usr/local/share/ca-certificates/switchover-lab.crt {bundle}")
    lab.old.exec(f"sed -i 's|/etc/ssl/certs/ca-certificates.crt|{bundle}|' {site}; systemctl reload nginx")
    said = fails(lab, "expand-cert.site")
    assert "old does not proxy visitors to a server with that certificate. The change was undone" in said
    order(lab, "put-back-at-once")
    lab.old.exec(f"cp /root/site {site}; systemctl reload nginx")
    lab.old.exec(
        "cp /etc/ssl/certs/ca-certificates.crt /root/all; cat /root/before.pem >/etc/ssl/certs/ca-certificates.crt"
    )
    said = fails(lab, "expand-cert.old-trusts-it")
    assert "old does not trust the authority: run `apt-get install ca-certificates` there" in said
    lab.old.exec("cat /root/all >/etc/ssl/certs/ca-certificates.crt")


def test_undone_new_shows_old_s_again_and_nothing_is_left(lab: Lab, untouched: str) -> None:
    works(lab, "expand-cert")
    works(lab, "undo", "--yes", "expand-cert")
    lab.new.exec("systemctl enable --now certbot.timer")  # it was switched off by hand above
    assert acme.shown(lab.new, "shop.test") == acme.shown(lab.old, "shop.test")
    assert letsencrypt(lab.new) == untouched
    order(lab, "by-the-copy")


def test_an_rsa_key_where_old_has_one(lab: Lab) -> None:
    lab.old.exec(
        "openssl req -x509 -newkey rsa:3072 -nodes -subj /CN=shop.test -keyout /root/rsa.key -out /root/rsa.pem"
    )
    data = changed(lab)
    data["old"]["certificate"] = {"fullchain": "/root/rsa.pem", "key": "/root/rsa.key"}
    file = lab.settings.with_name("rsa.yaml")
    file.write_text(yaml.safe_dump(data))
    works(lab, "expand-cert.order", "expand-cert.renewed", "expand-cert.site", settings=file)
    assert "Public-Key: (3072 bit)" in text(lab.new) and "rsaEncryption" in text(lab.new)


# --- the end ---------------------------------------------------------------------------------------------------------


def test_old_s_renewal_ends_and_new_s_continues_when_the_name_leads_there(lab: Lab) -> None:
    """Old has the site's certificate by certbot, and one of another site, which it keeps renewing."""
    lab.old.exec("tar -C /etc -x", input=lab.new.exec_bytes("tar -C /etc -c letsencrypt").stdout)
    other = "/etc/letsencrypt/renewal/other.conf"
    lab.old.write(other, "cert = /etc/ssl/certs/ssl-cert-snakeoil.pem\n")
    works(lab, "retire-old.certificate-of-its-own", "retire-old.renewals-end")
    assert lab.old.exec("ls /etc/letsencrypt/renewal").stdout.split() == ["other.conf", "shop.test.conf.retired"]
    assert lab.old.exec("systemctl is-active certbot.timer").stdout == "active\n"
    lab.old.exec(f"rm {other}")
    works(lab, "retire-old.renewals-end")
    assert lab.old.exec(f"{RENEW}; systemctl is-active certbot.timer", check=False).stdout == "inactive\n"
    works(lab, "retire-old.proxy-gone")
    changes_name(lab, lab.new)
    serial = acme.shown(lab.new, "shop.test")["serial"]
    lab.new.exec(RENEW)
    until(lambda: acme.shown(lab.new, "shop.test")["serial"] != serial, 10, "nginx shows the old one", pause=0.2)


def test_old_does_not_go_as_long_as_new_has_a_copy_alone(lab: Lab) -> None:
    assert [entry for entry in recorded(lab) if entry.step == "retire-old.renewals-end" and entry.state == "done"]
    lab.new.exec("mv /etc/letsencrypt/renewal/shop.test.conf /root/")
    said = fails(lab, "retire-old.certificate-of-its-own")
    assert "shop.test has no certificate on new that is renewed there. Run: inv expand-cert" in said
