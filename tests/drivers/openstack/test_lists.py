"""Lists of OpenStack's services: whole, or Incomplete with what was shown. Never is a part taken for the whole."""

from urllib.parse import parse_qs, urlsplit

import pytest

from simulators.openstack import (
    PROJECT,
    answer,
    ids,
    paged,
    server,
)
from vmprobe.core.errors import (
    Incomplete,
    TooLarge,
)
from vmprobe.core.model import Kind, State

DETAIL, SHORT = "GET /compute/v2.1/servers/detail", "GET /compute/v2.1/servers"


VOLUMES = f"GET /volume/v3/{PROJECT}/volumes/detail"


# --- what is too large ----------------------------------------------------------------------------


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


def test_a_record_that_is_too_large_by_itself_is_an_error_and_not_retried_for_ever(cloud, services):
    services.answers[DETAIL] = paged([server(1, description="x" * 5_000_000)])

    with pytest.raises(TooLarge, match="^list servers: the answer is larger than 4194304 bytes$"):
        cloud.list(Kind.SERVER, "")
    assert len([asked for asked in services.asked if "limit" in asked]) == 4


# --- pages ----------------------------------------------------------------------------------------


def test_each_list_is_asked_for_by_pages_that_can_be_read(cloud, services):
    services.answers["GET /image/v2/images"] = answer({"images": []})

    cloud.list(Kind.SNAPSHOT, "vmprobe-"), cloud.images()

    assert [parse_qs(urlsplit(asked).query)["limit"] for asked in services.asked] == [
        ["200"],
        ["200"],
    ]


def test_a_list_is_followed_over_its_pages(cloud, services):
    found = cloud.list(Kind.SERVER, "vmprobe-")

    assert [server.ref.id for server in found] == ["s1", "s2", "s3", "s4", "s5"]
    assert found[0].state is State.FAILED and found[0].cause == "scheduler"
    assert services.asked == [
        "GET /compute/v2.1/",
        "GET /compute/v2.1/servers/detail?name=%5Evmprobe-&limit=200",
        "GET /compute/v2.1/servers/detail?name=%5Evmprobe-&marker=s2&limit=200",
        "GET /compute/v2.1/servers/detail?name=%5Evmprobe-&marker=s4&limit=200",
        "GET /compute/v2.1/servers",
    ]


def test_glances_pages_are_followed_too(cloud, services):
    def page(request):
        last = "marker" in request.target
        image = {"id": "i2" if last else "i1", "name": "vmprobe-x", "status": "active"}
        return answer({"images": [image], **({} if last else {"next": "/v2/images?marker=i1"})})

    services.answers["GET /image/v2/images"] = page

    assert [resource.ref.id for resource in cloud.list(Kind.SNAPSHOT, "vmprobe-")] == ["i1", "i2"]


def test_a_list_is_begun_anew_when_the_marker_of_a_page_was_removed(cloud, services):
    servers = [server(number) for number in range(1, 6)]
    page = paged(servers, most=2)

    def removing(request):
        reply = page(request)
        if "marker" not in request.target and len(servers) == 5:
            del servers[1]
        return reply

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
def test_a_list_whose_pages_repeat_themselves_is_incomplete(link, cloud, services):
    services.answers[DETAIL] = answer(
        {"servers": [server(1)], "servers_links": [{"rel": "next", "href": link}]}
    )

    with pytest.raises(Incomplete, match="^list servers: its pages repeat themselves$") as raised:
        cloud.list(Kind.SERVER, "")
    assert ids(raised.value.partial) == ["s1"]


def test_a_list_without_an_end_is_incomplete(cloud, services):
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


def test_a_record_that_moved_to_the_next_page_is_counted_once(cloud, services):
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


def test_the_query_of_the_next_page_keeps_what_its_link_leaves_out(cloud, services):
    page = paged([server(1), server(2), server(3)], most=2)
    services.answers.update({DETAIL: page, SHORT: answer({"servers": []})})

    cloud.list(Kind.SERVER, "vmprobe-")

    assert services.asked[:3] == [
        "GET /compute/v2.1/",
        "GET /compute/v2.1/servers/detail?name=%5Evmprobe-&limit=200",
        "GET /compute/v2.1/servers/detail?name=%5Evmprobe-&marker=s2&limit=200",
    ]


def test_odd_records_with_other_names_are_ignored(cloud, services):
    odd = [
        {"id": "v1", "name": "data", "status": ["x"], "size": "big"},
        {"id": "v2"},
        {"name": None, "attachments": {}},
    ]
    services.answers[VOLUMES] = answer(
        {"volumes": [*odd, {"id": "v3", "name": "vmprobe-x", "status": "available"}]}
    )

    assert ids(cloud.list(Kind.VOLUME, "vmprobe-")) == ["v3"]
