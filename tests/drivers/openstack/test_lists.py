"""Lists of OpenStack's services: whole, or Incomplete with what was shown. Never a part that is taken for the whole."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from rawserver import reply
from simulators.openstack import PROJECT, answer, driver
from vmprobe.core.errors import (
    CloudError,
    GatewayFailed,
    Incomplete,
    NotFound,
    NotPermitted,
    TooLarge,
)
from vmprobe.core.model import AddressSpec, Kind, Plan, Ref, SecurityGroupSpec, State

DETAIL, SHORT = "GET /compute/v2.1/servers/detail", "GET /compute/v2.1/servers"
VOLUMES = f"GET /volume/v3/{PROJECT}/volumes/detail"


def server(number, **more):
    return {"id": f"s{number}", "name": f"vmprobe-x-{number}", "status": "ACTIVE", **more}


def paged(servers, most=1000, linked="http://nova.internal:8774/v2.1/servers/detail"):
    """What Nova answers of these servers: by limit and marker, and never more than so many."""

    def page(request):
        query = parse_qs(urlsplit(request.target).query)
        size, marker = min(most, int(query["limit"][0])), query.get("marker", [""])[0]
        ids = [one["id"] for one in servers]
        if marker and marker not in ids:
            return answer({"badRequest": {"message": f"marker [{marker}] not found"}}, 400)
        first = ids.index(marker) + 1 if marker else 0
        found = {"servers": servers[first : first + size]}
        if first + size < len(servers):
            found["servers_links"] = [
                {"rel": "next", "href": f"{linked}?limit={size}&marker={ids[first + size - 1]}"}
            ]
        return answer(found)

    return page


def ids(things):
    return [thing.ref.id for thing in things]


# --- what is too large --------------------------------------------------------------------------------------------


def test_a_page_that_is_too_large_is_asked_for_again_as_smaller_ones(cloud, services):
    servers = [
        server(number, **{"OS-EXT-SRV-ATTR:user_data": "x" * 65536}) for number in range(1, 151)
    ]
    services.answers.update({DETAIL: paged(servers), SHORT: answer({"servers": []})})

    assert ids(cloud.list(Kind.SERVER, "")) == [f"s{number}" for number in range(1, 151)]
    limits = [
        parse_qs(urlsplit(asked).query)["limit"][0] for asked in services.asked if "limit" in asked
    ]
    assert limits == ["200", "50", "50", "50"]


def test_a_thing_that_is_too_large_by_itself_is_said_and_not_asked_for_for_ever(cloud, services):
    services.answers[DETAIL] = paged([server(1, description="x" * 5_000_000)])

    with pytest.raises(TooLarge, match="^list servers: the answer is larger than 4194304 bytes$"):
        cloud.list(Kind.SERVER, "")
    assert len([asked for asked in services.asked if "limit" in asked]) == 4


def test_security_groups_are_listed_without_their_rules(cloud, services):
    services.answers["GET /network/v2.0/security-groups"] = answer(
        {"security_groups": [{"id": "g1", "name": "vmprobe-x"}]}
    )

    assert ids(cloud.list(Kind.SECURITY_GROUP, "vmprobe-")) == ["g1"]
    assert services.asked == [
        f"GET /network/v2.0/security-groups?project_id={PROJECT}&fields=id&fields=name&limit=200"
    ]


# --- pages --------------------------------------------------------------------------------------------------------


def test_a_list_is_begun_anew_when_the_thing_that_a_page_begins_after_was_removed(cloud, services):
    servers = [server(number) for number in range(1, 6)]
    page = paged(servers, most=2)

    def removing(request):
        said = page(request)
        if "marker" not in request.target and len(servers) == 5:
            del servers[1]
        return said

    services.answers.update({DETAIL: removing, SHORT: answer({"servers": []})})

    assert ids(cloud.list(Kind.SERVER, "vmprobe-")) == ["s1", "s3", "s4", "s5"]


@pytest.mark.parametrize("status", [400, 404])
def test_a_list_that_changes_each_time_is_incomplete_with_what_was_shown(status, cloud, services):
    def page(request):
        if "marker" in request.target:
            return answer({"badRequest": {"message": "marker [s1] not found"}}, status)
        return answer(
            {"servers": [server(1)], "servers_links": [{"rel": "next", "href": "?marker=s1"}]}
        )

    services.answers[DETAIL] = page

    with pytest.raises(
        Incomplete,
        match=f"^list servers: its next page cannot be had: {status} marker .s1. not found$",
    ) as raised:
        cloud.list(Kind.SERVER, "")
    assert ids(raised.value.partial) == ["s1"]
    assert len(services.asked) == 7  # the version, and three times two pages


@pytest.mark.parametrize(
    "link",
    ["?marker=s1", "", "http://nova.internal/v2.1/servers/detail", "http://[bad/?marker=s1"],
    ids=["itself", "nothing", "the-first", "no-url"],
)
def test_pages_that_repeat_themselves_are_no_list(link, cloud, services):
    services.answers[DETAIL] = answer(
        {"servers": [server(1)], "servers_links": [{"rel": "next", "href": link}]}
    )

    with pytest.raises(Incomplete, match="^list servers: its pages repeat themselves$") as raised:
        cloud.list(Kind.SERVER, "")
    assert ids(raised.value.partial) == ["s1"]


def test_a_list_without_an_end_is_no_list(cloud, services):
    def page(request):
        last = int(parse_qs(urlsplit(request.target).query).get("marker", ["s0"])[0][1:])
        return answer(
            {
                "servers": [server(last + 1)],
                "servers_links": [{"rel": "next", "href": f"?marker=s{last + 1}"}],
            }
        )

    services.answers[DETAIL] = page

    with pytest.raises(Incomplete, match="^list servers: there is no end of it$") as raised:
        cloud.list(Kind.SERVER, "vmprobe-x-7")
    assert len(services.asked) == 1001
    assert len(raised.value.partial) == 111  # 7, 70 to 79, 700 to 799


def test_a_first_page_may_be_empty_and_still_name_the_next(cloud, services):
    page = paged([server(1)])
    services.answers.update(
        {
            SHORT: answer({"servers": []}),
            DETAIL: lambda request: (
                page(request)
                if "marker=x" not in request.target and "marker" in request.target
                else answer(
                    {"servers": [], "servers_links": [{"rel": "next", "href": "?marker=x"}]}
                )
                if "marker" not in request.target
                else answer({"servers": [server(1)]})
            ),
        }
    )

    assert ids(cloud.list(Kind.SERVER, "vmprobe-")) == ["s1"]


def test_what_moved_from_one_page_to_the_next_is_counted_once(cloud, services):
    pages = {"": ([1, 2], "?marker=s2"), "s2": ([2, 3], None)}

    def page(request):
        numbers, link = pages[parse_qs(urlsplit(request.target).query).get("marker", [""])[0]]
        return answer(
            {
                "servers": [server(number) for number in numbers],
                "servers_links": [{"rel": "next", "href": link}] if link else [],
            }
        )

    services.answers.update({DETAIL: page, SHORT: answer({"servers": []})})

    assert ids(cloud.list(Kind.SERVER, "vmprobe-")) == ["s1", "s2", "s3"]


def test_the_next_page_keeps_what_was_asked_for_where_its_link_leaves_it_out(cloud, services):
    page = paged([server(1), server(2), server(3)], most=2)
    services.answers.update({DETAIL: page, SHORT: answer({"servers": []})})

    cloud.list(Kind.SERVER, "vmprobe-")

    assert services.asked[:3] == [
        "GET /compute/v2.1/",
        "GET /compute/v2.1/servers/detail?name=%5Evmprobe-&limit=200",
        "GET /compute/v2.1/servers/detail?name=%5Evmprobe-&marker=s2&limit=200",
    ]


def test_what_is_not_called_like_ours_may_be_as_odd_as_it_likes(cloud, services):
    odd = [
        {"id": "v1", "name": "data", "status": ["x"], "size": "big"},
        {"id": "v2"},
        {"name": None, "attachments": {}},
    ]
    services.answers[VOLUMES] = answer(
        {"volumes": [*odd, {"id": "v3", "name": "vmprobe-x", "status": "available"}]}
    )

    assert ids(cloud.list(Kind.VOLUME, "vmprobe-")) == ["v3"]


# --- cells that do not answer -------------------------------------------------------------------------------------

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
    assert [(thing.ref, thing.state, thing.provider_state) for thing in raised.value.partial] == [
        (Ref(Kind.SERVER, "s1", "vmprobe-x-1"), State.READY, "ACTIVE"),
        (Ref(Kind.SERVER, "s9"), State.PENDING, "UNKNOWN"),
    ]


def test_a_cell_is_asked_after_again_until_it_answers_and_then_not_with_each_list(cloud, services):
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
def test_where_the_short_list_may_not_be_asked_for_the_long_one_tells_of_cells(
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


def test_an_older_nova_is_not_asked_for_what_it_cannot_say(services):
    services.answers.update(
        {"GET /compute/v2.1/": answer({"version": {"version": "2.68"}}), DETAIL: paged([server(1)])}
    )
    cloud = driver(services)
    cloud.connect()

    assert ids(cloud.list(Kind.SERVER, "vmprobe-")) == ["s1"]
    assert "GET /compute/v2.1/servers" not in services.asked


def test_a_server_in_a_cell_that_does_not_answer_is_not_said_to_be_anything(cloud, services):
    services.answers["GET /compute/v2.1/servers/s9"] = answer(
        {"server": {**UNSEEN, "flavor": {}, "image": None}}
    )

    with pytest.raises(
        GatewayFailed, match="^show server s9: it is in a cell of Nova that does not answer$"
    ):
        cloud.show(Ref(Kind.SERVER, "s9"))


# --- what may not be listed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, where, spec",
    [
        (
            Kind.ADDRESS,
            "floatingips",
            AddressSpec("vmprobe-x", Ref(Kind.SERVER, "s1"), Plan("i", external="e1")),
        ),
        (Kind.SECURITY_GROUP, "security-groups", SecurityGroupSpec("vmprobe-x")),
    ],
    ids=["addresses", "security-groups"],
)
@pytest.mark.parametrize(
    "status, error", [(403, NotPermitted), (404, NotFound)], ids=["403", "404"]
)
def test_what_policy_forbids_to_list_the_run_cannot_have_made_unless_it_asked_for_one(
    status, error, kind, where, spec, cloud, services
):
    refusal = answer({"NeutronError": {"message": "(rule:get) is disallowed by policy"}}, status)
    services.answers[f"GET /network/v2.0/{where}"] = refusal
    assert cloud.list(kind, "vmprobe-") == []

    with pytest.raises(CloudError):  # whatever came of it
        cloud.create(spec)
    with pytest.raises(error):
        cloud.list(kind, "vmprobe-")


def test_other_failures_of_a_list_are_never_an_empty_list(cloud, services):
    services.answers["GET /network/v2.0/floatingips"] = reply(503, "busy")

    with pytest.raises(GatewayFailed):
        cloud.list(Kind.ADDRESS, "vmprobe-")
    assert json.dumps(services.asked).count("floatingips") == 1
