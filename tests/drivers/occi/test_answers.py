"""What servers send is understood however they quote, order and group."""

import json

import pytest

from vmprobe.core.errors import GatewayFailed
from vmprobe.drivers.occi import answers, text
from vmprobe.drivers.occi.driver import (
    COMPUTE,
    INFRASTRUCTURE,
    INTERFACE,
    NETWORK,
    STORAGE,
    STORAGELINK,
)

from .stage import OOI, OS, entity, parsed

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
