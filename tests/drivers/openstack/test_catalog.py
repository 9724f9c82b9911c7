"""Which service of the catalog is used: by region, interface and type."""

import pytest

from simulators.keystone import (
    SENT,
    keystone,
    message_of,
)
from vmprobe.core.errors import (
    ClientError,
    NotFound,
)

pytestmark = pytest.mark.usefixtures("no_environment")


def test_a_service_is_that_of_the_region_and_the_interface(identity):
    def nova(**endpoint):
        session = keystone(cloud, SENT["application-credential"][0], **endpoint)
        session.authenticate()
        return session.service("compute").url

    cloud = identity()

    assert nova(region="north") == f"{cloud.url}/nova"
    assert nova(region="south") == f"{cloud.url}/south"
    assert (
        nova(region="north", interface="internal")
        == nova(region="north", interface="internalURL")
        == f"{cloud.url}/inside"
    )
    assert (
        message_of(ClientError, nova)
        == "the catalog has compute in the regions north, south: choose one with 'region'"
    )
    assert (
        message_of(ClientError, nova, region="west")
        == "[endpoint] region: the catalog has compute in north, south, not in west"
    )
    assert message_of(ClientError, nova, region="north", interface="admin") == (
        "[endpoint] interface: the catalog has compute, but no admin endpoint of it"
    )


def test_the_first_type_that_the_catalog_has_is_taken(identity):
    session = keystone(identity(), SENT["application-credential"][0], region="north")
    session.authenticate()

    assert session.service("block-storage", "volumev3").url.endswith("/cinder")
    assert (session.has("block-storage", "volumev3"), session.has("metric")) == (True, False)
    assert message_of(NotFound, session.service, "metric") == "the catalog has no service metric"


def test_a_region_is_without_a_service_that_only_another_one_has(identity):
    for region, lacking in (("north", False), ("south", True)):
        session = keystone(identity(), SENT["application-credential"][0], region=region)
        session.authenticate()
        assert (session.lacks("volumev3"), session.lacks("compute"), session.lacks("metric")) == (
            lacking,
            False,
            True,
        )


@pytest.mark.parametrize(
    "region, expected", [(None, "a"), ("RegionOne", "a"), ("REGIONONE", "b"), ("regionone", "a")]
)
def test_a_region_matches_in_other_letters_unless_one_has_exactly_these(
    region, expected, identity, monkeypatch
):
    monkeypatch.setattr(
        "simulators.keystone.catalog",
        lambda url: [
            {
                "type": "compute",
                "endpoints": [
                    {"interface": "public", "region_id": name, "url": f"{url}/{path}"}
                    for name, path in (("RegionOne", "a"), ("REGIONONE", "b"))
                ],
            }
        ],
    )
    session = keystone(
        identity(), SENT["application-credential"][0], **({"region": region} if region else {})
    )
    session.authenticate()

    assert session.service("compute").url.rpartition("/")[2] == expected


def test_an_older_catalog_names_its_regions_by_another_key(identity, monkeypatch):
    monkeypatch.setattr(
        "simulators.keystone.catalog",
        lambda url: [
            {
                "type": "compute",
                "endpoints": [
                    {"interface": "public", "region": region, "url": f"{url}/{region}"}
                    for region in ("north", "south")
                ],
            }
        ],
    )
    session = keystone(identity(), SENT["application-credential"][0], region="south")
    session.authenticate()

    assert session.service("compute").url.endswith("/south")
