"""Drivers before an EC2 whose answers a test writes itself."""

import pytest

from rawserver import Server, reply
from simulators.scripted_ec2 import HANDLE, PLAN, RUN, ZONES, driver, of_action
from virtual import VirtualClock
from vmprobe.core.model import ServerSpec, VolumeSpec


@pytest.fixture
def cloud():
    """cloud(answers, ...) is a connected driver whose manager answers each action so; '' stands for any."""
    servers = []

    def start(answers, **words):
        def answer(request):
            target = request.headers.get("x-amz-target", "").rpartition(".")[2]
            action = (
                target
                or dict(part.split("=", 1) for part in request.body.decode().split("&"))["Action"]
            )
            found = answers.get(
                action,
                ZONES
                if action == "DescribeAvailabilityZones"
                else answers.get("", b"<AResponse/>"),
            )
            if callable(found):
                found = found(request)
            return of_action(action, found if found[:4] == b"HTTP" else reply(200, found))

        servers.append(Server(answer))
        made = driver(
            words.pop("manager", "ec2"),
            url=servers[-1].url,
            **{"cloudwatch url": servers[-1].url, "service quotas url": servers[-1].url, **words},
        )
        made.connect()
        return made

    yield start
    for server in servers:
        server.__exit__()


@pytest.fixture
def young(cloud):
    """young(answers) is a driver that has just asked for a server and a volume."""

    def start(answers, clock=None):
        made = cloud(
            {
                "RunInstances": RUN,
                "CreateVolume": b"<AResponse><volumeId>vol-1</volumeId></AResponse>",
                **answers,
            },
            clock=clock or VirtualClock(),
        )
        made.create(ServerSpec(HANDLE, PLAN))
        made.create(VolumeSpec(HANDLE, 2**30, PLAN))
        return made

    return start
