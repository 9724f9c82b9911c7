"""DESIGN.md shows the package as it is: the tree of its folders, and the files that it names."""

import re

from running import PROBES

PACKAGE = PROBES / "vmprobe"
TEXT = (PACKAGE / "DESIGN.md").read_text()
TREE = re.search(r"^    probes/\n(    .*\n)+", TEXT, re.MULTILINE)[0]


def test_the_tree_has_every_folder_of_the_package():
    named = set(re.findall(r"[a-z0-9_]+(?=/)", TREE))
    folders = {file.parent.name for file in PACKAGE.rglob("*.py")}

    assert folders - named == set()


def test_every_module_that_the_tree_names_is_in_its_room():
    room, missing = "", []
    for line in TREE.splitlines():
        if begins := re.match(r" {8}([a-z]+)(/|\.py)", line):
            room = begins[1] if begins[2] == "/" else ""
        names = re.findall(r"(?<!\S)[a-z0-9_]+\.py\b", line)
        missing += [f"{room}/{name}" for name in names if not any((PACKAGE / room).rglob(name))]

    assert missing == []


def test_every_path_in_the_text_exists():
    paths = set(re.findall(r"`([a-z0-9_/]+/[a-z0-9_]+\.(?:py|sh))`", TEXT))
    places = [PACKAGE, PACKAGE / "drivers", PROBES.parent]

    assert sorted(p for p in paths if not any((place / p).exists() for place in places)) == []
