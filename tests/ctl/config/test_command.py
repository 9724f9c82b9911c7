"""vmprobectl config --reload."""

import sys

import pytest

from configuring import ctl
from running import PROBES


def test_a_reload_is_over_before_another_run_writes(sites, tmp_path):
    other = f"{sys.executable} {PROBES}/vmprobectl config --target nagios --sites {sites} --output {tmp_path}/out"

    code, _, errors = ctl("nagios", tmp_path / "out", sites, "--reload", other)

    assert (code, errors.splitlines()) == (
        1,
        [
            f"vmprobectl: {tmp_path}/out: another run of vmprobectl writes here",
            f"vmprobectl: --reload {other}: exit code 1; the files are written, and the next run tries to reload again",
        ],
    )


def test_the_reload_command_runs_only_after_a_change(sites, tmp_path):
    reload = ("--reload", f"touch {tmp_path}/reloaded")
    ctl("nagios", tmp_path / "out", sites, *reload)
    assert (tmp_path / "reloaded").exists()
    (tmp_path / "reloaded").unlink()

    ctl("nagios", tmp_path / "out", sites, *reload)

    assert not (tmp_path / "reloaded").exists()


@pytest.mark.parametrize(
    "command, failure",
    [
        ("false", "exit code 1"),
        ("/nowhere/reload", "No such file or directory"),
        ("'", "No closing quotation"),
    ],
)
def test_a_failed_reload_is_tried_again_until_it_succeeds(sites, tmp_path, command, failure):
    for _ in range(2):  # the second time nothing has changed
        assert ctl("nagios", tmp_path / "out", sites, "--reload", command)[::2] == (
            1,
            f"vmprobectl: --reload {command}: {failure}; the files are written, and the next run tries to reload again\n",
        )

    reload = ("--reload", f"touch {tmp_path}/reloaded")
    assert ctl("nagios", tmp_path / "out", sites, *reload)[0] == 0
    assert (tmp_path / "reloaded").exists()
    (tmp_path / "reloaded").unlink()
    ctl("nagios", tmp_path / "out", sites, *reload)
    assert not (tmp_path / "reloaded").exists()
