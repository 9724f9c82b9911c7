"""Create something, and see that the cloud shows it under its name."""

from __future__ import annotations

from typing import Callable, Mapping, Optional

from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.ctl.conform.requirement import check
from vmprobe.ctl.conform.world import World


def make(world: World, kind: Kind, name: str, create: Callable[[], Ref]) -> Resource:
    """Create something, and return how the cloud lists it.

    Only an id that is listed under the name is used later: the answer may have had another's.
    """
    created = create()
    check(
        created.kind is kind and created.id and created.name == name,
        f"create returned {created!r} for the {kind.value} {name}",
    )
    listed = world.until(
        lambda: world.cloud.list(kind, name),
        f"{created} in the list, by its name {name}",
        min(world.cloud.consistency_window, world.subject.patience),
    )
    for _ in range(2):
        check(
            [one.ref for one in listed] == [created],
            f"{created} was created with the name {name}; listed is {refs(listed)}",
        )
        listed = world.cloud.list(kind, name)
    remember(world, created)
    return listed[0]


def remember(world: World, ref: Ref) -> None:
    """Note an id; it must be new."""
    key = (ref.kind, ref.id)
    check(key not in world.ids, f"{ref} has the id of {world.ids.get(key)}, which had it before")
    world.ids[key] = ref.name


def shown(world: World, ref: Ref) -> Resource:
    """How the cloud shows something, which is what was asked for and has not failed."""
    seen = world.cloud.show(ref)
    check(seen.ref == ref, f"show was asked for {ref!r} and showed {seen.ref!r}")
    check(
        seen.state is not State.FAILED,
        f"{ref} is {seen.provider_state}: {seen.fault or 'no fault is given'}",
    )
    return seen


def ready(world: World, ref: Ref) -> Optional[Resource]:
    """How the cloud shows something, once it is READY."""
    seen = shown(world, ref)
    return seen if seen.state is State.READY else None


def listed_once(world: World, ref: Ref) -> Resource:
    """How the cloud lists something by its name, alone."""
    found = world.cloud.list(ref.kind, ref.name)
    check([one.ref for one in found] == [ref], f"listed by the name of {ref}: {refs(found)}")
    return found[0]


def agree(one: Resource, other: Resource) -> Mapping[str, object]:
    """The fields in which two resources differ, although both say something."""
    return {
        name: (value, getattr(other, name))
        for name, value in one._asdict().items()
        if value and getattr(other, name) and value != getattr(other, name)
    }


def gone_from_list(world: World, ref: Ref) -> None:
    """See that what is gone is not listed any more, and stays gone."""
    world.until(
        lambda: not [one for one in world.cloud.list(ref.kind, ref.name) if one.ref.id == ref.id],
        f"{ref} is gone, but listed; its absence from the list",
        min(world.cloud.consistency_window, world.subject.patience),
    )
    check(world.is_gone(ref), f"{ref} was gone, and is shown again")
    world.cloud.delete(ref)
    world.gone.add((ref.kind, ref.id))


def refs(resources: object) -> str:
    """Resources by id and name, for a message."""
    assert isinstance(resources, list)
    return ", ".join(f"{one.ref} named {one.ref.name!r}" for one in resources) or "nothing"
