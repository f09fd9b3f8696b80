"""Quoting: whatever stands in the settings arrives as it is; sh and the libraries say so themselves."""

from __future__ import annotations

import html.parser
import shlex
import subprocess

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from switchover import quote

# What a file or an argument can hold: no NUL, no half of a surrogate pair.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
nasty = st.text("ab '\"\\$`\n%;{}#&<>:=~*?!\t\r|()[]-/é€\U0001f34e")
values = st.one_of(texts, nasty)


def printed(script: str) -> str:
    """What sh prints for *script*."""
    return subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout.decode()


@given(st.lists(values, min_size=1, max_size=30))
@hypothesis(max_examples=60, deadline=None)
def test_sh_passes_each_value_as_one_word(given: list[str]) -> None:
    assert printed("printf '%s\\0' " + " ".join(quote.sh(v) for v in given)).split("\0")[:-1] == given


@given(st.lists(values, min_size=1, max_size=30))
@hypothesis(max_examples=60, deadline=None)
def test_a_script_in_a_script_too(given: list[str]) -> None:
    """As every `runuser … sh -c` does."""
    inner = "printf '%s\\0' " + " ".join(quote.sh(v) for v in given)
    assert printed(f"sh -c {quote.sh(inner)}").split("\0")[:-1] == given


@given(values)
def test_sh_is_what_shlex_reads(value: str) -> None:
    assert shlex.split(quote.sh(value)) == [value]


def unquoted(literal: str, standard_conforming: bool) -> str:
    """What PostgreSQL takes the whole of *literal* for, by its rules for '…' and E'…' (4.1.2.1, 4.1.2.2)."""
    escapes = literal.startswith("E")
    body = literal.removeprefix("E")
    assert body[0] == body[-1] == "'"
    body, found, at = body[1:-1], "", 0
    while at < len(body):
        if body[at] == "'":
            assert body[at : at + 2] == "''", f"{literal} ends in its middle"
            at += 1
        elif body[at] == "\\" and (escapes or not standard_conforming):
            assert body[at + 1] == "\\", f"{literal} has an escape"
            at += 1
        found += body[at]
        at += 1
    return found


@given(values, st.booleans())
def test_sql_is_one_literal(value: str, standard_conforming: bool) -> None:
    assert unquoted(quote.sql(value).strip(), standard_conforming) == value


@given(values)
def test_ident_is_one_identifier(value: str) -> None:
    quoted = quote.ident(value)
    assert quoted[0] == quoted[-1] == '"'
    assert '"' not in quoted[1:-1].replace('""', "")
    assert quoted[1:-1].replace('""', '"') == value


@pytest.mark.parametrize("filter_", [quote.sql, quote.ident])
def test_postgresql_has_no_nul(filter_) -> None:
    with pytest.raises(ValueError, match="NUL"):
        filter_("a\0b")


@given(st.one_of(values, st.integers(), st.booleans()))
def test_yaml_is_the_same_value(value: str | int | bool) -> None:
    assert yaml.safe_load(f"key: {quote.yaml(value)}\nother: 1") == {"key": value, "other": 1}


@pytest.mark.parametrize("value", ["yes", "null", "1_000", "0777", "~", "1e3", "2020-01-01", "a: b", "- a", "", " "])
def test_yaml_texts_stay_texts(value: str) -> None:
    assert yaml.safe_load(quote.yaml(value)) == value


@given(values)
def test_html_is_text(value: str) -> None:
    class Page(html.parser.HTMLParser):
        text, tags, attribute = "", 0, ""

        def handle_starttag(self, tag: str, attributes: list) -> None:
            self.tags += 1
            self.attribute = dict(attributes)["lang"]

        def handle_data(self, data: str) -> None:
            self.text += data

    page = Page()
    page.feed(f'<p lang="{quote.html(value)}">{quote.html(value)}</p>')
    page.close()
    assert (page.tags, page.text, page.attribute) == (1, value, value)


@given(values)
def test_nginx_refuses_or_makes_one_argument(value: str) -> None:
    """nginx' own reading of these is tested on a server of the lab."""
    if set("$\n\0") & set(value):
        with pytest.raises(ValueError, match="plain text"):
            quote.nginx(value)
        return
    quoted = quote.nginx(value)
    if quoted[:1] != '"':
        assert quoted == value and not set(quoted) & set(" ;{}'\"\\#")
        return
    inner = quoted[1:-1].replace("\\\\", "").replace('\\"', "")
    assert quoted[-1] == '"' and '"' not in inner and "\\" not in inner


@given(values)
def test_pgpass_is_one_field(value: str) -> None:
    fields, at, quoted = [""], 0, f"{quote.pgpass(value)}:next"
    while at < len(quoted):  # as libpq reads it: a backslash takes the next character along
        if quoted[at] == "\\":
            at += 1
            fields[-1] += quoted[at]
        elif quoted[at] == ":":
            fields.append("")
        else:
            fields[-1] += quoted[at]
        at += 1
    assert fields == [value, "next"]


@pytest.mark.parametrize(
    ("base", "path", "joined"),
    [
        ("/home/ofn", "log/a.log", "/home/ofn/log/a.log"),
        ("/home/ofn/", "/etc/a", "/etc/a"),
        ("/home/ofn", "public/system/", "/home/ofn/public/system/"),
        ("/home/ofn", "/", "/"),
        ("/home/ofn", "/srv/up/", "/srv/up/"),
    ],
)
def test_under(base: str, path: str, joined: str) -> None:
    assert quote.under(base, path) == joined


@given(values)
def test_a_connection_string_keeps_each_value(value: str) -> None:
    """Read as libpq's documentation says: quotes around, a backslash before a quote or a backslash."""
    text = quote.conninfo(value)
    if not text.startswith("'"):
        assert text == value and value and not set(value) & set(" '\\\t\r\n")
        return
    plain, rest = "", iter(text[1:-1])
    for character in rest:
        assert character != "'"
        plain += next(rest) if character == "\\" else character
    assert plain == value and text.endswith("'")
