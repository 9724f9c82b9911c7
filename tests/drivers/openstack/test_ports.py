"""Neutron's ports of servers."""

from urllib.parse import parse_qs, urlsplit

import pytest

from rawserver import reply
from simulators.openstack import (
    NEUTRON,
    a_port,
    answer,
    removals,
)
from vmprobe.core.errors import (
    NotFound,
)
from vmprobe.core.model import (
    Kind,
    Ref,
)


def test_the_ports_of_a_large_fleet_are_asked_for_by_several_requests(cloud, services):
    def ports(request):
        ids = parse_qs(urlsplit(request.target).query)["device_id"]
        return answer(
            {"ports": [{"id": f"p-{one}", "status": "ACTIVE", "device_id": one} for one in ids]}
        )

    services.answers["GET /network/v2.0/ports"] = ports
    servers = [Ref(Kind.SERVER, f"{number:036}") for number in range(500)]

    found = cloud.ports(servers)

    assert [port.server for port in found] == [server.id for server in servers]
    assert len(services.asked) == 4 and max(map(len, services.asked)) < 8192


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
