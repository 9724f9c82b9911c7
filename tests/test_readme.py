"""The README and the pages in docs/ are run: every command is executed, and what is generated is what the code says."""

import os
import re
import shlex
import subprocess
import sys

import pytest

import readme
from running import CHECKOUT

_FENCE = re.compile(r"```console\n(.*?)```", re.S)
ELSEWHERE = {  # commands that have a test of their own, or are this very run
    "make demo": "tests/live/test_demo.py",
    "make test": "this run",
    ".venv/bin/python probes/check_vm_lifecycle --site etc/sites/demo.ini -v": "tests/live/test_demo.py",
}


def _commands():
    found = []
    for block in [block for page in readme.PAGES for block in _FENCE.findall(page.read_text())]:
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command, _, output = part.partition("\n")
            if command not in ELSEWHERE:
                found.append(pytest.param(command, output, id=command[:60]))
    return found


def plain(text: str) -> str:
    """Text without what differs from run to run: durations, handles, counts of requests."""
    text = re.sub(r"\d+(\.\d+)?( ?s\b)", r"T\2", text)
    text = re.sub(r"vmprobe-[a-z0-9-]+-\d{8}t\d{6}z-\d+-\w+", "HANDLE", text)
    return re.sub(r"requests \d+", "requests N", text)


@pytest.mark.parametrize("command, output", _commands())
def test_a_command_says_what_the_readme_says(command, output):
    words = shlex.split(command)
    words = [sys.executable if word == ".venv/bin/python" else word for word in words]
    done = subprocess.run(
        words,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        env=dict(os.environ),
    )

    wanted, said = plain(output).splitlines(), plain(done.stdout + done.stderr).splitlines()
    if wanted and wanted[-1] == "...":
        wanted, said = wanted[:-1], said[: len(wanted) - 1]
    assert len(wanted) == len(said)
    for wish, line in zip(wanted, said):
        assert line.startswith(wish[:-3]) if wish.endswith("...") else line == wish


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_the_generated_parts_are_what_the_code_says(request, page):
    text = page.read_text()
    wanted = readme.generated(text)
    if request.config.getoption("--regen"):
        page.write_text(wanted)
        text = wanted

    assert text == wanted, "run pytest --regen"
