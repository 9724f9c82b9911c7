"""An EC2 whose answers a test writes itself, and a driver before it."""

from urllib.parse import parse_qsl

from rawserver import reply
from virtual import VirtualClock
from vmprobe.core.clock import Deadline
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind, Ref
from vmprobe.drivers import load

KEYS = {"access_key": "AKID", "secret_key": "s"}


ZONES = b"<AResponse><availabilityZoneInfo><item><zoneName>a</zoneName><zoneState>available</zoneState></item></availabilityZoneInfo></AResponse>"


HANDLE = "vmprobe-mon-20261123t000000z-6-abcdefgh"


SERVER = Ref(Kind.SERVER, "i-1", HANDLE)


def driver(manager="ec2", clock=None, **endpoint):
    kind = load(manager)
    defaults = {name: key.default for name, key in kind.endpoint_keys.items()}
    return kind(
        {**defaults, "timeout": 5.0, "ca": None, "manager": manager, **endpoint},
        KEYS,
        Deadline(600, 60, clock or VirtualClock()),
        Evidence(),
    )


def of_action(action, answer):
    """The answer with ``AResponse`` replaced by the name that fits the action."""
    body = answer.partition(b"\r\n\r\n")[2]
    return (
        reply(200, body.replace(b"AResponse", action.encode() + b"Response"))
        if b"AResponse" in body
        else answer
    )


def refusal(code, status=400, message="words"):
    return reply(
        status,
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        f"<RequestID>r-1</RequestID></Response>",
    )


def instances(*items):
    return (
        b"<AResponse><reservationSet><item><instancesSet>"
        + "".join(
            f"<item><instanceId>i-{number}</instanceId><instanceState><name>{state}</name></instanceState>{more}</item>"
            for number, (state, more) in enumerate(items, 1)
        ).encode()
        + b"</instancesSet></item></reservationSet></AResponse>"
    )


def form_of(request):
    return dict(parse_qsl(request.body.decode()))


def volumes(numbers, token=""):
    items = "".join(
        f"<item><volumeId>vol-{number}</volumeId><status>available</status><size>1</size></item>"
        for number in numbers
    )
    following = f"<nextToken>{token}</nextToken>" if token else ""
    return reply(200, f"<AResponse><volumeSet>{items}</volumeSet>{following}</AResponse>".encode())


RUN = (
    b"<AResponse><instancesSet><item><instanceId>i-1</instanceId></item></instancesSet></AResponse>"
)


PLAN = type(
    "Plan",
    (),
    {
        "details": {
            "image": "ami-1",
            "flavor": "t",
            "zone": "a",
            "subnet": "",
            "group": {},
            "kept": [],
            "volume zone": "a",
            "volume type": None,
        }
    },
)


VOLUME = Ref(Kind.VOLUME, "vol-1", HANDLE)
