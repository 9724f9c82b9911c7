"""OCCI's renderings: what servers send is understood however they quote, order and group; what we send is by the book."""

import json
import os
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from rawserver import Server
from unit.transport.test_hostile import answer, as_json, closing, examples, headers, statuses
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import ClientError, CloudError, GatewayFailed, NotFound, VmprobeError
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind, Ref, ServerSpec, State, VolumeSpec
from vmprobe.core.redact import Redactor
from vmprobe.drivers.occi import answers, authentication, plan, text, writing
from vmprobe.drivers.occi.driver import (
    COMPUTE,
    INFRASTRUCTURE,
    INTERFACE,
    NETWORK,
    STORAGE,
    STORAGELINK,
    OcciEndpoint,
)
from vmprobe.drivers.occi.entities import HEADERS, TEXT, Entity
from vmprobe.transport.http import Reply

OS, FLAVOR = "http://example.org/os#", "http://example.org/flavor#"
QUERY = "".join(
    f'Category: {term}; scheme="{scheme}"; class="{kind}"; {rest}\n'
    for term, scheme, kind, rest in (
        ("compute", INFRASTRUCTURE, "kind", 'location="/compute/"'),
        ("storage", INFRASTRUCTURE, "kind", 'location="/storage/"'),
        ("network", INFRASTRUCTURE, "kind", 'location="/network/"'),
        ("storagelink", INFRASTRUCTURE, "kind", 'location="/link/storage/"'),
        ("networkinterface", INFRASTRUCTURE, "kind", 'location="/link/network/"'),
        ("linux", OS, "mixin", f'title="Linux 1"; rel="{INFRASTRUCTURE}os_tpl"'),
        ("small", FLAVOR, "mixin", f'title="Flavor: tiny"; rel="{INFRASTRUCTURE}resource_tpl"'),
    )
)


def parsed(reader, body, media="text/plain", **more):
    reply = Reply(
        "show it",
        "GET",
        "http://h/x",
        200,
        "OK",
        CaseInsensitiveDict({"Content-Type": media, **more}),
        body.encode(),
    )
    return reply.parse(lambda: reader(reply))


def entity(body, media="text/plain", **more):
    return parsed(lambda reply: answers.entity(reply, "/compute/1"), body, media, **more)


# --- reading ------------------------------------------------------------------------------------------------------

OOI = f"""\
Category: compute; scheme="{INFRASTRUCTURE}"; class="kind"; title="compute resource"; location="http://h/occi1.2/compute/"
Category: linux; scheme="{OS}"; class="mixin"; title="Linux 1"
X-OCCI-Attribute: occi.compute.cores=1
X-OCCI-Attribute: occi.compute.state="active"
X-OCCI-Attribute: occi.core.id="67b7"
X-OCCI-Attribute: occi.core.title="vm"
Link: <http://h/occi1.2/compute/67b7?action=start>; rel="http://schemas.ogf.org/occi/infrastructure/compute/action#start"
Link: <http://h/occi1.2/networklink/67b7_10.0.0.2>; rel="{NETWORK}"; self="http://h/occi1.2/networklink/67b7_10.0.0.2"; category="{INTERFACE} \
http://schemas.ogf.org/occi/infrastructure/networkinterface#ipnetworkinterface"; occi.networkinterface.address="10.0.0.2"; \
occi.core.target="http://h/occi1.2/network/e347"
"""
PYSSF = f"""

Category: compute; scheme="{INFRASTRUCTURE}"; class="kind"; rel="http://schemas.ogf.org/occi/core#resource"; location="http://h/compute/"; \
attributes="occi.compute.cores occi.compute.state{{immutable}}"; actions="http://schemas.ogf.org/occi/infrastructure/compute/action#stop"
Link: </compute/67b7?action=stop>; rel="http://schemas.ogf.org/occi/infrastructure/compute/action#stop"
Link: </network/e347>; rel="{NETWORK}"; self="/link/network/1"; category="{INTERFACE}"; occi.networkinterface.address="10.0.0.2"
X-OCCI-Attribute: occi.compute.cores="1"
X-OCCI-Attribute: occi.compute.state="active"
X-OCCI-Attribute: occi.core.title="vm"
"""
ODD = f"""\
category:compute;scheme='x' ; scheme="{INFRASTRUCTURE}";class=kind;,linux; scheme = "{OS}" ; class="mixin" ;
x-occi-attribute : occi.compute.state = "active" ,occi.compute.cores=1, occi.core.title="vm"
LINK: <http://h/network/e347>;category="{INTERFACE}";rel={NETWORK};occi.networkinterface.address="10.0.0.2";
"""


@pytest.mark.parametrize("body", [OOI, PYSSF, ODD], ids=["ooi", "pyssf", "odd"])
def test_a_compute_is_understood_as_servers_write_it(body):
    seen = entity(body)

    assert (
        seen.kind,
        seen.attributes["occi.compute.state"],
        str(seen.attributes["occi.compute.cores"]),
        seen.title,
    ) == (COMPUTE, "active", "1", "vm")
    assert [
        (
            link.kind,
            link.target.rpartition("/")[2],
            link.target_kind,
            link.attributes["occi.networkinterface.address"],
        )
        for link in seen.links
    ] == [(INTERFACE, "e347", NETWORK, "10.0.0.2")]


def test_headers_say_what_a_body_would_say():
    category = (
        f'compute; scheme="{INFRASTRUCTURE}"; class="kind", linux; scheme="{OS}"; class="mixin"'
    )

    seen = entity(
        "OK",
        "text/occi",
        Category=category,
        **{"X-OCCI-Attribute": 'occi.compute.state="active", occi.core.title="a, b; c"'},
    )

    assert (seen.kind, seen.mixins, seen.title) == (COMPUTE, (f"{OS}linux",), "a, b; c")


def test_json_is_gfd_226_s_and_attributes_may_be_nested():
    flat = {
        "kind": COMPUTE,
        "id": "1",
        "title": "vm",
        "attributes": {"occi.compute.state": "active"},
        "mixins": [f"{OS}linux"],
        "links": [
            {
                "kind": STORAGELINK,
                "id": "2",
                "target": {"location": "http://h/storage/3", "kind": STORAGE},
            }
        ],
    }
    nested = {**flat, "attributes": {"occi": {"compute": {"state": "active"}}}}

    for document in (flat, nested, {"resources": [flat]}, [flat]):
        seen = entity(json.dumps(document), "application/occi+json; charset=utf8")

        assert (seen.kind, seen.attributes, seen.title, seen.links[0].target) == (
            COMPUTE,
            {"occi.compute.state": "active"},
            "vm",
            "http://h/storage/3",
        )


@pytest.mark.parametrize(
    "text, value",
    [
        ('"plain"', "plain"),
        ('"with \\"quotes\\" in it"', 'with "quotes" in it'),
        ('"with "bare" quotes"', 'with "bare" quotes'),
        ('"a; b, c=d"', "a; b, c=d"),
        ("17", 17),
        ("1.5", "1.5"),
        ("word", "word"),
        ('""', ""),
        ('"back\\\\slash"', "back\\slash"),
    ],
)
def test_values_are_quoted_in_many_ways(text, value):
    body = f'Category: compute; scheme="{INFRASTRUCTURE}"; class="kind"\nX-OCCI-Attribute: a.b={text}\n'

    assert entity(body).attributes == {"a.b": value}


@pytest.mark.parametrize(
    "body, media, words",
    [
        ("", "text/plain", "the answer renders no entity: it has no Category"),
        (
            "Under maintenance",
            "text/plain",
            "the answer is no OCCI: 'under maintenance' begins a line",
        ),
        ("<html></html>", "text/html", "the answer is no OCCI, but text/html"),
        (
            'Category: compute; scheme="x',
            "text/plain",
            "the answer is no OCCI: ' compute; scheme=\"x' in category",
        ),
        ("Category: compute; class=kind", "text/plain", "a category in the answer has no scheme"),
        ("{}", "application/occi+json", "the answer renders no entity"),
        ('{"resources": 5}', "application/json", "a collection in the answer is no list"),
        ('[{"kind": ["x"]}]', "application/json", "the answer renders no entity"),
        ("[" * 5000, "application/json", "the JSON of the answer is nested too deep"),
    ],
)
def test_what_is_no_entity_is_named(body, media, words):
    with pytest.raises(GatewayFailed) as wrong:
        entity(body, media)
    assert str(wrong.value).startswith(f"show it: {words}")


def test_only_an_empty_collection_is_empty():
    collection = answers.collection

    assert (
        parsed(collection, "")
        == parsed(collection, "", "text/occi")
        == parsed(collection, "{}", "application/json")
        == []
    )
    for body, media in (
        ("Please log in", "text/plain"),
        ('{"error": "x"}', "application/json"),
        ("", "text/html"),
    ):
        with pytest.raises(GatewayFailed):
            parsed(collection, body, media)


@pytest.mark.parametrize(
    "body",
    [
        "Category: " + part * (300_000 // len(part))
        for part in (
            ";",
            ",",
            "=",
            '"',
            '" ',
            "a;",
            'a="b";',
            "<",
            "<>;",
            '\\"',
            '="\\',
            " ",
            '"a"b',
            '=" ;"',
        )
    ]
    + ["Category: a\n" * 20_000],
)
def test_long_nonsense_is_read_or_refused_at_once(body):
    try:
        parsed(lambda reply: list(text.elements(reply, answers.media(reply))), body)
    except GatewayFailed as wrong:
        assert len(str(wrong)) < 300


# --- writing ------------------------------------------------------------------------------------------------------

WANTED = Entity(
    COMPUTE,
    (f"{OS}linux",),
    {"occi.compute.cores": 1, "a.b": 'say "hi"'},
    (Entity(INTERFACE, target="http://h/network/1", target_kind=NETWORK),),
    title="vm",
)


def test_text_is_written_by_the_book():
    assert writing.entity_request(WANTED, TEXT) == (
        {},
        f"""\
Category: compute; scheme="{INFRASTRUCTURE}"; class="kind"
Category: linux; scheme="{OS}"; class="mixin"
X-OCCI-Attribute: occi.compute.cores=1
X-OCCI-Attribute: a.b="say \\"hi\\""
X-OCCI-Attribute: occi.core.title="vm"
Link: <http://h/network/1>; rel="{NETWORK}"; category="{INTERFACE}"; occi.core.target="http://h/network/1"
""".encode(),
    )


def test_headers_have_all_values_of_a_name_in_one():
    written, body = writing.entity_request(WANTED, HEADERS)

    assert body == b""
    assert (
        written["Category"]
        == f'compute; scheme="{INFRASTRUCTURE}"; class="kind", linux; scheme="{OS}"; class="mixin"'
    )
    assert (
        written["X-OCCI-Attribute"]
        == 'occi.compute.cores=1, a.b="say \\"hi\\"", occi.core.title="vm"'
    )


def test_what_is_written_is_read_as_it_was():
    for rendering in (TEXT, HEADERS):
        written, body = writing.entity_request(WANTED, rendering)
        seen = entity(body.decode(), rendering, **written)

        assert (seen.kind, seen.mixins, seen.title, seen.links[0].target) == (
            COMPUTE,
            WANTED.mixins,
            "vm",
            "http://h/network/1",
        )
        assert {**WANTED.attributes, "occi.core.title": "vm"} == seen.attributes


@pytest.mark.parametrize("value", ["two\nlines", "a\rb", "\x00", "caf\xe9"])
def test_what_text_cannot_carry_is_not_sent(value):
    with pytest.raises(ClientError, match="cannot be written in OCCI's text rendering"):
        writing.entity_request(Entity(COMPUTE, title=value), HEADERS)


# --- against a server ---------------------------------------------------------------------------------------------


def said(text, status=200, **more):
    """An answer in text, after which the connection ends, as the client is told."""
    return answer(
        status, {"Content-Type": "text/plain", "Connection": "close", **more}, text.encode()
    )


OURS = {"username": "probe", "password": "s3cret-of-ours"}


class Stage:
    """A server whose answers can be set, and a driver to ask it."""

    def __init__(self):
        self.reply = lambda request: said(QUERY)
        self.server = Server(lambda request: closing(self.reply(request)))

    def driver(self, credentials=OURS, **endpoint):
        known = {
            "url": self.server.url,
            "timeout": 3,
            "ca": None,
            "keystone": None,
            "rendering": "auto",
            **endpoint,
        }
        return OcciEndpoint(
            known, credentials, Deadline(10, 0, Clock()), Evidence(Redactor([]), keep=True)
        )

    def session(self):
        self.reply = lambda request: said(QUERY)
        driver = self.driver()
        driver.connect()
        return driver


@pytest.fixture(scope="module")
def stage():
    made = Stage()
    yield made
    made.server.__exit__()


def test_the_well_known_place_is_asked_where_there_is_nothing_at_the_short_one(stage):
    stage.reply = lambda request: (
        said("", 404) if request.target == "/-/" else said(QUERY, Server="pyssf OCCI/1.1")
    )
    driver = stage.driver()
    driver.connect()

    assert driver.describe()["version"] == "pyssf OCCI/1.1"
    assert stage.server.requests[-1].target == "/.well-known/org/ogf/occi/-/"
    assert "OCCI/1.1" in stage.server.requests[-1].headers["user-agent"]


@pytest.mark.parametrize(
    "challenge, words",
    [
        (
            "Keystone uri='ftp://h/v3'",
            "names a Keystone 'ftp://h/v3' that is not a URL like 'https://host:5000/v3'",
        ),
        ('Keystone uri="http://user:pass@h/v3"', "carries a user or password"),
        ("Negotiate", "the endpoint wants credentials that it was not given: Negotiate"),
        ("", "the endpoint wants credentials that it was not given: it does not say which"),
    ],
)
def test_a_challenge_that_cannot_be_answered_is_named(stage, challenge, words):
    stage.reply = lambda request: said(
        "no", 401, **({"WWW-Authenticate": challenge} if challenge else {})
    )
    with pytest.raises(VmprobeError) as wrong:
        stage.driver().connect()
    assert words in str(wrong.value)


def test_no_secret_goes_to_a_keystone_without_tls_that_an_endpoint_with_tls_names():
    with pytest.raises(
        CloudError,
        match="names the Keystone http://k:5000/v3, which is not https as the endpoint is: not used",
    ):
        authentication.named_keystone(
            Reply("query interface", "GET", "https://h:8787/occi/-/", 401, "", {}, b""),
            "https://h:8787/occi",
            "http://k:5000/v3",
        )


# --- credentials go to the Keystone that is meant ------------------------------------------------------------------


@pytest.fixture
def elsewhere():
    """A Keystone on another host than the endpoint's, which grants a token and whose catalog names ``catalog``."""

    def grant(request):
        services = [
            {"type": "occi", "endpoints": [{"interface": "public", "url": url}]}
            for url in made.catalog
        ]
        return answer(
            201,
            {"X-Subject-Token": "token-of-elsewhere"},
            json.dumps(
                {
                    "token": {
                        "project": {"id": "p"},
                        "expires_at": "2099-01-01T00:00:00Z",
                        "catalog": services,
                    }
                }
            ).encode(),
        )

    made = Server(grant, host="127.0.0.2")
    made.catalog = []
    yield made
    made.__exit__()


@pytest.fixture
def challenged(stage, elsewhere, monkeypatch):
    """The endpoint asks for a token of ``elsewhere``, and takes it; nothing of this machine's environment counts."""
    for name in [name for name in os.environ if name.startswith("OS_")] + ["X509_USER_PROXY"]:
        monkeypatch.delenv(name, raising=False)
    before = len(stage.server.requests)
    stage.reply = lambda request: (
        said(QUERY)
        if request.headers.get("x-auth-token")
        else said("no", 401, **{"WWW-Authenticate": f"Keystone uri='{elsewhere.url}/v3'"})
    )
    yield lambda: [
        request.headers["x-auth-token"]
        for request in stage.server.requests[before:]
        if "x-auth-token" in request.headers
    ]


def told_at_connect(driver):
    with pytest.raises(ClientError) as wrong:
        driver.connect()
    return str(wrong.value)


def openrc(monkeypatch, **words):
    for name, value in {
        "OS_USERNAME": "me",
        "OS_PASSWORD": "of-the-environment",
        "OS_PROJECT_NAME": "mine",
        **words,
    }.items():
        monkeypatch.setenv(name, value)


def test_credentials_do_not_go_to_another_host_that_only_the_endpoint_names(
    stage, elsewhere, challenged
):
    assert told_at_connect(stage.driver()) == (
        f"the endpoint names the Keystone {elsewhere.url}/v3, on another host than its own: no credentials are sent there "
        f"unless [endpoint] has 'keystone = {elsewhere.url}/v3'"
    )
    assert (elsewhere.requests, challenged()) == ([], [])


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.2:{port}/v3",
        "HTTP://127.0.0.2:{port}",
        "//127.0.0.2:{port}/v3",
        "http:127.0.0.2:{port}",
        "http:\\\\127.0.0.2:{port}",
        "http://127.0.0.1@127.0.0.2:{port}",
        "http://127.0.0.1:80\\@127.0.0.2:{port}",
        "http://127.0.0.2:{port}\\@127.0.0.1/",
        "http://127.0.0.2:{port}#@127.0.0.1/",
        "http://127.0.0.2:{port}?http://127.0.0.1/",
        "http://0x7f000002:{port}",
        "http://[::ffff:127.0.0.2]:{port}",
    ],
)
@pytest.mark.parametrize("ours", [True, False], ids=["of-the-site", "of-the-environment"])
def test_no_way_to_write_a_challenge_takes_credentials_to_another_host(
    ours, uri, stage, elsewhere, challenged, monkeypatch
):
    openrc(monkeypatch, OS_AUTH_URL="http://127.0.0.1:1/v3")
    challenge = f"Keystone uri='{uri.format(port=elsewhere.port)}'"
    stage.reply = lambda request: said("no", 401, **{"WWW-Authenticate": challenge})

    with pytest.raises(VmprobeError):
        stage.driver(OURS if ours else {}).connect()

    assert elsewhere.connections == 0


def test_credentials_go_to_the_keystone_that_the_site_names(stage, elsewhere, challenged):
    stage.driver(keystone=f"{elsewhere.url}/v3", project="ops").connect()

    assert [request.target for request in elsewhere.requests] == ["/v3/auth/tokens"]
    assert challenged() == ["token-of-elsewhere"]


def test_credentials_of_the_environment_go_to_no_keystone_that_an_endpoint_names(
    stage, elsewhere, challenged, monkeypatch
):
    openrc(monkeypatch, OS_AUTH_URL="https://keystone.example.org:5000/v3")

    assert told_at_connect(stage.driver({})) == (
        "the credentials belong to https://keystone.example.org:5000/v3, which is OS_AUTH_URL, and are not sent to "
        f"{elsewhere.url}/v3"
    )
    assert (elsewhere.requests, challenged()) == ([], [])


def test_credentials_of_the_environment_that_name_no_keystone_go_to_none_of_another_host(
    stage, elsewhere, challenged, monkeypatch
):
    openrc(monkeypatch)

    assert told_at_connect(stage.driver({})).startswith(
        f"the endpoint names the Keystone {elsewhere.url}/v3, on another host"
    )
    assert (elsewhere.requests, challenged()) == ([], [])


def test_an_endpoint_that_names_the_keystone_of_another_cloud_does_not_get_that_clouds_token(
    stage, elsewhere, challenged, monkeypatch
):
    openrc(monkeypatch, OS_AUTH_URL=elsewhere.url)

    assert told_at_connect(stage.driver({})) == (
        f"the catalog of {elsewhere.url}/v3 does not name this endpoint: no token of it is sent here "
        f"unless [endpoint] has 'keystone = {elsewhere.url}/v3'"
    )
    assert challenged() == []


def test_an_endpoint_that_the_catalog_names_gets_the_token_of_the_environments_cloud(
    stage, elsewhere, challenged, monkeypatch
):
    openrc(monkeypatch, OS_AUTH_URL=elsewhere.url)
    elsewhere.catalog = ["not a url", f"{stage.server.url}/occi1.2"]

    stage.driver({}).connect()

    assert challenged() == ["token-of-elsewhere"]


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
