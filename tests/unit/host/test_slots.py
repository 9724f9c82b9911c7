"""At most so many runs of this host at once against one endpoint."""

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
from vmprobe.site.site import load


def at(site, many, url="memory://here"):
    return load(str(site.set("schedule", parallel=str(many)).set("endpoint", url=url).write()))


def deadline():
    return Deadline(100, 20, VirtualClock())


def taken(site, told=None):
    """A turn; where nothing is to be told, it is one."""
    return slots.taken(site, deadline(), pytest.fail if told is None else told.append)


def test_as_many_as_are_allowed_run_at_once_and_no_more(site):
    two = at(site, 2)

    with taken(two), taken(two):
        with pytest.raises(ClientError) as waited:
            with taken(two):
                pass
    assert str(waited.value) == (
        "2 runs are at this endpoint already, and none ended within 40 s; [schedule] parallel allows no "
        "more"
    )


def test_a_turn_is_free_again_however_its_holder_ended(site):
    one = at(site, 1)
    with pytest.raises(ZeroDivisionError):
        with taken(one):
            1 / 0

    with taken(one):
        pass


def test_another_endpoint_has_turns_of_its_own(site):
    with taken(at(site, 1)), taken(at(site, 1, url="memory://there")):
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
def test_turns_that_root_took_by_hand_can_be_taken_by_the_scheduler(site, state_directory):
    state_directory.mkdir()
    os.chown(state_directory, 65534, 65534)
    with taken(at(site, 2)):
        pass

    assert {
        os.stat(path).st_uid
        for path in (state_directory / "turn", *(state_directory / "turn").iterdir())
    } == {65534}


def test_more_turns_than_a_process_may_have_files_open_can_be_had(site):
    with taken(at(site, 999999999)), taken(at(site, 999999999)):
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
def test_what_lies_in_the_place_of_a_turn_and_is_none_is_replaced(site, state_directory, what):
    one = at(site, 1)
    with taken(one):
        (path,) = (state_directory / "turn").iterdir()
    path.unlink()
    os.chdir(path.parent)  # a socket's path may have 107 bytes only
    FOREIGN[what](Path(path.name))

    with taken(one):
        with pytest.raises(ClientError):
            with taken(one):
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
def test_where_turns_cannot_be_kept_the_run_goes_on_without_and_says_so(
    site, state_directory, what
):
    make, words = TROUBLE[what]
    make(state_directory)
    told = []

    with taken(at(site, 1), told), taken(at(site, 1), told):
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
    at(site, 1)

    code, output = site.lifecycle()

    assert code == 0
    assert "; the ledger cannot be written: No locks available: " in output
    told = []
    with taken(at(site, 1), told):
        pass
    assert told[0].startswith(
        f"[schedule] parallel cannot be kept: No locks available: {state_directory}/turn/"
    )
