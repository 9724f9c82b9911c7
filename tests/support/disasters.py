"""For tests of the clean-up: a cloud with other people's resources, faults by the number of a request,
and real SIGKILLs.
"""

import itertools
import os
import pickle
import shutil
import signal
from pathlib import Path
from typing import List

import plugin_output
from running import MemorySite
from virtual import VirtualClock
from vmprobe.core.model import Kind
from vmprobe.drivers.memory.cloud import REQUEST_FAULTS, Thing

# Before the request leaves; after the server acted, and before the reply.
KILLS = ("killed-before", "killed-after")
FAULTS = (*REQUEST_FAULTS, *KILLS)
# For tests that write thousands of ledgers.
SHM = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp")
HOUR = 3600.0
LEASE = 6 * 60.0  # of a run with a deadline of 300 s

STRANGERS = (  # names that no run and no --remove of the owner "mon" may ever touch
    "vmprobe-mon2-20260101t000000z-6-aaaaaaaa",
    "vmprobe-mon-b-20260101t000000z-6-aaaaaaaa",  # other owners', long expired
    "vmprobe-mo-20260101t000000z-6-aaaaaaaa",
    "vmprobe-mon2-20270115t080000z-99999-aaaaaaaa",  # and one within its lease
    "vmprobe-mon-20270115t075900z-99999-aaaaaaaa",
    "vmprobe-mon-20270115t075900z-99999-aaaaaaaa-2",  # ours, and running
    "vmprobe-",
    "vmprobe-mon",
    "vmprobe-mon-20260101t000000z-6",
    "vmprobe-mon-20260101t000000z-6-aaaaaaa",  # look-alikes
    "vmprobe-mon-20260101t000000z-6-aaaaaaaaa",
    "vmprobe-mon-20260101t000000z-6-aaaaaaaa_1",
    "vmprobe-mon-20260101t000000z-6-aaaaaaaa-",
    "vmprobe-mon-20260101t000000z-6-aaaaaaaa\n",
    "vmprobe-mon-20260101t000000z-006-aaaaaaaa",
    "vmprobe-mon-20261301t000000z-6-aaaaaaaa",
    "vmprobe-mon-20260101t000061z-6-aaaaaaaa",
    "vmprobe-mon-20260101t000000z-6-aaaa\u212aaaa",
    "vmprobe_mon-20260101t000000z-6-aaaaaaaa",
    "my-vmprobe-mon-20260101t000000z-6-aaaaaaaa",
    "web-1",
    "",
)


class Disaster:
    """A cloud with other people's resources, and runs of a check with ``faults``, by request number."""

    def __init__(self, directory: Path, count: int = 1, faults=None, lag: int = 2):
        self.directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.clock = VirtualClock()
        self.site = MemorySite(directory, self.clock).set(
            "test vm", snapshot="yes", count=str(count)
        )
        self.cloud = self.site.cloud
        strangers = [(Kind.SERVER, name) for name in STRANGERS]
        strangers += [
            (kind, name) for kind in (Kind.VOLUME, Kind.SNAPSHOT) for name in STRANGERS[::3]
        ]
        for number, (kind, name) in enumerate(strangers):
            self.cloud.things[f"x-{number}"] = Thing(
                kind, f"x-{number}", name, "RUNNING", -HOUR, 2**30
            )
            self.cloud.things[f"x-{number}"].owner = "somebody else"
        self.strangers = dict(_copy(self.cloud.things))
        self.cloud.plot.update(faults or {})
        self.cloud.lag = lag
        self.state = directory / "state"

    # --- runs; each output is parsed ---------------------------------------------------------------------------

    def run(self, *options: str):
        """(exit code, parsed output) of check_vm_lifecycle."""
        return self._run(self.site.lifecycle, options)

    def leftovers(self, *options: str):
        """(exit code, parsed output) of check_vm_leftovers."""
        return self._run(self.site.leftovers, options)

    def _run(self, probe, options):
        os.environ["VMPROBE_STATE"] = str(self.state)
        return self._judged(*probe(*options))

    def _judged(self, code, output):
        said = plugin_output.read(output)
        assert said.state == code
        return code, said

    def run_and_be_killed(self, arrange=lambda kill: None) -> None:
        """Run check_vm_lifecycle in a process of its own, and kill it by SIGKILL; the cloud lives on.

        The faults ``killed-before`` and ``killed-after`` say when, or ``arrange(kill)`` does.
        """
        assert self.run_in_a_process(arrange) is None, "was not killed"

    def run_in_a_process(self, arrange=lambda kill: None):
        """As ``run``; None if a SIGKILL ended it."""
        survived = self.directory / "survived"
        child = os.fork()
        if child == 0:
            try:

                def leave(outcome=None):
                    survived.write_bytes(
                        pickle.dumps((self.cloud.things, self.cloud.log, self.clock.now(), outcome))
                    )

                self.cloud.killer = lambda: (leave(), os.kill(os.getpid(), signal.SIGKILL))
                os.environ["VMPROBE_STATE"] = str(self.state)
                arrange(self.cloud.killer)
                leave(self.site.lifecycle())
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or status == 0, f"neither killed nor through: {status}"
        self.cloud.things, self.cloud.log[:], now, outcome = pickle.loads(survived.read_bytes())
        self.cloud._ids = itertools.count(100 + len(self.cloud.log))
        self.clock.sleep(now - self.clock.now())
        assert killed == (outcome is None)
        return self._judged(*outcome) if outcome else None

    # --- what is true afterwards ----------------------------------------------------------------------------------

    def ours(self) -> List[str]:
        """The resources that runs created and did not remove."""
        return [
            f"{thing.kind.value} {thing.id} {thing.name}"
            for key, thing in self.cloud.things.items()
            if key not in self.strangers
        ]

    def ledgers(self) -> List[str]:
        """The files in the directory of ledgers."""
        return sorted(path.name for path in self.state.rglob("*") if path.is_file())

    def check_strangers(self) -> None:
        """Assert that nobody else's resource was touched."""
        for key, before in self.strangers.items():
            assert key in self.cloud.things, f"{before.kind.value} {before.name!r} was removed"
            assert (
                self.cloud.things[key].word == before.word and not self.cloud.things[key].server
            ), f"{before.name!r} was touched"

    def repaired(self) -> None:
        """End all faults."""
        self.cloud.plot.clear()
        for thing in self.cloud.things.values():
            thing.undying = False

    def outlast_the_lease(self) -> None:
        """Wait until the lease of a run is over. No list lags behind for so long."""
        self.clock.sleep(LEASE + 61)
        for thing in self.cloud.things.values():
            thing.hidden_looks = 0

    def fork(self):
        """Save the present state. Call the result to restore it."""
        things, log, now = _copy(self.cloud.things), list(self.cloud.log), self.clock.now()
        state = self.state

        def restore(elsewhere: bool = False) -> None:
            self.cloud.things, self.cloud.log[:], self.clock._now = _copy(things), log, now
            self.state = self.directory / "nothing-here" if elsewhere else state

        return restore


def code_and_text(outcome):
    """(exit code, line 1 without its perfdata) of what ``Disaster.run`` returns."""
    code, output = outcome
    return code, output.text


def _copy(things):
    return pickle.loads(pickle.dumps(things))  # a tenth of what deepcopy takes
