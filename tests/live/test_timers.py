"""The timers under a real systemd: a user's instance, in a mount namespace of its own."""

import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from running import CHECKOUT, PROBES
from vmprobe.ctl.config import objects

pytestmark = pytest.mark.live
SYSTEMD = "/lib/systemd/systemd"
MANAGER = "mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/system && exec {} --user --unit=basic.target"
SITE = (
    "[site]\nname = {name}\n[endpoint]\nmanager = memory\n[test vm]\nimage = vmprobe-test\n[schedule]\ninterval = {interval}\n"
    "probes = lifecycle\nchecks = passive\nsubmit = file:/nowhere\n"
)


class Systemd:
    """A running user's instance."""

    def __init__(self, directory):
        self.directory, self.units = directory, directory / "config" / "systemd" / "user"
        self.units.mkdir(parents=True)
        (directory / "run").mkdir(mode=0o700)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(directory / "run"),
            "XDG_CONFIG_HOME": str(directory / "config"),
        }
        self._log = open(directory / "log", "w")
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", MANAGER.format(SYSTEMD)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._enter = [
            "nsenter",
            "--mount",
            "--target",
            str(self._process.pid),
            "env",
            f"XDG_RUNTIME_DIR={directory}/run",
            "systemctl",
            "--user",
        ]

    def __call__(self, *arguments):
        return subprocess.run(
            [*self._enter, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def does(self, *arguments):
        done = self(*arguments)
        assert done.returncode == 0, f"systemctl {arguments}: {done.stderr}"
        return done.stdout

    def started(self):
        return (self.directory / "run" / "systemd" / "private").exists() and self(
            "is-active", "basic.target"
        ).stdout == "active\n"

    def end(self):
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


def until(condition, seconds=20.0):
    """Whether a condition becomes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def systemd(tmp_path):
    if os.geteuid() or not os.access(SYSTEMD, os.X_OK) or not shutil.which("unshare"):
        pytest.skip("only root can start a systemd of its own, where there is one")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    tmp_path.chmod(0o755)
    made = Systemd(tmp_path)
    try:
        if not until(made.started):
            pytest.skip(f"systemd does not start here: {(tmp_path / 'log').read_text()[-200:]}")
        yield made
    finally:
        made.end()


def generated(systemd, sites):
    """Start the timers of these sites, each with a service that only counts its runs. Returns the counter."""
    folder = systemd.directory / "sites"
    folder.mkdir()
    for name, interval in sites.items():
        (folder / f"{name}.ini").write_text(SITE.format(name=name, interval=interval))
    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / "vmprobectl"),
            "config",
            "--target",
            "systemd",
            "--sites",
            str(folder),
            "--output",
            str(systemd.directory / "out"),
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for path in (systemd.directory / "out").glob("*.timer"):
        counted(systemd, path, f"{path.stem}.service")
    systemd.does("daemon-reload")
    return lambda: (
        (systemd.directory / "runs").read_text().split()
        if (systemd.directory / "runs").exists()
        else []
    )


def counted(systemd, timer, service):
    shutil.copy(timer, systemd.units)
    (systemd.units / service).write_text(
        f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo %p >>{systemd.directory}/runs'\n"
    )


def next_run(systemd, timer):
    """(last trigger, next elapse) of a timer, as systemd shows them, in seconds of the monotonic clock."""
    properties = dict(
        line.split("=", 1)
        for line in systemd.does(
            "show",
            timer,
            "-p",
            "LastTriggerUSecMonotonic,NextElapseUSecMonotonic,NextElapseUSecRealtime",
        ).splitlines()
    )
    return {
        word: seconds(text) if word.endswith("Monotonic") else text
        for word, text in properties.items()
    }


def seconds(text):
    units = {"w": 604800, "d": 86400, "h": 3600, "min": 60, "s": 1, "ms": 1e-3, "us": 1e-6}
    return sum(
        float(number) * units[unit]
        for number, unit in re.findall(r"([\d.]+)(w|d|h|min|s|ms|us)\b", text)
    )


def test_a_timer_of_a_short_interval_runs_once_when_it_is_started_and_not_at_a_daemon_reload(
    systemd,
):
    name = next(
        name
        for name in (f"site-{number}" for number in range(1000))
        if objects._chance(name, "lifecycle") < 0.02
    )
    runs, timer = generated(systemd, {name: "1 min"}), f"vmprobe-lifecycle-{name}.timer"
    systemd.does("start", timer)
    assert until(lambda: len(runs()) == 1), (
        "it runs when its time after the boot has come, and at once when that is over"
    )

    for _ in range(3):
        systemd.does("daemon-reload")
        run_at = next_run(systemd, timer)
        assert 56 <= run_at["NextElapseUSecMonotonic"] - run_at["LastTriggerUSecMonotonic"] <= 64
    assert runs() == [timer[: -len(".timer")]]


def test_timers_that_go_by_the_calendar_are_spread_and_know_nothing_of_a_daemon_reload(systemd):
    sites = {
        f"site-{number}": "1 d" for number in range(20)
    }  # so the chance that one is due within this test is small
    runs = generated(systemd, sites)
    timers = [f"vmprobe-lifecycle-{name}.timer" for name in sites]
    systemd.does("start", *timers)
    before = [next_run(systemd, timer)["NextElapseUSecRealtime"] for timer in timers]

    systemd.does("daemon-reload")

    after = [next_run(systemd, timer)["NextElapseUSecRealtime"] for timer in timers]
    moved = sum(one != other for one, other in zip(before, after))
    assert all(before) and len(set(before)) == 20 and moved == len(runs()) <= 1


@pytest.mark.parametrize("name", ["vmprobe@", "vmprobe-leftovers@"])
def test_a_packaged_timer_runs_once_when_it_is_started_and_not_at_a_daemon_reload(systemd, name):
    counted(systemd, CHECKOUT / "rpm" / "systemd" / f"{name}.timer", f"{name}.service")
    drop_in = systemd.units / f"{name}.timer.d"
    drop_in.mkdir()
    (drop_in / "quick.conf").write_text(
        "[Timer]\nRandomizedDelaySec=0\nAccuracySec=1ms\nOnBootSec=\nOnBootSec=1s\nOnUnitActiveSec=1h\n"
    )
    systemd.does("daemon-reload")
    systemd.does("start", f"{name}mine.timer")
    runs = systemd.directory / "runs"
    assert until(runs.exists)

    for _ in range(3):
        systemd.does("daemon-reload")
        run_at = next_run(systemd, f"{name}mine.timer")
        assert (
            3590 <= run_at["NextElapseUSecMonotonic"] - run_at["LastTriggerUSecMonotonic"] <= 3700
        )
    assert len(runs.read_text().split()) == 1
