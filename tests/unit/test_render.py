"""Templates: no value stands in one as it is, a value that lacks is an error, and an error is one line."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
import yaml
from jinja2 import nodes

from switchover.errors import Problem
from switchover.render import FILTERS, FOLDERS, HOME, environment, render

TEMPLATES = sorted(
    str(path.relative_to(HOME)) for folder in FOLDERS for path in (HOME / folder).glob("**/*.j2") if path.is_file()
)


def test_there_are_templates() -> None:
    assert len(TEMPLATES) > 5


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_value_is_quoted_for_where_it_stands(template: str) -> None:
    jinja = environment()
    tree = jinja.parse(Path(HOME, template).read_text())
    for output in tree.find_all(nodes.Output):
        for part in output.nodes:
            quoted = isinstance(part, nodes.Filter) and part.name in FILTERS
            assert isinstance(part, nodes.TemplateData) or quoted, f"{template} line {part.lineno}: a value as it is"
    # What a template sets or puts together has quoted parts only if the whole is quoted at its end: no macros.
    assert not list(tree.find_all((nodes.Macro, nodes.Include, nodes.Import, nodes.FilterBlock)))


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_quoted_value_stands_in_no_quotes_of_the_template(template: str) -> None:
    assert not re.search(r"""["']\{\{[^}]*\|\s*(sh|sql|ident|nginx|yaml|systemd)\s*\}\}|\}\}["'](?!>)""",
                         Path(HOME, template).read_text()) or template.endswith(".html.j2")  # fmt: skip


@pytest.mark.parametrize("template", [one for one in TEMPLATES if one != "hooks/worker-none.sh.j2"])  # it has no value
def test_a_missing_value_is_an_error_that_names_it(template: str) -> None:
    with pytest.raises(Problem, match="is undefined") as caught:
        render(template)
    assert str(caught.value).startswith(template) and "\n" not in str(caught.value)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_says_on_which_server_its_file_is(template: str) -> None:
    """To whoever finds the file there; a page for visitors says nothing."""
    first = Path(HOME, template).read_text().splitlines()[:2]
    assert template.endswith(".html.j2") or re.search(r"(Old|New) server", " ".join(first)), first


def test_a_missing_template_or_one_with_a_fault_is_a_problem() -> None:
    with pytest.raises(Problem, match=r"^templates/no\.j2: "):
        render("templates/no.j2")


def test_what_a_filter_refuses_is_a_problem() -> None:
    with pytest.raises(Problem, match=r"^nginx/old-proxy\.conf\.j2: .*plain text.*Fix the template or the setting"):
        render("nginx/old-proxy.conf.j2", domains=["a$b"], fullchain="", key="", uploads=[], new_addresses=[],
               new_host="h")  # fmt: skip


@pytest.mark.parametrize("bad", ["two\nlines", " lead", "trail ", "nul\0", "tab\there"])
def test_a_line_that_would_not_stay_one_is_refused(bad: str) -> None:
    values = dict.fromkeys(("host", "port", "username", "passfile", "certificate"), "x")
    with pytest.raises(Problem, match="line of its own"):
        render("templates/pg_service.conf.j2", database=bad, **values)


def test_database_yml_holds_any_password() -> None:
    password = "a: 'b' \"c\" #{d} %> é \\ \t %{e}"
    given = {"environment": "production", "host": "fd77::11", "port": 5433, "database": "d", "username": "u"}
    found = yaml.safe_load(render("templates/database.yml.j2", password=password, certificate="/c", **given))[
        "production"
    ]
    assert found["password"] == password
    assert (found["host"], found["port"], found["sslmode"]) == ("fd77::11", 5433, "verify-ca")


def test_database_yml_by_pgbouncer_prepares_nothing_and_locks_nothing() -> None:
    given = {"environment": "production", "port": 6432, "database": "d", "username": "u", "password": "p: 'q' #"}
    found = yaml.safe_load(render("templates/database-pooled.yml.j2", **given))["production"]
    assert (found["host"], found["port"], found["password"]) == ("127.0.0.1", 6432, "p: 'q' #")
    assert (found["prepared_statements"], found["advisory_locks"]) == (False, False)


def test_pgbouncer_keeps_its_whole_pool_open_and_checks_the_certificate() -> None:
    given = {"host": "fd77::11", "port": 5433, "database": "d", "username": "u", "listen_port": 6432, "pool": 7}
    ini = configparser.ConfigParser(delimiters="=", interpolation=None)
    ini.read_string(render("templates/pgbouncer.ini.j2", name="shop", certificate="/c", **given).decode())
    assert dict(ini["databases"]) == {"shop": "host=fd77::11 port=5433 dbname=d user=u"}
    ours = ini["pgbouncer"]
    assert (ours["default_pool_size"], ours["min_pool_size"], ours["reserve_pool_size"]) == ("7", "7", "0")
    assert (ours["server_tls_sslmode"], ours["listen_addr"], ours["pool_mode"]) == (
        "verify-ca",
        "127.0.0.1",
        "transaction",
    )
    assert ours["server_idle_timeout"] == "0"


def test_the_page_holds_any_text_in_its_languages() -> None:
    texts = {"en": "Back <soon> & well", "pt-BR": "Até logo"}
    page = render("templates/maintenance.html.j2", domain="shop.test", texts=texts, retry_after=120).decode()
    assert '<html lang="en">' in page and '<p lang="pt-BR">Até logo</p>' in page
    assert "Back &lt;soon&gt; &amp; well" in page and "<soon>" not in page
