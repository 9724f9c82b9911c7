"""The real EC2 interface of the tests: ec2-api in front of the OpenStack of the live tests."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from conformance.harnesses import of_site
from vmprobe.core.clock import Clock
from vmprobe.core.model import Capability

from ..occi import pypi
from ..openstack import conffiles
from ..openstack.place import PORTS
from ..openstack.processes import PYTHON
from ..openstack.shared import running
from . import places

HERE = Path(__file__).resolve().parent
PASTE = """[composite:ec2api]
use = egg:Paste#urlmap
/: cloud
[composite:cloud]
use = call:ec2api.api.auth:pipeline_factory
keystone = faults log auth requests executor
[filter:faults]
paste.filter_factory = ec2api.api:FaultWrapper.factory
[filter:log]
paste.filter_factory = ec2api.api:RequestLogging.factory
[filter:auth]
paste.filter_factory = ec2api.api:EC2KeystoneAuth.factory
[filter:requests]
paste.filter_factory = ec2api.api:Requestify.factory
[app:executor]
paste.app_factory = ec2api.api:Executor.factory
"""
_fronts: list[Front] = []


@dataclass
class Front:
    """What a test needs: the URL, the keys of a project member, and a subnet in that member's VPC."""

    stack: object
    url: str
    access: str
    secret: str
    subnet: str


def front() -> Front:
    """ec2-api, running in front of the one OpenStack of this run; both end together."""
    if not _fronts:
        code, stack = pypi.site("ec2-api", "15.0.0"), running()
        _start(stack, code)
        member = stack.api(stack.cloud().member)
        keys = member.post(
            "identity",
            f"/users/{member.token['user']['id']}/credentials/OS-EC2",
            {"tenant_id": member.token["project"]["id"]},
        )["credential"]
        made = Front(stack, stack.place.url("ec2-api"), keys["access"], keys["secret"], "")
        made.subnet = _subnet(made)
        _fronts.append(made)
    return _fronts[0]


def _start(stack, code: Path) -> None:
    place = stack.place
    (place.etc / "ec2-paste.ini").write_text(PASTE)
    conffiles.ini(
        place.etc / "ec2.conf",
        {
            "DEFAULT": {
                "log_file": place.log / "ec2-api.log",
                "state_path": place.run / "ec2",
                "api_paste_config": place.etc / "ec2-paste.ini",
                "ec2api_listen": place.address,
                "ec2api_listen_port": PORTS["ec2-api"],
                "ec2api_workers": 1,
                "ec2_host": place.address,
                "ec2_port": PORTS["ec2-api"],
                "keystone_ec2_tokens_url": f"{place.url('keystone')}/v3/ec2tokens",
                "default_flavor": stack.cloud().flavor,
            },
            "database": conffiles.database(place, "ec2api"),
            "keystone_authtoken": conffiles.authtoken(place, "nova", "ec2"),
            "oslo_concurrency": {"lock_path": place.run / "lock"},
        },
    )
    account = {"name": "nova", "domain": {"name": "Default"}, "password": conffiles.PASSWORD}
    (place.etc / "ec2.json").write_text(
        json.dumps(
            {
                "keystone": place.url("keystone"),
                "configuration": str(place.etc / "ec2.conf"),
                "database": {
                    "host": place.address,
                    "port": PORTS["mariadb"],
                    "user": "openstack",
                    "password": conffiles.PASSWORD,
                },
                "service": {
                    "identity": {"methods": ["password"], "password": {"user": account}},
                    "scope": {"project": {"name": "service", "domain": {"name": "Default"}}},
                },
            }
        )
    )
    stack.processes.start(
        "ec2-api", [PYTHON, str(HERE / "front.py"), str(code), str(place.etc / "ec2.json")]
    )
    stack.processes.wait_port("ec2-api", PORTS["ec2-api"])


def _subnet(front: Front) -> str:
    """A subnet that ec2-api knows: made by EC2's own calls, in the region's one zone."""
    with TemporaryDirectory() as directory:
        driver = of_site(str(site_file(Path(directory), front)), Clock()).driver
        driver.connect()
        vpc = (
            driver.session.call("CreateVpc", {"CidrBlock": "10.97.0.0/16"})
            .xml()
            .findtext("vpc/vpcId")
        )
        return (
            driver.session.call("CreateSubnet", {"VpcId": vpc, "CidrBlock": "10.97.1.0/24"})
            .xml()
            .findtext("subnet/subnetId")
        )


def site_file(
    directory: Path, front: Front, credentials: str = "", endpoint=(), **test_vm: str
) -> Path:
    """A site file for ec2-api, with the keys of a project member."""
    cloud = front.stack.cloud()
    keys = {
        "image": cloud.image,
        "flavor": cloud.flavor,
        "network": front.subnet,
        "availability zone": cloud.zone,
        "volume zone": "nova",
        **test_vm,
    }
    credentials = credentials or f"access_key = {front.access}\nsecret_key = {front.secret}\n"
    endpoint = {
        "timeout": "180 s",
        **dict(endpoint),
    }  # ec2-api answers only when it has created all servers of a fleet
    return places.site_file(
        directory,
        front.url,
        "ec2-api",
        credentials,
        endpoint,
        budget="deadline = 600 s\nreserve = 200 s",
        **keys,
    )


@contextmanager
def harness():
    """For the conformance suite: Nova's fake hypervisor, whose console is empty."""
    made = front()
    with TemporaryDirectory() as directory:
        yield of_site(
            str(site_file(Path(directory), made)),
            Clock(),
            reports=False,
            impossible={"availability zone": "no-such-zone"},
            lacks={Capability.SNAPSHOTS: "of images that are no volumes ec2-api takes none"},
        )
