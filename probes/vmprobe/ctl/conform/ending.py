"""Requirements on the removal of server and volume, on fleets, and on what is left at the end."""

from __future__ import annotations

from typing import List, cast

from vmprobe.core.errors import CAUSES, CloudError, NotFound, VmprobeError
from vmprobe.core.model import (
    Capability,
    Kind,
    Resource,
    SecurityGroupSpec,
    ServerSpec,
    State,
    TestVM,
    member_names,
)
from vmprobe.ctl.conform.making import gone_from_list, make, ready, refs, remember, shown
from vmprobe.ctl.conform.requirement import Failed, Group, Inapplicable, check
from vmprobe.ctl.conform.world import Overdue, World

requirement = Group("Removal, fleets and the end")


@requirement(
    "server-unchanged",
    "Nothing of this changed the server: same name, addresses, date and word of its state as when "
    "it was READY first.",
    after=("server-ready", "network"),
)
def _server_unchanged(world: World) -> None:
    first = world.ready
    assert first is not None

    def look() -> bool:
        seen = ready(world, world.server)
        return seen is not None and seen.provider_state == first.provider_state

    world.until(look, f"{first.provider_state} again, as it was when it was READY first")
    seen = shown(world, world.server)
    for name in ("created", "owner", "project", "image", "vcpus", "memory"):
        one, other = getattr(first, name), getattr(seen, name)
        check(not one or one == other, f"{name} was {one!r} and is {other!r}")
    missing = set(first.addresses) - set(seen.addresses)
    check(not missing, f"addresses were {first.addresses} and are {seen.addresses}")


@requirement(
    "server-removed",
    "delete removes the server: it is NotFound, stays so, is not listed any more, and can be "
    "deleted again.",
    after=("server-created",),
)
def _server_removed(world: World) -> str:
    began = world.deadline.clock.now()
    world.remove(world.server)
    gone_from_list(world, world.server)
    found = [one.ref for one in world.cloud.list(Kind.SERVER, "")]
    check(world.server not in found, "the removed server is in the list of all servers")
    return f"after {world.seconds(began)}"


@requirement(
    "belongings-removed",
    "What the manager made for the server goes with it, or can be deleted then; afterwards orphans "
    "names nothing.",
    after=("server-removed", "belongings"),
)
def _belongings_removed(world: World) -> str:
    try:
        still = world.cloud.belongings(world.server)
    except NotFound:
        still = []
    check(not still, f"belongings of a server that is gone: {', '.join(map(str, still))}")
    orphans = world.cloud.orphans([world.server]).get(world.server.id, [])
    stayed = [ref for ref in dict.fromkeys([*world.belongings, *orphans]) if not world.is_gone(ref)]
    for ref in stayed:
        world.remove(ref)
    left = world.cloud.orphans([world.server]).get(world.server.id, [])
    check(not left, f"orphans after their removal: {', '.join(map(str, left))}")
    return f"deleted then: {', '.join(map(str, stayed)) or 'nothing'}"


@requirement(
    "volume-removed",
    "A free volume outlives the server; delete removes it as it does a server.",
    after=("volume-detached", "server-removed"),
    needs=[Capability.VOLUMES],
)
def _volume_removed(world: World) -> str:
    check(ready(world, world.volume), "the volume is not READY after the removal of the server")
    began = world.deadline.clock.now()
    world.remove(world.volume)
    gone_from_list(world, world.volume)
    return f"after {world.seconds(began)}"


@requirement(
    "fleet",
    "With BULK, several servers are asked for by one request, named NAME-1 to NAME-N, and listed "
    "by as many requests as one; each is removed alone.",
    after=("plan", "server-created"),
    needs=[Capability.BULK],
)
def _fleet(world: World) -> str:
    name = f"{world.handle}-bulk"
    names = member_names(name, 3)
    before = world.evidence.requests
    world.cloud.create(world.spec(name, servers=3))
    requests = world.evidence.requests - before
    check(requests == 1, f"create sent {requests} requests")

    def look() -> List[Resource]:
        found = world.cloud.list(Kind.SERVER, name)
        return found if len(found) >= 3 else []

    found = world.until(look, "three members in the list")

    check(sorted(one.ref.name for one in found) == names, f"members: {refs(found)}")
    for one in found:
        remember(world, one.ref)
    before = world.evidence.requests
    world.cloud.list(Kind.SERVER, name)
    cost = world.evidence.requests - before
    check(cost <= max(1, world.list_cost), f"a list of three takes {cost} requests")
    second, rest = [one.ref for one in found if one.ref.name == names[1]][0], {names[0], names[2]}
    world.remove(second)
    gone_from_list(world, second)
    left = {one.ref.name for one in world.cloud.list(Kind.SERVER, name)}
    check(left == rest, f"after the removal of {names[1]} there are {', '.join(sorted(left))}")
    for one in found:
        world.remove(one.ref)
        gone_from_list(world, one.ref)
    world.got.capabilities.add(Capability.BULK)
    return f"{len(found)} servers"


@requirement(
    "security-group",
    "A security group can be created, found by its name, opened, and deleted.",
    after=("server-removed",),
)
def _security_group(world: World) -> None:
    if Kind.SECURITY_GROUP not in world.cloud.kinds:
        raise Inapplicable(f"{world.cloud.system} has no security groups")
    name = str(world.handle)
    group = make(
        world, Kind.SECURITY_GROUP, name, lambda: world.cloud.create(SecurityGroupSpec(name))
    )
    world.until(lambda: ready(world, group.ref), "READY")
    world.cloud.open_port(group.ref, 22)
    world.remove(group.ref)
    gone_from_list(world, group.ref)


@requirement(
    "impossible-server",
    "A server that cannot be is refused, or becomes FAILED, in the manager's words.",
    after=("plan",),
)
def _impossible_server(world: World) -> str:
    if world.subject.impossible is None:
        raise Inapplicable("no test VM is known that is impossible")
    name = f"{world.handle}-impossible"
    test_vm = {**world.subject.test_vm, **world.subject.impossible}
    try:
        plan = world.cloud.resolve(cast(TestVM, test_vm))
        world.cloud.create(ServerSpec(name, plan))
    except CloudError as refused:
        check(str(refused), "the refusal has no words")
        check(refused.cause in ("", *CAUSES), f"its cause is {refused.cause}")
        for one in world.cloud.list(Kind.SERVER, name):  # some managers keep what could not start
            world.remove(one.ref)
        return f"refused: {refused}"

    def look() -> List[Resource]:
        return [one for one in world.cloud.list(Kind.SERVER, name) if one.state is State.FAILED]

    failed = world.until(look, "FAILED")[0]
    remember(world, failed.ref)
    seen = world.cloud.show(failed.ref)
    check(seen.fault, f"{seen.provider_state}, and no fault is given")
    world.remove(failed.ref)
    return f"failed: {seen.fault}"


@requirement(
    "evidence",
    "Each request is recorded with its answer, and without secrets.",
    after=("server-created",),
)
def _evidence(world: World) -> str:
    requests, exchanges = world.evidence.requests, world.evidence.exchanges
    check(requests == len(exchanges) > 10, f"{requests} requests, {len(exchanges)} are recorded")
    check(all(one["request"] for one in exchanges), "a request has no words")
    text = "\n".join(str(value) for one in exchanges for value in one.values())
    check(
        not [secret for secret in world.subject.secrets if secret in text],
        "a secret of the credentials is in the record",
    )
    return f"{requests} requests"


@requirement(
    "never-waits", "A driver never waits; only its caller does.", after=("server-created",)
)
def _never_waits(world: World) -> None:
    waits = world.subject.waits
    check(not waits, f"it waited {len(waits)} times, {sum(waits):g} s in all")


@requirement(
    "nothing-left",
    "At the end, nothing is under the handle but what no requirement has removed; that can be "
    "removed, too.",
    after=("session-opened",),
)
def _nothing_left(world: World) -> str:
    left = clean_up(world)
    strange = [
        one
        for one in left
        if (one.ref.kind, one.ref.id) not in world.ids or (one.ref.kind, one.ref.id) in world.gone
    ]
    check(not strange, f"nobody knew of {refs(strange)}")
    return f"removed: {refs(left)}" if left else ""


def clean_up(world: World) -> List[Resource]:
    """Remove what the cloud lists under the handle, with its belongings; return what was listed.

    Overdue names what is still there in the end.
    """
    found = left = world.left()
    for one in found:
        world.note_belongings(one.ref)

    def look() -> bool:
        nonlocal left
        left = world.left()
        owed = [one.ref for one in left] + [r for r in world.belongings if not world.is_gone(r)]
        for ref in sorted(owed, key=lambda ref: list(Kind).index(ref.kind)):
            try:
                world.cloud.delete(ref)
            except VmprobeError:
                pass  # such as a Conflict; the next look tries again
        return not owed

    try:
        world.until(look, "removal of everything under the handle")
    except VmprobeError as error:
        raise Overdue(f"{refs(left) if left else 'belongings'}: {error}") from error
    return found


@requirement("closing", "close never raises, also when it is called twice.")
def _closing(world: World) -> None:
    for _ in range(2):
        try:
            world.cloud.close()
        except Exception as error:
            raise Failed(f"close raised {type(error).__name__}: {error}") from error
    world.connected = False
