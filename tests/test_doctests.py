"""The examples in docstrings are what the functions do."""

import doctest
import importlib
import re

import pytest

from running import PROBES

MODULES = sorted(
    ".".join(path.relative_to(PROBES).with_suffix("").parts)
    for path in PROBES.rglob("*.py")
    if re.search(r"^\s+>>> ", path.read_text(), re.M)
)


@pytest.mark.parametrize("name", MODULES)
def test_an_example_says_what_comes_out(name):
    ran = doctest.testmod(importlib.import_module(name))

    assert ran.attempted and not ran.failed
