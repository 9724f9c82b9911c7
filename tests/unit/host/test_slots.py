"""host/slots.py: so many runs of this host at one endpoint, and no more."""

import errno
import fcntl
import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from running import PROBES, run_probe
from virtual import VirtualClock
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import ClientError
from vmprobe.host import slots

HERE = "memory://here"


def deadline():
    return Deadline(100, 20, VirtualClock())


def slot(parallel, told=None, endpoint=HERE):
    """Hold a slot; the test fails if a warning comes and ``told`` is not there to take it."""
    return slots.hold(endpoint, parallel, deadline(), pytest.fail if told is None else told.append)


def test_as_many_as_are_allowed_run_at_once_and_no_more(site):
    with slot(2), slot(2):
        with pytest.raises(ClientError) as waited:
            with slot(2):
                pass
    assert str(waited.value) == (
        "2 runs are at this endpoint already, and none ended within 40 s; [schedule] parallel allows no "
        "more"
    )


def test_a_slot_is_free_again_however_its_holder_ended(site):
    with pytest.raises(KeyError):
        with slot(1):
            raise KeyError

    with slot(1):
        pass


def test_another_endpoint_has_slots_of_its_own(site):
    with slot(1), slot(1, endpoint="memory://there"):
        pass


def test_two_runs_at_an_endpoint_for_one_follow_each_other(tmp_path):
    path = tmp_path / "one.ini"
    path.write_text(
        "[site]\nname = one\n[endpoint]\nmanager = memory\nboot = 0.5 s\n[test vm]\nimage = vmprobe-test\n"
        "[budget]\ndeadline = 60 s\nreserve = 10 s\n[schedule]\nparallel = 1\n"
        "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 0\n"
    )
    first = subprocess.Popen(
        [sys.executable, str(PROBES / "check_vm_lifecycle"), "--site", str(path)],
        stdout=subprocess.PIPE,
    )

    code, output, _ = run_probe("check_vm_lifecycle", "--site", str(path))

    assert (code, first.wait(30)) == (0, 0)
    assert output.startswith("VM_LIFECYCLE OK - one: test VM ran and is gone in ")
    first.stdout.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_slots_that_root_made_by_hand_can_be_used_by_the_scheduler(site, state_directory):
    state_directory.mkdir()
    os.chown(state_directory, 65534, 65534)
    with slot(2):
        pass

    assert {
        os.stat(path).st_uid
        for path in (state_directory / "turn", *(state_directory / "turn").iterdir())
    } == {65534}


def test_there_may_be_more_slots_than_files_that_a_process_may_open(site):
    with slot(999999999), slot(999999999):
        pass


# --- a state directory that is not as it should be ----------------------------------------------------------------

FOREIGN = {
    "a link": lambda path: path.symlink_to("/etc/passwd"),
    "a dangling link": lambda path: path.symlink_to("/nowhere/x"),
    "a directory": os.mkdir,
    "a pipe": os.mkfifo,
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_lies_in_the_place_of_a_slot_is_replaced(site, state_directory, what):
    with slot(1):
        (path,) = (state_directory / "turn").iterdir()
    path.unlink()
    os.chdir(path.parent)  # a socket's path may have 107 bytes only
    FOREIGN[what](Path(path.name))

    with slot(1):
        with pytest.raises(ClientError):
            with slot(1):
                pass
    assert path.is_file() and not path.is_symlink()


TROUBLE = {  # what is wrong: (how it is made so, what is told, with TURN for the file)
    "the state directory is a file": (lambda state: state.write_text(""), "Not a directory: TURN"),
    "its directory is a file": (
        lambda state: (state.mkdir(), (state / "turn").write_text("")),
        "STATE/turn is not a directory: TURN",
    ),
    "everybody can write there": (
        lambda state: (state.mkdir(), (state / "turn").mkdir(), (state / "turn").chmod(0o777)),
        "everybody can write in STATE/turn: TURN",
    ),
}


@pytest.mark.parametrize("what", TROUBLE)
def test_where_slots_cannot_be_kept_the_run_goes_on_without_one_and_says_so(
    site, state_directory, what
):
    make, words = TROUBLE[what]
    make(state_directory)
    told = []

    with slot(1, told), slot(1, told):
        pass
    path = f"{state_directory}/turn/{hashlib.sha256(b'memory://here').hexdigest()[:16]}-0"
    assert (
        told
        == [
            "[schedule] parallel cannot be kept: "
            + words.replace("STATE", str(state_directory)).replace("TURN", path)
        ]
        * 2
    )


def test_a_file_system_without_locks_is_told_on_line_1_and_ends_no_run(
    site, state_directory, monkeypatch
):
    """As NFS without lockd answers."""

    def none(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    site.set("schedule", parallel="1").set("endpoint", url=HERE)

    code, output = site.lifecycle()

    assert code == 0
    assert "; the ledger cannot be written: No locks available: " in output
    told = []
    with slot(1, told):
        pass
    assert told[0].startswith(
        f"[schedule] parallel cannot be kept: No locks available: {state_directory}/turn/"
    )
