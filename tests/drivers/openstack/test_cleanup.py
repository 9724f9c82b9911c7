"""What a removal on OpenStack needs beside a DELETE, and what Nova makes for a server by itself."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from rawserver import reply
from simulators.openstack import PROJECT, answer, driver
from virtual import VirtualClock
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import Conflict, GatewayFailed, NotFound
from vmprobe.core.handle import new
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.core.timeline import Timeline
from vmprobe.lease.sweep import Held, remove

SERVER = Ref(Kind.SERVER, "s1", "vmprobe-x")
VOLUME = Ref(Kind.VOLUME, "v1", "vmprobe-x")
IMAGE = Ref(Kind.SNAPSHOT, "i1", "vmprobe-x")
CINDER, NEUTRON, NOVA = f"/volume/v3/{PROJECT}", "/network/v2.0", "/compute/v2.1"
GONE = answer({"itemNotFound": {"message": "could not be found"}}, 404)


def removals(services):
    """What was asked for that changes something."""
    return [asked for asked in services.asked if not asked.startswith("GET ")]


# --- what Nova makes by itself ------------------------------------------------------------------------------------


def a_server(*volumes, **more):
    return answer(
        {
            "server": {
                "id": "s1",
                "name": "vmprobe-x",
                "status": "BUILD",
                "image": "",
                "os-extended-volumes:volumes_attached": list(volumes),
                **more,
            }
        }
    )


def a_volume(name="", server="s1", status="in-use"):
    return answer(
        {
            "volume": {
                "id": "root",
                "name": name,
                "status": status,
                "attachments": [{"server_id": server}] if server else [],
            }
        }
    )


def a_port(identity, device="s1", **more):
    return {
        "id": identity,
        "name": "",
        "status": "ACTIVE",
        "device_id": device,
        "device_owner": "compute:nova",
        **more,
    }


def test_the_ports_and_the_boot_volume_of_a_server_belong_to_it(cloud, services):
    services.answers.update(
        {
            f"GET {NOVA}/servers/s1": a_server(
                {"id": "root", "delete_on_termination": True},
                {"id": "data", "delete_on_termination": False},
            ),
            f"GET {CINDER}/volumes/root": a_volume(),
            f"GET {NEUTRON}/ports": answer(
                {"ports": [a_port("p1"), a_port("p2", device_owner="compute:zone-2")]}
            ),
        }
    )

    assert cloud.belongings(SERVER) == [
        Ref(Kind.PORT, "p1"),
        Ref(Kind.PORT, "p2"),
        Ref(Kind.VOLUME, "root"),
    ]


@pytest.mark.parametrize(
    "port",
    [
        a_port("p1", device="s2"),
        a_port("p1", device=None),
        a_port("p1", name="of-somebody"),
        a_port("p1", device_owner="network:dhcp"),
        a_port("p1", device_owner="baremetal:none"),
    ],
    ids=["of-another-server", "of-none", "named", "of-dhcp", "of-others"],
)
def test_a_port_that_nova_did_not_make_for_this_server_does_not_belong_to_it(port, cloud, services):
    services.answers.update(
        {f"GET {NOVA}/servers/s1": a_server(), f"GET {NEUTRON}/ports": answer({"ports": [port]})}
    )

    assert cloud.belongings(SERVER) == []


@pytest.mark.parametrize(
    "volume",
    [a_volume(server="s2"), a_volume(name="data-of-somebody"), GONE],
    ids=["in-use-elsewhere", "named", "gone"],
)
def test_a_volume_belongs_to_a_server_only_if_it_says_so_itself(volume, cloud, services):
    services.answers.update(
        {
            f"GET {NOVA}/servers/s1": a_server({"id": "root", "delete_on_termination": True}),
            f"GET {CINDER}/volumes/root": volume,
            f"GET {NEUTRON}/ports": answer({"ports": []}),
        }
    )

    assert cloud.belongings(SERVER) == []


@pytest.mark.parametrize(
    "created, expected",
    [
        ("2026-03-01T10:00:05.000000", [Ref(Kind.VOLUME, "root")]),
        ("2026-02-28T10:00:05.000000", []),
        (None, []),
    ],
    ids=["as-young", "older", "not-said"],
)
def test_a_volume_that_is_attached_to_nothing_belongs_to_a_server_only_if_it_is_as_young(
    created, expected, cloud, services
):
    services.answers.update(
        {
            f"GET {NOVA}/servers/s1": a_server(
                {"id": "root", "delete_on_termination": True}, created="2026-03-01T10:00:00Z"
            ),
            f"GET {CINDER}/volumes/root": answer(
                {
                    "volume": {
                        "id": "root",
                        "name": "",
                        "status": "available",
                        "attachments": [],
                        "created_at": created,
                    }
                }
            ),
            f"GET {NEUTRON}/ports": answer({"ports": []}),
        }
    )

    assert cloud.belongings(SERVER) == expected


@pytest.mark.parametrize(
    "image, expected",
    [("", [Ref(Kind.VOLUME, "root")]), ({"id": "i1"}, [])],
    ids=["from-volume", "from-image"],
)
def test_before_nova_says_what_goes_away_the_volume_of_a_server_without_an_image_does(
    image, expected, cloud, services
):
    services.answers.update(
        {
            f"GET {NOVA}/servers/s1": a_server({"id": "root"}, image=image),
            f"GET {CINDER}/volumes/root": a_volume(),
            f"GET {NEUTRON}/ports": answer({"ports": []}),
        }
    )

    assert cloud.belongings(SERVER) == expected


def test_an_answer_about_another_server_or_volume_tells_of_no_belongings(cloud, services):
    other = {
        "id": "s2",
        "name": "web",
        "status": "ACTIVE",
        "image": "",
        "os-extended-volumes:volumes_attached": [{"id": "root", "delete_on_termination": True}],
    }
    services.answers.update(
        {
            f"GET {NOVA}/servers/s1": answer({"server": other}),
            f"GET {NEUTRON}/ports": answer({"ports": []}),
        }
    )
    with pytest.raises(
        GatewayFailed, match="^what belongs to server s1: the answer is about another server$"
    ):
        cloud.belongings(SERVER)

    services.answers[f"GET {NOVA}/servers/s1"] = a_server(
        {"id": "other", "delete_on_termination": True}
    )
    services.answers[f"GET {CINDER}/volumes/other"] = a_volume()  # its id is root
    assert cloud.belongings(SERVER) == []


def test_what_belongs_to_a_fleet_that_runs_is_asked_for_by_one_request(cloud, services):
    fleet = [
        {
            "id": f"s{number}",
            "name": f"vmprobe-x-{number}",
            "status": "ACTIVE",
            "image": {"id": "i1"},
        }
        for number in range(1, 101)
    ]
    services.answers.update(
        {
            f"GET {NOVA}/servers/detail": answer({"servers": fleet}),
            f"GET {NEUTRON}/ports": lambda request: answer(
                {
                    "ports": [
                        a_port(f"p-{one}", one)
                        for one in parse_qs(urlsplit(request.target).query)["device_id"]
                    ]
                }
            ),
        }
    )
    servers = [server.ref for server in cloud.list(Kind.SERVER, "vmprobe-x")]
    services.asked.clear()

    assert [cloud.belongings(server) for server in servers] == [
        [Ref(Kind.PORT, f"p-{server.id}")] for server in servers
    ]
    assert len(services.asked) == 1


def test_what_servers_left_that_are_gone_is_asked_of_neutron_alone(cloud, services):
    services.answers[f"GET {NEUTRON}/ports"] = answer(
        {"ports": [a_port("p1"), a_port("p2", name="of-somebody"), a_port("p3", "s3")]}
    )

    assert cloud.orphans([SERVER, Ref(Kind.SERVER, "s2", "vmprobe-x")]) == {
        "s1": [Ref(Kind.PORT, "p1")],
        "s2": [],
    }
    assert services.asked == [f"GET {NEUTRON}/ports?device_id=s1&device_id=s2&limit=200"]


def test_a_server_that_is_gone_has_no_belongings_that_could_be_told(cloud, services):
    with pytest.raises(NotFound):
        cloud.belongings(Ref(Kind.SERVER, "s99"))


def test_a_port_is_shown_and_removed_by_its_id(cloud, services):
    services.answers.update(
        {
            f"GET {NEUTRON}/ports": answer({"ports": [a_port("p1", status="DOWN"), a_port("p2")]}),
            f"DELETE {NEUTRON}/ports/p1": reply(204),
        }
    )
    port = Ref(Kind.PORT, "p1")

    seen = cloud.show(port)
    assert (seen.ref, seen.provider_state, seen.server) == (port, "DOWN", "s1")
    cloud.delete(port)
    assert removals(services) == [f"DELETE {NEUTRON}/ports/p1"]

    services.answers[f"GET {NEUTRON}/ports"] = answer({"ports": []})
    with pytest.raises(NotFound, match="^show port p1: there is no such port$"):
        cloud.show(port)


# --- what is kept after its removal -------------------------------------------------------------------------------


class Keeping:
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
            {"servers": [one for one in self.servers.values() if one["status"] != "SOFT_DELETED"]}
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
            {"ports": [a_port(f"p-{one}", one) for one in devices if one in self.servers]}
        )


def test_a_server_that_is_kept_is_not_gone_and_the_second_removal_is_by_force(cloud, services):
    keeping = Keeping(services, 1, "vmprobe-x")
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
def test_a_clean_up_does_not_end_before_what_is_kept_is_gone(count, services, tmp_path):
    cloud = driver(services, VirtualClock())
    cloud.connect()
    handle = new("mon1", 60, 1_700_000_000)
    keeping = Keeping(services, count, handle)
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


def test_a_server_that_nova_calls_deleted_is_gone_when_it_is_not_shown_any_more_or_has_been_for_a_while(
    services,
):
    clock = VirtualClock()
    cloud = driver(services, clock)
    cloud.connect()
    deleted = {"id": "s1", "name": "vmprobe-x", "status": "DELETED"}
    services.answers.update(
        {
            f"GET {NOVA}/servers/s1": answer({"server": deleted}),
            f"GET {NOVA}/servers/detail": answer({"servers": [deleted]}),
        }
    )

    assert cloud.show(SERVER).provider_state == "DELETED"
    assert [seen.ref for seen in cloud.list(Kind.SERVER, "vmprobe-")] == [SERVER]
    assert cloud.list(Kind.SERVER, "") == []  # for who only looks there is no such server
    clock.sleep(10)
    with pytest.raises(NotFound, match="^server s1 is DELETED$"):
        cloud.show(SERVER)
    assert cloud.list(Kind.SERVER, "vmprobe-") == []


# --- volumes that hang --------------------------------------------------------------------------------------------


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
def test_a_cinder_without_attachments_or_with_other_rules_says_why_the_volume_stays(
    status, cloud, services
):
    hanging(services, "attaching", ATTACHMENT)
    services.answers[f"GET {CINDER}/attachments"] = answer({"error": {"message": "no"}}, status)

    with pytest.raises(Conflict, match="current status is: attaching"):
        cloud.delete(VOLUME)


# --- snapshots of what boots from a volume ------------------------------------------------------------------------


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


def test_an_image_goes_after_the_snapshots_in_cinder_that_it_stands_for(cloud, services):
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
    "said",
    [{"id": "i2", "name": "vmprobe-x"}, {"id": "i1", "name": "of-somebody"}],
    ids=["another-id", "another-name"],
)
def test_an_answer_about_another_image_removes_none_of_its_snapshots(said, cloud, services):
    snapshot_of_a_volume(services, name=f"snapshot for {said['name']}")
    services.answers["GET /image/v2/images/i1"] = answer(
        {**said, "status": "active", "block_device_mapping": '[{"snapshot_id": "c1"}]'}
    )

    cloud.delete(IMAGE)

    assert removals(services) == ["DELETE /image/v2/images/i1"]


@pytest.mark.parametrize(
    "mapping",
    ["", "{", "[[", "{}", '[{"snapshot_id": {}}]', "[" * 60000, None, 5],
    ids=["empty", "no-json", "cut", "no-list", "no-id", "deep", "null", "a-number"],
)
def test_an_image_whose_mapping_is_nonsense_is_removed_all_the_same(mapping, cloud, services):
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


def test_what_is_gone_already_is_removed_without_more_questions(services):
    del services.where["block-storage"]
    cloud = driver(services)
    cloud.connect()
    services.asked.clear()

    cloud.delete(IMAGE)

    assert services.asked == ["DELETE /image/v2/images/i1"]
