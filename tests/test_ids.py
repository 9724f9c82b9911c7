"""The tests' ids are words. pytest hands each to every child process, in PYTEST_CURRENT_TEST."""

import os
import re
import subprocess
import sys

import pytest

from ids import pytest_make_parametrize_id
from running import CHECKOUT

LONGEST = 200  # characters


@pytest.fixture(scope="module")
def collected():
    """The id of every test, also of those that this run leaves out."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": "probes:tests"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = [line for line in done.stdout.split("\n") if line.startswith("tests/") and "::" in line]
    assert len(found) > 2000
    return found


def test_no_id_is_longer_than_a_line(collected):
    assert [name[:LONGEST] for name in collected if len(name) > LONGEST] == []


def test_no_id_has_data_in_it(collected):
    assert [
        name
        for name in collected
        if not re.fullmatch(r"[A-Za-z0-9._/:-]+(\[[A-Za-z0-9 ._/+:,=()-]+\])?", name)
    ] == []


@pytest.mark.parametrize(
    "value, wanted",
    [
        ("a word", "a-word"),
        ("cut-down", "cut-down"),
        ("", "value"),
        ("\r\n\x00", "value"),
        (400_000 * "=", "value"),
        (400_000 * "a", "value"),
        ("one two three four five six seven eight", "one-two-three-four-five-six"),
        (b"\xff\x00PK", "PK"),
        ("Łódź", "d"),
        (10**400, "value"),
        (7, None),
        (-1.5, None),
        (True, None),
        (None, None),
        (ValueError, None),
        (lambda: None, "value"),
    ],
    ids=range(16),
)
def test_what_a_test_is_tried_with_is_a_few_words_in_its_id(value, wanted):
    assert pytest_make_parametrize_id(None, value, "value") == wanted
