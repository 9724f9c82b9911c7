"""Where a stack lives: its directories, its loopback address and its ports."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

PORTS = {
    "keystone": 5000,
    "glance": 9292,
    "placement": 8778,
    "nova": 8774,
    "neutron": 9696,
    "cinder": 8776,
    "metadata": 8775,
    "mariadb": 3306,
    "rabbitmq": 5672,
    "gnocchi": 8041,
    "ec2-api": 8788,
    "ooi": 8787,
    "ooi-grid": 8786,  # of what some tests run beside it
}
HERE = Path(__file__).resolve().parent
STANDINS = HERE / "standins"


class Place:
    """The state directory and what is derived from it.

    Every state directory has its own address in 127.0.0.0/8, so that several stacks can run beside
    each other on the services' usual ports, and none can be mistaken for another.
    """

    def __init__(self, state: os.PathLike | str | None = None) -> None:
        self.state = Path(state or default_state()).resolve()
        self.run = self.state / "run"  # of the running stack; thrown away with it
        self.keep = (
            self.run / "keep"
        )  # the part of it that a snapshot holds: database, images, keys
        self.etc = self.run / "etc"
        self.log = self.run / "log"
        self.snapshots = self.state / "snapshots"

        number = zlib.crc32(str(self.state).encode())
        self.address = f"127.{number % 254 + 1}.{number // 254 % 254 + 1}.1"
        self.guests = (
            f"10.98.{number % 254 + 1}"  # the part of the guests' network that is the same for all
        )
        # Erlang also looks for its two ports at 127.0.0.1, so each stack needs other ones
        self.epmd = 20000 + 2 * (number % 6000)
        self.erlang = self.epmd + 1

    def url(self, service: str) -> str:
        return f"http://{self.address}:{PORTS[service]}"


def default_state() -> Path:
    """``$VMPROBE_LIVE/openstack``, or a directory in the user's cache."""
    base = os.environ.get("VMPROBE_LIVE") or "~/.cache/vmprobe/live"
    return Path(base).expanduser() / "openstack"
