"""Gnocchi, in the forms of its "REST API Usage" that the Gnocchi of the live tests does not give."""

import json

import pytest

from rawserver import reply
from simulators.openstack import (
    answer,
)
from vmprobe.core.errors import (
    NotMeasured,
    NotPermitted,
)
from vmprobe.core.model import (
    Kind,
    Ref,
)


@pytest.fixture
def gnocchi(cloud, services):
    """(the driver, whose diagnostics are forbidden; a function that has Gnocchi answer this for disks)."""
    catalog = cloud.keystone.token["catalog"]
    catalog.append(
        {
            "type": "metric",
            "endpoints": [
                {"interface": "public", "region_id": "one", "url": f"{services.server.url}/metric"}
            ],
        }
    )
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = answer(
        {"forbidden": {"message": "Policy"}}, 403
    )

    def disks(response):
        def told(request):
            kind = json.loads(request.body)["resource_type"]
            return (
                response
                if kind == "instance_disk"
                else answer({"description": {"cause": "Metrics not found", "detail": ["cpu"]}}, 400)
            )

        services.answers["POST /metric/v1/aggregates"] = told

    return cloud, disks


def _means(*devices):
    """Of each device the counter at the given minutes past ten, kept each 60 seconds; and an hour's mean, which is coarser."""
    return answer(
        {
            "measures": {
                str(number): {
                    "disk.device.read.bytes": {
                        "mean": [
                            ["2026-03-01T10:00:00+00:00", 3600.0, 5.0],
                            *(
                                [f"2026-03-01T10:{minute:02}:00+00:00", 60.0, value]
                                for minute, value in device.items()
                            ),
                        ]
                    }
                }
                for number, device in enumerate(devices)
            }
        }
    )


def readings(cloud):
    return [
        (sample.metric, sample.value, sample.at - 1772359200, sample.source)
        for sample in cloud.metrics(Ref(Kind.SERVER, "s1"))
    ]


@pytest.mark.parametrize(
    "devices, expected",
    [
        ([{1: 100.0, 2: 700.0}], [(60, 100.0), (120, 700.0)]),
        ([{1: 100.0, 2: 700.0}, {2: 50.0}], [(60, 100.0), (120, 750.0)]),  # a disk that came
        (
            [{1: 1.0, 2: 2.0, 3: 3.0}, {1: 10.0, 2: 20.0}],
            [(60, 11.0), (120, 22.0)],
        ),  # a granule that lacks one is not whole
        ([{3: 9.0}], [(180, 9.0)]),
    ],
)
def test_the_two_newest_moments_of_the_finest_granule_are_read_and_all_disks_summed(
    gnocchi, devices, expected
):
    cloud, disks = gnocchi
    disks(_means(*devices))

    assert readings(cloud) == [
        ("disk_read", value, at, "Gnocchi, every 60 s") for at, value in expected
    ]


@pytest.mark.parametrize(
    "response, message",
    [
        (answer({"measures": {}}), "; Gnocchi has no measures of it yet"),
        (
            answer(
                {
                    "measures": {
                        "0": {
                            "disk.device.read.bytes": {
                                "mean": [["2026-03-01T10:00:00+00:00", 60.0]]
                            }
                        }
                    }
                }
            ),
            "; Gnocchi's measures of server s1: the answer has no 2",
        ),
        (
            answer({"measures": [1]}),
            "; Gnocchi's measures of server s1: measures in the answer is a list, not an object",
        ),
        (
            answer({"description": {"cause": "Invalid operations"}}, 400),
            "; Gnocchi's measures of server s1: 400 ",
        ),
        (answer({"title": "Forbidden"}, 403), "; Gnocchi's measures of server s1: 403 Forbidden"),
        (answer({"title": "Not Found"}, 404), "; Gnocchi's measures of server s1: 404 Not Found"),
        (reply(500, "oops"), "; Gnocchi's measures of server s1: 500 "),
        (b"", "; Gnocchi's measures of server s1: "),
    ],
)
def test_a_gnocchi_that_refuses_or_is_broken_is_one_sentence_and_not_asked_again(
    gnocchi, services, response, message
):
    cloud, disks = gnocchi
    disks(response)

    for _ in range(2):
        with pytest.raises((NotMeasured, NotPermitted)) as raised:
            cloud.metrics(Ref(Kind.SERVER, "s1"))
        assert str(raised.value).startswith("diagnostics of server s1: 403 Policy" + message)
    asked = len([one for one in services.asked if "/aggregates" in one])
    assert asked == (6 if "yet" in message else 2)


def test_a_gnocchi_that_does_not_answer_is_waited_for_once_and_not_for_long(gnocchi, services):
    cloud, disks = gnocchi
    cloud.endpoint["timeout"] = 1.5
    disks(lambda connection: connection.recv(1))  # until the other side has had enough

    for _ in range(2):
        with pytest.raises(
            NotPermitted,
            match="^diagnostics of server s1: 403 Policy; Gnocchi's measures of server s1: no whole answer within",
        ):
            cloud.metrics(Ref(Kind.SERVER, "s1"))
    assert (
        len([one for one in services.asked if "/aggregates" in one]) == 2
    )  # for its interfaces it was not asked any more


def test_gnocchi_may_fail_for_one_server_and_measure_the_others(gnocchi, services):
    cloud, disks = gnocchi
    for number in range(1, 7):
        services.answers[f"GET /compute/v2.1/servers/s{number}/diagnostics"] = services.answers[
            "GET /compute/v2.1/servers/s1/diagnostics"
        ]
    good, broken = _means({1: 100.0, 2: 700.0}), answer({"measures": [1]})

    for number, response, measured in (
        (1, broken, False),
        (2, good, True),
        (3, broken, False),
        (4, good, True),
        (1, good, False),
        (5, broken, False),
        (6, good, False),
    ):  # of three it was broken: then it is not asked any more
        disks(response)
        server = Ref(Kind.SERVER, f"s{number}")
        if measured:
            assert [sample.value for sample in cloud.metrics(server)] == [100.0, 700.0]
        else:
            with pytest.raises(
                NotPermitted, match="measures in the answer is a list, not an object$"
            ):
                cloud.metrics(server)


def test_cpu_time_is_per_vcpu_and_left_out_where_nova_does_not_say_how_many(gnocchi, services):
    cloud, _ = gnocchi
    services.answers["POST /metric/v1/aggregates"] = lambda request: answer(
        {
            "measures": {"s1": {"cpu": {"mean": [["2026-03-01T10:05:00+00:00", 300.0, 8e9]]}}}
            if json.loads(request.body)["resource_type"] == "instance"
            else {}
        }
    )

    for flavor, expected in (
        ({"vcpus": 4}, [("cpu", 2.0, 300, "Gnocchi, every 300 s")]),
        ({"id": "f1"}, None),
    ):
        services.answers["GET /compute/v2.1/servers/s1"] = answer(
            {"server": {"id": "s1", "status": "ACTIVE", "flavor": flavor}}
        )
        if expected:
            assert readings(cloud) == expected
        else:
            with pytest.raises(NotMeasured):
                cloud.metrics(Ref(Kind.SERVER, "s1"))


def test_the_period_of_a_metric_is_read_from_its_archive_policy(gnocchi, services):
    cloud, _ = gnocchi
    services.answers["GET /compute/v2.1/os-hypervisors/detail"] = answer({"hypervisors": []})
    policy = {"definition": [{"granularity": "1 day, 0:00:00"}, {"granularity": "0:05:00"}]}

    def metrics(request):
        return answer(
            [{"name": "cpu", "archive_policy": policy}] if "name=cpu&" in request.target else []
        )

    for response, message in (
        (metrics, {"cpu": "every 300 s"}),
        (answer({"title": "Forbidden"}, 403), "not permitted"),
    ):
        services.answers["GET /metric/v1/metric"] = response
        assert cloud.offers()["metrics by Gnocchi"] == message
