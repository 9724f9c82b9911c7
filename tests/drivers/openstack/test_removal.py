"""Removals that take more than a DELETE."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from rawserver import reply
from simulators.openstack import (
    CINDER,
    GONE,
    NEUTRON,
    NOVA,
    a_port,
    answer,
    driver,
    removals,
)
from virtual import VirtualClock
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import Conflict, NotFound
from vmprobe.core.handle import new
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.core.timeline import Timeline
from vmprobe.lease.sweep import Held, remove

SERVER = Ref(Kind.SERVER, "s1", "vmprobe-x")


VOLUME = Ref(Kind.VOLUME, "v1", "vmprobe-x")


IMAGE = Ref(Kind.SNAPSHOT, "i1", "vmprobe-x")


# --- servers that Nova keeps after their removal --------------------------------------------------


class SoftDeletes:
    """A Nova with reclaim_instance_interval: what is removed is hidden from lists, until it is removed by force."""

    def __init__(self, services, count, handle):
        self.servers = {
            f"s{number}": {
                "id": f"s{number}",
                "name": f"{handle}-{number}",
                "status": "ACTIVE",
                "image": {"id": "i1"},
            }
            for number in range(1, count + 1)
        }
        services.answers.update(
            {
                f"GET {NOVA}/servers/detail": self.listed,
                f"GET {NOVA}/servers": answer({"servers": []}),
                f"GET {NEUTRON}/ports": self.ports,
            }
        )
        for server in self.servers:
            services.answers.update(
                {
                    f"GET {NOVA}/servers/{server}": self.shown,
                    f"DELETE {NOVA}/servers/{server}": self.removed,
                    f"POST {NOVA}/servers/{server}/action": self.forced,
                }
            )

    def listed(self, request):
        return answer(
            {
                "servers": [
                    server for server in self.servers.values() if server["status"] != "SOFT_DELETED"
                ]
            }
        )

    def shown(self, request):
        server = self.servers.get(request.target.split("/")[-1])
        return answer({"server": server}) if server else GONE

    def removed(self, request):
        self.servers[request.target.split("/")[-1]]["status"] = "SOFT_DELETED"
        return reply(204)

    def forced(self, request):
        assert json.loads(request.body) == {"forceDelete": None}
        del self.servers[request.target.split("/")[-2]]
        return reply(202)

    def ports(self, request):
        devices = parse_qs(urlsplit(request.target).query).get("device_id", [])
        return answer(
            {
                "ports": [
                    a_port(f"p-{device}", device) for device in devices if device in self.servers
                ]
            }
        )


def test_a_soft_deleted_server_is_not_gone_and_is_removed_by_force(cloud, services):
    keeping = SoftDeletes(services, 1, "vmprobe-x")
    server = Ref(Kind.SERVER, "s1", "vmprobe-x-1")

    cloud.delete(server)
    seen = cloud.show(server)
    assert (
        seen.provider_state,
        seen.state,
        cloud.is_soft_deleted(seen),
        cloud.is_at_rest(seen),
    ) == (
        "SOFT_DELETED",
        State.FAILED,
        True,
        True,
    )
    cloud.delete(server)

    assert keeping.servers == {}
    with pytest.raises(NotFound):
        cloud.show(server)
    assert removals(services) == [f"DELETE {NOVA}/servers/s1", f"POST {NOVA}/servers/s1/action"]


@pytest.mark.parametrize("count", [1, 10])
def test_a_clean_up_ends_only_when_soft_deleted_servers_are_gone(count, services, tmp_path):
    cloud = driver(services, VirtualClock())
    cloud.connect()
    handle = new("mon1", 60, 1_700_000_000)
    keeping = SoftDeletes(services, count, handle)
    for path in (
        f"{CINDER}/volumes/detail",
        "/image/v2/images",
        f"{NEUTRON}/floatingips",
        f"{NEUTRON}/security-groups",
    ):
        key = path.split("/")[-1] if "detail" not in path else "volumes"
        services.answers[f"GET {path}"] = answer({key.replace("-", "_"): []})
    leftovers = [
        Held(
            Resource(Ref(Kind.SERVER, one["id"], one["name"]), State.READY, "ACTIVE"), handle, 60.0
        )
        for one in keeping.servers.values()
    ]

    assert remove(
        Cloud(cloud, cloud.deadline), leftovers, Timeline(cloud.deadline.clock), 30.0, str(tmp_path)
    ) == ([], "")
    assert keeping.servers == {}


# --- volumes that hang ----------------------------------------------------------------------------


def hanging(services, status, *attachments, server=GONE):
    """A volume that cannot be deleted in this state until its attachments are gone."""
    left = {one["id"]: one for one in attachments}

    def deleted(request):
        if left or status == "in-use":
            return answer(
                {
                    "badRequest": {
                        "message": f"Invalid volume: Volume status must be available or error, but current status is: {status}."
                    }
                },
                400,
            )
        return reply(202)

    services.answers.update(
        {
            f"DELETE {CINDER}/volumes/v1": deleted,
            f"GET {NOVA}/servers/s1": server,
            f"GET {CINDER}/volumes/v1": answer(
                {"volume": {"id": "v1", "name": "vmprobe-x", "status": status}}
            ),
            f"GET {CINDER}/attachments": lambda request: answer(
                {"attachments": list(left.values())}
            ),
        }
    )
    for one in attachments:
        services.answers[f"DELETE {CINDER}/attachments/{one['id']}"] = lambda request: (
            left.pop(request.target.split("/")[-1]),
            reply(200),
        )[1]


ATTACHMENT = {"id": "a1", "volume_id": "v1", "instance": "s1", "status": "attaching"}


@pytest.mark.parametrize("status", ["attaching", "reserved", "detaching"])
def test_a_volume_that_hangs_between_two_states_is_freed_when_its_server_is_gone(
    status, cloud, services
):
    hanging(services, status, ATTACHMENT)

    cloud.delete(VOLUME)

    assert removals(services) == [
        f"DELETE {CINDER}/volumes/v1",
        f"DELETE {CINDER}/attachments/a1",
        f"DELETE {CINDER}/volumes/v1",
    ]
    freed = [
        request
        for request in services.server.requests
        if request.target.endswith("/attachments/a1")
    ]
    assert [request.headers["openstack-api-version"] for request in freed] == ["volume 3.27"]


@pytest.mark.parametrize(
    "status, attachment, server",
    [
        (
            "attaching",
            ATTACHMENT,
            answer({"server": {"id": "s1", "name": "vmprobe-x", "status": "ACTIVE"}}),
        ),
        ("in-use", ATTACHMENT, GONE),
        ("attaching", {**ATTACHMENT, "volume_id": "v2"}, GONE),
        ("attaching", {"id": "a1", "instance": "s1"}, GONE),
        ("attaching", ATTACHMENT, reply(503, "busy")),
    ],
    ids=["server-there", "in-use", "of-another-volume", "of-no-volume", "server-not-known"],
)
def test_a_volume_that_may_still_be_attached_is_not_freed(
    status, attachment, server, cloud, services
):
    hanging(services, status, attachment, server=server)

    with pytest.raises(
        Conflict,
        match="Invalid volume: Volume status must be available or error, but current status is: ",
    ):
        cloud.delete(VOLUME)
    assert removals(services) == [f"DELETE {CINDER}/volumes/v1"]


@pytest.mark.parametrize("status", [401, 403, 404, 406])
def test_where_cinder_shows_no_attachments_the_refusal_of_the_removal_is_raised(
    status, cloud, services
):
    hanging(services, "attaching", ATTACHMENT)
    services.answers[f"GET {CINDER}/attachments"] = answer({"error": {"message": "no"}}, status)

    with pytest.raises(Conflict, match="current status is: attaching"):
        cloud.delete(VOLUME)


# --- snapshots of servers that boot from a volume -------------------------------------------------


def snapshot_of_a_volume(services, name="snapshot for vmprobe-x"):
    """An image that stands for a snapshot in Cinder, which takes a while to go."""
    states = iter(["available", "deleting"])

    def shown(request):
        status = next(states, None)
        return (
            answer({"snapshot": {"id": "c1", "name": name, "status": status}}) if status else GONE
        )

    services.answers.update(
        {
            "GET /image/v2/images/i1": answer(
                {
                    "id": "i1",
                    "name": "vmprobe-x",
                    "status": "active",
                    "block_device_mapping": json.dumps(
                        [
                            {"snapshot_id": "c1", "source_type": "snapshot"},
                            {"snapshot_id": None},
                            "x",
                        ]
                    ),
                }
            ),
            "DELETE /image/v2/images/i1": reply(204),
            f"GET {CINDER}/snapshots/c1": shown,
            f"DELETE {CINDER}/snapshots/c1": reply(202),
        }
    )


def test_a_snapshot_is_removed_after_its_snapshots_in_cinder(cloud, services):
    snapshot_of_a_volume(services)

    for _ in range(2):
        with pytest.raises(
            Conflict, match="^delete snapshot i1: its snapshot c1 in Cinder is not gone yet$"
        ):
            cloud.delete(IMAGE)
    cloud.delete(IMAGE)

    assert removals(services) == [f"DELETE {CINDER}/snapshots/c1", "DELETE /image/v2/images/i1"]


def test_a_snapshot_in_cinder_that_is_not_of_this_image_is_not_touched(cloud, services):
    snapshot_of_a_volume(services, name="backup of somebody")

    cloud.delete(IMAGE)

    assert removals(services) == ["DELETE /image/v2/images/i1"]


@pytest.mark.parametrize(
    "record",
    [{"id": "i2", "name": "vmprobe-x"}, {"id": "i1", "name": "of-somebody"}],
    ids=["another-id", "another-name"],
)
def test_an_answer_about_another_image_removes_none_of_its_snapshots(record, cloud, services):
    snapshot_of_a_volume(services, name=f"snapshot for {record['name']}")
    services.answers["GET /image/v2/images/i1"] = answer(
        {**record, "status": "active", "block_device_mapping": '[{"snapshot_id": "c1"}]'}
    )

    cloud.delete(IMAGE)

    assert removals(services) == ["DELETE /image/v2/images/i1"]


@pytest.mark.parametrize(
    "mapping",
    ["", "{", "[[", "{}", '[{"snapshot_id": {}}]', "[" * 60000, None, 5],
    ids=["empty", "no-json", "cut", "no-list", "no-id", "deep", "null", "a-number"],
)
def test_an_image_whose_block_device_mapping_is_nonsense_is_removed_all_the_same(
    mapping, cloud, services
):
    services.answers.update(
        {
            "GET /image/v2/images/i1": answer(
                {
                    "id": "i1",
                    "name": "vmprobe-x",
                    "status": "active",
                    "block_device_mapping": mapping,
                }
            ),
            "DELETE /image/v2/images/i1": reply(204),
        }
    )

    cloud.delete(IMAGE)

    assert removals(services) == ["DELETE /image/v2/images/i1"]


def test_an_image_that_is_gone_already_takes_no_more_requests(services):
    del services.where["block-storage"]
    cloud = driver(services)
    cloud.connect()
    services.asked.clear()

    cloud.delete(IMAGE)

    assert services.asked == ["DELETE /image/v2/images/i1"]
