"""The driver against an endpoint on loopback."""

import os
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostile import answer, as_json, examples, headers, statuses
from vmprobe.core.errors import ClientError, CloudError, GatewayFailed, NotFound, VmprobeError
from vmprobe.core.model import Kind, Ref, ServerSpec, State, VolumeSpec
from vmprobe.drivers.occi import plan
from vmprobe.drivers.occi.driver import (
    COMPUTE,
    INFRASTRUCTURE,
)

from .stage import OOI, QUERY, said


def test_the_well_known_place_is_asked_where_there_is_nothing_at_the_short_one(stage):
    stage.reply = lambda request: (
        said("", 404) if request.target == "/-/" else said(QUERY, Server="pyssf OCCI/1.1")
    )
    driver = stage.driver()
    driver.connect()

    assert driver.describe()["version"] == "pyssf OCCI/1.1"
    assert stage.server.requests[-1].target == "/.well-known/org/ogf/occi/-/"
    assert "OCCI/1.1" in stage.server.requests[-1].headers["user-agent"]


@pytest.mark.parametrize("key", ["user data", "ssh key"])
def test_a_pipe_where_a_file_for_the_vm_was_meant_is_not_waited_for(stage, tmp_path, key):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(
        ClientError, match=re.escape(f"[test vm] {key}: {tmp_path}/pipe: is not a regular file")
    ):
        plan._content(str(tmp_path / "pipe"), key)


def test_whatever_host_a_server_believes_itself_to_be_it_is_asked_where_it_is(stage):
    driver = stage.session()
    stage.reply = lambda request: said(
        "X-OCCI-Location: http://inside.example.org:1/compute/9\n"
        if request.target == "/compute/"
        else OOI
    )

    (found,) = driver.list(Kind.SERVER, "v")

    assert (found.ref, found.state) == (Ref(Kind.SERVER, "9", "vm"), State.READY)
    assert stage.server.requests[-1].target == "/compute/9"


@pytest.mark.parametrize(
    "content, words",
    [
        (b"a\nb\n", "is not one line"),
        (b"", "is not there: it is empty"),
        (b"\xff", "is not plain text"),
        (None, "No such file or directory"),
    ],
)
def test_a_key_that_cannot_be_given_is_named_before_anything_is_made(
    stage, tmp_path, content, words
):
    stage.reply = lambda request: said(
        QUERY + f'Category: ssh_key; scheme="{INFRASTRUCTURE[:-1]}/credentials#"; class="mixin"\n'
    )
    driver = stage.driver()
    driver.connect()
    if content is not None:
        (tmp_path / "key.pub").write_bytes(content)

    with pytest.raises(ClientError, match=rf"^\[test vm\] ssh key: \S+/key.pub: {words}$"):
        driver.resolve(
            {
                "image": "linux",
                "flavor": "tiny",
                "network": "",
                "ssh key": str(tmp_path / "key.pub"),
            }
        )


def test_an_endpoint_without_a_kind_says_nothing_of_what_is_gone(stage):
    stage.reply = lambda request: said(QUERY.replace("Category: compute;", "Category: computer;"))
    driver = stage.driver()
    driver.connect()

    for verb in (driver.show, driver.delete):
        with pytest.raises(CloudError, match=f"^the endpoint has no kind {COMPUTE}$") as wrong:
            verb(Ref(Kind.SERVER, "1"))
        assert not isinstance(wrong.value, NotFound)
    with pytest.raises(CloudError):
        driver.list(Kind.SERVER, "")


def test_an_endpoint_that_finds_nothing_any_more_says_nothing_of_what_is_gone(stage):
    driver = stage.session()
    stage.reply = lambda request: said("nothing is here", 404)

    with pytest.raises(GatewayFailed, match="^list servers: 404 nothing is here$"):
        driver.show(Ref(Kind.SERVER, "1"))
    with pytest.raises(GatewayFailed):
        driver.list(Kind.SERVER, "")


def test_a_new_server_is_started_once_it_is_shown_at_rest_and_never_by_the_answer_to_its_creation(
    stage,
):
    driver = stage.session()
    plan = driver.resolve({"image": "linux", "flavor": "", "network": "", "start": True})
    stage.reply = lambda request: said("X-OCCI-Location: http://h/compute/1", 201)
    asked = len(stage.server.requests)
    server = driver.create(ServerSpec("vm", plan))
    assert [request.method for request in stage.server.requests[asked:]] == ["POST"]

    stage.reply = lambda request: said(OOI)
    assert [
        driver.needs_start(driver.show(server)._replace(provider_state=native))
        for native in ("inactive", "suspended", "active", "error")
    ] == [True, True, False, False]
    driver.start(server)
    assert stage.server.requests[-1].target == "/compute/1?action=start"


def test_an_endpoint_without_storage_has_no_volumes(stage):
    stage.reply = lambda request: said(QUERY.replace("Category: storage;", "Category: store;"))
    driver = stage.driver()
    driver.connect()

    assert driver.list(Kind.VOLUME, "") == []


lines = st.lists(
    st.builds(
        lambda name, value: f"{name}: {value}",
        st.sampled_from(
            [
                "Category",
                "X-OCCI-Attribute",
                "X-OCCI-Location",
                "Link",
                "x-occi-attribute",
                "Set-Cookie",
                "",
            ]
        ),
        st.sampled_from(
            [
                OOI.splitlines()[0][10:],
                'occi.core.title="vmprobe-x"',
                "http://h/compute/1",
                "/compute/../..",
                "http://[",
                "//evil/x",
                "a=b",
                '<x>; category="y"',
                "compute",
                ";;;",
                ",",
                '"',
                "\x00",
                "x" * 5000,
                'occi.compute.state="\x1b[31m"',
                "/compute/1?action=stop",
            ]
        )
        | st.text(max_size=30),
    ),
    max_size=5,
).map(lambda found: "\n".join(found).encode("utf-8", "replace"))
medias = st.sampled_from(
    ["text/plain", "text/occi", "text/uri-list", "application/occi+json", "text/html", ""]
)
replies = st.builds(
    lambda status, more, media, body: answer(status, {**more, "Content-Type": media}, body),
    statuses,
    headers,
    medias,
    lines | as_json,
)
verbs = st.sampled_from(
    [
        lambda driver: driver.connect(),
        lambda driver: driver.list(Kind.SERVER, ""),
        lambda driver: driver.list(Kind.VOLUME, "vm"),
        lambda driver: driver.show(Ref(Kind.SERVER, "1")),
        lambda driver: driver.show(Ref(Kind.VOLUME, "1")),
        lambda driver: driver.ports([Ref(Kind.SERVER, "1")]),
        lambda driver: driver.delete(Ref(Kind.SERVER, "1")),
        lambda driver: driver.create(VolumeSpec("vm", 1)),
        lambda driver: driver.attach(Ref(Kind.SERVER, "1"), Ref(Kind.VOLUME, "2")),
        lambda driver: driver.detach(Ref(Kind.SERVER, "1"), Ref(Kind.VOLUME, "2")),
        lambda driver: driver.describe(),
        lambda driver: driver.create(
            ServerSpec("vm", driver.resolve({"image": "linux", "flavor": "tiny", "network": ""}))
        ),
        lambda driver: driver.resolve({"image": "Linux 1", "flavor": "", "network": "private"}),
    ]
)


@examples(400)
@given(content=replies, verb=verbs)
@example(
    content=answer(
        200,
        {"Content-Type": "application/json"},
        b'{"resources": [{"links": '
        + b'[{"target": 1, "links": ' * 300
        + b"[]"
        + b"}]" * 300
        + b"}]}",
    ),
    verb=lambda driver: driver.list(Kind.SERVER, ""),
)
def test_any_answer_to_any_verb_is_understood_or_an_error_of_this_suite(content, verb, stage):
    driver = stage.session()
    stage.reply = lambda request: content
    try:
        found = verb(driver)
    except VmprobeError as error:
        assert len(str(error)) < 2000
        return
    for thing in found if isinstance(found, list) else []:
        assert (
            thing.ref.id.isprintable()
            and len(thing.ref.id) <= 255
            and len(thing.ref.name) <= 255
            and thing.provider_state.isprintable()
        )
        assert all(len(address) <= 49 for address in thing.addresses)
