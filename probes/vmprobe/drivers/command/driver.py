"""Any manager by external commands: one executable, started once for each verb.

The verb is its argument, one JSON object is its input, and one JSON object is its output;
``docs/drivers/command.md`` and ``docs/drivers/command.schema.json`` say what is in them.
``program`` runs it, ``answers`` reads what it says, ``keys`` are those of the site file.

What the command offers is declared in the site file, because checks and configurations need to
know it before anything is started. A command may repeat it in its answer to ``connect``; a site
file that promises more is then refused.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence, Type, TypeVar, cast

from vmprobe.core.clock import Deadline
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    GatewayFailed,
    Incomplete,
    NotFound,
    VmprobeError,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import (
    METRICS,
    Capability,
    Image,
    Kind,
    Limit,
    Plan,
    Ref,
    Resource,
    Sample,
    Spec,
    TestVM,
    member_names,
)
from vmprobe.core.values import duration
from vmprobe.drivers.command import answers, keys
from vmprobe.drivers.command.program import Program
from vmprobe.guest import user_data
from vmprobe.transport.json import field

T = TypeVar("T")

KINDS = {Capability.VOLUMES: Kind.VOLUME, Capability.SNAPSHOTS: Kind.SNAPSHOT}


class Command(Driver):
    """Each verb is one run of the command."""

    system = "any, by external commands"
    proved_against = (
        "libvirtd and QEMU, real, by a command in shell; a server that we wrote, by one in Python"
    )
    capabilities = frozenset(keys.OFFERS.values())  # of the protocol; a site has what it declares
    kinds = (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    metrics_offered = keys.ALL_METRICS
    endpoint_keys = {
        "command": Key(keys.executable, required=True),
        "url": Key(keys.endpoint_url, ""),
        "region": Key(default=""),
        "project": Key(default=""),
        "options": Key(keys.options, {}),
        "offers": Key(keys.offers, frozenset()),
        "metrics": Key(keys.metrics, METRICS),
        "metrics period": Key(duration, 0.0),
        "consistency window": Key(duration, 120.0),
    }
    test_vm_keys = {"options": Key(keys.options, {})}
    credential_keys = (
        "username",
        "password",
        "token",
        "access_key",
        "secret_key",
        "certificate",
        "key",
        "passphrase",
    )

    @classmethod
    def of_endpoint(cls, endpoint: Mapping[str, Any]) -> Type[Driver]:
        offered = endpoint["offers"]
        more = [kind for capability, kind in KINDS.items() if capability in offered]
        declared = {
            "capabilities": offered,
            "kinds": (Kind.SERVER, *more),
            "metrics_offered": endpoint["metrics"] if Capability.METRICS in offered else (),
            "metrics_period": endpoint["metrics period"],
            "consistency_window": endpoint["consistency window"],
            "__module__": cls.__module__,
        }
        return cast("Type[Driver]", type(cls.__name__, (cls,), declared))

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ) -> None:
        super().__init__(endpoint, credentials, deadline, evidence)
        given = {key: endpoint[key] or "" for key in ("url", "region", "project", "ca")}
        self._program = Program(
            endpoint["command"],
            {**given, "options": dict(endpoint["options"])},
            credentials,
            deadline,
            evidence,
            endpoint["timeout"],
        )
        self._session = ""
        self._is_connected = False

    @property
    def identity(self) -> str:
        """As every driver's, with the command and its options: they may name another manager."""
        options = [f"{key}={value}" for key, value in sorted(self.endpoint["options"].items())]
        return " ".join([super().identity, self.endpoint["command"], *options])

    def connect(self) -> None:
        self._is_connected, self._session = False, ""
        answer = self._program.ask("connect", {}, is_secret=True)
        session = self._read("connect", lambda: answers.session(answer))
        if session:
            self.evidence.redactor.add(session)
        offered = self._read("connect", lambda: field(answer, "offers", list, default=None))
        if offered is not None:
            for word, capability in keys.OFFERS.items():
                if capability in self.capabilities and word not in offered:
                    raise ClientError(
                        f"[endpoint] offers: {self._program.name} does not offer {word}"
                    )
        self._is_connected, self._session = True, session

    def resolve(self, test_vm: TestVM) -> Plan:
        section = {key.replace(" ", "_"): value for key, value in test_vm.items()}
        return self._ask(
            "resolve", lambda answer: answers.plan(answer, test_vm["image"]), test_vm=section
        )

    def create(self, spec: Spec) -> Ref:
        request: Dict[str, Any] = {"kind": spec.kind.value, "name": spec.name}
        if spec.kind is Kind.VOLUME:
            request.update(size=spec.size, plan=_plan(spec.plan))
        else:
            assert spec.kind is Kind.SERVER
            request.update(
                plan=_plan(spec.plan),
                names=member_names(spec.name, spec.servers),
                depth=spec.depth,
                nonce=spec.nonce,
                user_data=user_data.for_server(spec) or "",
                kernel_command_line=user_data.kernel_command_line(spec.nonce),
            )
        return self._ask(
            "create", lambda answer: answers.new(answer, spec.kind, spec.name), **request
        )

    def show(self, ref: Ref) -> Resource:
        return self._ask("show", lambda answer: answers.shown(answer, ref), **_ref(ref))

    def list(self, kind: Kind, name: str) -> List[Resource]:
        try:
            return self._ask(
                "list",
                lambda answer: answers.resources(answer, kind, name),
                kind=kind.value,
                name=name,
            )
        except Incomplete as error:
            partial = answers.resources({"resources": list(error.partial)}, kind, name)
            raise Incomplete(str(error), partial, error.request) from None

    def delete(self, ref: Ref) -> None:
        try:
            self._ask("delete", lambda answer: None, **_ref(ref))
        except NotFound:
            return  # what is gone already is success

    def describe(self) -> Dict[str, object]:
        return self._ask("describe", answers.description)

    def close(self) -> None:
        """Let the command end its session, if it has one."""
        if not self._session:
            return
        try:
            self._program.ask("close", {}, self._session)
        except VmprobeError:
            pass  # the session ends by itself
        self._is_connected, self._session = False, ""

    def is_at_rest(self, server: Resource) -> bool:
        return isinstance(server, answers.AtRest)

    # --- verbs by capability --------------------------------------------------------------------

    def attach(self, server: Ref, volume: Ref) -> None:
        self._ask("attach", lambda answer: None, server=server.id, volume=volume.id)

    def detach(self, server: Ref, volume: Ref) -> None:
        try:
            self._ask("detach", lambda answer: None, server=server.id, volume=volume.id)
        except NotFound:
            return  # what is gone is not attached

    def console(self, server: Ref) -> str:
        return self._ask("console", answers.console, **_ref(server))

    def metrics(self, server: Ref) -> List[Sample]:
        now = self.deadline.clock.utc()
        return self._ask(
            "metrics",
            lambda answer: answers.samples(answer, now, self.metrics_offered),
            **_ref(server),
        )

    def snapshot(self, server: Ref, name: str) -> Ref:
        return self._ask(
            "snapshot",
            lambda answer: answers.new(answer, Kind.SNAPSHOT, name),
            server=server.id,
            name=name,
        )

    def capacity(self) -> List[Limit]:
        return self._ask("capacity", answers.limits)

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        return self._ask(
            "images",
            lambda answer: answers.images(answer, name),
            name=name,
            algorithms=[*algorithms],
        )

    # --- one run of the command -----------------------------------------------------------------

    def _ask(self, verb: str, read: Callable[[Dict[str, Any]], T], **request: object) -> T:
        """Run a verb and read its answer. A session that has ended is not used again."""
        if not self._is_connected:
            raise AuthRejected("no session")
        try:
            answer = self._program.ask(verb, request, self._session)
        except AuthRejected:
            self._is_connected = False
            raise
        return self._read(verb, lambda: read(answer))

    def _read(self, verb: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except GatewayFailed as problem:
            raise GatewayFailed(f"{self._program.name} {verb}: {problem}") from None


def _ref(ref: Ref) -> Dict[str, str]:
    return {"kind": ref.kind.value, "id": ref.id, "name": ref.name}


def _plan(plan: Plan) -> Dict[str, object]:
    return {
        "image": plan.image,
        "flavor": plan.flavor,
        "network": plan.network,
        "vcpus": plan.vcpus,
        "memory": plan.memory,
        "details": plan.details,
    }
