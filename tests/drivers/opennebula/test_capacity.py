"""check_vm_capacity reports exactly as many test VMs as the simulated oned then creates."""

from __future__ import annotations

import re

import pytest

from simulators import opennebula_sites, opennebula_world
from simulators.opennebula import Oned
from simulators.opennebula_records import READY
from simulators.opennebula_server import served
from simulators.opennebula_world import connected
from vmprobe.checks.capacity import command as probe
from vmprobe.checks.capacity import headroom
from vmprobe.core.clock import Clock
from vmprobe.core.errors import CloudError, QuotaExceeded
from vmprobe.core.model import ServerSpec, VolumeSpec
from vmprobe.report import verdict
from vmprobe.site.site import load

pytest.importorskip("pyone", reason="pyone, which judges the simulator's answers, is not installed")
GIB = 2**30


class World(opennebula_world.World):
    """A simulated oned whose VMs stay PENDING, and its site."""

    def driver(self, **test_vm):
        """(the connected driver, the site's [test vm])."""
        return connected(self, **test_vm), load(self.site(**test_vm)).test_vm

    def room(self, **keys):
        driver, test_vm = self.driver(**keys)
        return headroom.room(driver.capacity(), driver.needs(driver.resolve(test_vm), test_vm))

    def made(self, most, **keys):
        """Create test VMs until oned refuses one. Returns their number, and the refusal."""
        driver, test_vm = self.driver(**keys)
        plan = driver.resolve(test_vm)
        for number in range(most):
            try:
                if test_vm["volume"]:
                    driver.create(VolumeSpec(f"vmprobe-x-{number}", test_vm["volume"], plan))
                driver.create(ServerSpec(f"vmprobe-x-{number}", plan))
            except CloudError as refusal:
                return number, refusal
        return most, None

    def run(self, *options, **keys):
        """(exit code, the whole output) of check_vm_capacity."""
        result = probe.main(["--site", self.site(**keys), *options], clock=Clock()).verdict
        return result.state, verdict.render("VM_CAPACITY", result)


@pytest.fixture
def world(tmp_path):
    oned = Oned("6.10.5", step=60)
    oned.judge = opennebula_sites.judge
    with served(oned) as (_, url):
        yield World(oned, url, tmp_path)
        assert oned.rejected == []


LIMITS = {  # attribute of oned: (limit, how many fit, what is limiting)
    "VMS": (3, 3, "servers by quota: 3 of 3 are free"),
    "RUNNING_VMS": (2, 2, "servers by quota RUNNING_VMS: 2 of 2 are free"),
    "CPU": (1.2, 12, "cpus by quota: 1.2 of 1.2 are free"),
    "RUNNING_CPU": (0.3, 3, "cpus by quota RUNNING_CPU: 0.3 of 0.3 are free"),
    "MEMORY": (1000, 3, "memory by quota: 1000 MiB of 1000 MiB is free"),
    "RUNNING_MEMORY": (256, 1, "memory by quota RUNNING_MEMORY: 256 MiB of 256 MiB is free"),
    "SYSTEM_DISK_SIZE": (40, 2, "disk by quota: 40 MiB of 40 MiB is free"),
    "IMAGES": (4, 4, "volumes by quota of datastore 1: 4 of 4 are free"),
    "SIZE": (3000, 2, "storage by quota of datastore 1: 2.9 GiB of 2.9 GiB is free"),
    "LEASES": (2, 2, "leases by quota of network 0: 2 of 2 are free"),
    "RVMS": (1, 1, "servers by quota RVMS of image 7: 1 of 1 are free"),
}


@pytest.mark.parametrize("limits_of", ["user", "group", "default"])
@pytest.mark.parametrize("key", LIMITS)
def test_what_a_quota_has_room_for_is_what_oned_makes(world, key, limits_of):
    most, fits, limiting = LIMITS[key]
    {
        "user": world.oned.probe.limits,
        "group": world.oned.group_limits,
        "default": world.oned.default_limits,
    }[limits_of][key] = most

    assert world.room(volume="1 GiB") == headroom.Room(fits, limiting)
    made, refusal = world.made(fits + 1, volume="1 GiB")
    assert (made, type(refusal)) == (fits, QuotaExceeded)
    assert f"reached for {key} quota" in str(refusal)


@pytest.mark.parametrize("key", LIMITS)
def test_a_quota_of_zero_has_room_for_nothing(world, key):
    world.oned.probe.limits[key] = 0

    assert world.room(volume="1 GiB").fits == 0
    assert world.made(1, volume="1 GiB")[0] == 0


def test_minus_2_is_never_a_limit_and_minus_1_is_the_default(world):
    world.oned.default_limits.update(VMS=1, MEMORY=256)
    world.oned.probe.limits.update(VMS=-2, MEMORY=-1)

    assert world.room(volume="none") == headroom.Room(
        1, "memory by quota: 256 MiB of 256 MiB is free"
    )


def test_oneadmin_has_no_quota(world):
    world.oned.oneadmin.limits.update(VMS=1)
    world.oned.group_limits.update(VMS=1)
    world.oned.hosts = ["node1"]

    assert world.room(
        volume="none", credentials="username = oneadmin\npassword = opennebula\n"
    ) == headroom.Room(32, "memory by node1: 8 GiB of 8 GiB is free")


def test_what_is_used_already_is_not_free(world):
    world.oned.probe.limits.update(RUNNING_VMS=3)
    world.made(2, volume="none")

    assert world.room(volume="none") == headroom.Room(
        1, "servers by quota RUNNING_VMS: 1 of 3 are free"
    )


def test_a_network_has_no_more_room_than_addresses_that_are_not_leased(world):
    world.oned.leases[0] = 3
    world.made(1, volume="none")

    assert world.room(volume="none") == headroom.Room(
        2, "leases by network private: 2 of 3 are free"
    )
    assert world.made(3, volume="none")[0] == 2


def test_another_networks_addresses_are_of_no_use(world):
    world.oned.networks[1] = "public"
    world.oned.leases.update({0: 1, 1: 500})

    assert world.room(volume="none", network="private") == headroom.Room(
        1, "leases by network private: 1 of 1 are free"
    )
    assert world.room(volume="none", network="public").fits == 50


@pytest.mark.parametrize(
    "says, free, room",
    [
        ({}, {}, (16, "storage by datastore default: 16 GiB of 20 GiB is free")),
        (
            {},
            {1: 5120},
            (5, "storage by datastore default: 5 GiB of 20 GiB is free"),
        ),  # what nobody may use does not count as free
        ({"LIMIT_MB": "9216"}, {}, (5, "storage by datastore default: 5 GiB of 9 GiB is free")),
        ({"LIMIT_MB": "1024"}, {}, (0, "storage by datastore default: 0 B of 1 GiB is free")),
    ],
)
def test_a_volume_has_to_fit_into_its_datastore_alone(world, says, free, room):
    world.oned.group_limits.clear()
    world.oned.store_says[1].update(says)
    world.oned.store_free.update(free)
    world.oned.datastores[3] = ("bulk", 0, 10**9, 0)  # nobody asks for it

    assert world.room(volume="1 GiB") == headroom.Room(*room)
    assert world.room(volume="1 GiB", datastore="bulk").limiting != room[1]


def test_a_volume_that_is_larger_than_any_datastore_fits_nowhere(world):
    for number in (3, 4):
        world.oned.datastores[number] = (f"store{number}", 0, 102400, 51200)

    code, output = world.run("--need", "1", volume="100 GiB", datastore="store3")
    alone = world.run()[1]

    assert (code, output.split("; free:")[0]) == (
        1,
        "VM_CAPACITY WARNING - opennebula: only 0 of 1 servers fit: storage by datastore store3: 50 GiB of 100 GiB is free (cause=quota)",
    )
    assert alone.split(" | ")[0] == (
        "VM_CAPACITY OK - opennebula: free: 50 of 50 servers, 16 of 16 host cpus, 16 GiB of 16 GiB host memory, 50 GiB of 100 GiB storage in "
        "datastore store3, 254 of 254 leases in network private"
    )


def test_a_datastore_that_was_never_monitored_has_no_room_as_oned_sees_it(world):
    world.oned.datastores[1] = ("default", 0, 0, 0)

    assert world.room(volume="1 GiB") == headroom.Room(
        0, "storage by datastore default: 0 B of 0 B is free"
    )
    assert world.made(1, volume="1 GiB")[0] == 0


def test_a_datastore_that_is_not_to_be_checked_and_not_measured_is_no_limit(world):
    world.oned.datastores[1] = ("default", 0, 0, 0)
    world.oned.store_says[1]["DATASTORE_CAPACITY_CHECK"] = "NO"

    assert world.room(volume="1 GiB").fits == 50


def test_a_share_of_a_cpu_is_what_hosts_give_and_no_vcpu(world):
    world.oned.group_limits.clear()
    world.oned.leases[0] = 5000
    world.oned.hosts = ["node1"]

    assert world.room(volume="none", vcpu="8", cpu="0.5", memory="64 MiB") == headroom.Room(
        16, "cpus by node1: 8 of 8 are free"
    )


def test_of_two_hosts_each_is_filled_for_itself(world):
    world.oned.group_limits.clear()

    assert world.room(volume="none", cpu="5") == headroom.Room(
        2, "cpus by 2 hosts: 16 of 16 are free"
    )


@pytest.mark.parametrize(
    "clusters, message, fits",
    [
        ({}, {}, 2),
        ({("network", 0): [100]}, {}, 1),
        ({("network", 0): [0, 100]}, {}, 2),
        ({("datastore", 1): [100]}, {}, 1),
        ({("network", 0): [0], ("datastore", 1): [100]}, {}, None),
        ({}, {"requirements": "CLUSTER_ID = 100"}, 1),
        ({}, {"requirements": 'NAME = "node*" & CLUSTER_ID != 100'}, 1),
        ({}, {"requirements": "ID = 0 | ID = 1"}, 2),
        ({}, {"requirements": "FREE_CPU > 100"}, 2),  # the scheduler decides that
        ({}, {"requirements": "!(ID = 0 & FREE_CPU > 100)"}, 2),
    ],
)
def test_only_hosts_count_on_which_the_vm_may_run(world, clusters, message, fits):
    world.oned.group_limits.clear()
    world.oned.leases[0] = 254
    world.oned.host_clusters["node2"] = 100
    world.oned.clusters = {
        ("datastore", 0): [0, 100],
        ("datastore", 1): [0, 100],
        ("network", 0): [0, 100],
        **clusters,
    }

    room = world.room(volume="none", cpu="8", **message)

    assert (
        room.fits == fits
        if fits is not None
        else room.limiting != "" and "host" not in room.limiting
    )


def test_a_template_brings_its_disks_and_its_networks(world):
    world.oned.templates[5] = (
        "tiny",
        (
            "<TEMPLATE><CPU>0.25</CPU><VCPU>4</VCPU><MEMORY>128</MEMORY><DISK><IMAGE>vmprobe-test</IMAGE><SIZE>100</SIZE></DISK>"
            "<DISK><TYPE>fs</TYPE><SIZE>1000</SIZE></DISK><NIC><NETWORK>private</NETWORK></NIC><NIC><NETWORK_ID>0</NETWORK_ID></NIC></TEMPLATE>"
        ),
    )
    driver, test_vm = world.driver(flavor="tiny", volume="2 GiB", snapshot="yes")

    assert dict(driver.needs(driver.resolve(test_vm), test_vm)) == {
        ("servers", ""): 1,
        ("cpus", ""): 0.25,
        ("memory", ""): 128 * 2**20,
        ("disk", ""): 1100 * 2**20,
        ("servers", "image 7"): 1,
        ("leases", "network 0"): 2,
        ("volumes", "datastore 1"): 2,
        ("storage", "datastore 1"): 2 * GIB + 16 * 2**20,
        ("disk", "shared system datastores"): 1100 * 2**20,
        ("cpus", "host 0"): 0.25,
        ("memory", "host 0"): 128 * 2**20,
        ("cpus", "host 1"): 0.25,
        ("memory", "host 1"): 128 * 2**20,
    }


def test_a_disk_that_stays_in_the_images_datastore_takes_room_there(world):
    world.oned.store_says[1]["CLONE_TARGET"] = "SELF"
    world.oned.images[7].size = 4096
    driver, test_vm = world.driver(volume="none")

    needs = driver.needs(driver.resolve(test_vm), test_vm)

    assert (needs["storage", "datastore 1"], needs.get(("disk", ""))) == (4 * GIB, None)
    assert world.room(volume="none") == headroom.Room(
        4, "storage by datastore default: 16 GiB of 20 GiB is free"
    )


def test_a_volume_that_is_copied_to_the_host_while_it_is_attached_counts_as_a_disk(world):
    """This is how it is where TM_MAD is ssh."""
    world.oned.store_says[1].update(CLONE_TARGET="SYSTEM", LN_TARGET="SYSTEM")
    world.oned.probe.limits["SYSTEM_DISK_SIZE"] = 2100
    assert world.room(volume="1 GiB") == headroom.Room(
        2, "disk by quota: 2.1 GiB of 2.1 GiB is free"
    )

    driver, test_vm = world.driver(volume="1 GiB")
    plan, attached = driver.resolve(test_vm), []
    with pytest.raises(QuotaExceeded, match="limit of 2100 reached for SYSTEM_DISK_SIZE quota"):
        for number in range(3):
            volume, server = (
                driver.create(VolumeSpec(f"vmprobe-x-{number}", GIB, plan)),
                driver.create(ServerSpec(f"vmprobe-x-{number}", plan)),
            )
            world.oned.vms[int(server.id)].state = "RUNNING"
            world.oned.images[int(volume.id)].state = READY
            driver.attach(server, volume)
            attached.append(volume)
    assert len(attached) == 2


def test_a_full_system_datastore_that_hosts_share_has_room_for_nothing(world):
    world.oned.datastores[0] = ("system", 1, 1000, 990)

    assert world.room(volume="none") == headroom.Room(
        0, "disk by datastore system: 10 MiB of 1000 MiB is free"
    )


def test_a_system_datastore_that_is_disabled_has_room_for_nothing(world):
    world.oned.datastores.update({0: ("system", 1, 10000, 0), 5: ("more", 1, 64, 0)})
    world.oned.store_says[5] = {"SHARED": "YES", "TYPE": "SYSTEM_DS"}
    assert (
        world.room(volume="none", memory="1 MiB").limiting == "servers by quota: 50 of 50 are free"
    )

    world.oned.disabled_stores.add(0)
    assert world.room(volume="none") == headroom.Room(
        4, "disk by 2 datastores: 64 MiB of 9.8 GiB is free"
    )
    world.oned.disabled_stores.add(5)
    assert world.room(volume="none").fits == 0


def test_fractions_are_kept_in_perfdata_and_datastores_are_no_hosts(world):
    world.oned.probe.limits["CPU"] = 0.5
    world.made(2, volume="none")

    code, output = world.run("--need", "3", volume="1 GiB")

    assert (code, output.split(" | ")[0].partition(": ")[2]) == (
        0,
        "3 more servers fit, limited by cpus by quota: 0.3 of 0.5 are free; free: 48 of 50 servers, 0.3 of 0.5 cpus, 16 of 16 host "
        "cpus, 16 GiB of 16 GiB host memory, 16 GiB of...",
    )
    shown = dict(re.findall(r"(\w+)=(\S+)", output.split(" | ")[1]))
    assert {
        label: shown[label]
        for label in shown
        if label.startswith(("cpus", "pool_", "host_storage", "vcpus"))
    } == {
        "cpus_used": "0.2;;;0;0.5",
        "cpus_free": "0.3;;;0;0.5",
        "cpus_full": "40%",
        "pool_storage_used": "4294967296B;;;0;21474836480",
        "pool_storage_free": "17179869184B;;;0;21474836480",
        "pool_storage_full": "20%",
        "pool_leases_used": "2;;;0;254",
        "pool_leases_free": "252;;;0;254",
        "pool_leases_full": "0.8%",
    }


def test_a_user_who_may_read_neither_hosts_nor_group_gets_the_other_limits(world):
    from vmprobe.core.errors import NotPermitted

    driver, test_vm = world.driver(volume="none")
    world.oned.leases[0] = 7
    asked = driver.oned.call

    def call(procedure, *arguments):
        if procedure in ("one.hostpool.info", "one.datastorepool.info", "one.group.info"):
            raise NotPermitted(
                f"[{procedure}] User [2] : Not authorized to perform INFO_POOL HOST."
            )
        return asked(procedure, *arguments)

    driver.oned.call = call

    assert headroom.room(
        driver.capacity(), driver.needs(driver.resolve(test_vm), test_vm)
    ) == headroom.Room(7, "leases by network private: 7 of 7 are free")
