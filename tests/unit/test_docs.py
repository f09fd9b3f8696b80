"""Links in the pages for people lead somewhere, and the index of docs/ has every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def links(page: Path) -> list[str]:
    """Where the page's links lead, but for those in code."""
    text = re.sub(r"^```.*?^```|^ {4}[^\n]*$", "", page.read_text(), flags=re.M | re.S)
    return re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`\n]*`(?!\]\()", "", text))


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as GitHub and GitLab make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.M):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[name] = found.get(name, -1) + 1
        if found[name]:
            found[f"{name}-{found[name]}"] = 0
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_page_or_a_heading(page: Path) -> None:
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_links_are_found_and_anchors_too() -> None:
    """The readers here see what stands in the pages: without this, a page without links would be one without faults."""
    assert "docs/runbook.md" in links(ROOT / "README.md")
    assert "#dns" in links(ROOT / "docs/settings.md") and "dns" in anchors(ROOT / "docs/settings.md")


def test_the_index_has_every_page() -> None:
    listed = {(ROOT / "docs" / link).resolve() for link in links(ROOT / "docs/README.md")}
    lacking = [page.name for page in ROOT.glob("docs/**/*.md") if page.name != "README.md" and page not in listed]
    assert lacking == []
