"""libvirt by ``virsh`` alone, through ``manager = command``: whole lifecycles, verdicts, a fleet, and a kill at each request."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from live.libvirt import by_command, hosts
from live.libvirt.test_libvirt import GOOD, figures, first
from simulators.command_sites import killing, kills

pytestmark = pytest.mark.live
URL = "qemu:///session"
NO_ROOM = {"flavor": str(64 * 2**20)}  # MiB: ends a run right after it has settled its debts


@pytest.fixture(scope="module")
def session():
    with hosts.session(binding=False) as host:
        yield host


def site(host, **changed):
    """The sections of a site file by which virsh is run; ``changed`` are keys of them."""
    sections = by_command.sections(host, URL)
    for section, keys in changed.items():
        sections.setdefault(section, {}).update(keys)
    return sections


def test_a_vm_lives_to_the_word_of_its_console_and_is_gone(session):
    state, said = session.lifecycle("-v", **site(session))

    assert (state, first(said, session)) == (0, GOOD), said
    assert {"cpu_avg", "disk_read_avg", "disk_write_avg"} <= set(figures(said))
    assert session.remains() == {}


@pytest.mark.slow
def test_a_fleet_of_five_lives_and_is_gone(session):
    test_vm = {"volume": "none", "depth": "api"}
    state, said = session.lifecycle("--count", "5", **site(session, test_vm=test_vm))

    assert state == 0, said
    assert session.remains() == {}


@pytest.mark.parametrize(
    "changed, line",
    [
        (
            {"test_vm": {"image": "no-such-image"}},
            "image: virsh resolve: no image named 'no-such-image' (cause=image)",
        ),
        (
            {"test_vm": {"network": "no-such-network"}},
            "image: virsh resolve: no active network named 'no-such-network' (cause=network)",
        ),
        (
            {"endpoint": {"url": "qemu+unix:///session?socket=/no/such/socket"}},
            "auth: virsh connect: error: failed to connect to the hypervisor error: "
            "Failed to connect socket to '/no/such/socket': No such file or directory (cause=gateway)",
        ),
    ],
    ids=["image", "network", "daemon"],
)
def test_crit_when_what_is_named_is_not_there(session, changed, line):
    state, said = session.lifecycle(**site(session, **changed))

    assert (state, first(said, session)) == (2, f"VM_LIFECYCLE CRITICAL - kvm: {line}")
    assert session.remains() == {}


def test_crit_when_there_is_no_room(session):
    state, said = session.lifecycle(**site(session, test_vm=NO_ROOM))

    assert state == 2
    assert first(said, session).startswith("VM_LIFECYCLE CRITICAL - kvm: submit: virsh create: ")
    assert session.remains() == {}


def test_crit_when_qemu_crashes(session):
    process = session.probe(**site(session))
    hosts.soon(lambda: session.servers() and "running" in session.virsh("list"))
    os.kill(session.emulators()[0], signal.SIGKILL)
    state, said = session.finish(process)

    assert (state, re.sub("(active|network): ", "STAGE: ", first(said, session))) == (
        2,
        "VM_LIFECYCLE CRITICAL - kvm: STAGE: server HANDLE is shut off: crashed (cause=scheduler)",
    )
    assert session.remains() == {}


def test_the_other_checks_see_the_same(session):
    sections = site(session)
    assert session.check("capacity", "--need", "2", **sections)[0] == 0
    assert session.check("gateway", "--capabilities", **sections)[0] == 0
    assert session.check("state", **sections)[0] == 0
    assert session.check("leftovers", **sections)[0] == 0


QUICK = [("create", 2, "during"), ("delete", 1, "after")]


@pytest.mark.parametrize("verb, number, moment", kills(*QUICK))
def test_nothing_is_left_of_a_run_that_is_killed_once_the_next_has_begun(
    session, verb, number, moment
):
    sections = site(session)
    command = killing(session.base, session.base / "virsh", verb, number, moment)
    sections["endpoint"]["command"] = str(command)
    process = session.probe(**sections)
    assert session.finish(process)[0] == -signal.SIGKILL

    sections["test_vm"].update(NO_ROOM)
    _, said = session.lifecycle(**sections)

    assert (session.servers(), session.emulators(), session.volumes()) == ([], [], []), said
    time.sleep(by_command.WINDOW)  # what was never shown stays owed as long as it may appear
    session.lifecycle(**sections)
    assert session.remains() == {}
