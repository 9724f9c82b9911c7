"""An EC2 list whose pages never end."""

from urllib.parse import parse_qs

import pytest

from rawserver import Server, reply
from virtual import VirtualClock
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import Incomplete
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind
from vmprobe.drivers import load


def test_ec2s_pages_that_lead_round_and_round_are_an_incomplete_list():
    tokens = []

    def answer(request):
        words = parse_qs(request.body.decode())
        if words["Action"] != ["DescribeInstances"]:
            return reply(
                200,
                "<DescribeAvailabilityZonesResponse><availabilityZoneInfo><item><zoneName>a</zoneName><zoneState>available</zoneState></item></availabilityZoneInfo></DescribeAvailabilityZonesResponse>",
            )
        tokens.append(words.get("NextToken", [""])[0])
        return reply(
            200,
            f"<DescribeInstancesResponse><reservationSet/><nextToken>{'bc'[len(tokens) % 2]}</nextToken></DescribeInstancesResponse>",
        )

    with Server(answer) as server:
        kind = load("ec2")
        endpoint = {
            **{name: key.default for name, key in kind.endpoint_keys.items()},
            "timeout": 5.0,
            "ca": None,
            "manager": "ec2",
            "url": server.url,
            "region": "here",
        }
        credentials = {"access_key": "AKID", "secret_key": "s"}
        driver = kind(endpoint, credentials, Deadline(600, 60, VirtualClock()), Evidence())
        driver.connect()

        with pytest.raises(Incomplete, match=r": its pages repeat themselves$"):
            driver.list(Kind.SERVER, "")
    assert tokens == ["", "c", "b"]
