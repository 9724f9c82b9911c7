"""The verbs, over several services."""

import json

import pytest

from rawserver import reply
from simulators.openstack import (
    PROJECT,
    answer,
    ids,
)
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import (
    CloudError,
    GatewayFailed,
    NotFound,
    NotPermitted,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import (
    AddressSpec,
    Kind,
    Plan,
    Ref,
    SecurityGroupSpec,
)
from vmprobe.drivers.openstack.driver import Openstack


def test_a_neutron_without_routers_has_no_floating_ips(cloud, services):
    assert cloud.list(Kind.ADDRESS, "vmprobe-") == []


@pytest.mark.parametrize(
    "kind, where, spec",
    [
        (
            Kind.ADDRESS,
            "floatingips",
            AddressSpec("vmprobe-x", Ref(Kind.SERVER, "s1"), Plan("i", external="e1")),
        ),
        (Kind.SECURITY_GROUP, "security-groups", SecurityGroupSpec("vmprobe-x")),
    ],
    ids=["addresses", "security-groups"],
)
@pytest.mark.parametrize(
    "status, error", [(403, NotPermitted), (404, NotFound)], ids=["403", "404"]
)
def test_a_list_that_policy_forbids_is_empty_unless_the_run_created_one(
    status, error, kind, where, spec, cloud, services
):
    refusal = answer({"NeutronError": {"message": "(rule:get) is disallowed by policy"}}, status)
    services.answers[f"GET /network/v2.0/{where}"] = refusal
    assert cloud.list(kind, "vmprobe-") == []

    with pytest.raises(CloudError):  # whatever came of it
        cloud.create(spec)
    with pytest.raises(error):
        cloud.list(kind, "vmprobe-")


def test_other_failures_of_a_list_are_never_an_empty_list(cloud, services):
    services.answers["GET /network/v2.0/floatingips"] = reply(503, "busy")

    with pytest.raises(GatewayFailed):
        cloud.list(Kind.ADDRESS, "vmprobe-")
    assert json.dumps(services.asked).count("floatingips") == 1


def test_security_groups_are_listed_without_their_rules(cloud, services):
    services.answers["GET /network/v2.0/security-groups"] = answer(
        {"security_groups": [{"id": "g1", "name": "vmprobe-x"}]}
    )

    assert ids(cloud.list(Kind.SECURITY_GROUP, "vmprobe-")) == ["g1"]
    assert services.asked == [
        f"GET /network/v2.0/security-groups?project_id={PROJECT}&fields=id&fields=name&limit=200"
    ]


def test_the_identity_has_the_cloud_of_the_environment(services, monkeypatch):
    for number in (1, 2):
        monkeypatch.setenv("OS_AUTH_URL", f"https://cloud{number}.example.org:5000")
        monkeypatch.setenv("OS_PROJECT_NAME", "ops")
        keys = {name: key.default for name, key in Openstack.endpoint_keys.items()}
        found = Openstack(
            {"manager": "openstack", "timeout": 9.0, "ca": None, **keys},
            {},
            Deadline(60, 0, Clock()),
            Evidence(),
        )
        assert found.identity == f"openstack https://cloud{number}.example.org:5000 ops"


@pytest.mark.parametrize(
    "event, expected",
    [
        ({"finish_time": "2026-03-01T10:00:09.000000", "result": "Success"}, 1772359209.0),
        ({"finish_time": None, "result": None}, None),
        ({"finish_time": "2026-03-01T10:00:09.000000", "result": "Error"}, None),
    ],
)
def test_an_attachment_is_finished_when_its_events_are(cloud, services, event, expected):
    server, asked = Ref(Kind.SERVER, "s1"), "GET /compute/v2.1/servers/s1/os-instance-actions/req-7"
    services.answers = {
        "POST /compute/v2.1/servers/s1/os-volume_attachments": answer(
            {"volumeAttachment": {}}, X_Openstack_Request_Id="req-7"
        ),
        asked: answer(
            {
                "instanceAction": {
                    "action": "attach_volume",
                    "events": [{"event": "compute_attach_volume", **event}],
                }
            }
        ),
    }

    assert (
        cloud.finished_at(server, "storage") is None and asked not in services.asked
    )  # nothing was asked for
    cloud.attach(server, Ref(Kind.VOLUME, "v1"))

    assert cloud.finished_at(server, "storage") == expected
    assert services.asked.count(asked) == 1
