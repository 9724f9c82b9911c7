"""What the services' records mean."""

from simulators.openstack import PROJECT, answer
from vmprobe.core.model import (
    Kind,
    Ref,
)


def test_resources_without_a_name_or_with_an_odd_one_do_not_hide_ours(cloud, services):
    odd = ["", None, "two\nlines", "caf\u00e9 \u200d", "x" * 300]
    ours = {"id": "ours", "name": "vmprobe-x", "status": "available"}
    services.answers[f"GET /volume/v3/{PROJECT}/volumes/detail"] = answer(
        {
            "volumes": [
                *(
                    {"id": f"v{number}", "name": name, "status": "in-use"}
                    for number, name in enumerate(odd)
                ),
                ours,
            ]
        }
    )
    services.answers["GET /compute/v2.1/servers/detail"] = answer(
        {
            "servers": [
                *(
                    {"id": f"s{number}", "name": name, "status": "ACTIVE"}
                    for number, name in enumerate(odd)
                ),
                {**ours, "status": "ACTIVE"},
            ]
        }
    )

    for kind in (Kind.VOLUME, Kind.SERVER):
        assert [resource.ref.id for resource in cloud.list(kind, "vmprobe-")] == ["ours"]
        assert len(cloud.list(kind, "")) == 6


def test_a_server_says_since_when_it_is_in_its_state(cloud, services):
    services.answers["GET /compute/v2.1/servers/s1"] = answer(
        {
            "server": {
                "id": "s1",
                "name": "db",
                "status": "RESIZE",
                "created": "2026-01-01T00:00:00Z",
                "updated": "2026-03-01T00:00:00Z",
            }
        }
    )

    seen = cloud.show(Ref(Kind.SERVER, "s1"))

    assert (seen.created, seen.state_since) == (1767225600.0, 1772323200.0)
