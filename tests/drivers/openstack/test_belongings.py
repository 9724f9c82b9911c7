"""What Nova makes for a server by itself: ports, and the volume that it boots from."""

from urllib.parse import parse_qs, urlsplit

import pytest

from simulators.openstack import (
    CINDER,
    GONE,
    NEUTRON,
    NOVA,
    a_port,
    answer,
)
from vmprobe.core.errors import GatewayFailed, NotFound
from vmprobe.core.model import Kind, Ref

SERVER = Ref(Kind.SERVER, "s1", "vmprobe-x")


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
def test_before_nova_marks_boot_volumes_that_of_a_server_without_an_image_is_one(
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


def test_an_answer_about_another_server_or_volume_has_no_belongings(cloud, services):
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


def test_the_ports_of_a_running_fleet_are_asked_for_by_one_request(cloud, services):
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


def test_the_ports_of_servers_that_are_gone_are_asked_of_neutron_alone(cloud, services):
    services.answers[f"GET {NEUTRON}/ports"] = answer(
        {"ports": [a_port("p1"), a_port("p2", name="of-somebody"), a_port("p3", "s3")]}
    )

    assert cloud.orphans([SERVER, Ref(Kind.SERVER, "s2", "vmprobe-x")]) == {
        "s1": [Ref(Kind.PORT, "p1")],
        "s2": [],
    }
    assert services.asked == [f"GET {NEUTRON}/ports?device_id=s1&device_id=s2&limit=200"]


def test_the_belongings_of_a_server_that_is_gone_are_not_found(cloud, services):
    with pytest.raises(NotFound):
        cloud.belongings(Ref(Kind.SERVER, "s99"))
