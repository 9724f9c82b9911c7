"""For the tests of this folder: site files, configuration generated from them, and check results submitted to it."""

import subprocess
import sys
from pathlib import Path

from running import PROBES

LINE = r"VM_LIFECYCLE OK - good: test VM ran and is gone in [\d.]+ s \(active [\d.]+ s, network [\d.]+ s, storage [\d.]+ s\)"


def site(directory: Path, name: str, **sections: str) -> Path:
    """Write a site in memory whose run takes less than a second."""
    texts = {
        "site": f'name = {name}\ncontact = Zoë; "ops" <{name}@example.org>',
        "endpoint": "manager = memory\nboot = 0.2 s",
        "test vm": "image = vmprobe-test",
        "budget": "deadline = 40 s\nreserve = 10 s",
        "polling": "first = 0.1 s\nshortest = 0.1 s",
        "sample": "readings = 0",
        **sections,
    }
    texts["schedule"] = texts.get("schedule", "") + "\nprobes = gateway, lifecycle"
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.ini"
    path.write_text("".join(f"[{section}]\n{text}\n" for section, text in texts.items()))
    return path


def three(directory: Path) -> Path:
    """Write three sites: a good one, one whose image is missing, one whose gateway does not answer."""
    sites = directory / "sites"
    site(sites, "good", labels="vo = ops.example.org")
    site(sites, "bad", **{"test vm": "image = nowhere"})
    site(sites, "dead", endpoint="manager = memory\nfaults = auth-rejected")
    return sites


def generate(target: str, output: Path, sites: Path, plugins: Path, *options: str) -> None:
    """Generate as an operator does. The checks run with the Python of the tests."""
    plugins.mkdir(exist_ok=True)
    for probe in PROBES.glob("check_vm_*"):
        wrapper = plugins / probe.name
        wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} {probe} "$@"\n')
        wrapper.chmod(0o755)
    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / "vmprobectl"),
            "config",
            "--target",
            target,
            "--output",
            str(output),
            "--sites",
            str(sites),
            "--plugins",
            str(plugins),
            "--validate",
            *options,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def perfdata(text: str) -> dict:
    return dict(item.split("=", 1) for item in text.split())


def submitted(path: Path, state: Path, *targets: str):
    """Run check_vm_lifecycle as a timer does. Returns (exit code, output below line 1)."""
    options = [word for target in targets for word in ("--submit", target)]
    done = subprocess.run(
        [sys.executable, str(PROBES / "check_vm_lifecycle"), "--site", str(path), *options],
        text=True,
        capture_output=True,
        env={"VMPROBE_STATE": str(state), "PATH": "/usr/sbin:/usr/bin:/bin"},
        check=False,
    )
    return done.returncode, done.stdout.split("\n", 1)[1].strip()
