"""A packager goes from the source to an installed, running probe, and back, by the commands of rpm/README.md."""

import re

import pytest

from ids import words_of
from running import CHECKOUT

pytestmark = pytest.mark.packaging
COMMANDS = re.findall(r"(?m)^\$ (.*)$", (CHECKOUT / "rpm" / "README.md").read_text())


def plain(text):
    return re.sub(r"\d+(\.\d+)? s\b", "T", re.sub(r"(?m)^\s*\n", "", text)).splitlines()


@pytest.mark.parametrize(
    "number", range(len(COMMANDS)), ids=[words_of(command, 50) for command in COMMANDS]
)
def test_a_command_of_the_readme_does_what_it_says(readme, number):
    command, wanted, code, output = readme[1][number]

    assert code == 0, f"{command}: exit code {code}\n{output}"
    wishes, said = plain(wanted), plain(output)
    if wishes[:1] == ["..."]:
        wishes, said = wishes[1:], said[1 - len(wishes) :]
    assert len(said) >= len(wishes), output
    for wish, line in zip(wishes, said):
        assert line.startswith(wish[:-3]) if wish.endswith("...") else line == wish, output
