"""Recorded conversations with the real Azure, replayed to the driver."""

import json
from contextlib import contextmanager

import pytest

from simulators.azure_replay import recording, replayed
from simulators.azure_sites import site_file
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import (
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotMeasured,
    NotPermitted,
    QuotaExceeded,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind, Limit, Plan, Ref, ServerSpec, State, VolumeSpec
from vmprobe.drivers.azure import faults, metrics, plan, readings
from vmprobe.site.site import load
from vmprobe.transport.http import Reply

DETAILS = {
    "image": {"publisher": "p", "offer": "o", "sku": "s", "version": "latest"},
    "purchase": {},
    "size": "Standard_B1s",
    "family": "",
    "subnet": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/n/subnets/s",
    "zone": "",
    "disk type": "Standard_LRS",
    "admin": "vmprobe",
}
PLAN = Plan("image", "Standard_B1s", "n/s", DETAILS)


@pytest.fixture
def conversation(tmp_path):
    """(what was asked, a connected driver) of recordings, in the group that they use."""

    @contextmanager
    def start(*names, group):
        with replayed(*names) as (asked, url):
            more = f"login url = {url}\nresource group = {group}\n"
            site = load(str(site_file(tmp_path, url, endpoint=more)))
            driver = site.driver(
                site.endpoint, site.credentials(), Deadline(60, 10, Clock()), Evidence()
            )
            driver.connect()
            asked.clear()
            yield asked, driver
            driver.close()

    return start


def what(asked):
    return [
        f"{method} {kind.rpartition('/')[2] if '{' not in kind else kind.split('/')[-2]}"
        for method, kind, _ in asked
    ]


def test_a_server_is_created_polled_and_deleted(conversation):
    with conversation("vm-delete-then-404", group="javacsmrg92627") as (asked, driver):
        server = driver.create(ServerSpec("javavm", PLAN))
        seen = [driver.show(server) for _ in range(2)][-1]

        assert (server.id, seen.ref, seen.state, seen.provider_state) == (
            "javacsmrg92627/javavm",
            server,
            State.READY,
            "Succeeded",
        )
        with pytest.raises(Conflict):  # the machine is there for a while
            driver.delete(server)
        driver.delete(server)  # and now its interface and its disk, which Azure keeps

    assert [one for one in what(asked) if not one.startswith("GET")] == [
        "PUT networkinterfaces",
        "PUT virtualmachines",
        "DELETE virtualmachines",
        "DELETE networkinterfaces",
        "DELETE disks",
    ]
    assert what(asked)[2:4] == ["GET operations", "GET virtualmachines"]


def test_an_instance_view_says_whether_a_server_runs(conversation):
    path = next(
        call["response"]["body"]["id"]
        for call in recording("vm-instance-view")
        if "instanceView" in call["request"]["url"]
    ).split("/")
    with conversation("vm-instance-view", group=path[4]) as (asked, driver):
        seen = None
        for _ in range(8):
            seen = driver.show(Ref(Kind.SERVER, f"{path[4].lower()}/{path[8]}", path[8]))
            if seen.launched:
                break

    assert (seen.state, seen.provider_state, seen.launched) == (
        State.READY,
        "Succeeded",
        1602497477.3664236,
    )


def test_an_empty_disk_is_created_listed_and_deleted(conversation):
    with conversation("disk-empty", group="javacsmrg73927") as (asked, driver):
        volume = driver.create(VolumeSpec("md-empty-9a100602e", 100 * 2**30, PLAN))
        seen = driver.show(volume)
        listed = driver.list(Kind.VOLUME, "md-empty")
        driver.delete(volume)

    assert (seen.ref, seen.state, seen.provider_state, seen.server) == (
        volume,
        State.READY,
        "Unattached",
        "",
    )
    assert [one.ref for one in listed] == [volume]
    assert what(asked)[0] == "PUT disks" and what(asked)[-1] == "DELETE disks"
    assert what(asked)[1] == "GET diskoperations"


def test_a_patch_that_is_answered_by_200_is_polled_all_the_same(conversation):
    with conversation("vm-disks-attach-by-patch", group="javacsmrg63234") as (asked, driver):
        server = Ref(Kind.SERVER, "javacsmrg63234/myvm1", "myvm1")
        driver.attach(server, Ref(Kind.VOLUME, "javacsmrg63234/another", "another"))
        driver.show(server)

    assert what(asked)[:3] == ["GET virtualmachines", "PATCH virtualmachines", "GET operations"]
    disks = asked[1][2]["properties"]["storageProfile"]["dataDisks"]
    before = asked[0]
    assert before and disks[-1]["createOption"] == "Attach"
    assert disks[-1]["managedDisk"]["id"].endswith(
        "/javacsmrg63234/providers/Microsoft.Compute/disks/another"
    )
    assert len({disk["lun"] for disk in disks}) == len(disks)


def test_a_snapshot_is_polled_until_it_is_there(conversation):
    with conversation("disk-from-snapshot", group="javacsmrg83383") as (asked, driver):
        server = Ref(Kind.SERVER, "javacsmrg83383/vm", "vm")
        taken = driver.snapshot(server, "snp-98053526f1d3")
        for _ in range(3):
            seen = driver.show(taken)

    assert (seen.ref, seen.state) == (taken, State.READY)
    assert what(asked)[:2] == ["PUT snapshots", "GET diskoperations"]


def test_quotas_are_read_with_their_families(conversation):
    with conversation("usages-compute", "usages-network", group="g") as (asked, driver):
        limits = driver.capacity()

    assert Limit("servers", 0, 25000, "quota") in limits
    assert Limit("vcpus", 0, 100, "quota") in limits
    assert Limit("ports", 10, 65536, "quota") in limits
    assert Limit("vcpus", 0, 100, "quota basicAFamily", of="basicAFamily", binding=True) in limits
    assert what(asked) == ["GET usages", "GET usages"]


def test_an_image_of_the_marketplace_is_found_with_its_purchase_plan(conversation):
    urn = "128technology:128technology_conductor_hourly:128technology_conductor_hourly_427:latest"
    with conversation("image-versions", group="g") as (asked, driver):
        image = plan._image(driver.session, urn)

    assert (image.name.rpartition(":")[2], image.generation) == ("1.0.0", "V1")
    assert image.purchase == {
        "name": "128technology_conductor_hourly_427",
        "publisher": "128technology",
        "product": "128technology_conductor_hourly",
    }


def _reply(call):
    answer, request = call["response"], call["request"]
    body = json.dumps(answer["body"]).encode()
    return Reply(
        "asked", request["method"], request["url"], answer["status"], "", answer["headers"], body
    )


def test_a_metric_is_its_newest_reading_and_a_point_without_one_is_not_counted():
    call = next(
        call
        for call in recording("metrics-and-definitions")
        if "/metrics?" in call["request"]["url"]
    )
    data = call["response"]["body"]["value"][0]["timeseries"][0]["data"]
    newest = [point for point in data if "average" in point][-1]

    (sample,) = metrics.samples(_reply(call), Ref(Kind.SERVER, "vm"))

    assert (sample.metric, sample.value, sample.counter) == ("cpu", newest["average"], False)
    assert len(data) > len([point for point in data if "average" in point])


def test_points_without_any_reading_are_not_measured():
    call = next(
        call
        for call in recording("metrics-and-definitions")
        if "/metrics?" in call["request"]["url"]
    )
    for point in call["response"]["body"]["value"][0]["timeseries"][0]["data"]:
        point.pop("average", None)

    with pytest.raises(NotMeasured) as unknown:
        metrics.samples(_reply(call), Ref(Kind.SERVER, "vm"))
    assert str(unknown.value) == "Azure Monitor has no reading of server vm yet"


EXPECTED = {  # code (and how its message begins): the error, its cause
    "OperationNotAllowed Operation": (QuotaExceeded, "quota"),
    "OperationNotAllowed Updating": (Conflict, ""),
    "PropertyChangeNotAllowed Changing": (Conflict, ""),
    "AuthorizationFailed The": (NotPermitted, "auth"),
    "NetworkWatcherCountLimitReached Cannot": (QuotaExceeded, "quota"),
    "ResourceGroupNotFound Resource": (NotFound, ""),
    "NotFound The": (NotFound, ""),
    "ResourceNotFound The": (NotFound, ""),
    "InvalidParameter Required": (CloudError, ""),
    "ServerTimeout The": (GatewayFailed, "gateway"),
    "ResourceReadFailed Policy": (GatewayFailed, "gateway"),
    "PrincipalNotFound Principal": (CloudError, ""),
    "PrivateIPAddressNotInAnySubnet Private": (CloudError, "network"),
}


def test_each_recorded_refusal_is_the_error_that_it_means():
    found = {}
    for call in recording("errors"):
        if call["response"]["status"] >= 400:
            error = faults.classify(_reply(call))
            refusal = faults.refusal_in(json.dumps(call["response"]["body"]).encode())
            found[f"{refusal.code} {refusal.message.split()[0]}"] = (type(error), error.cause)

    assert found == EXPECTED


def test_an_operation_that_fails_gives_its_own_words():
    failed = next(
        call["response"]["body"]
        for call in recording("errors")
        if (call["response"]["body"] or {}).get("status") == "Failed"
    )

    refusal = faults.refusal_of(failed)

    assert str(refusal) == "InternalExecutionError: An internal execution error occurred."


RECORDINGS = [
    "disk-empty",
    "disk-from-snapshot",
    "nic",
    "vm-delete-then-404",
    "vm-disks-attach-by-patch",
    "vm-instance-view",
    "vm-sizes-and-resize",
    "vm-start-stop-patch-conflicts",
    "vm-tags",
]


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recorded_server_disk_and_interface_is_read(name):
    states = set()
    for call in recording(name):
        body = call["response"]["body"]
        if call["request"]["method"] not in ("GET", "PUT") or not isinstance(body, dict):
            continue
        kind = body.get("type")
        if kind == "Microsoft.Compute/virtualMachines":
            states.add(readings.server(body, {}).provider_state)
        elif kind in ("Microsoft.Compute/disks", "Microsoft.Compute/snapshots"):
            states.add(readings.disk(body).provider_state)
        elif kind == "Microsoft.Network/networkInterfaces":
            assert all(readings.addresses([body]).values())
            states.add("interface")

    known = {
        "Attached",
        "Creating",
        "PowerState/deallocated",
        "Succeeded",
        "Unattached",
        "Updating",
        "interface",
        "unknown",
    }
    assert states and states <= known
