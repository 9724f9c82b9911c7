"""Requirements on a volume: created, attached, written by the guest, and detached."""

from __future__ import annotations

from typing import Callable, Optional

from vmprobe.core.errors import Conflict
from vmprobe.core.model import Capability, Kind, Ref, Resource, VolumeSpec
from vmprobe.ctl.conform.making import agree, listed_once, make, ready, refs, shown
from vmprobe.ctl.conform.requirement import Failed, Group, Inapplicable, check
from vmprobe.ctl.conform.world import World
from vmprobe.guest import console

requirement = Group("A volume")
VOLUMES = [Capability.VOLUMES]


@requirement(
    "volume-created",
    "create asks for a volume, which is found by its name as a server is, becomes READY, is free, "
    "and is not smaller than asked for.",
    after=("server-ready",),
    needs=VOLUMES,
)
def _volume_created(world: World) -> str:
    began = world.deadline.clock.now()
    spec = VolumeSpec(world.name, world.volume_size, world.plan)
    listed = make(world, Kind.VOLUME, world.name, lambda: world.cloud.create(spec))
    world.volume_made = listed.ref

    seen = world.until(lambda: ready(world, world.volume), "READY")

    check(seen.provider_state, "provider_state is empty")
    check(not seen.server, f"the new volume is attached to {seen.server}")
    check(seen.size is None or seen.size >= world.volume_size, f"size is {seen.size} bytes")
    check(seen.size, "the volume has no size")
    return f"READY after {world.seconds(began)}"


@requirement(
    "kinds-apart",
    "A list has things of its kind only; server and volume of one run have the same owner.",
    after=("volume-created",),
    needs=VOLUMES,
)
def _kinds_apart(world: World) -> None:
    server, volume = shown(world, world.server), shown(world, world.volume)
    for ref in (world.server, world.volume):
        listed_once(world, ref)
    for name in ("owner", "project"):
        one, other = getattr(server, name), getattr(volume, name)
        check(not one or not other or one == other, f"{name}: {one!r} and {other!r}")
    different = agree(listed_once(world, world.volume), volume)
    check(not different, f"list and show of the volume differ: {different}")
    found = world.cloud.list(Kind.VOLUME, world.name[:-1])
    check([one.ref for one in found] == [world.volume], f"listed by a beginning: {refs(found)}")
    for name in (world.name + "-", world.name[1:]):
        found = world.cloud.list(Kind.VOLUME, name)
        check(found == [], f"listed by {name}: {refs(found)}")
    everything = [one.ref for one in world.cloud.list(Kind.VOLUME, "")]
    check(world.volume in everything, f"{world.volume} is not among all volumes")


@requirement(
    "volume-attached",
    "attach attaches the volume to the server: then it is READY, with the server's id, in show and "
    "list; the server stays READY.",
    after=("volume-created",),
    needs=VOLUMES,
)
def _volume_attached(world: World) -> str:
    began = world.deadline.clock.now()
    _asked(world, world.cloud.attach, "attach")

    seen = world.until(lambda: _attached(world), "attachment")

    check(seen.server == world.server.id, f"attached to {seen.server}, not to {world.server}")
    listed = listed_once(world, world.volume)
    check(listed.server == world.server.id, f"listed as attached to {listed.server!r}")
    world.until(lambda: ready(world, world.server), "READY with a volume")
    world.got.capabilities.add(Capability.VOLUMES)
    return f"after {world.seconds(began)}"


def _asked(world: World, ask: Callable[[Ref, Ref], None], what: str) -> None:
    """Ask until it is no Conflict."""

    def accepted() -> bool:
        ask(world.server, world.volume)
        return True

    world.until(accepted, what)


def _attached(world: World) -> Optional[Resource]:
    seen = ready(world, world.volume)
    return seen if seen and seen.server else None


@requirement(
    "volume-held",
    "An attached volume is not deleted: Conflict, and it stays attached.",
    after=("volume-attached",),
    needs=VOLUMES,
)
def _volume_held(world: World) -> None:
    try:
        world.cloud.delete(world.volume)
    except Conflict:
        seen = shown(world, world.volume)
        check(seen.server == world.server.id, f"then it is attached to {seen.server!r}")
        return
    raise Failed("the deletion of an attached volume was accepted")


@requirement(
    "volume-written",
    "The guest has written its volume, and read it again.",
    after=("volume-attached", "console-read"),
    needs=[Capability.VOLUMES, Capability.CONSOLE],
)
def _volume_written(world: World) -> None:
    if not world.subject.reports:
        raise Inapplicable("the image is not the suite's own: its console has no facts")

    def look() -> bool:
        facts = console.facts(world.cloud.console(world.server), world.handle.random)
        return not console.missing(facts, "disk", world.server)

    world.until(look, "the disk on the console")


detaching = Group("A volume")  # after the figures, for which it stays attached


@detaching(
    "volume-detached",
    "detach frees the volume, and is success when it is free already; server and volume stay.",
    after=("volume-attached",),
    needs=VOLUMES,
)
def _volume_detached(world: World) -> str:
    began = world.deadline.clock.now()
    _asked(world, world.cloud.detach, "detach")

    def free() -> Optional[Resource]:
        seen = ready(world, world.volume)
        return seen if seen and not seen.server else None

    seen = world.until(free, "free and READY")

    listed = listed_once(world, world.volume)
    check(not listed.server, f"shown as free, and listed as attached to {listed.server}")
    different = agree(listed, seen)
    check(not different, f"list and show of the free volume differ: {different}")
    world.cloud.detach(world.server, world.volume)
    check(ready(world, world.server), "the server is not READY any more")
    return f"after {world.seconds(began)}"
