"""The ids of tests are a few words. pytest passes each to child processes, in PYTEST_CURRENT_TEST."""

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
    """The id of every test, also of those that this run does not select."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": "probes:tests:tests/support", "PYTEST_ADDOPTS": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    ids = [line for line in done.stdout.split("\n") if line.startswith("tests/") and "::" in line]
    assert len(ids) > 2000
    return ids


def test_no_id_is_longer_than_a_line(collected):
    assert [name[:LONGEST] for name in collected if len(name) > LONGEST] == []


def test_no_id_has_data_in_it(collected):
    assert [
        name
        for name in collected
        if not re.fullmatch(r"[A-Za-z0-9._/:-]+(\[[A-Za-z0-9 ._/+:,=()-]+\])?", name)
    ] == []


@pytest.mark.parametrize(
    "value, expected",
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
def test_the_value_of_a_parameter_is_a_few_words_in_the_id(value, expected):
    assert pytest_make_parametrize_id(None, value, "value") == expected
