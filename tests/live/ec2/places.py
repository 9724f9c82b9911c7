"""Site files for the gateway in front of moto, and harnesses for the conformance suite."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from conformance.harnesses import of_site
from vmprobe.core.clock import Clock

from . import moto
from .gateway import ACCESS, SECRET, Gateway

IMAGE = (
    "amzn-ami-hvm-2017.09.1.20171103-x86_64-gp2"  # one of moto's own images; its owner is amazon
)


def site_file(
    directory: Path,
    url: str,
    manager: str = "ec2",
    credentials: str = "",
    endpoint=(),
    budget="deadline = 240 s\nreserve = 100 s",
    **test_vm: str,
) -> Path:
    """Write a site file and its credentials file."""
    secret = directory / "credentials.ini"
    secret.write_text(
        "[credentials]\n" + (credentials or f"access_key = {ACCESS}\nsecret_key = {SECRET}\n")
    )
    secret.chmod(0o600)
    keys = {"image": IMAGE, "flavor": "t2.nano" if manager == "ec2" else "", **test_vm}
    path = directory / f"{manager}.ini"
    there = {
        "manager": manager,
        "url": url,
        "credentials": "credentials.ini",
        "timeout": "60 s",
        **dict(endpoint),
    }
    path.write_text(
        f"[site]\nname = {manager}\nowner = live\n"
        + section("endpoint", there)
        + section("test vm", keys)
        + "[polling]\nfirst = 0.2 s\nshortest = 0.2 s\n[sample]\nreadings = 2\ninterval = 0.2 s\n"
        + f"[budget]\n{budget}\n"
    )
    return path


def section(name: str, keys: dict[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value)


def aws(gateway: Gateway) -> dict[str, str]:
    """The keys of [endpoint] for the manager ``ec2``, without the URL."""
    return {"region": "us-east-1", "cloudwatch url": gateway.url, "image owner": "amazon"}


@contextmanager
def harness():
    """For the conformance suite: moto as Amazon's EC2."""
    moto.reset()
    with Gateway(moto.url()) as gateway, TemporaryDirectory() as directory:
        path = site_file(Path(directory), gateway.url, endpoint=aws(gateway))
        yield of_site(str(path), Clock(), reports=False)


@contextmanager
def eucalyptus():
    """For the conformance suite: moto behind Eucalyptus' dialect."""
    moto.reset()
    with (
        Gateway(moto.url(), "/services/compute", 4, "eucalyptus", "eucalyptus") as gateway,
        TemporaryDirectory() as directory,
    ):
        yield of_site(
            str(site_file(Path(directory), gateway.url, "eucalyptus")), Clock(), reports=False
        )


@contextmanager
def nimbus():
    """For the conformance suite: moto behind Nimbus' dialect."""
    moto.reset()
    with Gateway(moto.url(), "/", 2, "", "nimbus") as gateway, TemporaryDirectory() as directory:
        yield of_site(
            str(site_file(Path(directory), gateway.url, "nimbus")), Clock(), reports=False
        )
