"""What the services say of themselves."""

from simulators.openstack import PROJECT, answer


def test_describe_does_not_ask_for_what_offers_does(cloud, services):
    assert cloud.describe() == {
        "version": "Nova 2.96",
        "services": ["block-storage", "compute", "image", "network"],
        "project": PROJECT,
    }
    assert services.asked == ["GET /compute/v2.1/"]


def test_an_offer_that_fails_or_is_forbidden_is_replaced_by_the_reason(cloud, services):
    services.answers = {
        "GET /v3": answer({"version": {"id": "v3.14"}}),
        "GET /volume/v3/": answer({"versions": [{"version": "3.70"}]}),
        "GET /network/v2.0/extensions": answer(
            {"extensions": [{"alias": "router"}, {"alias": "dns"}]}
        ),
        "GET /compute/v2.1/os-hypervisors/detail": answer(
            {"forbidden": {"message": "Policy"}}, 403
        ),
    }

    assert cloud.offers() == {
        "identity": "v3.14",
        "block storage": "3.70",
        "network extensions": ["dns", "router"],
        "hypervisors": "not permitted",
    }
    services.answers["GET /compute/v2.1/os-hypervisors/detail"] = answer(
        {
            "hypervisors": [
                {"hypervisor_type": None, "cpu_info": None},
                {"hypervisor_type": "QEMU"},
                {},
            ]
        }
    )
    assert cloud.offers()["hypervisors"] == ["QEMU"]
    services.answers["GET /volume/v3/"] = answer({"versions": []})
    assert (
        cloud.offers()["block storage"] == "Cinder's version: the answer has no versions.0.version"
    )
