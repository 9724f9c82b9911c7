"""Searches over hostile answers.

A list is whole or an error, and what belongs to somebody else is never taken for the run's.
"""

import json
from urllib.parse import parse_qs, urlsplit

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rawserver import reply
from simulators.openstack import PROJECT, Services, answer, driver
from vmprobe.core.errors import Incomplete, VmprobeError
from vmprobe.core.model import Kind, Ref

SEARCH = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
OURS = [
    {"id": f"s{number}", "name": f"vmprobe-x-{number}", "status": "ACTIVE"}
    for number in range(1, 8)
]
TROUBLES = (
    "none",
    "none",
    "500",
    "cut",
    "vanished",
    "again",
    "empty",
    "no-link",
    "odd-link",
    "other",
    "null",
    "down",
    "page",
)


class Troubled:
    """Nova with pages of two servers; each answer has the trouble that was drawn for it."""

    def __init__(self, troubles):
        self.troubles, self.lost, self.down = list(troubles), False, False

    def detail(self, request):
        trouble = self.troubles.pop(0) if self.troubles else "none"
        marker = parse_qs(urlsplit(request.target).query).get("marker", [""])[0]
        first = next((number for number, one in enumerate(OURS, 1) if one["id"] == marker), 0)
        page = {"servers": OURS[first : first + 2]}
        if first + 2 < len(OURS):
            page["servers_links"] = [
                {
                    "rel": "next",
                    "href": f"http://nova.internal/v2.1/servers/detail?marker={OURS[first + 1]['id']}",
                }
            ]
        return self.troubled(trouble, page, marker)

    def troubled(self, trouble, page, marker):
        self.down = self.down or trouble == "down"
        whole = json.dumps(page)
        if (
            trouble == "empty" or trouble == "no-link" and "servers_links" in page
        ):  # nobody can notice this
            self.lost = True
        return {
            "none": answer(page),
            "500": reply(500, "oops"),
            "cut": reply(200, whole[:-9]),
            "null": answer({"servers": None}),
            "vanished": answer({"badRequest": {"message": f"marker [{marker}] not found"}}, 400),
            "again": answer(
                {**page, "servers_links": [{"rel": "next", "href": f"?marker={marker}"}]}
            ),
            "empty": answer({"servers": []}),
            "no-link": answer({"servers": page["servers"]}),
            "odd-link": answer(
                {**page, "servers_links": [{"rel": "next", "href": "http://[::bad?marker=s1#x"}]}
            ),
            "other": answer(
                {
                    **page,
                    "servers": page["servers"]
                    + [{"id": 5, "name": None, "status": []}, {"name": "vmprob"}],
                }
            ),
            "down": answer(
                {**page, "servers": page["servers"] + [{"id": "s99", "status": "UNKNOWN"}]}
            ),
            "page": reply(404, "<html><title>404</title></html>"),
        }[trouble]


@SEARCH
@given(troubles=st.lists(st.sampled_from(TROUBLES), max_size=8), cell=st.booleans())
@example(troubles=["none", "again"], cell=False)
@example(troubles=["down"], cell=False)
@example(troubles=["none", "vanished", "none", "vanished", "none", "vanished"], cell=False)
def test_a_list_has_all_of_ours_or_it_is_an_error(troubles, cell):
    nova, services = Troubled(troubles), Services()
    services.answers.update(
        {
            "GET /compute/v2.1/servers/detail": nova.detail,
            "GET /compute/v2.1/servers": answer(
                {"servers": [{"id": "s98", "status": "UNKNOWN"}] if cell else []}
            ),
        }
    )
    with services.server:
        cloud = driver(services)
        cloud.connect()
        try:
            found = cloud.list(Kind.SERVER, "vmprobe-")
        except Incomplete as part:
            assert {resource.ref.id for resource in part.partial} <= {
                "s98",
                "s99",
                *(one["id"] for one in OURS),
            }
            return
        except VmprobeError:
            return
    assert not cell and not nova.down
    assert nova.lost or sorted(resource.ref.id for resource in found) == [one["id"] for one in OURS]


odd = st.sampled_from(
    [
        None,
        "",
        "s1",
        "s2",
        "root",
        5,
        True,
        [],
        {},
        "x" * 300,
        "a\nb",
        "compute:nova",
        "network:dhcp",
        "data",
        "2026-03-01T10:00:00Z",
        "2020-03-01T10:00:00Z",
        "in-use",
        "available",
    ]
)
ports = st.lists(
    st.fixed_dictionaries(
        {"id": odd, "device_id": odd}, optional={"name": odd, "device_owner": odd}
    ),
    max_size=4,
)
attached = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["root", "data", "", None])}, optional={"delete_on_termination": odd}
    ),
    max_size=3,
)
volume = st.fixed_dictionaries(
    {"id": st.sampled_from(["root", "data"]), "status": odd},
    optional={
        "name": odd,
        "created_at": odd,
        "attachments": st.lists(st.fixed_dictionaries({"server_id": odd}), max_size=2) | odd,
    },
)


@SEARCH
@given(ports=ports, attached=attached, volume=volume, image=odd, created=odd)
@example(
    ports=[{"id": "p1", "device_id": "s2"}],
    attached=[{"id": "root", "delete_on_termination": True}],
    created="2026-03-01T10:00:00Z",
    image="",
    volume={
        "id": "root",
        "status": "available",
        "name": "",
        "created_at": "2020-03-01T10:00:00Z",
        "attachments": [],
    },
)
def test_the_belongings_of_a_server_never_include_another_servers(
    ports, attached, volume, image, created
):
    services = Services()
    server = {
        "id": "s1",
        "name": "vmprobe-x",
        "status": "BUILD",
        "image": image,
        "created": created,
        "os-extended-volumes:volumes_attached": attached,
    }
    services.answers.update(
        {
            "GET /compute/v2.1/servers/s1": answer({"server": server}),
            "GET /network/v2.0/ports": answer({"ports": ports}),
            **{
                f"GET /volume/v3/{PROJECT}/volumes/{one}": answer({"volume": volume})
                for one in ("root", "data")
            },
        }
    )
    with services.server:
        cloud = driver(services)
        cloud.connect()
        try:
            found = cloud.belongings(Ref(Kind.SERVER, "s1", "vmprobe-x"))
        except VmprobeError:
            return
    for ref in found:
        if ref.kind is Kind.PORT:
            [*_, port] = [
                one for one in ports if str(one["id"]) == ref.id and one["device_id"] == "s1"
            ]
            assert port.get("name") in (None, "", ref.id, False) or not port.get("name")
        else:
            servers = [
                one["server_id"] for one in volume.get("attachments") or [] if one["server_id"]
            ]
            assert not volume.get("name") or volume["name"] == ref.id
            assert (
                "s1" in servers[:1]
                or not servers
                and volume["created_at"] == "2026-03-01T10:00:00Z"
            )


@SEARCH
@given(
    document=st.recursive(
        odd,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "server",
                        "volume",
                        "id",
                        "name",
                        "status",
                        "fault",
                        "message",
                        "addresses",
                        "flavor",
                        "image",
                        "attachments",
                        "ports",
                        "snapshot",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    ),
    kind=st.sampled_from(
        [Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT, Kind.PORT, Kind.ADDRESS, Kind.SECURITY_GROUP]
    ),
    status=st.sampled_from([200, 400, 403, 404, 409, 500]),
)
def test_each_reply_becomes_a_result_or_an_error_of_the_suite(document, kind, status):
    services = Services()
    with services.server:
        cloud = driver(services)
        cloud.connect()
        for verb in ("GET", "DELETE", "POST"):
            for where in (
                "/compute/v2.1/servers/x",
                f"/volume/v3/{PROJECT}/volumes/x",
                "/image/v2/images/x",
                "/network/v2.0/ports",
                "/network/v2.0/ports/x",
                "/network/v2.0/floatingips/x",
                "/network/v2.0/security-groups/x",
                f"/volume/v3/{PROJECT}/attachments",
            ):
                services.answers[f"{verb} {where}"] = answer(document, status)
        for act in (cloud.show, cloud.delete):
            try:
                act(Ref(kind, "x", "vmprobe-x"))
            except VmprobeError as told:
                assert str(told)
