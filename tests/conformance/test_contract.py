"""What every driver has to do, whichever it is: the requirements of ``vmprobectl conform``, each a test.

The requirements of a harness share one server and one volume, because a real server takes seconds to boot. So they are
in one file, and run in its order; a requirement that is run alone runs those first that it needs.
"""

import pytest

from conformance import got
from conformance.harnesses import HARNESSES, LIVE, make
from vmprobe.ctl.conform.run import FAILED, REQUIREMENTS, SKIPPED, Run

pytestmark = pytest.mark.usefixtures("harness")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.live] if name in LIVE else []) for name in HARNESSES
    ],
)
def harness(request):
    with make(request.param) as found:
        found.name = request.param
        yield found
        found.driver.close()


@pytest.fixture(scope="module")
def run(harness):
    found = Run(harness)
    yield found
    assert found.close() == ""


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.id)
def test_requirement(run, requirement):
    outcome = run.outcome(requirement.id)

    if outcome.result == SKIPPED:
        pytest.skip(outcome.message)
    assert outcome.result != FAILED, f"{requirement.sentence}\n{outcome.message}"


def test_the_readme_has_what_this_server_gave(harness, run, request):
    """Compare what the server really gave with the record that the README is made from."""
    list(run.all())
    given = got.entry(harness.driver, run.world.got.capabilities, run.world.got.metrics)
    if request.config.getoption("--regen"):
        got.write(harness.name, given)
    if harness.name not in got.read():
        pytest.skip(
            f"nothing is recorded of {harness.name} yet: pytest --regen tests/conformance -k {harness.name}"
        )

    assert given == got.read()[harness.name]
