"""SIGKILL while each script of a run is on its way: the next run removes everything, and so does a sweep after the lease."""

import signal
import threading

import pytest

from killing import AN_HOUR_AGO, started
from simulators.hyperv_sites import FINE
from vmprobe.checks.leftovers import command as leftovers
from vmprobe.core.clock import Clock

pytestmark = pytest.mark.live  # runs as processes
SCRIPTS = (
    "CREATE_VOLUME",
    "CREATE_SERVER",
    "ATTACH",
    "CREATE_SNAPSHOT",
    "DETACH",
    "DELETE_SERVER",
    "DELETE_VOLUME",
)

SWEPT = [
    pytest.param(
        script,
        moment,
        id=f"{script}-{moment}",
        marks=[]
        if script in ("CREATE_SERVER", "CREATE_SNAPSHOT", "DELETE_SERVER")
        else [pytest.mark.slow],
    )
    for script in SCRIPTS
    for moment in ("killed-before", "killed-after")
]


def killed(world, script, moment, python=()):
    """A run that is killed before the host runs this script, or when it has run it."""
    dead = threading.Event()
    run = started(world.site(snapshot="yes"), python)

    def kill():
        if not dead.is_set():
            run.send_signal(signal.SIGKILL)
            run.wait(60)
            dead.set()

    world.server.killer = kill
    world.server.plot[script] = moment
    assert run.wait(60) == -signal.SIGKILL
    assert dead.wait(60)
    world.server.killer = lambda: None


@pytest.mark.parametrize("moment", ["killed-before", "killed-after"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_next_run_removes_everything(world, script, moment):
    killed(world, script, moment)

    assert world.run(snapshot="yes") == (0, FINE)
    assert world.hyperv.left() == []


@pytest.mark.parametrize("script, moment", SWEPT)
def test_a_sweep_after_the_lease_removes_everything(world, script, moment, monkeypatch, tmp_path):
    killed(world, script, moment, AN_HOUR_AGO)
    monkeypatch.setenv("VMPROBE_STATE", str(tmp_path / "another-host"))  # there is no ledger

    result = leftovers.main(["--site", world.site(), "--remove", "-t", "60"], clock=Clock()).verdict

    assert (result.state, world.hyperv.left()) == (0, [])
