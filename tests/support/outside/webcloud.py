"""A driver outside the tree, for the small cloud in ``webserver``, with volumes, console and metrics."""

from typing import Any, Dict, List, Mapping, Optional

from vmprobe.core.driver import Deadline, Driver, Evidence, Key
from vmprobe.core.errors import NotFound, QuotaExceeded, VmprobeError
from vmprobe.core.model import (
    METRICS,
    Capability,
    Kind,
    Plan,
    Ref,
    Resource,
    Sample,
    Spec,
    State,
    TestVM,
)
from vmprobe.core.values import http_url
from vmprobe.transport.http import Http, Reply, path
from vmprobe.transport.json import field, items, parse_time, short_text

STATE = {
    "RUNNING": State.READY,
    "FREE": State.READY,
    "ATTACHED": State.READY,
    "BROKEN": State.FAILED,
}
WHERE = {Kind.SERVER: "servers", Kind.VOLUME: "volumes"}


class WebCloud(Driver):
    system = "test cloud over HTTP"
    proved_against = "a server on loopback, started by the tests"
    capabilities = frozenset({Capability.VOLUMES, Capability.CONSOLE, Capability.METRICS})
    kinds = (Kind.SERVER, Kind.VOLUME)
    metrics_offered = METRICS
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
        self.http = Http(
            endpoint["url"],
            deadline,
            evidence,
            timeout=endpoint["timeout"],
            ca=endpoint["ca"],
            classify=_classify,
        )

    def connect(self) -> None:
        token = self.http.post("sessions", dict(self.credentials)).short_text("token")
        self.http.add_secret_header("X-Auth-Token", token)

    def resolve(self, test_vm: TestVM) -> Plan:
        for image in self.http.get("images", {"name": test_vm["image"]}).items("images"):
            if short_text(image, "name") == test_vm["image"]:
                return Plan(test_vm["image"], details={"id": short_text(image, "id")})
        raise NotFound(f"no image named {test_vm['image']!r}")

    def create(self, spec: Spec) -> Ref:
        body: Dict[str, object] = {"name": spec.name}
        if spec.kind is Kind.VOLUME:
            body["size"] = spec.size
        else:
            assert spec.kind is Kind.SERVER
            body.update(image=spec.plan.details["id"], nonce=spec.nonce)
        reply = self.http.post(WHERE[spec.kind], body)
        return Ref(spec.kind, reply.short_text("item", "id"), spec.name)

    def show(self, ref: Ref) -> Resource:
        return _resource(ref.kind, self.http.get(path(WHERE[ref.kind], ref.id)).field("item", dict))

    def list(self, kind: Kind, name: str) -> List[Resource]:
        return [
            _resource(kind, item)
            for item in self.http.get(WHERE[kind], {"name": name}).items("items")
        ]

    def delete(self, ref: Ref) -> None:
        try:
            self.http.delete(path(WHERE[ref.kind], ref.id))
        except NotFound:
            return

    def describe(self) -> Dict[str, object]:
        return {"version": self.http.get().short_text("version")}

    def attach(self, server: Ref, volume: Ref) -> None:
        self.http.put(path("volumes", volume.id, "server"), {"server": server.id})

    def detach(self, server: Ref, volume: Ref) -> None:
        self.http.delete(path("volumes", volume.id, "server"))

    def console(self, server: Ref) -> str:
        output: str = self.http.get(path("servers", server.id, "console")).field("output", str)
        return output

    def metrics(self, server: Ref) -> List[Sample]:
        return [
            Sample(short_text(sample, "metric"), value, field(sample, "at", float))
            for sample in self.http.get(path("servers", server.id, "metrics")).items("samples")
            for value in [field(sample, "value", float, default=None)]
            if value is not None
        ]

    def close(self) -> None:
        self.http.close()


def _classify(reply: Reply) -> Optional[VmprobeError]:
    return (
        reply.error(QuotaExceeded)
        if reply.status == 403 and "quota" in reply.message.lower()
        else None
    )


def _resource(kind: Kind, item: Mapping[str, Any]) -> Resource:
    return Resource(
        Ref(kind, short_text(item, "id"), short_text(item, "name")),
        STATE.get(short_text(item, "state"), State.PENDING),
        short_text(item, "state"),
        fault=field(item, "fault", str, default=""),
        server=short_text(item, "server", default=""),
        addresses=tuple(
            short_text(address, "ip") for address in items(item, "addresses", default=[])
        ),
        created=parse_time(item.get("created")),
        launched=parse_time(item.get("launched")),
        size=field(item, "size", int, default=None),
    )
