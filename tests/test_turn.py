"""At most so many runs of this host at once against one endpoint."""

import os
import subprocess
import sys

import pytest

from conftest import PROBES, run_probe
from virtual import VirtualClock
from vmprobe import turn
from vmprobe.clock import Deadline
from vmprobe.errors import ClientError
from vmprobe.site import load


def at(site, many, url="memory://here"):
    return load(str(site.set("schedule", parallel=str(many)).set("endpoint", url=url).write()))


def deadline():
    return Deadline(100, 20, VirtualClock())


def test_as_many_as_are_allowed_run_at_once_and_no_more(site):
    two = at(site, 2)

    with turn.taken(two, deadline()), turn.taken(two, deadline()):
        with pytest.raises(ClientError) as waited:
            with turn.taken(two, deadline()):
                pass
    assert str(waited.value) == ("2 runs are at this endpoint already, and none ended within 40 s; [schedule] parallel allows no "
                                 "more")


def test_a_turn_is_free_again_however_its_holder_ended(site):
    one = at(site, 1)
    with pytest.raises(ZeroDivisionError):
        with turn.taken(one, deadline()):
            1 / 0

    with turn.taken(one, deadline()):
        pass


def test_another_endpoint_has_turns_of_its_own(site):
    with turn.taken(at(site, 1), deadline()), turn.taken(at(site, 1, url="memory://there"), deadline()):
        pass


def test_two_runs_at_an_endpoint_for_one_follow_each_other(tmp_path):
    path = tmp_path / "one.ini"
    path.write_text("[site]\nname = one\n[endpoint]\nmanager = memory\nboot = 0.5 s\n[test vm]\nimage = vmprobe-test\n"
                    "[budget]\ndeadline = 60 s\nreserve = 10 s\n[schedule]\nparallel = 1\n"
                    "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 0\n")
    first = subprocess.Popen([sys.executable, str(PROBES / "check_vm_lifecycle"), "--site", str(path)], stdout=subprocess.PIPE)

    code, output, _ = run_probe("check_vm_lifecycle", "--site", str(path))

    assert (code, first.wait(30)) == (0, 0)
    assert output.startswith("VM_LIFECYCLE OK - one: test VM ran and is gone in ")
    first.stdout.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_turns_that_root_took_by_hand_can_be_taken_by_the_scheduler(site, state_directory):
    state_directory.mkdir()
    os.chown(state_directory, 65534, 65534)
    with turn.taken(at(site, 2), deadline()):
        pass

    assert {os.stat(path).st_uid for path in (state_directory / "turn", *(state_directory / "turn").iterdir())} == {65534}


def test_a_turn_that_cannot_be_written_down_is_named(site, state_directory):
    state_directory.write_text("no directory")

    with pytest.raises(ClientError, match=rf"^\[schedule\] parallel: {state_directory}/turn/[0-9a-f]{{16}}-0: Not a directory$"):
        with turn.taken(at(site, 1), deadline()):
            pass
