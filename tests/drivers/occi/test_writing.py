"""What we send is by the book."""

import pytest

from vmprobe.core.errors import ClientError
from vmprobe.drivers.occi import writing
from vmprobe.drivers.occi.driver import (
    COMPUTE,
    INFRASTRUCTURE,
    INTERFACE,
    NETWORK,
)
from vmprobe.drivers.occi.entities import HEADERS, TEXT, Entity

from .stage import OS, entity

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
