"""The cloud in memory, broken in many deliberate ways: each breaks one sentence of the contract.

A mutant is the memory driver with one or two of its verbs replaced. A replacement is called with the driver, the
right verb, and the verb's arguments.

Above 400 lines: it is a table, with a few lines for each mutant.
"""

import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping

from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
    QuotaExceeded,
    Unreachable,
)
from vmprobe.core.model import Image, Kind, Limit, Ref, Resource, State
from vmprobe.core.redact import Redactor
from vmprobe.drivers.memory.driver import Memory


class Base(Memory):
    """The memory driver, and security groups: what the mutants are made from."""

    kinds = (*Memory.kinds, Kind.SECURITY_GROUP)

    def create(self, spec):
        if spec.kind is not Kind.SECURITY_GROUP:
            return super().create(spec)
        return self._request(
            f"create {spec.kind.value} {spec.name}", lambda: self.cloud.make(spec.kind, spec.name)
        )

    def open_port(self, group, port):
        self._request(f"open {port} of {group}", lambda: self.cloud.find(group.id))


@dataclass
class Mutant:
    """``verbs``: the replacement of each verb."""

    id: str
    sentence: str
    verbs: Mapping[str, Callable[..., Any]]
    attributes: Mapping[str, Any]

    def driver(self) -> type:
        """The class of the broken driver."""
        replaced = {verb: _replacement(verb, act) for verb, act in self.verbs.items()}
        return type("Mutant", (Base,), {**replaced, **self.attributes})


MUTANTS: Dict[str, Mutant] = {}


def _replacement(verb, act):
    def method(self, *words):
        return act(self, lambda *asked: getattr(Base, verb)(self, *asked), *words)

    return method


def mutant(id: str, sentence: str, attributes: Mapping[str, Any] = {}, **verbs) -> None:
    assert id not in MUTANTS
    MUTANTS[id] = Mutant(id, sentence, verbs, attributes)


def of(kind, act):
    """A replacement of ``create``, ``show``, ... that breaks only what is of this kind."""

    def replaced(driver, right, first, *words):
        kind_of = first if isinstance(first, Kind) else first.kind
        return act(driver, right, first, *words) if kind_of is kind else right(first, *words)

    return replaced


def changed(kind=Kind.SERVER, **fields):
    """A replacement of ``show`` with some fields of the answer changed; a function gets the resource."""

    def act(driver, right, ref):
        return _with(right(ref), fields)

    return of(kind, act)


def listed(kind=Kind.SERVER, **fields):
    """As ``changed``, for ``list``."""

    def act(driver, right, kind, name):
        return [_with(one, fields) for one in right(kind, name)]

    return of(kind, act)


def _with(one: Resource, fields) -> Resource:
    return one._replace(
        **{name: value(one) if callable(value) else value for name, value in fields.items()}
    )


def both(kind=Kind.SERVER, **fields):
    """The two replacements of ``show`` and ``list``."""
    return {"show": changed(kind, **fields), "list": listed(kind, **fields)}


def raising(error):
    def act(driver, right, *words):
        raise error

    return act


def instead(error, wrong):
    """A replacement that raises ``wrong``, or returns it, where the right verb raises ``error``."""

    def act(driver, right, *words):
        try:
            return right(*words)
        except error:
            if isinstance(wrong, Exception):
                raise wrong from None
            return wrong

    return act


def if_gone(wrong):
    """A replacement of ``delete`` that raises ``wrong`` for what is gone."""

    def act(driver, right, ref):
        if ref.id not in driver.cloud.things:
            raise wrong
        return right(ref)

    return act


WRONG = {  # errors that are of the wrong kind wherever another one, or none, is right
    "conflict": Conflict("409 not now"),
    "gateway": GatewayFailed("500 internal server error"),
    "unreachable": Unreachable("connection reset"),
    "not-permitted": NotPermitted("403 forbidden"),
    "auth": AuthRejected("401 no session"),
    "client": ClientError("the configuration is wrong"),
    "quota": QuotaExceeded("quota exceeded"),
    "key-error": KeyError("server"),
}
VERBS = {  # verb: what it should return at least
    "connect": None,
    "resolve": "a plan",
    "create": "a ref",
    "show": "a resource",
    "list": "a list",
    "delete": None,
    "describe": "a dictionary",
    "offers": "a dictionary",
    "endpoints": "a list",
    "belongings": "a list",
    "orphans": "a dictionary",
    "finished_at": None,
    "ports": "a list",
    "attach": None,
    "detach": None,
    "console": "a text",
    "metrics": "samples",
    "snapshot": "a ref",
    "open_port": None,
    "capacity": "limits",
    "needs": "amounts",
    "images": "images",
    "close": None,
}

# --- generated from the verbs -------------------------------------------------------------------------------------

for verb, promised in VERBS.items():
    mutant(
        f"{verb}-raises-another-error",
        f"{verb} raises an error that is not of the suite",
        **{verb: raising(ValueError("invalid literal"))},
    )
    if promised:
        mutant(
            f"{verb}-returns-nothing",
            f"{verb} returns None and not {promised}",
            **{verb: lambda driver, right, *words: (right(*words), None)[1]},
        )
for word, error in WRONG.items():
    mutant(f"gone-is-{word}", "show of what is gone is no NotFound", show=instead(NotFound, error))
    mutant(
        f"deleted-twice-is-{word}", "delete of what is gone is no success", delete=if_gone(error)
    )
    if word != "conflict":
        mutant(
            f"held-is-{word}",
            "delete of an attached volume is no Conflict",
            delete=instead(Conflict, error),
        )
    mutant(
        f"empty-is-{word}",
        "an empty list is an error",
        list=lambda driver, right, *words, error=error: (
            right(*words) or raising(error)(driver, right)
        ),
    )
    if word != "auth":
        mutant(
            f"no-session-is-{word}",
            "a verb without a session is no AuthRejected",
            list=instead(AuthRejected, error),
        )
    mutant(
        f"missing-image-is-{word}",
        "resolve of a missing image is no NotFound",
        resolve=instead(NotFound, error),
    )

# --- the session ----------------------------------------------------------------------------------------------------


def _sends_early(self, *words):
    Memory.__init__(self, *words)
    self.evidence.record("GET /", "", "200", "", 0.1)


mutant("sends-before-connect", "a request is sent before connect", {"__init__": _sends_early})
mutant(
    "authenticates-by-itself",
    "a verb without a session authenticates",
    list=lambda driver, right, *words: (driver._session or driver.connect(), right(*words))[1],
)
mutant(
    "connects-once",
    "connect cannot be called again",
    connect=lambda driver, right: (
        right() if not driver._session else raising(ClientError("connected already"))(driver, right)
    ),
)
mutant(
    "close-raises-later",
    "close raises when it is called twice",
    close=lambda driver, right: (
        raising(Conflict("closed"))(driver, right)
        if vars(driver).setdefault("closed", []) or driver.closed.append(1)
        else right()
    ),
)
mutant("no-version", "describe has no version", describe=lambda driver, right: {"name": "cloud"})
mutant(
    "version-changes",
    "describe says another version each time",
    describe=lambda driver, right: (right(), {"version": str(driver.evidence.requests)})[1],
)
mutant(
    "no-urls",
    "endpoints has what is no URL",
    endpoints=lambda driver, right: ["cloud.example.org:5000"],
)
mutant(
    "expired-credential",
    "credential_expiry is in the past although it is accepted",
    credential_expiry=lambda driver, right, read: 0.0,
)
mutant(
    "kinds-without-volume",
    "volumes are offered, and not listed",
    {"kinds": (Kind.SERVER, Kind.SNAPSHOT)},
)
mutant("offers-no-metric", "metrics are offered, and none is named", {"metrics_offered": ()})
mutant(
    "offers-strange-metric",
    "a metric is offered that the suite does not know",
    {"metrics_offered": (*Memory.metrics_offered, "temperature")},
)
mutant(
    "never-proved",
    "the driver does not say what it was proved against",
    {"proved_against": "nothing yet"},
)
mutant("no-identity", "the driver does not say which endpoint a ledger is of", {"identity": ""})
mutant("window-without-end", "the consistency window has no end", {"consistency_window": math.inf})
mutant(
    "not-recorded",
    "requests are not recorded",
    list=lambda driver, right, *words: _unrecorded(driver, lambda: right(*words)),
)


def _unrecorded(driver, ask):
    evidence = driver.evidence
    kept, requests = len(evidence._kept), evidence.requests
    found = ask()
    del evidence._kept[kept:]
    evidence.requests = requests + 1
    return found


def _shows_secret(driver, right):
    right()
    driver.evidence.redactor = Redactor()
    driver.evidence.record(f"login of {driver.credentials['password']}")


mutant("secret-recorded", "a secret is recorded", connect=_shows_secret)

# --- what a test VM is made of --------------------------------------------------------------------------------------

mutant(
    "any-image",
    "resolve finds images that do not exist",
    resolve=lambda driver, right, test_vm: right({**test_vm, "image": "vmprobe-test"}),
)
mutant(
    "image-not-named",
    "the message does not name the missing image",
    resolve=instead(NotFound, NotFound("404 not found")),
)
mutant(
    "plan-without-image",
    "a plan has no image",
    resolve=lambda driver, right, test_vm: right(test_vm)._replace(image=""),
)
mutant(
    "plan-of-nothing",
    "a plan has no vCPUs",
    resolve=lambda driver, right, test_vm: right(test_vm)._replace(vcpus=0),
)
mutant(
    "plan-changes",
    "resolve gives another plan each time",
    resolve=lambda driver, right, test_vm: right(test_vm)._replace(
        network=f"net-{driver.evidence.requests}"
    ),
)
mutant(
    "images-without-id",
    "an image has no id",
    images=lambda driver, right, *words: [one._replace(id="") for one in right(*words)],
)
mutant(
    "images-never-ready",
    "no image is READY",
    images=lambda driver, right, *words: [
        one._replace(state=State.PENDING) for one in right(*words)
    ],
)
mutant(
    "images-of-any-name",
    "images shows others than asked for",
    images=lambda driver, right, *words: right(),
)
mutant(
    "images-invented",
    "images shows an image that does not exist",
    images=lambda driver, right, *words: (
        right(*words) or [Image("7", "seven", State.READY, "SAVED")]
    ),
)
mutant("images-none", "images shows nothing", images=lambda driver, right, *words: [])
mutant(
    "images-some",
    "images without a name leaves some out",
    images=lambda driver, right, name="", *words: (
        right(name, *words) if name else [Image("7", "seven", State.READY, "SAVED")]
    ),
)
mutant(
    "checksum-in-capitals",
    "a checksum is not in hexadecimal",
    images=lambda driver, right, *words: [
        one._replace(checksums={"md5": "XYZ"}) for one in right(*words)
    ],
)

# --- creation -------------------------------------------------------------------------------------------------------


def named(change):
    """A replacement of ``create`` that gives another name than asked for, but says otherwise."""
    return lambda driver, right, spec: right(spec._replace(name=change(spec.name)))._replace(
        name=spec.name
    )


for length in (20, 40, 50, 60, 62):
    mutant(
        f"server-name-cut-at-{length}",
        f"names of servers are cut at {length} characters",
        create=of(Kind.SERVER, named(lambda name, length=length: name[:length])),
    )
mutant(
    "volume-name-cut-at-32",
    "names of volumes are cut",
    create=of(Kind.VOLUME, named(lambda name: name[:32])),
)
mutant(
    "snapshot-name-cut-at-32",
    "names of snapshots are cut",
    snapshot=lambda driver, right, server, name: right(server, name[:32])._replace(name=name),
)
mutant("name-in-capitals", "names are changed to capitals", create=named(str.upper))
mutant("name-with-prefix", "names get a prefix", create=named(lambda name: f"i-{name}"))
mutant(
    "name-with-suffix",
    "names get a suffix",
    create=of(Kind.SERVER, named(lambda name: f"{name}.local")),
)
mutant(
    "create-of-nothing",
    "create returns an id, and creates nothing",
    create=of(
        Kind.SERVER,
        lambda driver, right, spec: (driver.describe(), Ref(Kind.SERVER, "ser-77", spec.name))[1],
    ),
)
mutant(
    "create-twice",
    "create creates two",
    create=of(
        Kind.SERVER,
        lambda driver, right, spec: (driver.cloud.make(Kind.SERVER, spec.name), right(spec))[1],
    ),
)
mutant(
    "create-by-two-requests",
    "create sends two requests",
    create=of(Kind.SERVER, lambda driver, right, spec: (driver.describe(), right(spec))[1]),
)
mutant(
    "create-waits",
    "create waits until the server is ready",
    create=of(
        Kind.SERVER, lambda driver, right, spec: (right(spec), driver.deadline.clock.sleep(3))[0]
    ),
)
mutant(
    "show-retries",
    "show waits and tries again",
    show=lambda driver, right, ref: (driver.deadline.sleep(0.1), right(ref))[1],
)
mutant(
    "create-without-id",
    "create returns no id",
    create=lambda driver, right, spec: right(spec)._replace(id=""),
)
mutant(
    "create-of-another-id",
    "create returns an id that is another's",
    create=of(Kind.SERVER, lambda driver, right, spec: right(spec)._replace(id="ser-77")),
)
mutant(
    "create-of-another-kind",
    "create returns a ref of another kind",
    create=of(Kind.VOLUME, lambda driver, right, spec: right(spec)._replace(kind=Kind.SNAPSHOT)),
)
mutant(
    "create-refuses-quota",
    "create says that the quota is full",
    create=of(Kind.SERVER, raising(QuotaExceeded("10 of 10 used"))),
)
mutant(
    "nonce-forgotten",
    "the guest does not get the nonce",
    create=of(Kind.SERVER, lambda driver, right, spec: right(spec._replace(nonce="none"))),
)


def _reused(kind):
    """A replacement of ``create`` that gives the same id again after a removal."""

    def act(driver, right, spec):
        before = set(driver.cloud.things)
        made = right(spec)
        for number, id in enumerate(sorted(set(driver.cloud.things) - before), 1):
            thing = driver.cloud.things.pop(id)
            thing.id = f"{kind.value[:3]}-again-{number}"
            driver.cloud.things[thing.id] = thing
        return made._replace(id=f"{kind.value[:3]}-again-1")

    return of(kind, act)


mutant(
    "server-ids-reused", "the id of a removed server is given again", create=_reused(Kind.SERVER)
)
mutant(
    "fleet-names-from-0",
    "a fleet is numbered from 0",
    create=lambda driver, right, spec: (
        right(spec)
        if spec.kind is not Kind.SERVER or spec.servers == 1
        else [
            driver._request(
                "create", lambda n=n: driver.cloud.make(Kind.SERVER, f"{spec.name}-{n}")
            )
            for n in range(3)
        ][0]
    ),
)
mutant(
    "fleet-by-a-request-each",
    "a fleet is asked for by one request for each member",
    create=lambda driver, right, spec: (
        right(spec)
        if spec.kind is not Kind.SERVER or spec.servers == 1
        else [right(spec._replace(name=f"{spec.name}-{n + 1}", servers=1)) for n in range(3)][0]
    ),
)
mutant(
    "fleet-of-one-name",
    "the members of a fleet have one name",
    create=lambda driver, right, spec: (
        right(spec)
        if spec.kind is not Kind.SERVER or spec.servers == 1
        else driver._request(
            "create", lambda: [driver.cloud.make(Kind.SERVER, spec.name) for _ in range(3)][0]
        )
    ),
)
mutant(
    "fleet-lacks-one",
    "a fleet lacks its last member",
    create=lambda driver, right, spec: (
        right(spec)
        if spec.kind is not Kind.SERVER
        else right(spec._replace(servers=max(1, spec.servers - 1)))
    ),
)
mutant(
    "fleet-has-more",
    "a fleet has a member too many",
    create=lambda driver, right, spec: (
        right(spec)
        if spec.kind is not Kind.SERVER or spec.servers == 1
        else right(spec._replace(servers=spec.servers + 1))
    ),
)
mutant(
    "fleet-listed-one-by-one",
    "a list takes a request for each server",
    list=lambda driver, right, *words: [one for one in right(*words) if driver.describe()],
)

# --- lists ------------------------------------------------------------------------------------------------------------


def filtered(keep, kind=Kind.SERVER):
    """A replacement of ``list`` that shows only what ``keep(driver, resource, name)`` is true for."""
    return of(
        kind,
        lambda driver, right, kind, name: [
            one for one in right(kind, name) if keep(driver, one, name)
        ],
    )


def _young(seconds):
    return lambda driver, one, name: driver.deadline.clock.utc() - one.created >= seconds


mutant(
    "list-lags",
    "lists show a new server only long after the consistency window",
    list=filtered(_young(200)),
)
mutant(
    "volume-list-lags",
    "lists show a new volume only long after the consistency window",
    list=filtered(_young(200), Kind.VOLUME),
)
mutant(
    "snapshot-list-lags",
    "lists show a new snapshot only long after the consistency window",
    list=filtered(_young(200), Kind.SNAPSHOT),
)
mutant(
    "list-lags-within-no-window",
    "lists lag, although the driver declares that they do not",
    {"consistency_window": 0.0},
    list=filtered(_young(1)),
)
mutant(
    "list-flickers",
    "a list shows a server, and does not show it the next time",
    list=filtered(lambda driver, one, name: driver.evidence.requests % 2),
)
mutant(
    "list-of-ready-only",
    "lists show only what is READY",
    {"consistency_window": 0.0},
    list=filtered(lambda driver, one, name: one.state is State.READY),
)
mutant("list-never", "lists show no servers", list=filtered(lambda *words: False))
mutant(
    "list-first-page-only",
    "a list shows its first page only",
    list=lambda driver, right, kind, name: right(kind, name)[:2],
)
mutant(
    "list-of-the-newest-only",
    "a list by an empty name shows nothing",
    list=lambda driver, right, kind, name: right(kind, name) if name else [],
)
mutant(
    "list-of-one-volume",
    "a list of all volumes is empty",
    list=of(Kind.VOLUME, lambda driver, right, kind, name: right(kind, name) if name else []),
)
mutant(
    "list-by-whole-names",
    "a list finds whole names only",
    list=lambda driver, right, kind, name: [
        one for one in right(kind, name) if name in ("", one.ref.name)
    ],
)
mutant(
    "list-by-any-part",
    "a list finds a name by any part of it",
    list=lambda driver, right, kind, name: [one for one in right(kind, "") if name in one.ref.name],
)
mutant(
    "list-by-part-of-volumes",
    "a list of volumes finds a name by any part of it",
    list=of(
        Kind.VOLUME,
        lambda driver, right, kind, name: [one for one in right(kind, "") if name in one.ref.name],
    ),
)
mutant(
    "list-ignores-the-name",
    "a list shows everything",
    list=lambda driver, right, kind, name: right(kind, ""),
)
mutant(
    "list-by-half-a-name",
    "a list compares only 30 characters",
    list=lambda driver, right, kind, name: right(kind, name[:30]),
)
mutant(
    "list-ignores-case-and-end",
    "a list compares without the last character",
    list=lambda driver, right, kind, name: right(kind, name[:-1]),
)
mutant(
    "list-of-all-kinds",
    "a list of volumes has servers",
    list=lambda driver, right, kind, name: (
        right(kind, name) + (right(Kind.SERVER, name) if kind is Kind.VOLUME else [])
    ),
)
mutant(
    "list-twice",
    "a list shows everything twice",
    list=lambda driver, right, *words: 2 * right(*words),
)
mutant(
    "list-without-ids", "a list has no ids", list=listed(ref=lambda one: one.ref._replace(id=""))
)
mutant(
    "list-without-names",
    "a list has no names",
    list=listed(ref=lambda one: one.ref._replace(name="")),
)
mutant(
    "list-of-other-ids",
    "a list has other ids than show",
    list=listed(ref=lambda one: one.ref._replace(id=one.ref.id + "x")),
)
mutant(
    "list-of-numbers",
    "ids in a list are cut",
    list=listed(ref=lambda one: one.ref._replace(id=one.ref.id[-1])),
)
mutant(
    "list-of-another-state", "a list has another state than show", list=listed(state=State.PENDING)
)
mutant(
    "list-of-another-word", "a list has another word than show", list=listed(provider_state="UP")
)
mutant("list-of-another-owner", "a list has another owner than show", list=listed(owner="somebody"))
mutant(
    "list-of-another-project", "a list has another project than show", list=listed(project="theirs")
)
mutant("list-of-another-image", "a list has another image than show", list=listed(image="theirs"))
mutant(
    "list-of-another-address",
    "a list has other addresses than show",
    list=listed(addresses=lambda one: ("127.9.9.9",)),
)
mutant(
    "list-of-another-date",
    "a list has another date than show",
    list=listed(created=lambda one: one.created + 3600),
)
mutant(
    "list-of-another-size",
    "a list has another size of a volume than show",
    list=listed(Kind.VOLUME, size=lambda one: one.size // 2**30 or 1),
)

# --- states and facts ---------------------------------------------------------------------------------------------------

mutant(
    "shown-without-name",
    "show has no name",
    show=changed(ref=lambda one: one.ref._replace(name="")),
)
mutant(
    "shown-by-another-id",
    "show has another id than asked for",
    show=changed(ref=lambda one: one.ref._replace(id="ser-77")),
)
mutant(
    "shown-as-another-kind",
    "show has another kind than asked for",
    show=changed(ref=lambda one: one.ref._replace(kind=Kind.PORT)),
)
mutant(
    "shown-of-somebody-else",
    "show answers about the first server of all",
    show=of(
        Kind.SERVER,
        lambda driver, right, ref: right(ref)._replace(ref=Ref(Kind.SERVER, "ser-0", "theirs")),
    ),
)
mutant("never-ready", "a server never becomes READY", **both(state=State.PENDING))
mutant("ready-at-once", "a server is READY while it is made", **both(state=State.READY))
mutant(
    "failed-for-a-while",
    "a server is FAILED while it boots",
    **both(state=lambda one: State.READY if one.provider_state == "RUNNING" else State.FAILED),
)
mutant("ready-with-fault", "a READY server has a fault", **both(fault="No valid host was found"))
mutant(
    "ready-and-not",
    "a READY server becomes PENDING again and again",
    show=of(Kind.SERVER, lambda driver, right, ref: _flicker(driver, right(ref))),
)
mutant("no-word", "the manager's own word is left out", **both(provider_state=""))
mutant(
    "word-of-the-suite",
    "the word changes with every look",
    show=of(
        Kind.SERVER,
        lambda driver, right, ref: right(ref)._replace(
            provider_state=f"RUNNING {driver.evidence.requests}"
        ),
    ),
)
mutant(
    "needs-start-for-ever",
    "a READY server needs a start",
    needs_start=lambda driver, right, seen: True,
    start=lambda driver, right, ref: None,
)
mutant("at-rest", "a READY server is at rest", is_at_rest=lambda driver, right, seen: True)
mutant(
    "soft-deleted",
    "a READY server is deleted and kept",
    is_soft_deleted=lambda driver, right, seen: True,
)
mutant("vcpus-of-another-flavor", "the server has other vCPUs than planned", **both(vcpus=2))
mutant("memory-in-mib", "memory is in MiB", **both(memory=128))
mutant("memory-of-zero", "memory that is not known is zero", **both(memory=0))
mutant(
    "created-in-milliseconds",
    "created is in milliseconds",
    **both(created=lambda one: one.created * 1000),
)
mutant("created-at-zero", "a date that is not known is zero", **both(created=0.0))
mutant(
    "created-now",
    "created is the present time",
    show=of(
        Kind.SERVER,
        lambda driver, right, ref: right(ref)._replace(
            created=1_800_000_000.0 + driver.evidence.requests
        ),
    ),
)
mutant(
    "launched-before-created",
    "launched is before created",
    **both(launched=lambda one: one.created - 60),
)
mutant(
    "finished-before-created",
    "finished_at is before the creation",
    finished_at=lambda driver, right, *words: 5.0,
)
mutant(
    "finished-by-many-requests",
    "finished_at takes more than one request",
    finished_at=lambda driver, right, *words: driver.describe() and driver.describe() and None,
)


def _flicker(driver, seen):
    if seen.state is not State.READY:
        return seen
    driver.looks = getattr(driver, "looks", 0) + 1
    return seen._replace(state=State.PENDING) if driver.looks % 3 == 2 else seen


# --- the network, the console, belongings ---------------------------------------------------------------------------

mutant("no-address", "a server has no address", **both(addresses=()))
mutant("address-of-a-name", "an address is no address", **both(addresses=("vm1.example.org",)))
mutant(
    "address-with-length",
    "an address has the length of its network",
    **both(addresses=lambda one: tuple(f"{each}/24" for each in one.addresses)),
)
mutant("address-unspecified", "an address is 0.0.0.0", **both(addresses=("0.0.0.0",)))
mutant(
    "address-changes",
    "a server has another address each time",
    show=of(Kind.SERVER, lambda driver, right, ref: _moving(driver, right(ref))),
)
mutant(
    "ports-of-others",
    "ports has those of other servers",
    ports=lambda driver, right, servers: [port._replace(server="ser-0") for port in right(servers)],
)
mutant("ports-none", "ports has none", ports=lambda driver, right, servers: [])
mutant(
    "ports-never-ready",
    "ports never become READY",
    ports=lambda driver, right, servers: [
        port._replace(state=State.PENDING) for port in right(servers)
    ],
)
mutant(
    "ports-without-address",
    "a READY port has no address",
    ports=lambda driver, right, servers: [port._replace(addresses=()) for port in right(servers)],
)
mutant(
    "ports-that-are-servers",
    "a port is a server",
    ports=lambda driver, right, servers: [port._replace(ref=servers[0]) for port in right(servers)],
)
mutant("console-empty", "the console stays empty", console=lambda driver, right, server: "")
mutant(
    "console-in-bytes",
    "the console is bytes",
    console=lambda driver, right, server: right(server).encode(),
)
mutant(
    "console-of-another",
    "the console is another server's",
    console=lambda driver, right, server: (
        right(server).replace("vmprobe ", "vmprobe other", 1).replace(_nonce(driver), "abcdefgh")
    ),
)
mutant(
    "console-last-line-only",
    "the console is only its last line",
    console=lambda driver, right, server: right(server)[-60:],
)
mutant(
    "console-without-line-ends",
    "the console has lost its line ends",
    console=lambda driver, right, server: right(server).replace("\n", " "),
)
mutant(
    "belongings-that-are-not-there",
    "a belonging does not exist",
    belongings=lambda driver, right, server: [Ref(Kind.PORT, "por-77")],
)
mutant(
    "belongings-with-the-server",
    "a server belongs to itself",
    belongings=lambda driver, right, server: [server],
)
mutant(
    "belongings-after-its-end",
    "belongings of a server that is gone",
    belongings=instead(NotFound, [Ref(Kind.PORT, "por-77")]),
)


def _moving(driver, seen):
    return seen._replace(
        addresses=tuple(f"127.2.{driver.evidence.requests % 200}.9" for _ in seen.addresses)
    )


def _nonce(driver):
    return next(thing.nonce for thing in driver.cloud.things.values() if thing.nonce)


def _leaves_port(driver, right, ref):
    thing = driver.cloud.things.get(ref.id)
    right(ref)
    if thing and ref.kind is Kind.SERVER:
        port = driver.cloud.port_of(thing)
        driver.cloud.things[port.id] = port


mutant(
    "port-left-for-ever",
    "a port is left, and cannot be deleted",
    delete=lambda driver, right, ref: (
        None if ref.kind is Kind.PORT else _leaves_port(driver, right, ref)
    ),
)
mutant(
    "orphans-of-the-living",
    "orphans names what belongs to a server that runs",
    orphans=lambda driver, right, servers: {one.id: [Ref(Kind.PORT, "por-77")] for one in servers},
)

# --- volumes --------------------------------------------------------------------------------------------------------

VOLUME = Kind.VOLUME
mutant("volume-never-ready", "a volume never becomes READY", **both(VOLUME, state=State.PENDING))
mutant("volume-failed", "a volume is FAILED", **both(VOLUME, state=State.FAILED))
mutant("volume-in-gib", "the size of a volume is in GiB", **both(VOLUME, size=1))
mutant("volume-of-no-size", "the size of a volume is zero", **both(VOLUME, size=0))
mutant(
    "volume-too-small",
    "a volume is smaller than asked for",
    create=of(VOLUME, lambda driver, right, spec: right(spec._replace(size=spec.size // 2))),
)
mutant(
    "volume-attached-from-the-start",
    "a free volume says that it is attached",
    **both(VOLUME, server="ser-1"),
)
mutant(
    "volume-of-another-project",
    "a volume has another project than its server",
    **both(VOLUME, project="theirs"),
)
mutant(
    "volume-of-another-owner",
    "a volume has another owner than its server",
    **both(VOLUME, owner="somebody"),
)
mutant(
    "attach-ignored",
    "attach is accepted and does nothing",
    attach=lambda driver, right, server, volume: None,
)
mutant(
    "attach-half",
    "an attached volume stays PENDING",
    **both(VOLUME, state=lambda one: State.PENDING if one.server else one.state),
)
mutant(
    "attach-to-another",
    "a volume is attached to another server",
    **both(VOLUME, server=lambda one: one.server and "ser-77"),
)
mutant(
    "attach-not-shown",
    "show does not say that a volume is attached",
    show=changed(VOLUME, server=""),
)
mutant(
    "attach-not-listed",
    "a list does not say that a volume is attached",
    list=listed(VOLUME, server=""),
)
mutant(
    "attach-without-disk",
    "the guest does not see the volume",
    attach=lambda driver, right, server, volume: (
        right(server, volume),
        driver.cloud.things[server.id].facts.clear(),
    )[0],
)
mutant("attach-conflicts", "attach is a Conflict for ever", attach=raising(Conflict("409 not now")))
mutant(
    "attach-breaks-server",
    "attach breaks the server",
    attach=lambda driver, right, server, volume: (
        right(server, volume),
        setattr(driver.cloud.things[server.id], "word", "BROKEN"),
    )[0],
)
mutant(
    "attach-says-yes-to-all",
    "the deletion of an attached volume is accepted and ignored",
    delete=instead(Conflict, None),
)
mutant(
    "held-volume-deleted",
    "an attached volume is deleted",
    delete=lambda driver, right, ref: (
        driver.cloud.things.pop(ref.id, None) and None if ref.kind is VOLUME else right(ref)
    ),
)
mutant(
    "held-volume-detached",
    "the deletion of an attached volume detaches it",
    delete=lambda driver, right, ref: _refused(driver, right, ref),
)
mutant(
    "detach-ignored",
    "detach is accepted and does nothing",
    detach=lambda driver, right, server, volume: None,
)
mutant(
    "detach-half",
    "a detached volume is not READY",
    detach=lambda driver, right, server, volume: (
        right(server, volume),
        setattr(driver.cloud.things[volume.id], "word", "DETACHING"),
    )[0],
)
mutant(
    "detach-deletes",
    "detach deletes the volume",
    detach=lambda driver, right, server, volume: (
        right(server, volume),
        driver.cloud.things.pop(volume.id, None),
    )[0],
)
mutant(
    "detach-breaks-server",
    "detach stops the server",
    detach=lambda driver, right, server, volume: (
        right(server, volume),
        setattr(driver.cloud.things[server.id], "word", "STOPPED"),
    )[0],
)
for word in ("conflict", "not-permitted", "key-error"):
    mutant(
        f"detached-twice-is-{word}",
        "detach of a free volume is no success",
        detach=lambda driver, right, server, volume, word=word: (
            right(server, volume)
            if driver.cloud.things[volume.id].server
            else raising(WRONG[word])(driver, right)
        ),
    )
mutant(
    "volume-goes-with-server",
    "the removal of a server deletes its run's volume",
    delete=lambda driver, right, ref: (
        right(ref),
        [
            driver.cloud.things.pop(id)
            for id, thing in list(driver.cloud.things.items())
            if ref.kind is Kind.SERVER and thing.kind is VOLUME
        ],
    )[0],
)


def _refused(driver, right, ref):
    try:
        return right(ref)
    except Conflict:
        driver.cloud.detach(ref.id)
        raise


# --- figures ----------------------------------------------------------------------------------------------------------


def sampled(**fields):
    """A replacement of ``metrics`` with fields of each sample changed."""

    def act(driver, right, server):
        return [
            one._replace(**{name: value(driver, one) for name, value in fields.items()})
            for one in right(server)
        ]

    return {"metrics": act}


mutant("metrics-none", "metrics is empty for ever", metrics=lambda driver, right, server: [])
mutant("metrics-negative", "a metric is negative", **sampled(value=lambda driver, one: -1.0))
mutant("metrics-nan", "a metric is no number", **sampled(value=lambda driver, one: math.nan))
mutant("metrics-infinite", "a metric is infinite", **sampled(value=lambda driver, one: math.inf))
mutant(
    "metrics-unknown",
    "a metric is not among those offered",
    **sampled(metric=lambda driver, one: "watts"),
)
mutant("metrics-at-zero", "a sample has no time", **sampled(at=lambda driver, one: 0.0))
mutant(
    "metrics-stand-still",
    "the time of samples never changes",
    **sampled(at=lambda driver, one: 1_800_000_000.0),
)
mutant(
    "metrics-back-in-time",
    "samples go back in time",
    **sampled(at=lambda driver, one: 3e9 - driver.deadline.clock.utc()),
)
mutant("counters-fall", "counters fall", **sampled(value=lambda driver, one: 1e9 / (1 + one.value)))
mutant(
    "counters-reset",
    "counters begin again at each reading",
    **sampled(value=lambda driver, one: 100.0 - driver.evidence.requests % 50),
)
mutant(
    "cpu-in-nanoseconds",
    "CPU time is in nanoseconds",
    **sampled(value=lambda driver, one: one.value * 1e9),
)
mutant(
    "cpu-of-thousands",
    "CPU usage is thousands of per cent",
    **sampled(counter=lambda driver, one: False, value=lambda driver, one: 25000.0),
)
mutant(
    "metrics-from-new-to-old",
    "the newest sample is first",
    metrics=lambda driver, right, server: [
        one._replace(at=one.at - age, value=one.value / 2**age)
        for one in right(server)
        for age in (0, 1)
    ],
)
mutant(
    "metrics-vanish",
    "a metric is there only at first",
    metrics=lambda driver, right, server: _vanish(driver, right(server)),
)


def _vanish(driver, samples):
    driver.readings = getattr(driver, "readings", 0) + 1
    return samples if driver.readings < 3 else samples[1:]


def limited(**fields):
    """A replacement of ``capacity`` with fields of each limit changed."""
    return {"capacity": lambda driver, right: [one._replace(**fields) for one in right()]}


mutant("capacity-none", "there is no limit", capacity=lambda driver, right: [])
mutant("capacity-negative", "a usage is negative", **limited(used=-1.0))
mutant("capacity-nan", "a usage is no number", **limited(used=math.nan))
mutant("capacity-unlimited-is-minus-1", "unlimited is -1", **limited(total=-1.0))
mutant("capacity-without-names", "a limit has no name", **limited(name=""))
mutant(
    "capacity-does-not-count",
    "the server that runs is not counted",
    capacity=lambda driver, right: [Limit("servers", 0, 10)],
)
mutant("needs-nothing", "a test VM needs nothing", needs=lambda driver, right, *words: {})
mutant(
    "needs-zero",
    "a test VM needs zero of a limit",
    needs=lambda driver, right, *words: {("servers", ""): 1.0, ("memory", ""): 0.0},
)
mutant(
    "needs-negative",
    "a test VM needs less than nothing",
    needs=lambda driver, right, *words: {("servers", ""): -1.0},
)
mutant(
    "needs-two-servers",
    "one test VM needs two servers",
    needs=lambda driver, right, *words: {("servers", ""): 2.0},
)

# --- snapshots ----------------------------------------------------------------------------------------------------------

SNAPSHOT = Kind.SNAPSHOT
mutant(
    "snapshot-never-ready", "a snapshot never becomes READY", **both(SNAPSHOT, state=State.PENDING)
)
mutant("snapshot-failed", "a snapshot is FAILED", **both(SNAPSHOT, state=State.FAILED))
mutant(
    "snapshot-of-nothing",
    "snapshot returns an id and takes none",
    snapshot=lambda driver, right, server, name: Ref(SNAPSHOT, "sna-77", name),
)
mutant(
    "snapshot-not-listed",
    "a snapshot is not listed",
    list=of(SNAPSHOT, lambda driver, right, kind, name: []),
)
mutant(
    "snapshot-of-no-size", "a snapshot's size that is not known is zero", **both(SNAPSHOT, size=0)
)
mutant(
    "snapshot-stops-server",
    "a snapshot stops the server",
    snapshot=lambda driver, right, server, name: (
        right(server, name),
        setattr(driver.cloud.things[server.id], "word", "STOPPED"),
    )[0],
)
mutant(
    "snapshot-is-a-volume",
    "snapshot returns another kind",
    snapshot=lambda driver, right, server, name: right(server, name)._replace(kind=VOLUME),
)

# --- removal --------------------------------------------------------------------------------------------------------------

for kind in Base.kinds:
    word = kind.value.replace(" ", "-")
    mutant(
        f"{word}-not-deleted",
        f"the deletion of a {kind.value} is accepted and does not happen",
        delete=of(kind, lambda driver, right, ref: None),
    )
    mutant(
        f"{word}-deletion-refused",
        f"the deletion of a {kind.value} is refused",
        delete=of(kind, raising(NotPermitted("not allowed"))),
    )
    mutant(
        f"{word}-still-listed",
        f"a {kind.value} that is gone is still listed",
        list=of(
            kind, lambda driver, right, kind, name: _ghosts(driver, right(kind, name), kind, name)
        ),
    )
    mutant(
        f"{word}-still-shown",
        f"a {kind.value} that is gone is shown as it was",
        show=of(kind, lambda driver, right, ref: _ghost(driver, right, ref)),
    )
    mutant(
        f"{word}-gone-is-failed",
        f"a {kind.value} that is gone is FAILED, and not NotFound",
        show=of(kind, instead(NotFound, Resource(Ref(kind, "gone"), State.FAILED, "DELETED"))),
    )
    mutant(
        f"{word}-hidden",
        f"a {kind.value} is hidden by its deletion, and stays",
        delete=of(kind, lambda driver, right, ref: _hide(driver, ref)),
        show=of(kind, lambda driver, right, ref: _shown(driver, right, ref)),
    )
mutant(
    "server-comes-back",
    "a server that is gone comes back",
    delete=of(Kind.SERVER, lambda driver, right, ref: _revive(driver, right, ref)),
)
mutant(
    "deletes-the-fleet",
    "the deletion of one member deletes the fleet",
    delete=of(
        Kind.SERVER,
        lambda driver, right, ref: (
            right(ref),
            [
                driver.cloud.things.pop(id)
                for id, thing in list(driver.cloud.things.items())
                if thing.name.startswith(ref.name[:-1])
            ],
        )[0],
    ),
)
mutant(
    "deletes-another-member",
    "the deletion of a member deletes another one",
    delete=of(
        Kind.SERVER,
        lambda driver, right, ref: right(
            next(
                (
                    Ref(Kind.SERVER, id)
                    for id, thing in driver.cloud.things.items()
                    if thing.kind is Kind.SERVER
                ),
                ref,
            )
        ),
    ),
)
mutant(
    "deletes-once",
    "only the first server can be deleted",
    delete=of(
        Kind.SERVER,
        lambda driver, right, ref: (
            right(ref) if driver.__dict__.setdefault("first", ref.id) == ref.id else None
        ),
    ),
)


def _ghosts(driver, found, kind, name):
    seen = driver.__dict__.setdefault("ghosts", {})
    seen.update({one.ref: one for one in found})
    return [one for ref, one in seen.items() if ref.kind is kind and ref.name.startswith(name)]


def _ghost(driver, right, ref):
    seen = driver.__dict__.setdefault("shown", {})
    try:
        seen[ref.id] = right(ref)
    except NotFound:
        if ref.id not in seen:
            raise
    return seen[ref.id]


def _hide(driver, ref):
    driver.__dict__.setdefault("hidden", set()).add(ref.id)


def _shown(driver, right, ref):
    if ref.id in driver.__dict__.get("hidden", ()):
        raise NotFound(f"no such thing: {ref.id}")
    return right(ref)


def _revive(driver, right, ref):
    thing = driver.cloud.things.get(ref.id)
    right(ref)
    if thing:
        driver.gone = thing
    elif getattr(driver, "gone", None):
        driver.cloud.things[driver.gone.id], driver.gone = driver.gone, None


# --- what cannot be, and security groups ----------------------------------------------------------------------------


def _possible(driver, right, test_vm):
    """The plan of a test VM, also of one that cannot be."""
    return right({**test_vm, "flavor": "tiny"})._replace(flavor=test_vm["flavor"])


def _broken(fault):
    """A replacement of ``create``, after which a server of the flavor ``huge`` is BROKEN."""

    def act(driver, right, spec):
        made = right(spec)
        if spec.plan.flavor == "huge":
            thing = driver.cloud.things[made.id]
            thing.word, thing.fault = "BROKEN", fault
        return made

    return of(Kind.SERVER, act)


mutant(
    "impossible-is-possible",
    "a server that cannot be is READY",
    resolve=_possible,
)
mutant(
    "impossible-without-words",
    "the refusal of a server that cannot be has no words",
    resolve=instead(NotFound, CloudError("")),
)
mutant(
    "impossible-without-fault",
    "a server that cannot be fails without the manager's words",
    resolve=_possible,
    create=_broken(""),
)
mutant(
    "impossible-with-strange-cause",
    "the cause of a refusal is none of the suite's",
    resolve=lambda driver, right, test_vm: (
        right(test_vm)
        if test_vm["flavor"] != "huge"
        else raising(CloudError("no", "weather"))(0, 0)
    ),
)
mutant(
    "group-name-cut-at-32",
    "names of security groups are cut",
    create=of(Kind.SECURITY_GROUP, named(lambda name: name[:32])),
)
mutant(
    "group-list-lags",
    "lists show a new security group only long after the consistency window",
    list=filtered(_young(200), Kind.SECURITY_GROUP),
)
mutant(
    "group-is-a-server",
    "create of a security group returns another kind",
    create=of(
        Kind.SECURITY_GROUP,
        lambda driver, right, spec: right(spec)._replace(kind=Kind.SERVER),
    ),
)

# --- what nobody can see from outside -----------------------------------------------------------------------------------

mutant(
    "owner-wrong-everywhere",
    "everything has the same wrong owner",
    show=lambda driver, right, ref: right(ref)._replace(owner="somebody"),
    list=lambda driver, right, *words: [one._replace(owner="somebody") for one in right(*words)],
)
mutant(
    "read-and-write-swapped",
    "bytes read are told as written, and the other way round",
    **sampled(
        metric=lambda driver, one: {"disk_read": "disk_write", "disk_write": "disk_read"}.get(
            one.metric, one.metric
        )
    ),
)
mutant(
    "total-is-half",
    "the total of each limit is half of what is allowed",
    capacity=lambda driver, right: [one._replace(total=one.total / 2) for one in right()],
)
mutant(
    "bytes-in-kib",
    "bytes are told in KiB",
    **sampled(value=lambda driver, one: one.value if one.metric == "cpu" else one.value / 1024),
)

# Those that no requirement catches, and why.
SURVIVORS = {
    "owner-wrong-everywhere": "nobody else says whose a thing is",
    "read-and-write-swapped": "nobody else counts what a guest reads and writes",
    "total-is-half": "only a quota that is exhausted would show it",
    "bytes-in-kib": "nobody else counts what a guest reads and writes",
}
