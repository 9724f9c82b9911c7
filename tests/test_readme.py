"""Every command in the README and in docs/ prints what is shown; generated parts are up to date."""

import os
import re
import shlex
import subprocess
import sys

import pytest

import readme
from running import CHECKOUT

_FENCE = re.compile(r"```console\n(.*?)```", re.S)
TESTED_ELSEWHERE = {  # the test of each command that is not run here
    "make demo": "tests/live/test_demo.py",
    "make test": "this run",
    ".venv/bin/python probes/check_vm_lifecycle --site etc/sites/demo.ini -v": "tests/live/test_demo.py",
}


def _commands():
    commands = []
    for block in [block for page in readme.PAGES for block in _FENCE.findall(page.read_text())]:
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command, _, output = part.partition("\n")
            if command not in TESTED_ELSEWHERE:
                commands.append(pytest.param(command, output, id=command[:60]))
    return commands


def plain(text: str) -> str:
    """A text with placeholders for what changes: durations, handles, counts of requests."""
    text = re.sub(r"\d+(\.\d+)?( ?s\b)", r"T\2", text)
    text = re.sub(r"vmprobe-[a-z0-9-]+-\d{8}t\d{6}z-\d+-\w+", "HANDLE", text)
    return re.sub(r"requests \d+", "requests N", text)


@pytest.mark.parametrize("command, output", _commands())
def test_a_command_prints_what_its_page_shows(command, output):
    arguments = [
        sys.executable if word == ".venv/bin/python" else word for word in shlex.split(command)
    ]
    done = subprocess.run(
        arguments,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        env=dict(os.environ),
    )

    shown, printed = plain(output).splitlines(), plain(done.stdout + done.stderr).splitlines()
    if shown and shown[-1] == "...":
        shown, printed = shown[:-1], printed[: len(shown) - 1]
    assert len(shown) == len(printed)
    for wish, line in zip(shown, printed):
        assert line.startswith(wish[:-3]) if wish.endswith("...") else line == wish


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_the_generated_parts_of_a_page_are_up_to_date(request, page):
    text = page.read_text()
    generated = readme.generated(text)
    if request.config.getoption("--regen"):
        page.write_text(generated)
        text = generated

    assert text == generated, "run pytest --regen"
