"""The session with a Resource Manager: requests below one subscription, pages, operations."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Set

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import AuthRejected, GatewayFailed, Incomplete, NotFound, VmprobeError
from vmprobe.core.exchanges import Evidence
from vmprobe.drivers.azure import endpoints, faults, names, tokens
from vmprobe.drivers.azure.names import Place
from vmprobe.transport.http import Http, Reply, path
from vmprobe.transport.json import field

Record = Dict[str, Any]

PROFILES: Mapping[str, Mapping[str, str]] = {  # the api-version of each part of the API
    "public": {
        "compute": "2020-12-01",
        "disks": "2020-09-30",
        "galleries": "2020-09-30",
        "skus": "2019-04-01",
        "network": "2019-11-01",
        "resources": "2020-06-01",
        "metrics": "2018-01-01",
        "subscriptions": "2016-06-01",
    },
    "2020-09-01-hybrid": {  # Azure Stack Hub
        "compute": "2020-06-01",
        "disks": "2019-07-01",
        "galleries": "2019-07-01",
        "skus": "2019-04-01",
        "network": "2018-11-01",
        "resources": "2019-10-01",
        "metrics": "2018-01-01",
        "subscriptions": "2016-06-01",
    },
}
_MOST_PAGES = 200
_RENEW = 120.0  # seconds before its end at which a token is not used any more
_LARGE = 24 * 2**20  # bytes of a page


class Session:
    """Requests to one subscription. Each raises AuthRejected before ``open``, and once the token
    has ended.
    """

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        self.endpoint, self.credentials = endpoint, credentials
        self.deadline, self.evidence = deadline, evidence
        self.subscription: str = endpoint["subscription"]
        self.versions = PROFILES[endpoint["profile"]]
        self.ends: Optional[float] = None  # when the token ends, by our clock
        self._opened: List[Http] = []
        self._arm: Optional[Http] = None
        self._cloud: Optional[endpoints.Cloud] = None

    def open(self) -> None:
        """Log in."""
        self._arm = None
        if self._cloud is None:
            self._cloud = endpoints.of(self.endpoint, self.http)
        token = tokens.obtain(
            self.credentials,
            self._cloud,
            self.endpoint.get("identity url") or "",
            self.http,
            self.deadline.clock.utc(),
        )
        arm = self.http(self._cloud.manager)
        arm.classify = faults.classify
        arm.add_secret_header("Authorization", f"Bearer {token.text}")
        self.ends, self._arm = token.ends, arm

    @property
    def url(self) -> str:
        """The Resource Manager's URL; '' where the site names none that is known."""
        cloud = self.endpoint.get("cloud") or "public"
        return self.endpoint.get("url") or endpoints.CLOUDS[cloud].manager

    def http(self, url: str) -> Http:
        """Requests to another address, without the token."""
        http = Http(
            url,
            self.deadline,
            self.evidence,
            timeout=self.endpoint["timeout"],
            ca=self.endpoint.get("ca"),
        )
        self._opened.append(http)
        return http

    def close(self) -> None:
        for http in self._opened:
            with contextlib.suppress(Exception):
                http.close()

    # --- requests -------------------------------------------------------------------------------

    def request(self, method: str, where: str, part: str, asked: str, **more: Any) -> Reply:
        """One request; ``part`` of the API decides the api-version."""
        query = {**(more.pop("query", None) or {}), "api-version": self.versions[part]}
        return self._session().request(method, where, query=query, asked=asked, **more)

    def get(self, where: str, part: str, asked: str, **query: str) -> Reply:
        """``request`` with GET; ``query`` is added to the URL."""
        return self.request("GET", where, part, asked, query=query)

    def resource(self, kind: str, where: Place, asked: str, **query: str) -> Record:
        """A resource of the type ``kind``. GatewayFailed where the answer is about another one."""
        reply = self.get(self.path(kind, where), part_of(kind), asked, **query)
        record = reply.field(dict)
        if not names.same(names.parse(record.get("id")), where):
            raise reply.malformed("the answer is about another resource")
        return dict(record)

    def path(self, kind: str, where: Place) -> str:
        """The path of a resource of the type ``kind``."""
        return names.resource_path(self.subscription, kind, where)

    def below(self, *segments: str) -> str:
        """A path below the subscription."""
        return path("subscriptions", self.subscription, *segments)

    def pages(self, where: str, part: str, asked: str, **query: str) -> List[Record]:
        """The objects of a list, with all its pages; Incomplete where they do not end."""
        reply = self.request("GET", where, part, asked, query=query, max_bytes=_LARGE)
        found: List[Record] = []
        seen: Set[str] = set()
        while True:
            found += reply.items("value")
            following = reply.field("nextLink", str, default="")
            reply.forget()
            if not following:
                return found
            if following in seen or len(seen) >= _MOST_PAGES:
                raise Incomplete(f"{asked}: the pages of the list do not end", request="")
            seen.add(following)
            reply = self._session().get(following, asked=asked, max_bytes=_LARGE)

    def in_group(self, kind: str, group: str, asked: str) -> List[Record]:
        """The resources of a type in a group; none where the group is not there."""
        provider, _, types = kind.partition("/")
        where = f"{names.group_path(self.subscription, group)}/{path('providers', provider, types)}"
        try:
            return self.pages(where, part_of(kind), asked)
        except NotFound:
            return []

    def everywhere(self, kind: str, asked: str) -> List[Record]:
        """The resources of a type in all groups."""
        provider, _, types = kind.partition("/")
        return self.pages(self.below("providers", provider, types), part_of(kind), asked)

    def follow(self, url: str, asked: str) -> Reply:
        """An address that the manager named for an operation, on its own host."""
        return self._session().get(url, asked=asked)

    def _session(self) -> Http:
        if self._arm is None:
            raise AuthRejected("no session")
        if self.ends is not None and self.deadline.clock.utc() >= self.ends - _RENEW:
            self._arm = None
            raise AuthRejected("the token has ended")
        return self._arm


def part_of(kind: str) -> str:
    """The part of the API that a type of resource belongs to."""
    if kind.startswith(names.NETWORK):
        return "network"
    return "disks" if kind.endswith(("/disks", "/snapshots")) else "compute"


# --- long-running operations --------------------------------------------------------------------


class Outcome(NamedTuple):
    """How an operation ended: '' or the error in the manager's words, with its cause."""

    fault: str
    cause: str
    request: str


class Operations:
    """What was asked for and is not over, by the resource that it is about.

    An operation is polled when somebody looks at its resource, and no sooner than the manager's
    Retry-After says. A PATCH is answered by 200 and goes on all the same.
    """

    def __init__(self, session: Session):
        self._session = session
        self._open: Dict[str, _Operation] = {}
        self._ended: Dict[str, Outcome] = {}

    def note(self, key: str, reply: Reply) -> None:
        """An answer to a change of ``key``: remember the operation that it names, if any."""
        self._ended.pop(key, None)
        url = reply.headers.get("Azure-AsyncOperation") or reply.headers.get("Location") or ""
        self._open.pop(key, None)
        if url:
            at = self._session.deadline.clock.now() + reply.retry_after
            by_status = not reply.headers.get("Azure-AsyncOperation")
            self._open[key] = _Operation(url, by_status, at, reply.request_id)

    def poll(self, key: str) -> Optional[Outcome]:
        """How the operation ended that failed last; None while it goes on, and when all is well."""
        operation = self._open.get(key)
        if operation is not None and self._session.deadline.clock.now() >= operation.at:
            self._ask(key, operation)
        return self._ended.get(key)

    def forget(self, key: str) -> None:
        """Drop the operation on this resource, and how it ended."""
        self._open.pop(key, None)
        self._ended.pop(key, None)

    def _ask(self, key: str, operation: _Operation) -> None:
        try:
            reply = self._session.follow(operation.url, f"operation on {key}")
        except AuthRejected:
            raise
        except NotFound:  # Azure forgets operations; the resource itself says how it ended
            self._open.pop(key)
            return
        except VmprobeError:  # so may a failing gateway: the resource says the rest
            operation.at = self._session.deadline.clock.now() + 5.0
            return
        operation.at = self._session.deadline.clock.now() + reply.retry_after
        if operation.by_status:  # a Location: 202 until it is over
            if reply.status != 202:
                self._open.pop(key)
            return
        try:
            status = reply.field("status", str, default="Succeeded")
            document = reply.field("error", dict, default={})
        except GatewayFailed:
            return
        if status in ("Failed", "Canceled"):
            refusal = faults.refusal_of(document)
            _, cause = faults.kind_of(refusal)
            text = str(refusal) or f"the operation is {status}"
            self._ended[key] = Outcome(text, cause, operation.request)
        if status in ("Failed", "Canceled", "Succeeded"):
            self._open.pop(key)


class _Operation:
    def __init__(self, url: str, by_status: bool, at: float, request: str):
        self.url, self.by_status, self.at, self.request = url, by_status, at, request


def properties(record: Record) -> Record:
    """The ``properties`` of a resource."""
    found: Record = field(record, "properties", dict, default={})
    return found
