"""The OCCI endpoints that the tests use: pyssf, and ooi in front of the live tests' Nova."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..openstack import conffiles, federation, services
from ..openstack import shared as openstack
from ..openstack.place import PORTS
from ..openstack.processes import PYTHON
from . import pypi

HERE = Path(__file__).resolve().parent
USER, PASSWORD = "probe", "s3cret-of-pyssf"


@contextmanager
def pyssf(*faults: str, access=("--user", f"{USER}:{PASSWORD}")):
    """The URL of pyssf's server with our small cloud behind it, and with these faults (``reference.py``)."""
    code = pypi.site("pyssf", "0.4.7")
    server = subprocess.Popen(
        [
            sys.executable,
            "-W",
            "ignore",
            str(HERE / "reference.py"),
            str(code),
            *access,
            *(f"--fault={fault}" for fault in faults),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = server.stdout.readline().strip()
        assert url, "pyssf did not start"
        yield url
    finally:
        server.terminate()
        server.wait(20)


def pyssf_site(
    directory: Path,
    url: str,
    endpoint: str = "",
    credentials: str = "",
    budget=None,
    **test_vm: str,
) -> Path:
    """A site file for pyssf's server."""
    keys = {
        "image": "vmprobe-test",
        "flavor": "small",
        "network": "private",
        "start": "yes",
        **test_vm,
    }
    return site_file(
        directory,
        "pyssf",
        f"url = {url}\n{endpoint}",
        credentials or f"username = {USER}\npassword = {PASSWORD}\n",
        keys,
        **(budget or {}),
    )


def site_file(
    directory: Path, name: str, endpoint: str, credentials: str, test_vm: dict, **budget: str
) -> Path:
    secret = directory / "credentials.ini"
    secret.write_text("[credentials]\n" + credentials)
    secret.chmod(0o600)
    path = directory / f"{name}.ini"
    path.write_text(
        f"[site]\nname = {name}\nowner = live\n[endpoint]\nmanager = occi\n{endpoint}\ncredentials = credentials.ini\n"
        "timeout = 60 s\n[polling]\nfirst = 0.2 s\nshortest = 0.2 s\nlongest = 1 s\n"
        + _section("budget", {"deadline": "600 s", "reserve": "200 s", **budget})
        + _section("test vm", test_vm)
    )
    return path


def _section(name: str, keys: dict) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value)


@contextmanager
def pyssf_harness():
    """For the conformance suite: pyssf in text/plain, its only rendering."""
    from conformance.harnesses import of_site
    from vmprobe.core.clock import Clock

    with pyssf() as url, TemporaryDirectory() as directory:
        yield of_site(str(pyssf_site(Path(directory), url)), Clock())


# --- ooi ----------------------------------------------------------------------------------------------------------

_PASTE = """
[composite:osapi_compute]
use = call:nova.api.openstack.urlmap:urlmap_factory
/occi1.2: occi

[composite:occi]
use = call:nova.api.auth:pipeline_factory_v21
keystone = cors http_proxy_to_wsgi compute_req_id faultwrap sizelimit authtoken keystonecontext ooi osapi_compute_app_v21

[filter:ooi]
paste.filter_factory = ooi.wsgi:OCCIMiddleware.factory
openstack_version = /v2.1
"""


def ooi():
    """(the OpenStack of this run, URL of ooi in front of its Nova); ooi ends with the OpenStack."""
    stack = openstack.running()
    _front(stack, "ooi")
    return stack, f"{stack.place.url('ooi')}/occi1.2"


def ooi_of_the_grid():
    """(the ``Federation`` of this run, URL of an ooi behind its Apache). That ooi names the Keystone that accepts certificates."""
    grid = federation.running()
    _front(
        openstack.running(), "ooi-grid", keystone_authtoken={"www_authenticate_uri": grid.auth_url}
    )
    return grid, grid.auth_url.replace("/v3", "/occi1.2")


def _front(stack, name: str, **more: dict) -> None:
    """Start Nova's API with ooi in front of it, unless it runs."""
    place, processes = stack.place, stack.processes
    if not processes.pid(name):
        code = pypi.site("ooi", "1.2.0")
        paste = re.sub(
            r"(?ms)^\[composite:osapi_compute\].*?(?=^\[)",
            "",
            Path("/etc/nova/api-paste.ini").read_text(),
        )
        (place.etc / "occi-paste.ini").write_text(paste + _PASTE)
        conffiles.ini(
            place.etc / f"{name}.conf",
            {
                "DEFAULT": {
                    "osapi_compute_listen_port": PORTS[name],
                    "neutron_ooi_endpoint": f"{place.url('neutron')}/v2.0",
                    "default_schedule_zone": stack.cloud().zone,
                },  # OCCI has no word for it
                "wsgi": {"api_paste_config": place.etc / "occi-paste.ini"},
                **more,
            },
        )
        options = services.options(place, ["nova", "nova-database", name])
        processes.start(name, [PYTHON, str(HERE / "front.py"), str(code), *options])
        processes.wait_port(name, PORTS[name])


def ooi_site(
    directory: Path,
    endpoint: str = "",
    credentials: str = "",
    budget=None,
    url: str = "",
    **test_vm: str,
) -> Path:
    """A site file for ooi, or for the one at ``url``, for a member of a project. It names no project: there is only one."""
    url, cloud = url or ooi()[1], openstack.running().cloud()
    keys = {"image": cloud.image, "flavor": cloud.flavor, "network": cloud.network, **test_vm}
    return site_file(
        directory,
        "ooi",
        f"url = {url}\n{endpoint}",
        credentials or f"username = {cloud.member.user}\npassword = {cloud.member.password}\n",
        keys,
        **(budget or {}),
    )


@contextmanager
def ooi_harness():
    """For the conformance suite: ooi in front of Nova with its fake hypervisor, in JSON."""
    from conformance.harnesses import of_site
    from vmprobe.core.clock import Clock

    with TemporaryDirectory() as directory:
        yield of_site(str(ooi_site(Path(directory))), Clock(), impossible={"flavor": ""})
