"""report.html as people see it: in a browser, on a phone and on a wide screen."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lab.judging.audit import Audit
from lab.judging.inventory import Difference
from lab.judging.switch import SwitchFacts
from lab.report.page import page as written_page
from lab.report.result import Rehearsal, Span
from lab.visitors.ledger import Book, RequestOutcome, Response

NAMES = (
    *("check", "dns-prepare", "prepare-old", "prepare-new", "switch-jobs", "switch-app", "switch-cron", "switch-db"),
    *("finish", "switch-dns"),
)
BEYOND = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)"
SMALLEST = (
    "Math.min(...[...document.querySelectorAll('body *')].filter(e => e.innerText).map(e => "
    "parseFloat(getComputedStyle(e).fontSize)))"
)
ROWS = (
    "body => [...body.rows].map(row => [row.cells[0].innerText, Object.fromEntries("
    "[...row.querySelectorAll('[data-is]')].map(cell => [cell.dataset.is, cell.innerText]))])"
)


def rehearsal(*, good: bool) -> Rehearsal:
    """Some minutes of visits, all sections and their undo, with long names and numbers in every place."""
    dice = random.Random(1)
    spans = [Span("before", 1000, 1010, quiet=True)]
    for name in [*NAMES, *(f"undo {name}" for name in reversed(NAMES[1:]))]:
        start = spans[-1].ended
        steps = (Span(f"{name.split()[-1]}.copy", start + 1, start + 8),) if name.endswith("switch-db") else ()
        spans.append(Span(name, start, start + (9 if steps else 7), 0, steps, title=f"{name}: " + "what it does " * 8))
    answers = []
    for at in range(1000, int(spans[-1].ended)):
        under = next(span for span in spans if span.started <= at < span.ended)
        paged = under.name.endswith("switch-db")
        for number in range(20):
            kind, order = ("order", f"V-{at}-{number}") if number % 4 == 0 else ("product", None)
            outcome = RequestOutcome.PAGE if paged else RequestOutcome.OK
            answers.append(Response(kind, at + number / 20, dice.expovariate(0.05) + 2, outcome, order=order))
    audit = Audit()
    audit.orders.promised, audit.jobs.promised = 1_234_567, 2_345_678
    audit.uploads.promised, audit.sessions.promised = 345, 67
    audit.jobs.hosts.update({"prod1.shop.test": 1_000_000, "prod2.shop.test": 1_345_678})
    found = Rehearsal(Book(answers, [{"event": "end"}]), spans, audit, looked_at=4711)
    found.servers = {"old": {"os": "Debian 11", "postgresql": "13.16"}, "new": {"os": "Debian 12", "postgresql": "15"}}
    rows = {"tables": 1_234, "rows": 123_456_789, "different": 0 if good else 17}
    serials = {"serial": "59735fb89f258f0c", "serial_old": "2253f56b771e73ea6b6c1eff0b66be59b562c3d"}
    certificate = {"issuer": "Pebble Intermediate CA 38eef0", "days": 1825, "names": ["www.shop.test"] * 20}
    found.observed["certificate"] = certificate | serials
    found.switch = SwitchFacts(21.4, 2, {}, 640.0, rows, 1060.0, 1060.25)
    found.observed["dns"] = {"old_ttl": 86_400, "new_ttl": 300, "visitors_by_old": 1_234_567, "visitors_by_new": 1}
    found.observed["dns"]["last_by_old_s"] = 301.5 if good else None
    if not good:
        long = "/home/openfoodweb/apps/openfoodweb/" + "a_name_that_never_ends_" * 12
        audit.orders.lost = {"<script>V-1</script>": "in no database"}
        found.differences = [Difference("old", f"file {long}", "f 644", None)]
        found.secrets_found = [f"old's password in database.yml: in {long} of old"]
        found.other_problems = ["`x` & <b>y</b>"]
        found.book.answers += [Response("home", 1050, 30_000, RequestOutcome.TIMEOUT)]
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for which no name leads anywhere. `scripts/test` has installed it."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "the report is looked at in Chromium: apt-get install chromium"
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=["--host-resolver-rules=MAP * ~NOTFOUND"]) as running,
    ):
        yield running


def load(browser: Browser, file: Path, width: int) -> tuple[Page, list[str]]:
    """*file* in a window of so many CSS pixels, as a phone has it where that is narrow; and all that it fetched."""
    shown = browser.new_page(viewport={"width": width, "height": 844}, is_mobile=width < 600)
    fetched: list[str] = []
    shown.on("request", lambda request: fetched.append(request.url))
    shown.goto(file.as_uri())  # until all that it asks for is there, or is known not to be
    return shown, fetched


def assert_it_fits(shown: Page, width: int) -> None:
    assert shown.evaluate("innerWidth") == width
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.evaluate(f"{BEYOND}.map(e => e.outerHTML.slice(0, 80))") == []
    assert 14 <= shown.evaluate(SMALLEST) < 99


@pytest.fixture(scope="module", params=[True, False], ids=["good", "failed"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rehearsal, Path]:
    found = rehearsal(good=request.param)
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(written_page(found))
    return found, file


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_can_be_read(browser: Browser, written: tuple[Rehearsal, Path], width: int) -> None:
    shown, _ = load(browser, written[1], width)
    assert_it_fits(shown, width)
    # The picture is the one for this width, so that its labels have the size they were drawn with.
    ratio = shown.evaluate("(image => image.width / image.naturalWidth)(document.images[0])")
    assert ratio == pytest.approx(1, abs=0.06)
    details = shown.locator("details")
    folded = shown.evaluate("document.documentElement.scrollHeight")
    assert details.count() == 2
    for part in details.all():
        part.locator("summary").click()
    assert details.evaluate_all("all => all.map(e => e.open)") == [True] * details.count()
    assert shown.evaluate("document.documentElement.scrollHeight") > folded
    assert_it_fits(shown, width)


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fetches_nothing(browser: Browser, written: tuple[Rehearsal, Path], width: int, tmp_path: Path) -> None:
    _, fetched = load(browser, written[1], width)
    assert fetched == [written[1].as_uri()]
    # Were it to ask for something, it would show.
    other = tmp_path / "other.html"
    other.write_text("<img src='http://shop.test/x.png'>")
    assert "http://shop.test/x.png" in load(browser, other, width)[1]


@pytest.mark.parametrize("width", [390, 1280])
def test_it_shows_the_numbers(browser: Browser, written: tuple[Rehearsal, Path], width: int) -> None:
    data = written[0].as_json()
    shown, _ = load(browser, written[1], width)
    text = " ".join(shown.inner_text("body").split())
    good = not written[0].secrets_found
    assert data["ok"] == good == ("The move worked, and so did its undo." in text)
    for part in (
        f"of {data['traffic']['requests']:,}, 20 a second",
        "1,234,567",
        "2,345,678",
        "1,000,000 on prod1.shop.test, 1,345,678 on prod2.shop.test",
        "of 4,711 things",
        f"{data['orders']['by_database']['old']:,} in old's database",
        "old: Debian 11 with PostgreSQL 13.16",
        "Held for 21 ms in 2 tries",
        "of 1,234 with 123,456,789 rows",
        *data["problems"],
        *data["secrets_found"],
        *data["undo"]["differences"],
    ):
        assert part in text, part
    rows = shown.locator("main tbody").first.evaluate(ROWS)
    assert len(rows) == len(data["sections"]) + len(data["quiet"])
    assert [section["name"] for section in data["sections"]] == [*NAMES, *(f"undo {n}" for n in reversed(NAMES[1:]))]
    paged = set()
    for number, section in enumerate(data["sections"], 1):
        [cells] = [cells for name, cells in rows if name.split("\n")[0] == f"{number} {section['name']}"]
        assert cells["requests"] == f"{section['requests']:,}"
        seen = f"{section['page']:,} in {section['page_seconds']:.1f} s" if section["page"] else ""
        assert cells["page seen"] == seen
        paged |= {section["name"]} if seen else set()
    assert paged == {"switch-db", "undo switch-db"}
    assert shown.locator("script").count() == 0
