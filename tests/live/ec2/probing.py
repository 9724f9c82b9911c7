"""What the live tests of EC2 share: a probe in the background, moto's resources, comparable lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from xml.etree import ElementTree

from running import PROBES

_OUR_OWN = {  # moto itself has a thousand images and snapshots of other owners
    "Filter.1.Name": "owner-id",
    "Filter.1.Value.1": "123456789012",
}


def start_until(path, gateway, action):
    """A probe in the background, after the answer to its first call of this action."""
    process = subprocess.Popen(
        [sys.executable, str(PROBES / "check_vm_lifecycle"), "--site", path],
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        env=dict(os.environ),
    )
    end = time.monotonic() + 120
    while action not in [name for name, _ in gateway.calls]:
        assert time.monotonic() < end and process.poll() is None, f"it did not call {action}"
        time.sleep(0.002)
    return process


def resource_ids(gateway):
    """The ids of what moto itself shows; EC2 makes a volume with each instance."""
    ids = set()
    for action, tag, owner in (
        ("DescribeInstances", "instanceId", {}),
        ("DescribeVolumes", "volumeId", {}),
        ("DescribeSnapshots", "snapshotId", _OUR_OWN),
        ("DescribeImages", "imageId", _OUR_OWN),
    ):
        _, _, answer = gateway.ask("ec2", {"Action": action, "Version": "2016-11-15", **owner})
        root = ElementTree.fromstring(re.sub(rb' xmlns="[^"]+"', b"", answer, count=1))
        ids |= {
            item.findtext(tag)
            for item in root.iterfind(f".//item[{tag}]")
            if item.findtext("instanceState/name") != "terminated"
        }
    return ids


def line(output):
    """The first line without perfdata; durations as T, ids as ID, handles as HANDLE."""
    text = re.sub(r"\d+(\.\d+)? s\b", "T s", output.split(" | ")[0])
    text = re.sub(r"\b(i|vol|ami|snap)-[0-9a-f]{8,17}\b", r"\1-ID", text)
    text = re.sub(r"vmprobe-live-\w+-\d+-\w+", "HANDLE", text)
    return text.replace("4f2c0d1e-0000-4000-8000-a1b2c3d4e5f6", "REQUEST")
