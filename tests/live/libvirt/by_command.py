"""libvirt attached by ``manager = command`` and the shell script that is shipped: nothing but virsh speaks to it."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any, Dict, Iterator

import pytest

from live.libvirt import hosts
from running import CHECKOUT

WINDOW = 5  # seconds: longer than a run of the script whose check was killed
SCRIPT = CHECKOUT / "etc" / "commands" / "virsh"


def sections(host: hosts.Host, url: str) -> Dict[str, Dict[str, str]]:
    """Of a site file, for ``host.site`` and whatever takes the same; also makes what the script needs there."""
    if not shutil.which("jq"):
        pytest.skip("not installed here: jq")
    consoles, pool = host.base / "consoles", host.base / "pool"
    script = host.base / "virsh"  # the checkout may be closed to the user of the session
    if not script.exists():
        consoles.mkdir()
        pool.mkdir()
        shutil.copy(SCRIPT, script)
        for path in (consoles, pool, script):
            if os.geteuid() == 0:
                shutil.chown(path, hosts.USER)
        host.virsh("pool-create-as", "vmprobe", "dir", "--target", str(pool))
    logs = host.base / ".cache" / "libvirt" / "qemu" / "log"
    return {
        "endpoint": {
            "manager": "command",
            "command": str(script),
            "url": url,
            "offers": "volumes, console, metrics, capacity",
            "metrics": "cpu, disk_read, disk_write",
            "consistency_window": f"{WINDOW} s",
            "options": f"pool=vmprobe, images={host.base / 'images'}, consoles={consoles}, logs={logs}",
        },
        "test_vm": {"image": "vmprobe-test", "volume": "16 MiB", "depth": "console"},
    }


@contextlib.contextmanager
def harness() -> Iterator[Any]:
    """The driver in this process, over the daemon of a user's session."""
    from conformance.harnesses import of_site
    from vmprobe.core.clock import Clock

    with hosts.session(binding=False) as host:
        socket = host.base / ".cache" / "libvirt" / "libvirt-sock"
        url = f"qemu+unix:///session?socket={socket}"
        found = of_site(str(host.site(**sections(host, url))), Clock())
        found.impossible = {"flavor": str(64 * 2**20)}  # MiB
        yield found
        assert host.remains() == {}
