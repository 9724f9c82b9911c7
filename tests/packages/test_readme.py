"""The commands of rpm/README.md build, install, run and remove the packages, with the output shown."""

import re

import pytest

from ids import words_of
from running import CHECKOUT

pytestmark = pytest.mark.packaging
COMMANDS = re.findall(r"(?m)^\$ (.*)$", (CHECKOUT / "rpm" / "README.md").read_text())


def plain(text):
    """Lines without empty ones, and with T for each duration."""
    return re.sub(r"\d+(\.\d+)? s\b", "T", re.sub(r"(?m)^\s*\n", "", text)).splitlines()


@pytest.mark.parametrize(
    "number", range(len(COMMANDS)), ids=[words_of(command, 50) for command in COMMANDS]
)
def test_a_command_of_the_readme_has_the_output_shown_there(readme, number):
    command, expected, code, output = readme[1][number]

    assert code == 0, f"{command}: exit code {code}\n{output}"
    shown, printed = plain(expected), plain(output)
    if shown[:1] == ["..."]:
        shown, printed = shown[1:], printed[1 - len(shown) :]
    assert len(printed) >= len(shown), output
    for wish, line in zip(shown, printed):
        assert line.startswith(wish[:-3]) if wish.endswith("...") else line == wish, output
