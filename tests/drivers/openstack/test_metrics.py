"""Nova's diagnostics."""

import pytest

from rawserver import reply
from simulators.openstack import answer
from vmprobe.core.errors import (
    GatewayFailed,
    NotMeasured,
)
from vmprobe.core.model import (
    Kind,
    Ref,
)


def test_a_counter_that_a_hypervisor_does_not_have_is_left_out(cloud, services):
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = answer(
        {
            "cpu_details": [{"time": 17300000000, "utilisation": None}],
            "nic_details": [{"rx_octets": None, "tx_octets": -1}],
            "disk_details": [],
        }
    )

    assert {sample.metric: sample.value for sample in cloud.metrics(Ref(Kind.SERVER, "s1"))} == {
        "cpu": 17.3
    }


@pytest.mark.parametrize(
    "status, body",
    [
        (
            409,
            {
                "conflictingRequest": {
                    "message": "Cannot 'get_diagnostics' instance s1 while it is in power state: SHUTDOWN"
                }
            },
        ),
        (
            500,
            {"computeFault": {"message": "Unexpected API Error. <class 'libvirt.libvirtError'>"}},
        ),
    ],
    ids=["409", "500"],
)
def test_a_server_whose_diagnostics_fail_is_not_measured_and_says_why(
    status, body, cloud, services
):
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = answer(body, status)

    with pytest.raises(NotMeasured, match=f"^diagnostics of server s1: {status} "):
        cloud.metrics(Ref(Kind.SERVER, "s1"))


def test_diagnostics_that_a_proxy_could_not_fetch_are_its_failure(cloud, services):
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = reply(
        500, "<html><title>500 Internal Server Error</title></html>"
    )

    with pytest.raises(GatewayFailed):
        cloud.metrics(Ref(Kind.SERVER, "s1"))
