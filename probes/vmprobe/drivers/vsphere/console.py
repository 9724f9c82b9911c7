"""The console: a serial port writes to a file, which the datastore gives out over HTTP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Tuple
from urllib.parse import quote

from vmprobe.core.errors import GatewayFailed, NotFound
from vmprobe.core.model import Ref
from vmprobe.core.urls import origin
from vmprobe.drivers.vsphere import devices, readings
from vmprobe.guest import console

if TYPE_CHECKING:
    from vmprobe.drivers.vsphere.inventory import Inventory
    from vmprobe.drivers.vsphere.servers import Servers
    from vmprobe.drivers.vsphere.session import Session

_PATH = re.compile(r"\[([^\]]+)\] ?(\S.*)")


def read(session: Session, servers: Servers, inventory: Inventory, server: Ref) -> str:
    """All that the server has written; '' while there is no file, or it has no serial port."""
    asked = f"console of {server}"
    machine = servers.require(server, ["config.hardware.device"], asked)
    path = _PATH.fullmatch(devices.serial_file(machine.items("config.hardware.device")))
    if path is None:
        return ""
    datastore, file = path.groups()
    if any(part in ("", ".", "..") for part in file.split("/")):
        raise GatewayFailed(f"{asked}: {file[:80]!r} is no file that can be asked for")
    scheme, host, port = origin(session.http.url)
    base = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    query = {"dcPath": inventory.datacenter_path(), "dsName": datastore}
    try:
        reply = session.http.at(base).get(
            f"folder/{quote(file)}",
            query,
            headers={"Accept": "*/*", "Content-Type": "text/plain"},
            asked=asked,
        )
    except NotFound:
        return ""
    return reply.text


def addresses(text: str, nonce: str) -> Tuple[str, ...]:
    """The addresses that the reporter of the run with this nonce has written to the console."""
    told = (
        readings.usable_address(fact.values.get("address", ""))
        for fact in console.facts(text, nonce)
        if fact.fact == "network"
    )
    return tuple(sorted(set(told) - {""}))
