"""Quoting by the rules of those who read it: both PostgreSQLs, nginx, systemd; any text that hypothesis thinks of."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from lab.machine.server import LabServer
from lab.servers import Lab
from switchover import quote

pytestmark = pytest.mark.usefixtures("lab_name")
nasty = st.text("ab '\"\\$`\n%;{}#&<>:=~*?!\t\r|()[]-/é€\U0001f34e")
texts = st.one_of(nasty, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
# Many at once, since each answer takes a while; where one fails, it is looked for among them.
many = hypothesis(
    max_examples=5,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    with Lab(plain=True, ci=False) as running:
        yield running


def psql(server: LabServer, sql: str) -> str:
    start = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1"
    return server.exec(f"cd / && PGCLIENTENCODING=UTF8 {start}", input=sql).stdout


@given(values=st.lists(texts, min_size=60, max_size=60))
@many
def test_postgresql_reads_literals_and_identifiers_as_they_were(lab: Lab, values: list[str]) -> None:
    for server in (lab.old, lab.new):
        for conforming in ("on", "off"):
            lines = [f"SET standard_conforming_strings = {conforming}; SET escape_string_warning = off;"]
            lines += [f"SELECT to_json({quote.sql(value)}::text);" for value in values]
            names = [value[:10] for value in values if value[:10]]
            lines += [f"SELECT json_object_keys(row_to_json(t)) FROM (SELECT 1 AS {quote.ident(n)}) t;" for n in names]
            found = psql(server, "\n".join(lines))
            literals = [json.loads(line) for line in found.split("\n")[: len(values)]]
            assert literals == values
            assert found == "".join(f"{line}\n" for line in found.split("\n")[: len(values)]) + "".join(
                f"{name}\n" for name in names
            )


@given(values=st.lists(texts.filter(lambda text: not set(text) & set("$\n\r")), min_size=60, max_size=60))
@many
def test_nginx_reads_an_argument_as_it_was(lab: Lab, values: list[str]) -> None:
    answers = "".join(f"location = /{n} {{ return 200 {quote.nginx(value)}; }}\n" for n, value in enumerate(values))
    lab.new.write(
        "/etc/nginx/conf.d/quoting.conf", f"server {{ listen 127.0.0.1:8099; default_type text/plain;\n{answers}}}\n"
    )
    lab.new.exec("nginx -t 2>&1 && systemctl reload nginx && sleep 0.5")
    urls = " ".join(f"http://127.0.0.1:8099/{n} -o /tmp/quoted-{n}" for n in range(len(values)))
    lab.new.exec(f"rm -f /tmp/quoted-*; curl -sSf {urls}; touch $(seq -f /tmp/quoted-%.0f 0 {len(values) - 1})")
    found = lab.new.exec_bytes(f"for n in $(seq 0 {len(values) - 1}); do cat /tmp/quoted-$n; printf '\\0'; done").stdout
    assert found.decode().split("\0")[:-1] == values


@given(
    values=st.lists(texts.filter(lambda text: text == text.strip() and text.isprintable()), min_size=40, max_size=40)
)
@many
def test_systemd_reads_a_word_of_a_command_as_it_was(lab: Lab, values: list[str]) -> None:
    words = " ".join(quote.systemd(value) for value in values)
    unit = f"[Service]\nType=oneshot\nExecStart=/usr/local/bin/words {words}\n"
    program = "#!/bin/sh\nprintf '%s\\0' \"$@\" >/tmp/words\n"
    for server in (lab.old, lab.new):
        server.write("/usr/local/bin/words", program, mode=0o755)
        server.write("/etc/systemd/system/quoting.service", unit)
        server.exec("systemctl daemon-reload; systemctl start quoting")
        assert server.exec("cat /tmp/words").stdout.split("\0")[:-1] == values
