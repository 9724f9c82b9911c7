"""The simulated StratusLab: oned, proxy, disk service and Marketplace at one address.

Written from StratusLab's source: ``OneProxyServlet`` (which user it names to oned), the disk service's resources and
JSON templates (pdisk-server), and the Marketplace's metadata.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from typing import Any, Dict
from urllib.parse import parse_qs
from xmlrpc.client import dumps, loads

from simulators.opennebula import Oned
from simulators.opennebula_server import Handler

IMAGE = "BN1EEkPiBx87_uLj2-sdybSI-Xb"  # 27 characters
DEPRECATED = "B0ldEkPiBx87_uLj2-sdybSI-Xb"
_METADATA = """<?xml version="1.0" encoding="UTF-8"?>
<metadata><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dcterms="http://purl.org/dc/terms/"
 xmlns:slterms="http://mp.stratuslab.eu/slterms#" xmlns:slreq="http://mp.stratuslab.eu/slreq#">
<rdf:Description rdf:about="#{0}"><dcterms:identifier>{0}</dcterms:identifier><slreq:bytes>1048576</slreq:bytes>
<slreq:checksum rdf:parseType="Resource"><slreq:algorithm>SHA-1</slreq:algorithm>
<slreq:value>4dd44124f8813c7cee52f8ede05cb74892622fd7</slreq:value></slreq:checksum>
<dcterms:format>qcow2</dcterms:format><dcterms:title>vmprobe-test</dcterms:title>
<slterms:disks-bus>virtio</slterms:disks-bus>{1}</rdf:Description></rdf:RDF></metadata>"""


class StratusLab(Oned):
    """oned 3.2, and beside it disks by uuid: {tag, size, owner, mounts: {VM: device}}."""

    def __init__(self) -> None:
        super().__init__("3.2.1")
        self.disks: Dict[str, Dict[str, Any]] = {}
        self.users_of = {"probe": "a-good-password"}
        self.networks = {0: "public", 1: "local", 2: "private"}
        self.authenticate = self._by_proxy
        self.backend_fails = self.mounts_fail = False
        self.forgets_mounts = True  # as StratusLab's transfer manager: a VM's end ends its mounts
        self._uuids = itertools.count(1)

    def _by_proxy(self, session: str) -> Any:
        name, _, password = session.partition(":")
        return self.users.get(name) if password == "a" * 40 else None

    def _free(self, vm: Any) -> None:
        super()._free(vm)
        for disk in self.disks.values():
            if self.forgets_mounts:
                disk["mounts"].pop(str(vm.id), None)

    def left(self) -> list:
        return super().left() + [f"disk {uuid} {disk['tag']}" for uuid, disk in self.disks.items()]

    # --- the disk service -------------------------------------------------------------------------------------

    def rest(self, method: str, path: str, form: Dict[str, str], user: str) -> Any:
        """(status, document) of a request below ``/disks``."""
        with self.lock:
            self._go_on()
            uuid, _, rest = path.strip("/").partition("/")
            if not uuid:
                return self._all(user) if method == "GET" else self._made(form, user)
            if uuid not in self.disks:
                return 404, {"message": f"disk ({uuid}) does not exist", "code": 404}
            disk = self.disks[uuid]
            if rest.startswith("mounts"):
                return self._mount(method, uuid, disk, rest.partition("/")[2], form)
            if method == "DELETE":
                if disk["mounts"]:
                    return 409, {
                        "message": f"disk ({uuid}) is in use and can't be deleted",
                        "code": 409,
                    }
                del self.disks[uuid]
                return 200, {"uuid": uuid}
            return 200, {
                **self._about(uuid, disk),
                "type": "DATA_IMAGE_RAW_READ_WRITE",
                "visibility": "PRIVATE",
            }

    def _all(self, user: str) -> Any:
        return 200, [
            self._about(uuid, disk) for uuid, disk in self.disks.items() if disk["owner"] == user
        ]

    def _about(self, uuid: str, disk: Dict[str, Any]) -> Dict[str, str]:
        return {
            "uuid": uuid,
            "tag": disk["tag"],
            "count": str(len(disk["mounts"])),
            "owner": disk["owner"],
            "identifier": "",
            "size": disk["size"],
        }

    def _made(self, form: Dict[str, str], user: str) -> Any:
        if self.backend_fails:
            return 500, {"message": "cannot create volume: no space left on target", "code": 500}
        uuid = f"00000000-0000-4000-9000-{next(self._uuids):012d}"
        self.disks[uuid] = {"tag": form["tag"], "size": form["size"], "owner": user, "mounts": {}}
        return 201, {"uuid": uuid}

    def _mount(
        self, method: str, uuid: str, disk: Dict[str, Any], mount: str, form: Dict[str, str]
    ) -> Any:
        if method == "GET":
            return 200, [{"vmId": vm, "device": device} for vm, device in disk["mounts"].items()]
        if method == "DELETE":
            vm = mount.partition("_")[2]
            if vm not in disk["mounts"]:
                return 404, {"message": f"unknown mount: {mount}", "code": 404}
            return 200, {
                "diskId": uuid,
                "mountId": mount,
                "vmId": vm,
                "target": disk["mounts"].pop(vm),
            }
        vm = self.vms.get(int(form["vm_id"]))
        if self.mounts_fail:
            return 500, {"message": "iSCSI target is not reachable", "code": 500}
        if vm is None or vm.state != "RUNNING" or vm.host != form["node"]:
            return 500, {
                "message": f"unable to attach {uuid}: no domain one-{form['vm_id']} on {form['node']}",
                "code": 500,
            }
        if form["vm_id"] in disk["mounts"]:
            return 403, {
                "message": f"Mount already exists for: {form['vm_id']} and {uuid}",
                "code": 403,
            }
        disk["mounts"][form["vm_id"]] = "vdc"
        return 200, {"node": form["node"], "vm_id": form["vm_id"], "target": "vdc", "uuid": [uuid]}


class Services(Handler):
    """The proxy, the disks and the Marketplace, by path."""

    def _serve(self) -> None:
        length = int(self.headers["Content-Length"] or 0)
        body = self.rfile.read(length)
        market = re.fullmatch(r"/metadata/([\w-]+)(?:/.*)?", self.path)
        if market:
            return self._metadata(market[1])
        way, _, rest = self.path.strip("/").partition("/")
        user = self._user(way)
        if not user:
            return self._answer(
                401, b"<html><title>Error 401 Unauthorized</title></html>", "text/html"
            )
        if rest == "xmlrpc":
            return self._proxy(body, user)
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        fault = self.server.oned.plot.pop(f"{self.command} disks", "")
        if "away" in self.server.oned.faults:
            self.close_connection = True
            return None
        if fault == "killed-before":
            self.server.oned.killer()
        status, said = self.server.oned.rest(self.command, rest[len("disks") :], form, user)
        if fault == "killed-after":
            self.server.oned.killer()
        if fault == "reply-lost":
            self.close_connection = True
            return None
        return self._answer(status, json.dumps(said).encode(), "application/json")

    do_GET = do_POST = do_DELETE = _serve

    def _user(self, way: str) -> str:
        """The user, by basic authentication, or by the TLS certificate; what a proxy adds to the name is ignored."""
        if way == "pswd" and (self.headers["Authorization"] or "").startswith("Basic "):
            name, _, password = (
                base64.b64decode(self.headers["Authorization"][6:]).decode().partition(":")
            )
            return name if self.server.oned.users_of.get(name) == password else ""
        if way == "cert" and hasattr(self.connection, "getpeercert"):
            subject = (self.connection.getpeercert() or {}).get("subject", ())
            return next(
                (value for part in subject for key, value in part if key == "commonName"), ""
            )
        return ""

    def _proxy(self, body: bytes, user: str) -> None:
        """Replace the session by the user that the proxy knows."""
        words, procedure = loads(body)
        self._call(dumps((f"{user}:{'a' * 40}", *words[1:]), procedure).encode())

    def _metadata(self, identifier: str) -> None:
        if identifier not in (IMAGE, DEPRECATED):
            return self._answer(404, b"<html><title>no metadata</title></html>", "text/html")
        mark = (
            "<slterms:deprecated>a hole in its kernel</slterms:deprecated>"
            if identifier == DEPRECATED
            else ""
        )
        return self._answer(200, _METADATA.format(identifier, mark).encode(), "application/xml")
