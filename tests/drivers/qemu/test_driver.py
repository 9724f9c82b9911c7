"""The qemu driver over a stand-in for QEMU: what it needs of this host.

What QEMU itself does is tested in live/qemu.
"""

import pytest

from vmprobe.checks.capacity import headroom
from vmprobe.core.model import VolumeSpec

pytest.importorskip("qemu.qmp", reason="Python's qemu.qmp is not installed")


def test_a_volume_that_is_larger_than_the_file_system_is_made_and_so_it_fits(place):
    driver = place.driver()
    (storage,) = [limit for limit in driver.capacity() if limit.name == "storage"]
    size = int(storage.total) + 2**30

    needs = driver.needs(place.plan, {"volume": size, "depth": "api"})

    assert needs == {
        ("servers", ""): 1,
        ("vcpus", ""): 1,
        ("memory", ""): 2**25,
        ("ports", ""): 1,
        ("volumes", ""): 1,
        ("storage", ""): 2**19,
    }
    assert headroom.room([storage._replace(used=0, total=2**20)], needs) == headroom.Room(
        2, "storage by host: 1 MiB of 1 MiB is free"
    )
    assert driver.show(driver.create(VolumeSpec(place.handle, size))).size == size
