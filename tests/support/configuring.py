"""Run vmprobectl config in a test, over the golden sites or others."""

import subprocess
import sys
from pathlib import Path

from running import CHECKOUT, PROBES
from vmprobe.ctl.config import inventory, objects

GOLDEN = CHECKOUT / "tests" / "golden" / "config"


HOSTILE = "a;b!c\"d'e\\f é <g> %h {{ i }} #j"
INSTALLED = ("gateway", "lifecycle", "leftovers", "capacity")


OPTIONS = objects.Options(
    plugins="/usr/lib/nagios/plugins", docs="https://docs.example.org/vmprobe", installed=INSTALLED
)


def ctl(target, output, sites, *options):
    """(exit code, stdout, stderr) of vmprobectl config."""
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
            *options,
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


def write(sites, name="one", **sections):
    texts = {
        "site": f"name = {name}",
        "endpoint": "manager = memory",
        "test vm": "image = vmprobe-test",
        **sections,
    }
    sites.mkdir(exist_ok=True)
    path = sites / f"{name}.ini"
    path.write_text("".join(f"[{section}]\n{text}\n" for section, text in texts.items()))
    return path


def tree(target, sites, **options):
    """What is made for a target, with the sites at the place where a monitoring host has them."""
    hosts, _ = inventory.read([str(sites)], {})
    hosts = [host._replace(file=f"/etc/vmprobe/sites/{Path(host.file).name}") for host in hosts]
    return objects.tree(target, hosts, OPTIONS._replace(**options))


def written(output):
    return {
        str(path.relative_to(output)): path.stat().st_ino
        for path in output.rglob("*")
        if path.is_file()
    }
