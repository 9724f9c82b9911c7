"""A driver outside the tree, as short as it can be: servers only, over HTTP and JSON."""

from typing import Any, Dict, List, Mapping

from vmprobe.core.driver import Deadline, Driver, Evidence, Key
from vmprobe.core.errors import NotFound
from vmprobe.core.model import Kind, Plan, Ref, Resource, Spec, State, TestVM
from vmprobe.core.values import http_url
from vmprobe.transport.http import Http, path
from vmprobe.transport.json import short_text

# The manager's states; a state that is not here is PENDING.
STATE = {"RUNNING": State.READY, "BROKEN": State.FAILED}


class Minimal(Driver):
    system = "the smallest cloud"
    proved_against = "a server on loopback, started by the tests"
    endpoint_keys = {"url": Key(http_url, required=True)}
    credential_keys = ("username", "password")

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ) -> None:
        super().__init__(endpoint, credentials, deadline, evidence)
        self.http = Http(endpoint["url"], deadline, evidence, timeout=endpoint["timeout"])

    def connect(self) -> None:
        reply = self.http.post("sessions", dict(self.credentials))
        self.http.add_secret_header("X-Auth-Token", reply.short_text("token"))

    def resolve(self, test_vm: TestVM) -> Plan:
        for image in self.http.get("images", {"name": test_vm["image"]}).items("images"):
            if short_text(image, "name") == test_vm["image"]:
                return Plan(test_vm["image"], details={"id": short_text(image, "id")})
        raise NotFound(f"no image named {test_vm['image']!r}")

    def create(self, spec: Spec) -> Ref:
        assert spec.kind is Kind.SERVER  # no other kind is among ``kinds``
        body = {"name": spec.name, "image": spec.plan.details["id"], "nonce": spec.nonce}
        reply = self.http.post("servers", body)
        return Ref(Kind.SERVER, reply.short_text("item", "id"), spec.name)

    def show(self, ref: Ref) -> Resource:
        return _server(self.http.get(path("servers", ref.id)).field("item", dict))

    def list(self, kind: Kind, name: str) -> List[Resource]:
        return [_server(item) for item in self.http.get("servers", {"name": name}).items("items")]

    def delete(self, ref: Ref) -> None:
        try:
            self.http.delete(path("servers", ref.id))
        except NotFound:
            pass  # what is gone already is success

    def describe(self) -> Dict[str, object]:
        return {"version": self.http.get().short_text("version")}

    def close(self) -> None:
        self.http.close()


def _server(item: Mapping[str, Any]) -> Resource:
    word = short_text(item, "state")
    addresses = tuple(short_text(address, "ip") for address in item["addresses"])
    ref = Ref(Kind.SERVER, short_text(item, "id"), short_text(item, "name"))
    return Resource(ref, STATE.get(word, State.PENDING), word, addresses=addresses)
