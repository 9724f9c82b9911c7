"""check_vm_capacity: each verdict as the whole line, over the cloud in memory, and the arithmetic of what fits."""

import pytest

from running import run_probe
from vmprobe.checks.capacity import headroom
from vmprobe.core.driver import Driver
from vmprobe.core.model import Kind, Limit, Plan

GIB = 2**30
PERFDATA = (
    "auth=0s;;;0 capacity=0s;;;0 {fits}memory_free=17045651456B;;;0;17179869184 memory_full=0.8% "
    "memory_used=134217728B;;;0;17179869184 servers_free=99;;;0;100 servers_full=1% servers_used=1;;;0;100 total=0s;;;0 "
    "vcpus_free=99;;;0;100 vcpus_full=1% vcpus_used=1;;;0;100"
)
FREE = "free: 99 of 100 servers, 99 of 100 vcpus, 15.9 GiB of 16 GiB memory"


@pytest.fixture(autouse=True)
def one_server(site):
    site.cloud.make(Kind.SERVER, "web1")


def test_ok_says_what_is_free(site):
    assert site.probe("capacity") == (
        0,
        f"VM_CAPACITY OK - site: {FREE} | " + PERFDATA.format(fits=""),
    )


def test_ok_when_as_many_as_are_needed_fit(site):
    assert site.probe("capacity", "--need", "99") == (
        0,
        (
            f"VM_CAPACITY OK - site: 99 more tiny fit, limited by servers by quota: 99 of 100 are free; {FREE} | "
            + PERFDATA.format(fits="fits=99;;;0 image=0s;;;0 ")
        ),
    )


def test_warning_when_they_do_not_fit_and_the_resource_is_named(site):
    assert site.probe("capacity", "--need", "500", "--flavor", "small") == (
        1,
        (
            "VM_CAPACITY WARNING - site: only 7 of 500 small fit: memory by quota: 15.9 GiB of 16 GiB is free (cause=quota); "
            f"{FREE} | " + PERFDATA.format(fits="fits=7;;;0 image=0s;;;0 ")
        ),
    )


def test_a_site_can_make_that_critical(site):
    site.set("verdict", quota="CRITICAL")

    assert site.probe("capacity", "--need", "500")[0] == 2


def test_warning_and_critical_by_ranges(site):
    state, line = site.probe(
        "capacity", "-w", "servers_full=0.5", "-c", "vcpus_free=100:", "-c", "50"
    )

    assert (state, line.split(";", 2)[:2]) == (
        2,
        [
            "VM_CAPACITY CRITICAL - site: vcpus_free 99 is outside 100: (critical)",
            " servers_full 1 % is outside 0.5 (warning)",
        ],
    )
    assert "vcpus_free=99;;100:;0;100" in line


def test_hosts_and_pools_are_shown_beside_the_quota(site):
    site.cloud.limits = [
        Limit("servers", 1, None),
        Limit("memory", 3 * GIB, 4 * GIB, "host1"),
        Limit("memory", 1 * GIB, 4 * GIB, "host2"),
        Limit("load", 1.5, 4, "host1"),
        Limit("ready", 5, 100, "host1"),
        Limit("storage", 2 * GIB, 10 * GIB, "pool a"),
    ]

    state, output = site.probe("capacity", "-v", "--need", "3", "--flavor", "small")

    assert (state, output.splitlines()) == (
        1,
        [
            "VM_CAPACITY WARNING - site: only 1 of 3 small fit: memory by 2 hosts: 4 GiB of 8 GiB is free (cause=quota); free: "
            "4 GiB of 8 GiB host memory, 8 GiB of 10 GiB host storage | auth=0s;;;0 capacity=0s;;;0 fits=1;;;0 "
            "host_load_full=37.5% host_load_used=1.5;;;0;4 host_memory_free=4294967296B;;;0;8589934592 host_memory_full=50% "
            "host_memory_used=4294967296B;;;0;8589934592 host_ready_full=5% host_ready_used=5s;;;0;100 host_storage_free=8589934592B;;;0;10737418240 host_storage_full=20% "
            "host_storage_used=2147483648B;;;0;10737418240 image=0s;;;0 servers_used=1;;;0 total=0s;;;0",
            "LIMIT    OF      USED   TOTAL      FREE   FULL",
            "memory   host1   3 GiB  4 GiB      1 GiB  75 %",
            "load     host1   1.5    4          -      38 %",
            "memory   host2   1 GiB  4 GiB      3 GiB  25 %",
            "storage  pool a  2 GiB  10 GiB     8 GiB  20 %",
            "ready    host1   5      100        -      5 %",
            "servers  quota   1      unlimited  -      -",
            "auth      0 s",
            "capacity  0 s",
            "image     0 s",
            "requests 3",
        ],
    )


def test_where_no_limit_is_known_none_is_made_up(site):
    site.cloud.limits = [Limit("servers", 1, None)]

    assert site.probe("capacity", "--need", "500") == (
        0,
        (
            "VM_CAPACITY OK - site: no limit is known for tiny; nothing is limited | auth=0s;;;0 capacity=0s;;;0 image=0s;;;0 "
            "servers_used=1;;;0 total=0s;;;0"
        ),
    )


def test_a_limit_that_may_not_be_read_is_unknown_and_not_unlimited(site):
    site.cloud.limits = [
        Limit("servers", 1, None),
        Limit("vcpus", 2, None, unknown="quota vcpus: 403 no"),
    ]

    code, output = site.probe("capacity", "-v")

    assert (code, output.split(" | ")[0]) == (0, "VM_CAPACITY OK - site: no limit is known")
    assert "vcpus    quota  2     unknown    -     -" in output.splitlines()
    assert "note: the limit of vcpus is not known: quota vcpus: 403 no" in output.splitlines()


def test_critical_when_the_flavor_does_not_exist_and_what_is_free_is_still_shown(site):
    assert site.probe("capacity", "--need", "5", "--flavor", "huge") == (
        2,
        (
            "VM_CAPACITY CRITICAL - site: image: no flavor named 'huge' (cause=image) | "
            + PERFDATA.format(fits="")
        ),
    )


def test_critical_when_the_manager_does_not_answer(site):
    site.set("endpoint", faults="500@2,500@3,500@4")

    assert site.probe("capacity") == (
        2,
        (
            "VM_CAPACITY CRITICAL - site: capacity: 500 internal server error (cause=gateway) | auth=0s;;;0 total=3s;;;0"
        ),
    )


def test_unknown_when_the_manager_does_not_say_what_is_free(site, monkeypatch):
    from vmprobe.drivers.memory.driver import Memory

    monkeypatch.setattr(Memory, "capabilities", frozenset())

    assert site.probe("capacity") == (
        3,
        (
            "VM_CAPACITY UNKNOWN - site: memory does not say what is free (cause=client) | total=0s;;;0"
        ),
    )


def test_a_flavor_is_written_as_in_the_site_file():
    code, output, _ = run_probe("check_vm_capacity", "--site", "demo", "--flavor", "big")

    assert (code, output.split(" | ")[0]) == (
        3,
        (
            "VM_CAPACITY UNKNOWN - demo: --flavor: 'big' is not a size like '1 GiB' or '512 MiB' (cause=client)"
        ),
    )


# --- what fits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits, need, fits, limiting",
    [
        (
            [Limit("vcpus", 8, 20), Limit("memory", 0, 100)],
            {"vcpus": 1.0, "memory": 2.0},
            12,
            "vcpus by quota: 12 of 20 are free",
        ),
        (
            [Limit("vcpus", 8, 20), Limit("memory", 0, 100)],
            {"vcpus": 5.0, "memory": 2.0},
            2,
            "vcpus by quota: 12 of 20 are free",
        ),
        ([Limit("vcpus", 20, 20)], {"vcpus": 1.0}, 0, "vcpus by quota: 0 of 20 are free"),
        ([Limit("vcpus", 30, 20)], {"vcpus": 1.0}, 0, "vcpus by quota: 0 of 20 are free"),
        ([Limit("vcpus", 3, None)], {"vcpus": 1.0}, None, ""),
        # two hosts with eight free each hold one server of six each, not more
        (
            [Limit("vcpus", 0, 8, "a"), Limit("vcpus", 0, 8, "b")],
            {"vcpus": 6.0},
            2,
            "vcpus by 2 hosts: 16 of 16 are free",
        ),
        # nothing fits when one host has the memory and the other the CPUs
        (
            [
                Limit("vcpus", 0, 8, "a"),
                Limit("memory", 9, 10, "a"),
                Limit("vcpus", 8, 8, "b"),
                Limit("memory", 0, 10, "b"),
            ],
            {"vcpus": 2.0, "memory": 5.0},
            0,
            "memory by 2 hosts: 11 B of 20 B is free",
        ),
        # the quota and the hosts both limit: the tighter one counts
        (
            [Limit("vcpus", 0, 100), Limit("vcpus", 0, 8, "a")],
            {"vcpus": 2.0},
            4,
            "vcpus by a: 8 of 8 are free",
        ),
        # every quota for the same resource must leave room
        (
            [Limit("servers", 0, 9), Limit("servers", 1, 3, "quota RUNNING_VMS")],
            {"servers": 1.0},
            2,
            "servers by quota RUNNING_VMS: 2 of 3 are free",
        ),
        # 12 * 0.1 is not exactly 1.2 in floating point
        ([Limit("cpus", 0, 1.2)], {"cpus": 0.1}, 12, "cpus by quota: 1.2 of 1.2 are free"),
        ([Limit("cpus", 0.1 + 0.2, 0.5)], {"cpus": 0.2}, 1, "cpus by quota: 0.2 of 0.5 are free"),
    ],
)
def test_the_tightest_limit_says_how_many_fit(limits, need, fits, limiting):
    assert headroom.room(
        limits, {(name, ""): amount for name, amount in need.items()}
    ) == headroom.Room(fits, limiting)


STORES = [
    Limit("storage", 0, 100, "datastore a", of="datastore 1", binding=True),
    Limit("storage", 0, 30, "datastore b", of="datastore 2", binding=True),
    Limit("storage", 0, 10**6),
]


@pytest.mark.parametrize(
    "need, fits, limiting",
    [
        ({("storage", "datastore 1"): 20.0}, 5, "storage by datastore a: 100 B of 100 B is free"),
        ({("storage", "datastore 2"): 20.0}, 1, "storage by datastore b: 30 B of 30 B is free"),
        (
            {("storage", "datastore 1"): 20.0, ("storage", "datastore 2"): 10.0},
            3,
            "storage by datastore b: 30 B of 30 B is free",
        ),
        ({("storage", "datastore 3"): 20.0}, None, ""),
        ({("storage", ""): 20.0}, 50000, "storage by quota: 976.6 KiB of 976.6 KiB is free"),
    ],
)
def test_what_a_server_uses_has_to_hold_it_alone(need, fits, limiting):
    assert headroom.room(STORES, need) == headroom.Room(fits, limiting)


def test_nothing_is_added_up_that_one_server_could_not_use():
    totals = headroom.totals(
        [
            *STORES,
            Limit("memory", 1, 4, "host1"),
            Limit("memory", 1, 4, "host2"),
            Limit("servers", 3, 9),
            Limit("servers", 3, 5, "quota RUNNING_VMS"),
            Limit("servers", 0, 1, "quota RVMS of image 7", of="image 7"),
        ]
    )

    assert totals == {
        "pool_storage": headroom.Total(0, 100, "datastore a"),
        "storage": headroom.Total(0, 10**6),
        "host_memory": headroom.Total(2, 8),
        "servers": headroom.Total(3, 5),
    }


@pytest.mark.parametrize(
    "plan, test_vm, needs",
    [
        (Plan("i", vcpus=2, memory=512), {}, {"vcpus": 2, "memory": 512}),
        (Plan("i"), {"volume": GIB}, {"volumes": 1, "storage": GIB}),
        (Plan("i", root_volume=3 * GIB), {}, {"volumes": 1, "storage": 3 * GIB}),
        (
            Plan("i", root_volume=3 * GIB),
            {"volume": GIB},
            {"volumes": 2, "storage": 4 * GIB},
        ),
        (Plan("i", external="net"), {"depth": "reach"}, {"addresses": 1}),
        (Plan("i", external="net"), {"depth": "api"}, {}),
    ],
)
def test_a_test_vm_needs_what_its_lifecycle_makes(plan, test_vm, needs):
    driver = Driver({}, {}, None, None)

    needs_found = driver.needs(plan, {"volume": None, "depth": "api", **test_vm})

    assert needs_found == {
        ("servers", ""): 1,
        ("ports", ""): 1,
        **{(name, ""): amount for name, amount in needs.items()},
    }
