"""Requirements on one server, from its creation until it runs with its network and console."""

from __future__ import annotations

import ipaddress
import math
from typing import List

from vmprobe.core.errors import NotFound, NotPermitted
from vmprobe.core.model import Capability, Kind, Ref, Resource, State
from vmprobe.ctl.conform.making import agree, listed_once, make, ready, refs, shown
from vmprobe.ctl.conform.requirement import Group, Inapplicable, check
from vmprobe.ctl.conform.world import World
from vmprobe.guest import console

requirement = Group("One server")
RUNS = ("server-ready",)


@requirement(
    "server-created",
    "create asks for a server, with BULK by one request. It can be found by its name from then on, "
    "with the id that was returned: within the driver's consistency window, and always after that.",
    after=("plan", "unused-name"),
)
def _server_created(world: World) -> str:
    spec, before = world.spec(world.name), world.evidence.requests
    began = world.deadline.clock.now()
    cost: List[int] = []

    def create() -> Ref:
        try:
            return world.cloud.create(spec)
        finally:
            cost.append(world.evidence.requests - before)

    listed = make(world, Kind.SERVER, world.name, create)
    world.server_made = listed.ref
    bulk = Capability.BULK in world.cloud.capabilities  # elsewhere a server may have many parts
    check(not bulk or cost == [1], f"create sent {cost[0]} requests")
    before = world.evidence.requests
    world.cloud.list(Kind.SERVER, world.name)
    world.list_cost = world.evidence.requests - before
    return f"listed after {world.seconds(began)}"


@requirement(
    "all-servers",
    "A list by an empty name has the servers of everybody that the credential can see.",
    after=("server-created",),
)
def _all_servers(world: World) -> None:
    found = world.cloud.list(Kind.SERVER, "")
    check(world.server in [one.ref for one in found], f"not there: {world.server}")
    wrong = [one for one in found if one.ref.kind is not Kind.SERVER]
    check(not wrong, f"a list of servers has {refs(wrong)}")


@requirement(
    "list-by-beginning",
    "A list by a name has what begins with it, and nothing else.",
    after=("server-created",),
)
def _list_by_beginning(world: World) -> None:
    for name in (world.name[:-1], str(world.handle)):
        found = [one.ref for one in world.cloud.list(Kind.SERVER, name)]
        check(found == [world.server], f"listed by {name}: {found}")
    for name in (world.name + "-", world.name[1:], world.handle.random):
        found = [one.ref for one in world.cloud.list(Kind.SERVER, name)]
        check(found == [], f"listed by {name}: {found}")


@requirement(
    "server-ready",
    "A server that was created becomes READY, and is never FAILED meanwhile; show has the ref that "
    "was asked for, and the manager's word.",
    after=("server-created",),
)
def _server_ready(world: World) -> str:
    began = world.deadline.clock.now()

    def look() -> object:
        seen = shown(world, world.server)
        check(seen.provider_state, "provider_state is empty")
        if world.cloud.needs_start(seen):
            world.cloud.start(world.server)
        return seen if seen.state is State.READY else None

    seen = world.until(look, "READY")
    assert isinstance(seen, Resource)
    check(not seen.fault, f"a READY server has a fault: {seen.fault}")
    check(not world.cloud.needs_start(seen), "a READY server needs_start")
    check(not world.cloud.is_at_rest(seen), "a READY server is_at_rest")
    check(not world.cloud.is_soft_deleted(seen), "a READY server is_soft_deleted")
    world.ready = seen
    return f"after {world.seconds(began)}"


@requirement(
    "list-and-show",
    "list and show say the same of a server.",
    after=RUNS,
)
def _list_and_show(world: World) -> None:
    listed, seen = listed_once(world, world.server), shown(world, world.server)
    different = agree(listed, seen)
    check(not different, f"list and show differ: {different}")
    check(listed.state is seen.state, f"listed as {listed.state}, shown as {seen.state}")


@requirement(
    "server-facts",
    "What the manager does not say of a server is empty or None, never zero; what it says agrees "
    "with the plan and with the order of time.",
    after=RUNS,
)
def _server_facts(world: World) -> None:
    seen = shown(world, world.server)
    for name in ("vcpus", "memory", "size", "created", "launched", "state_since"):
        value = getattr(seen, name)
        check(value is None or (math.isfinite(value) and value > 0), f"{name} is {value}, not None")
    for name in ("vcpus", "memory"):
        planned, value = getattr(world.plan, name), getattr(seen, name)
        check(None in (planned, value) or planned == value, f"{name}: {value}, planned {planned}")
    created, launched = seen.created, seen.launched
    check(
        created is None or launched is None or launched >= created - 1,
        f"launched ({launched}) before it was created ({created})",
    )
    check(created is None or 1e9 < created < 5e9, f"created at {created} s since the epoch")
    again = shown(world, world.server)
    check(again.created == created, f"created at {created}, then at {again.created}")


@requirement(
    "finished-at",
    "finished_at takes one request at most, and gives a time after the creation, or None.",
    after=RUNS,
)
def _finished_at(world: World) -> None:
    for stage in ("active", "storage"):
        before = world.evidence.requests
        try:
            at = world.cloud.finished_at(world.server, stage)
        except NotFound:
            continue
        check(world.evidence.requests - before <= 1, "more than one request")
        created = shown(world, world.server).created
        check(
            at is None or (math.isfinite(at) and at >= (created or 1.0) - 1),
            f"{stage} finished at {at}, created at {created}",
        )


@requirement("network", "A server gets its network: ports of its own, with addresses.", after=RUNS)
def _network(world: World) -> str:
    began = world.deadline.clock.now()

    def look() -> bool:
        ports = world.cloud.ports([world.server])
        for port in ports:
            check(port.ref.kind is Kind.PORT, f"a port is a {port.ref.kind.value}")
            check(port.server == world.server.id, f"{port.ref} is of the server {port.server!r}")
            for address in port.addresses:
                _check_address(address)
        done = [port for port in ports if port.state is State.READY]
        check(all(port.addresses for port in done), f"a READY port has no address: {ports}")
        return bool(ports) and len(done) == len(ports)

    world.until(look, "network")
    for address in shown(world, world.server).addresses:
        _check_address(address)
    if Capability.PORTS in world.cloud.capabilities:
        world.got.capabilities.add(Capability.PORTS)
    return f"after {world.seconds(began)}"


def _check_address(text: str) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        check(False, f"{text!r} is no IP address")
    else:
        check(not address.is_unspecified, f"{text} is no address")


@requirement(
    "belongings",
    "belongings are what the manager made for this server; each can be shown.",
    after=RUNS,
)
def _belongings(world: World) -> str:

    def look() -> List[List[Ref]]:
        try:
            return [world.cloud.belongings(world.server)]
        except NotPermitted as refused:
            return [list(refused.partial)]

    found = world.until(look, "belongings")[0]
    check(world.server not in found, "the server is among its own belongings")
    for ref in found:
        check(not world.is_gone(ref), f"{ref} is among the belongings and does not exist")
        world.belongings.append(ref)
    orphans = world.cloud.orphans([world.server]).get(world.server.id, [])
    lost = set(orphans) - set(found)
    check(not lost, f"orphans of a server that is there: {', '.join(map(str, lost))}")
    return ", ".join(map(str, found)) or "none"


@requirement(
    "console-read",
    "The console is text; with the suite's own image it has the reporter's lines, with the nonce.",
    after=RUNS,
    needs=[Capability.CONSOLE],
)
def _console_read(world: World) -> None:
    said = world.cloud.console(world.server)
    check(isinstance(said, str), f"the console is {type(said).__name__}")
    world.got.capabilities.add(Capability.CONSOLE)
    if not world.subject.reports:
        raise Inapplicable("the image is not the suite's own: its console has no facts")
    reason = ["its console says nothing yet"]

    def look() -> bool:
        facts = console.facts(world.cloud.console(world.server), world.handle.random)
        reason[0] = console.missing(facts, "network", world.server)
        return not reason[0]

    world.until(look, "the network on the console")


@requirement("stays-ready", "A server that is READY stays READY.", after=RUNS)
def _stays_ready(world: World) -> None:
    for _ in range(3):
        seen = ready(world, world.server)
        check(seen, "the server is not READY any more")
        world.deadline.sleep(0.2)
