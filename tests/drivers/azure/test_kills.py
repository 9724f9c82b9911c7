"""SIGKILL before and after each change that a run asks for: what follows removes everything."""

import pytest

from killing import AN_HOUR_AGO, started
from simulators.azure_world import FINE
from vmprobe.checks.leftovers import command
from vmprobe.core.clock import Clock

pytestmark = pytest.mark.live

CHANGES = [
    "PUT group",
    "PUT disks",
    "PUT networkinterfaces",
    "PUT virtualmachines",
    "PATCH virtualmachines",
    "DELETE virtualmachines",
    "DELETE group",
]
ALWAYS = {
    ("PUT group", "after"),
    ("PUT networkinterfaces", "after"),
    ("DELETE virtualmachines", "after"),
}
MATRIX = [
    pytest.param(
        change,
        when,
        heir,
        id=f"{when}-{change}-{heir}".replace(" ", "-"),
        marks=[] if (change, when) in ALWAYS else [pytest.mark.slow],
    )
    for change in CHANGES
    for when in ("before", "after")
    for heir in ("next-run", "after-the-lease")
]


@pytest.mark.parametrize("change, when, heir", MATRIX)
def test_nothing_is_left_after_a_sigkill(world, change, when, heir, tmp_path, monkeypatch):
    site = world.site(volume="1 GiB")
    world.azure.plot[change] = f"killed-{when}"
    python = AN_HOUR_AGO if heir == "after-the-lease" else []
    run = started(site, python)
    world.azure.killer = run.kill
    assert run.wait(60) == -9

    if heir == "next-run":
        assert world.run() == (0, FINE)
        return
    monkeypatch.setenv("VMPROBE_STATE", str(tmp_path / "another-host"))  # no ledger, only names
    result = command.main(["--site", site, "--remove", "-t", "60"], clock=Clock()).verdict
    assert result.state == 0, result
