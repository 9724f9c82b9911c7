"""Nova's servers, and cells that do not answer."""

import pytest

from simulators.openstack import (
    NOVA,
    SERVERS,
    answer,
    driver,
    ids,
    paged,
    server,
)
from virtual import VirtualClock
from vmprobe.core.errors import (
    GatewayFailed,
    Incomplete,
    NotFound,
)
from vmprobe.core.model import (
    Kind,
    Ref,
    State,
)

SERVER = Ref(Kind.SERVER, "s1", "vmprobe-x")


def test_a_failed_server_has_the_id_of_its_request_if_its_actions_can_be_read(cloud, services):
    services.answers["GET /compute/v2.1/servers/s1"] = answer({"server": SERVERS[0]})
    actions = {
        "instanceActions": [
            {"action": "delete", "request_id": "req-2"},
            {"action": "create", "request_id": "req-1"},
        ]
    }

    for response, request in (
        (answer(actions), "req-1"),
        (answer({"forbidden": {"message": "Policy"}}, 403), ""),
    ):
        services.answers["GET /compute/v2.1/servers/s1/os-instance-actions"] = response
        seen = cloud.show(Ref(Kind.SERVER, "s1"))
        assert (seen.fault, seen.cause, seen.request) == (
            "No valid host was found.",
            "scheduler",
            request,
        )


def test_a_deleted_server_is_gone_when_it_is_not_shown_any_more_or_after_ten_seconds(
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


# --- cells that do not answer ---------------------------------------------------------------------


DETAIL, SHORT = "GET /compute/v2.1/servers/detail", "GET /compute/v2.1/servers"


UNSEEN = {"id": "s9", "status": "UNKNOWN", "links": []}


def test_a_list_is_incomplete_while_a_cell_of_nova_does_not_answer(cloud, services):
    services.answers.update(
        {
            DETAIL: paged([server(1)]),
            SHORT: answer({"servers": [{"id": "s1", "name": "vmprobe-x-1"}, UNSEEN]}),
        }
    )

    with pytest.raises(
        Incomplete,
        match="^list servers: a cell of Nova does not answer, 1 of its servers cannot be seen$",
    ) as raised:
        cloud.list(Kind.SERVER, "vmprobe-")
    assert [
        (resource.ref, resource.state, resource.provider_state) for resource in raised.value.partial
    ] == [
        (Ref(Kind.SERVER, "s1", "vmprobe-x-1"), State.READY, "ACTIVE"),
        (Ref(Kind.SERVER, "s9"), State.PENDING, "UNKNOWN"),
    ]


def test_a_silent_cell_is_asked_about_until_it_answers_and_then_not_with_each_list(cloud, services):
    services.answers.update({DETAIL: paged([server(1)]), SHORT: answer({"servers": [UNSEEN]})})
    with pytest.raises(Incomplete):
        cloud.list(Kind.SERVER, "vmprobe-")

    services.answers[SHORT] = answer({"servers": []})
    services.asked.clear()
    for _ in range(3):
        assert ids(cloud.list(Kind.SERVER, "vmprobe-")) == ["s1"]
    assert services.asked.count("GET /compute/v2.1/servers") == 1


@pytest.mark.parametrize(
    "status, body",
    [(401, "access rules"), (403, "policy"), (404, "no such path")],
    ids=["401", "403", "404"],
)
def test_where_the_short_list_is_forbidden_the_long_one_tells_of_cells(
    status, body, cloud, services
):
    def detail(request):
        return (
            paged([server(1)])(request)
            if "limit" in request.target
            else answer({"servers": [server(1), UNSEEN]})
        )

    services.answers.update({DETAIL: detail, SHORT: answer({"error": {"message": body}}, status)})

    for _ in range(2):
        with pytest.raises(Incomplete):
            cloud.list(Kind.SERVER, "vmprobe-")
    assert services.asked.count("GET /compute/v2.1/servers") == 1


def test_an_older_nova_is_not_asked_about_cells(services):
    services.answers.update(
        {"GET /compute/v2.1/": answer({"version": {"version": "2.68"}}), DETAIL: paged([server(1)])}
    )
    cloud = driver(services)
    cloud.connect()

    assert ids(cloud.list(Kind.SERVER, "vmprobe-")) == ["s1"]
    assert "GET /compute/v2.1/servers" not in services.asked


def test_showing_a_server_in_a_silent_cell_is_an_error(cloud, services):
    services.answers["GET /compute/v2.1/servers/s9"] = answer(
        {"server": {**UNSEEN, "flavor": {}, "image": None}}
    )

    with pytest.raises(
        GatewayFailed, match="^show server s9: it is in a cell of Nova that does not answer$"
    ):
        cloud.show(Ref(Kind.SERVER, "s9"))
