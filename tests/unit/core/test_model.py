"""The types that modules pass on to each other."""

import pytest

from vmprobe.core.model import (
    AddressSpec,
    Kind,
    Plan,
    Ref,
    SecurityGroupSpec,
    ServerSpec,
    VolumeSpec,
    member_names,
)


@pytest.mark.parametrize("servers, names", [(1, ["x"]), (3, ["x-1", "x-2", "x-3"])])
def test_the_members_of_a_fleet_are_numbered(servers, names):
    assert member_names("x", servers) == names


def test_each_spec_has_its_kind():
    server, plan = Ref(Kind.SERVER, "s-1"), Plan("image")
    specs = [
        ServerSpec("x", plan),
        VolumeSpec("x", 1, plan),
        SecurityGroupSpec("x"),
        AddressSpec("x", server, plan),
    ]

    assert [spec.kind for spec in specs] == [
        Kind.SERVER,
        Kind.VOLUME,
        Kind.SECURITY_GROUP,
        Kind.ADDRESS,
    ]


def test_a_plan_names_its_parts():
    assert str(Plan("debian", "tiny", details={"id": "i-1"})) == "image debian, flavor tiny"
