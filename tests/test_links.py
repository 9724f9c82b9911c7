"""A link in a page leads to a file that is there, and to a heading that it has."""

import re
from pathlib import Path

import pytest

from running import CHECKOUT

PAGES = sorted(
    path
    for folder in (".", "docs", "docs/drivers", "rpm", "probes/vmprobe", "tests", "tests/bench")
    for path in (CHECKOUT / folder).glob("*.md")
)


def links(page: Path):
    """What a page names, without its examples."""
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", page.read_text())
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path):
    """Its headings as GitHub and GitLab name them."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"(?m)^#+ +(.+?) *$", text)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_a_link_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{link}: there is no such file"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


def test_every_page_of_the_documentation_is_linked_from_another():
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in links(page)
        if "://" not in link
    }

    assert {path for path in (CHECKOUT / "docs").rglob("*") if path.is_file()} - linked == set()
