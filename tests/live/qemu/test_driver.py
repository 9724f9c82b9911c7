"""The qemu driver on QEMU itself: servers whose process, directory or monitor is lost can be removed."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from live.local_qemu import NOTHING, soon
from vmprobe.core import handle
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import ClientError, CloudError, Conflict, NotFound, Unreachable
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind, ServerSpec, State, VolumeSpec
from vmprobe.drivers.qemu.command import command_line
from vmprobe.drivers.qemu.driver import Qemu
from vmprobe.site.site import load

pytestmark = pytest.mark.live


@pytest.fixture
def driver(here):
    """A connected driver with one second for each answer."""
    here.set("endpoint", timeout="1 s", directory=str(here.state / "qemu")).set(
        "test vm", network="none"
    )
    site = load(str(here.write()))
    driver = Qemu(site.endpoint, {}, Deadline(120, 10), Evidence(keep=True))
    driver.connect()
    driver.plan = driver.resolve(site.test_vm)
    driver.run = str(handle.new("mon", 60, 1_800_000_000))
    return driver


def test_a_server_whose_starter_was_killed_before_qemu_began_can_be_found_and_removed(driver, here):
    os.makedirs(here.state / "qemu" / "server" / driver.run)

    (server,) = driver.list(Kind.SERVER, "vmprobe-mon-")
    driver.delete(server.ref)

    assert (server.state, server.provider_state, server.fault) == (
        State.FAILED,
        "dead",
        "it ended without any message",
    )
    assert driver.list(Kind.SERVER, "vmprobe-") == []
    assert here.left() == NOTHING


def test_a_server_that_lost_its_directory_can_be_found_and_removed(driver, here):
    ref = driver.create(ServerSpec(driver.run, driver.plan))
    soon(lambda: driver.show(ref).state is State.READY)
    shutil.rmtree(here.state / "qemu" / "server" / driver.run)

    (server,) = driver.list(Kind.SERVER, "vmprobe-mon-")
    driver.delete(server.ref)

    assert (server.ref, server.state, server.provider_state) == (ref, State.PENDING, "ending")
    assert here.left() == NOTHING
    with pytest.raises(NotFound):
        driver.show(ref)


def test_a_qemu_cannot_begin_in_a_directory_that_was_removed(driver, here):
    command = command_line(driver.endpoint, ServerSpec(driver.run, driver.plan))
    place = here.state / "late"
    place.mkdir(parents=True)

    late = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *command],
        cwd=place,
        capture_output=True,
        timeout=30,
    )

    assert late.returncode == 1 and b"No such file or directory" in late.stderr
    assert here.left() == NOTHING


def test_a_monitor_that_does_not_answer_is_unreachable_and_its_vm_can_be_removed(
    driver, here, capfd
):
    ref = driver.create(ServerSpec(driver.run, driver.plan))
    soon(lambda: driver.show(ref).state is State.READY)
    (pid,) = here.processes()
    os.kill(pid, signal.SIGSTOP)

    with pytest.raises(Unreachable) as silent:
        driver.show(ref)
    (listed,) = driver.list(Kind.SERVER, driver.run)
    driver.delete(ref)

    assert str(silent.value) == f"QEMU {pid} does not answer: connect"
    assert (listed.state, listed.provider_state) == (State.PENDING, "silent")
    assert here.left() == NOTHING
    assert capfd.readouterr() == ("", "")


def test_another_process_is_never_taken_for_a_qemu_of_ours(driver, here):
    place = here.state / "qemu" / "server" / driver.run
    place.mkdir(parents=True)
    bystander = subprocess.Popen(["sleep", "60"], cwd=place)
    soon(
        lambda: Path(f"/proc/{bystander.pid}/cmdline").read_bytes()
    )  # a process has it a moment after its start

    try:
        (server,) = driver.list(Kind.SERVER, driver.run)
        driver.delete(server.ref)

        assert server.provider_state == "dead"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_names_that_are_taken_are_refused(driver):
    spec = VolumeSpec(driver.run, 2**20)
    driver.create(spec)

    with pytest.raises(CloudError) as taken:
        driver.create(spec)

    assert str(taken.value) == f"volume {driver.run} exists already"


def test_a_volume_larger_than_the_file_system_takes_is_refused_and_leaves_nothing(driver, here):
    with pytest.raises(CloudError) as refused:
        driver.create(VolumeSpec(driver.run, 2**62))

    assert str(refused.value) == f"volume {driver.run}: File too large"
    assert here.left() == NOTHING


def test_a_server_that_does_not_run_takes_no_volume(driver, here):
    volume = driver.create(VolumeSpec(driver.run, 2**20))
    os.makedirs(here.state / "qemu" / "server" / driver.run)
    (server,) = driver.list(Kind.SERVER, driver.run)

    with pytest.raises(Conflict):
        driver.attach(server.ref, volume)


def test_a_directory_that_cannot_be_made_is_our_own_fault(here, driver):
    here.state.mkdir()
    (here.state / "file").write_text("")
    site = load(str(here.set("endpoint", directory=str(here.state / "file" / "below")).write()))

    with pytest.raises(ClientError) as wrong:
        Qemu(site.endpoint, {}, Deadline(60, 10), Evidence()).connect()

    assert (
        str(wrong.value)
        == f"{here.state}/file cannot be written to, and servers and volumes have to lie in {here.state}/file/below"
    )


def test_a_directory_that_others_can_write_to_is_not_used(driver, here):
    (here.state / "qemu").mkdir(parents=True)
    (here.state / "qemu").chmod(0o777)

    with pytest.raises(ClientError) as wrong:
        driver.connect()

    assert (
        str(wrong.value) == f"{here.state}/qemu is not a directory that only this user can write to"
    )
