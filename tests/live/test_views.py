"""The checks that create nothing, while the VM of a lifecycle run lives: real QEMU and real libvirt with their own metrics."""

import hashlib
import os
import re
import signal
import subprocess
import sys

import pytest

from live.local_qemu import QemuSite, needed, soon
from running import PROBES

pytestmark = pytest.mark.live


class Local:
    """This machine's QEMU."""

    def __init__(self, directory):
        needed()
        self.site = QemuSite(directory)

    def start(self):
        return self.site.set("sample", readings="8", interval="2 s").start("-v")

    def check(self, probe, *options):
        done = subprocess.run(
            [
                sys.executable,
                str(PROBES / f"check_vm_{probe}"),
                "--site",
                str(self.site.write()),
                *options,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "VMPROBE_STATE": str(self.site.state)},
        )
        return done.returncode, done.stdout


class Libvirt:
    """A user's session with libvirt."""

    def __init__(self, host):
        self.host, self.sections = host, {"sample": {"readings": "8", "interval": "2 s"}}

    def start(self):
        return self.host.probe("-v", **self.sections)

    def check(self, probe, *options):
        return self.host.check(probe, *options, **self.sections)


@pytest.fixture(scope="module", params=["qemu", "libvirt"])
def place(request, tmp_path_factory):
    if request.param == "qemu":
        yield Local(tmp_path_factory.mktemp("qemu"))
        return
    from live.libvirt import hosts

    with hosts.session() as host:
        yield Libvirt(host)


@pytest.fixture(scope="module")
def outputs(place):
    """The output of each check while a test VM ran, and of the lifecycle check at its end."""
    process = place.start()
    try:
        assert soon(lambda: "running=1;" in place.check("state")[1], 120), process.poll()
        collected = {
            probe: place.check(probe, "-v") for probe in ("gateway", "state", "capacity", "image")
        }
        collected["activity"] = place.check(
            "activity", "-v", "-t", "8"
        )  # in 8 s there is time for four readings, which take 6 s
        collected["needs"] = place.check("capacity", "--need", "1000000")
        collected["again"] = place.check("activity", "-v", "-t", "8")
        output, _ = process.communicate(timeout=240)
        collected["lifecycle"] = (process.returncode, output)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
    return collected


def figures(output):
    return {
        label: float(value)
        for label, value in re.findall(
            r"(\w+)=(\d+(?:\.\d+)?)", output.split("\n")[0].partition(" | ")[2]
        )
    }


def test_the_gateway_is_well_and_says_its_version(outputs):
    code, output = outputs["gateway"]

    assert code == 0, output
    assert re.match(
        r"VM_GATEWAY OK - \w+: (QEMU|libvirt \(QEMU/KVM\)) [\d.]+\S* answers in [\d.]+ s \(auth ",
        output,
    )
    assert {"auth", "version", "list", "image", "total"} <= set(figures(output))


def test_the_server_is_counted_as_running_with_its_age_by_its_name(outputs):
    code, output = outputs["state"]

    assert code == 0, output
    assert re.match(r"VM_STATE OK - \w+: 1 server \(1 running\) \| age_max=[\d.]+s;;;0 ", output)
    assert re.search(r"^running +\d+ s .* vmprobe-\S+$", output, re.M)


def test_what_is_free_is_said_and_a_million_more_do_not_fit(outputs):
    code, output = outputs["capacity"]
    assert (
        code,
        figures(output)[
            "servers_used" if "servers_used" in figures(output) else "host_servers_used"
        ],
    ) == (0, 1)
    assert figures(output)["host_memory_free"] > 2**20
    assert re.search(
        r"^(load +host|ready +\S+) +[\d.]+ +[\d.]+ +- +\d+ %$", output, re.M
    )  # QEMU's host, libvirt's vCPUs

    code, output = outputs["needs"]
    assert code == 1
    assert re.match(
        r"VM_CAPACITY WARNING - \w+: only \d+ of 1000000 128 MiB fit: \w+ by .* (is|are) free \(cause=quota\); ",
        output,
    )


def test_its_activity_is_measured_and_between_two_runs_too(outputs):
    code, output = outputs["again"]

    assert code == 0, output
    assert re.match(
        r"VM_ACTIVITY OK - \w+: 1 server over \d+ s: cpu [\d.]+ %, disk_read .*/s, disk_write .*/s, memory [\d.]+ MiB, "
        r"ready [\d.]+ % \| ",
        output,
    )
    assert re.search(
        r"^CPU +DISK_READ +DISK_WRITE +NET_IN +NET_OUT +READY +MEMORY +ID +NAME$", output, re.M
    )
    assert figures(output)["interval"] > 6 and figures(output)["disk_write_avg"] > 0


def test_the_test_image_is_there(outputs):
    assert outputs["image"][0] == 0, outputs["image"][1]
    assert outputs["image"][1].partition(" | ")[0].endswith(": image vmprobe-test is there")


def test_the_vm_itself_says_what_it_felt_and_agrees_with_the_manager(outputs):
    code, output = outputs["lifecycle"]

    assert code == 0, output
    assert {"steal_avg", "work_cpu", "work_disk", "metering"} <= set(figures(output))
    assert figures(output)["metering"] <= 4, output


def test_nothing_was_created_by_looking(place, outputs):
    assert (
        place.check("state")[1].startswith("VM_STATE OK - ")
        and "servers=0;" in place.check("state")[1]
    )


# --- images, by their checksum ------------------------------------------------------------------------------------


def test_a_disk_image_is_the_one_that_it_should_be_until_it_is_changed(tmp_path):
    needed()
    disk = tmp_path / "disk.raw"
    disk.write_bytes(os.urandom(3 * 2**20))
    digits = hashlib.sha512(disk.read_bytes()).hexdigest()
    place = Local(tmp_path)
    place.site.set("test vm", image=str(disk))

    assert place.check("image", "--checksum", f"sha512:{digits}")[1].startswith(
        f"VM_IMAGE OK - here: image {disk} is there and unchanged | "
    )
    disk.write_bytes(b"other")
    assert place.check("image", "--checksum", f"sha512:{digits}")[1].startswith(
        "VM_IMAGE CRITICAL - here: mismatched 1 is outside 0 (critical); "
    )
