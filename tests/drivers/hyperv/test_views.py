"""The checks that create nothing, over the simulated Hyper-V."""

import hashlib
import re

import pytest

from running import run_probe
from vmprobe.core.model import Image, State

pytestmark = pytest.mark.live  # whole runs
FOLDER = "C:\\Hyper-V\\Virtual Hard Disks"


@pytest.fixture
def running(world):
    """A world where somebody's server runs."""
    hyperv = world.hyperv
    made = hyperv._create_server(
        "web", f"{FOLDER}\\vmprobe-test.vhdx", f"{FOLDER}\\web.vhdx", 2**29, 2, 2, "External", ""
    )
    yield world
    hyperv.vms.pop(made["id"].lower())
    hyperv.files.pop(f"{FOLDER}\\web.vhdx")


def said(name, world, *options):
    """(exit code, first line without perfdata, durations as T)."""
    code, output, errors = run_probe(f"check_vm_{name}", "--site", world.site(), *options)
    assert (errors, world.server.shells) == ("", {})
    return code, re.sub(r"\d+(\.\d+)? s\b", "T s", output.split(" | ")[0]).strip()


def test_the_gateway_is_asked_what_it_is(running):
    code, text = said("gateway", running)

    assert (code, text.partition(":")[0]) == (0, "VM_GATEWAY OK - hyperv")


def test_servers_are_counted(running):
    assert said("state", running) == (0, "VM_STATE OK - hyperv: 1 server (1 running)")


def test_a_server_that_is_off_is_at_rest_and_not_stuck(running):
    (vm,) = running.hyperv.vms.values()
    vm.state, vm.created = "Off", 1.0e9

    assert said("state", running) == (0, "VM_STATE OK - hyperv: 1 server (1 stopped)")


def test_servers_are_measured(running):
    said("activity", running)
    code, text = said("activity", running)

    assert (code, text.partition(",")[0]) == (
        0,
        "VM_ACTIVITY OK - hyperv: 1 server over T s: cpu 5 %",
    )


def test_it_says_how_many_more_fit(running):
    assert said("capacity", running, "--need", "2") == (
        0,
        "VM_CAPACITY OK - hyperv: 127 more 512 MiB fit, limited by memory by HV1: 63.5 GiB of 128 GiB is free; free: "
        "63.5 GiB of 128 GiB host memory, 400 GiB of 500 GiB host storage",
    )


def test_an_image_is_there_and_has_its_checksum(running):
    assert said("image", running) == (0, "VM_IMAGE OK - hyperv: image vmprobe-test.vhdx is there")


def test_a_file_that_is_no_virtual_disk_is_no_image(running):
    running.hyperv.broken.add(f"{FOLDER}\\vmprobe-test.vhdx")

    assert said("image", running)[0] == 2


def test_images_are_listed_by_name_by_path_and_all(running):
    driver, _ = running.driver()
    driver.connect()
    path = f"{FOLDER}\\old.vhd"

    by_name = driver.images("old.vhd", ["sha256", "blake2b"])
    by_path = driver.images(path)
    every = driver.images()
    driver.close()

    digest = hashlib.sha256(path.encode()).hexdigest()
    assert by_name == [Image(path, "old.vhd", State.READY, "VHD", {"sha256": digest})]
    assert by_path == [Image(path, path, State.READY, "VHD", {})]
    assert [image.name for image in every] == ["vmprobe-test.vhdx", "old.vhd", "web.vhdx"]


def test_disks_of_others_are_no_leftovers(running):
    assert said("leftovers", running) == (0, "VM_LEFTOVERS OK - hyperv: nothing is left behind")
