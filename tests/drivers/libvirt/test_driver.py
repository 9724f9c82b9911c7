"""What the libvirt driver promises without a VM: its own one-line refusals, and libvirt's in-process test driver."""

import sys

import pytest

from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import ClientError, NotFound, ResourceFailed, Unreachable
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind, Plan, Ref
from vmprobe.drivers.libvirt.connection import _without_questions
from vmprobe.drivers.libvirt.driver import Libvirt
from vmprobe.drivers.libvirt.readings import samples


def driver(url, pool="default-pool", **endpoint):
    wanted = {
        "manager": "libvirt",
        "url": url,
        "user": None,
        "pool": pool,
        "timeout": 5.0,
        **endpoint,
    }
    return Libvirt(wanted, {}, Deadline(60, 10, Clock()), Evidence(keep=True))


@pytest.fixture
def connected():
    """libvirt's own test driver, which has one domain, one pool and no daemon."""
    pytest.importorskip(
        "libvirt", reason="libvirt's Python binding is not installed: tests/link_libvirt.py"
    )
    found = driver("test:///default")
    found.connect()
    yield found
    found.close()


def test_without_the_binding_one_line_names_the_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(ClientError) as missing:
        driver("qemu:///system").connect()
    assert str(missing.value) == (
        "the driver libvirt needs libvirt's own Python binding: the package python3-libvirt, or pip install "
        "libvirt-python with gcc, pkg-config and libvirt's headers"
    )


def test_another_hosts_pool_has_to_be_named():
    with pytest.raises(ClientError) as missing:
        driver("qemu+ssh://kvm1.example.org/system", pool=None).connect()
    assert (
        str(missing.value)
        == "[endpoint] pool: has to be named for qemu+ssh://kvm1.example.org/system"
    )


def test_root_has_no_session_of_its_own(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(ClientError) as refused:
        driver("qemu:///session").connect()
    assert str(refused.value) == (
        "root has no session with libvirt: [endpoint] url = qemu:///system, or a user whose "
        "session it is"
    )


def test_ssh_asks_nobody_for_a_password():
    assert _without_questions("qemu+ssh://host/system") == "qemu+ssh://host/system?no_tty=1"
    assert (
        _without_questions("qemu+ssh://host/system?keyfile=/k")
        == "qemu+ssh://host/system?keyfile=/k&no_tty=1"
    )
    assert _without_questions("qemu:///system") == "qemu:///system"


def test_a_daemon_that_is_not_there_is_unreachable_and_nothing_was_sent():
    pytest.importorskip(
        "libvirt", reason="libvirt's Python binding is not installed: tests/link_libvirt.py"
    )
    with pytest.raises(Unreachable) as gone:
        driver("qemu+unix:///system?socket=/nonexistent/sock").connect()
    assert not gone.value.sent


def test_what_is_not_there_is_not_found(connected):
    for ref in (Ref(Kind.SERVER, "no-such"), Ref(Kind.VOLUME, "default-pool/no-such")):
        with pytest.raises(NotFound):
            connected.show(ref)
        connected.delete(ref)


def test_a_pool_that_is_not_there_is_no_proof_that_its_volumes_are_gone(connected):
    with pytest.raises(ResourceFailed) as unknown:
        connected.show(Ref(Kind.VOLUME, "no-such-pool/volume"))
    assert (str(unknown.value), unknown.value.cause) == (
        "no storage pool named 'no-such-pool'",
        "storage",
    )


def test_what_runs_on_a_host_is_counted(connected):
    assert [(limit.name, limit.source) for limit in connected.capacity()][-1] == (
        "storage",
        "pool default-pool",
    )
    assert connected.list(Kind.SERVER, "te")[0].provider_state == "running"


def test_volumes_larger_than_the_pool_are_made_and_so_they_fit_but_a_kernel_takes_room(
    connected, tmp_path
):
    for name in ("kernel", "initrd"):
        (tmp_path / name).write_bytes(b"k" * 1000)
    own = Plan(
        "vmprobe-test",
        "128 MiB",
        "user",
        {"kernel": str(tmp_path / "kernel"), "initrd": str(tmp_path / "initrd")},
        vcpus=1,
        memory=2**27,
    )
    test_vm = {"volume": 2**50, "depth": "console"}

    assert connected.needs(own, test_vm) == {
        ("servers", ""): 1,
        ("vcpus", ""): 1,
        ("memory", ""): 2**27,
        ("ports", ""): 1,
        ("volumes", ""): 1,
        ("storage", ""): 2**19 + 2000,
    }
    assert connected.needs(own._replace(details={"base": "/disk"}), test_vm)["storage", ""] == 2**19


def test_a_request_without_an_answer_ends_in_time(connected):
    import threading

    never = threading.Event()
    connected._libvirt._timeout = 0.05
    with pytest.raises(Unreachable) as silent:
        connected._ask("wait", lambda host: never.wait(10))
    assert str(silent.value) == "no answer within 0.05 s"
    never.set()


def test_what_libvirt_does_not_count_is_not_there():
    """A network in user mode has a count, and no counters."""
    stats = {
        "cpu.time": 3 * 10**9,
        "vcpu.current": 2,
        "net.count": 1,
        "block.count": 2,
        "block.0.rd.bytes": 5,
        "block.1.rd.bytes": 7,
        "block.0.wr.bytes": 1,
        "block.0.rd.reqs": 9,
        "vcpu.0.delay": 10**9,
        "vcpu.1.delay": 0,
        "balloon.rss": 2048,
    }
    assert [(sample.metric, sample.value, sample.counter) for sample in samples(stats, 1.0)] == [
        ("cpu", 1.5, True),
        ("disk_read", 12, True),
        ("disk_write", 1, True),
        ("ready", 0.5, True),
        ("memory", 2**21, False),
    ]
