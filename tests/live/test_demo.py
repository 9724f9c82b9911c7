"""What a newcomer runs first: the demonstration, and the example sites without any change."""

import os
import re
import subprocess
import sys

import pytest

import readme
from live import local_qemu
from running import CHECKOUT, PROBES

pytestmark = pytest.mark.live
GOOD = r"VM_LIFECYCLE OK - {}: test VM ran and is gone in [\d.]+ s \(active [\d.]+ s, network [\d.]+ s, storage [\d.]+ s\) \| "


def _run(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=400,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


def test_the_demonstration_runs_a_real_vm_and_says_how_to_repeat_it():
    local_qemu.needed()
    code, output, errors = _run("probes/vmprobectl", "demo")
    command, line = output.splitlines()[:2]

    assert (code, errors) == (0, "")
    assert command.split(" ", 2)[2] == "probes/check_vm_lifecycle --site etc/sites/demo.ini -v"
    assert "$ .venv/bin/python " + command.split(" ", 2)[2] in readme.README.read_text()
    assert re.match(GOOD.format("demo"), line)


def test_where_there_is_no_qemu_the_demonstration_says_so_and_runs_in_memory(tmp_path):
    code, output, errors = _run("probes/vmprobectl", "demo", PATH=str(tmp_path))
    notice, command, line = output.splitlines()[:3]

    assert (code, errors) == (0, "")
    assert notice == (
        "No real VM: qemu-system-x86_64 is not installed. This uses the in-memory cloud, and starts "
        "nothing."
    )
    assert command.split(" ", 2)[2] == "probes/check_vm_lifecycle --site etc/sites/memory.ini -v"
    assert re.match(GOOD.format("memory"), line)


def test_the_libvirt_example_site_runs_a_real_vm():
    local_qemu.needed()
    pytest.importorskip("libvirt", reason="libvirt's Python binding is not installed")
    code, output, errors = _run(
        str(PROBES / "check_vm_lifecycle"), "--site", "etc/sites/libvirt.ini"
    )

    assert (code, errors) == (0, "")
    assert re.match(GOOD.format("libvirt"), output)
