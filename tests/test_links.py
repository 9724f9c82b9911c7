"""Every link in a page leads to an existing file, and to a heading in it."""

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
    """The targets of the links in a page, outside of its examples."""
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", page.read_text())
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(page: Path):
    """The anchors of a page's headings, as GitHub and GitLab make them."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"(?m)^#+ +(.+?) *$", text)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_link_of_a_page_has_a_target(page):
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
