"""The endpoint that the tests of OCCI ask."""

import pytest

from .stage import Stage


@pytest.fixture(scope="module")
def stage():
    made = Stage()
    yield made
    made.server.__exit__()
