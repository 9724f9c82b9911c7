"""The services of the catalog: their URLs and their versions."""

import pytest

from rawserver import reply
from simulators.openstack import PROJECT, answer, driver
from vmprobe.core.model import (
    Kind,
    Ref,
)


def test_a_catalog_without_versions_is_understood(cloud, services):
    services.answers = {
        "GET /network/v2.0/ports": answer({"ports": []}),
        "GET /image/v2/images": answer({"images": []}),
        f"GET /volume/v3/{PROJECT}/volumes/detail": answer({"volumes": []}),
    }

    assert len(cloud.list(Kind.SERVER, "vmprobe-")) == 5
    assert cloud.list(Kind.VOLUME, "vmprobe-") == cloud.list(Kind.SNAPSHOT, "vmprobe-") == []
    assert cloud.ports([Ref(Kind.SERVER, "s1")]) == []


def test_novas_version_is_asked_for_above_the_projects_path(services):
    for where in ("compute", "compute/v2.1", f"compute/v2.1/{PROJECT}", "compute/v2.1/"):
        services.where["compute"] = where
        services.answers[f"GET /compute/v2.1/{PROJECT}/servers/detail"] = services.answers[
            "GET /compute/v2.1/servers/detail"
        ] = answer({"servers": []})
        cloud = driver(services)
        cloud.connect()
        services.asked.clear()

        assert cloud.list(Kind.SERVER, "vmprobe-") == []
        assert services.asked[0] == "GET /compute/v2.1/"
        assert services.server.requests[-1].headers["openstack-api-version"] == "compute 2.72"


def test_cinders_project_is_added_where_the_catalog_leaves_it_out(services):
    for where in ("volume", "volume/v3", "volume/v3/", f"volume/v3/{PROJECT}"):
        services.where["block-storage"] = where
        services.answers[f"GET /volume/v3/{PROJECT}/volumes/detail"] = answer({"volumes": []})
        cloud = driver(services)
        cloud.connect()

        assert cloud.list(Kind.VOLUME, "vmprobe-") == []


def test_an_older_nova_is_asked_in_its_own_newest_microversion(services):
    services.answers["GET /compute/v2.1/"] = answer({"version": {"version": "2.38"}})
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = answer(
        {
            "cpu0_time": 4000000000,
            "cpu1_time": 2000000000,
            "vda_read": 10,
            "vda_write": 20,
            "vda_errors": -1,
            "vdb_read": 5,
            "vdb_write": -1,
            "tap7a_rx": 7,
            "tap7a_tx": 8,
            "tap7a_rx_packets": 1,
            "memory": 131072,
        }
    )
    cloud = driver(services)
    cloud.connect()

    read = {sample.metric: sample.value for sample in cloud.metrics(Ref(Kind.SERVER, "s1"))}

    assert read == {"cpu": 3.0, "disk_read": 15, "disk_write": 20, "net_in": 7, "net_out": 8}
    assert services.server.requests[-1].headers["openstack-api-version"] == "compute 2.38"


def test_novas_version_is_asked_for_once(cloud, services):
    cloud.describe()
    cloud.list(Kind.SERVER, "vmprobe-")

    assert services.asked.count("GET /compute/v2.1/") == 1


@pytest.mark.parametrize(
    "slash, plain, spoken",
    [
        (
            answer({"message": "Api does not exist"}, 404),
            answer({"version": {"version": "2.60"}}),
            "compute 2.60",
        ),
        (
            reply(404, "<html><title>404 Not Found</title></html>", Content_Type="text/html"),
            answer({"version": {"version": "2.60"}}),
            "compute 2.60",
        ),
        (
            answer({"message": "Api does not exist"}, 404),
            answer({"message": "Api does not exist"}, 404),
            "compute 2.1",
        ),
    ],
    ids=["json", "a-page", "neither"],
)
def test_novas_version_may_be_found_only_without_the_slash_or_not_at_all(
    slash, plain, spoken, services
):
    services.answers.update({"GET /compute/v2.1/": slash, "GET /compute/v2.1": plain})
    cloud = driver(services)
    cloud.connect()

    assert len(cloud.list(Kind.SERVER, "vmprobe-")) == 5
    assert services.server.requests[-1].headers["openstack-api-version"] == spoken
