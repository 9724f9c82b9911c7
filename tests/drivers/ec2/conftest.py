"""Drivers before an EC2 whose answers a test writes itself."""

import pytest

from rawserver import Server, reply
from simulators.scripted_ec2 import HANDLE, PLAN, RUN, ZONES, driver, of_action
from virtual import VirtualClock
from vmprobe.core.model import ServerSpec, VolumeSpec


@pytest.fixture
def connected():
    """connected(answers, ...) is a driver; the answers are by action, '' is for any other one."""
    servers = []

    def start(answers, **endpoint):
        def respond(request):
            target = request.headers.get("x-amz-target", "").rpartition(".")[2]
            action = (
                target
                or dict(part.split("=", 1) for part in request.body.decode().split("&"))["Action"]
            )
            answer = answers.get(
                action,
                ZONES
                if action == "DescribeAvailabilityZones"
                else answers.get("", b"<AResponse/>"),
            )
            if callable(answer):
                answer = answer(request)
            return of_action(action, answer if answer[:4] == b"HTTP" else reply(200, answer))

        servers.append(Server(respond))
        ec2 = driver(
            endpoint.pop("manager", "ec2"),
            url=servers[-1].url,
            **{
                "cloudwatch url": servers[-1].url,
                "service quotas url": servers[-1].url,
                **endpoint,
            },
        )
        ec2.connect()
        return ec2

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture
def after_create(connected):
    """after_create(answers) is a driver that has just asked for a server and a volume."""

    def start(answers, clock=None):
        ec2 = connected(
            {
                "RunInstances": RUN,
                "CreateVolume": b"<AResponse><volumeId>vol-1</volumeId></AResponse>",
                **answers,
            },
            clock=clock or VirtualClock(),
        )
        ec2.create(ServerSpec(HANDLE, PLAN))
        ec2.create(VolumeSpec(HANDLE, 2**30, PLAN))
        return ec2

    return start
