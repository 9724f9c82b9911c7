"""Counters: the newest sample, in whichever order they come, and none where there is none."""

import pytest

from simulators.scripted_vsphere import objects
from vmprobe.core.errors import NotMeasured
from vmprobe.core.model import Kind, Ref, Sample
from vmprobe.drivers.vsphere.soap import Moref

SERVER, MACHINE = Ref(Kind.SERVER, "a"), Moref("VirtualMachine", "vm-1")
NAMES = {  # number: group, name, rollup
    2: ("cpu", "usage", "average"),
    12: ("cpu", "ready", "summation"),
    33: ("mem", "active", "average"),
    143: ("net", "received", "average"),
    178: ("virtualDisk", "read", "average"),
    130: ("disk", "read", "average"),
}
T1, T2 = "2026-11-28T10:00:00Z", "2026-11-28T10:00:20Z"
AT = 1795860020.0


def counters():
    infos = "".join(
        f"<PerfCounterInfo><key>{key}</key><nameInfo><key>{name}</key></nameInfo><groupInfo><key>{group}</key></groupInfo>"
        f"<rollupType>{rollup}</rollupType></PerfCounterInfo>"
        for key, (group, name, rollup) in NAMES.items()
    )
    return objects(("PerformanceManager", "PerfMgr", {"perfCounter": f"<val>{infos}</val>"}))


def performance(times, *series):
    infos = "".join(
        f"<sampleInfo><timestamp>{at}</timestamp><interval>20</interval></sampleInfo>"
        for at in times
    )
    values = "".join(
        f"<value><id><counterId>{number}</counterId><instance>{instance}</instance></id>"
        + "".join(f"<value>{value}</value>" for value in numbers)
        + "</value>"
        for number, instance, numbers in series
    )
    return f"<returnval>{infos}{values}</returnval>"


def newest(connected, answer, vcpus=2):
    _, vsphere = connected({"RetrievePropertiesEx": counters(), "QueryPerf": answer})
    return vsphere._metrics.newest(SERVER, MACHINE, vcpus)


SERIES = [(2, "", (1250, 2500)), (12, "", (100, 400)), (33, "", (1024, 2048)), (143, "", (1, 3))]
EXPECTED = [
    Sample("cpu", 25.0, AT, counter=False),
    Sample("ready", 1.0, AT, counter=False),
    Sample("net_in", 3072.0, AT, counter=False),
    Sample("memory", 2097152.0, AT, counter=False),
]


def test_the_newest_is_the_last_of_a_vcenter(connected):
    assert newest(connected, performance((T1, T2), *SERIES)) == EXPECTED


def test_the_newest_is_the_first_of_the_simulator(connected):
    turned = [(number, instance, values[::-1]) for number, instance, values in SERIES]

    assert newest(connected, performance((T2, T1), *turned)) == EXPECTED


def test_disks_are_added_and_come_before_the_sum_of_the_host(connected):
    answer = performance(
        (T1, T2), (178, "scsi0:0", (1, 2)), (178, "scsi0:1", (3, 4)), (130, "", (9, 9))
    )

    assert newest(connected, answer) == [Sample("disk_read", 6 * 1024.0, AT, counter=False)]


def test_without_virtual_disks_the_host_says_it(connected):
    assert newest(connected, performance((T2,), (130, "", (9,)))) == [
        Sample("disk_read", 9 * 1024.0, AT, counter=False)
    ]


def test_minus_one_is_no_sample(connected):
    answer = performance((T1, T2), (2, "", (1000, -1)))

    assert newest(connected, answer) == [Sample("cpu", 10.0, AT - 20, counter=False)]


def test_contention_needs_the_number_of_vcpus(connected):
    with pytest.raises(NotMeasured):
        newest(connected, performance((T2,), (12, "", (100,))), vcpus=None)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        performance(()),
        performance((T1,), (2, "", (-1,))),
        performance(("never",), (2, "", (5,))),
    ],
)
def test_none_yet_is_said_and_not_zero(connected, answer):
    with pytest.raises(NotMeasured):
        newest(connected, answer)
