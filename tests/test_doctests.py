"""The examples in docstrings show what the functions return."""

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
def test_the_examples_of_a_module_are_right(name):
    results = doctest.testmod(importlib.import_module(name))

    assert results.attempted and not results.failed
