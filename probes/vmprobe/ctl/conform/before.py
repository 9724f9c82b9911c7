"""Requirements that need nothing but the cloud and the site file."""

from __future__ import annotations

import math
import re
from typing import Callable, Dict

from vmprobe.core.driver import Driver
from vmprobe.core.errors import AuthRejected, ClientError, NotFound, NotPermitted, VmprobeError
from vmprobe.core.model import EXTRA_METRICS, METRICS, Capability, Kind, Ref, State, TestVM
from vmprobe.ctl.conform.making import refs
from vmprobe.ctl.conform.requirement import Failed, Group, check
from vmprobe.ctl.conform.world import World

requirement = Group("The session, and what the driver says of itself")
NO_IMAGE = "vmprobe-no-such-image"
CONNECTED = ("session-opened",)


@requirement("declaration", "A driver declares only what the contract has, with what goes with it.")
def _declaration(world: World) -> None:
    driver = world.cloud
    check(Kind.SERVER in driver.kinds, "kinds has no server")
    check(len(set(driver.kinds)) == len(driver.kinds), "kinds has a kind twice")
    pairs = {Capability.VOLUMES: Kind.VOLUME, Capability.SNAPSHOTS: Kind.SNAPSHOT}
    for capability, kind in pairs.items():
        check(
            capability not in driver.capabilities or kind in driver.kinds,
            f"{capability.value} is among the capabilities, and {kind.value} not among the kinds",
        )
    unknown = set(driver.metrics_offered) - {*METRICS, *EXTRA_METRICS}
    check(not unknown, f"metrics_offered has {', '.join(sorted(unknown))}")
    check(
        driver.metrics_offered or Capability.METRICS not in driver.capabilities,
        "metrics are among the capabilities, and metrics_offered is empty",
    )
    check(driver.system, "system is empty")
    check(driver.proved_against and driver.proved_against != Driver.proved_against, "not proved")
    check(driver.identity, "identity is empty")
    for name in ("consistency_window", "metrics_period"):
        value = getattr(driver, name)
        check(math.isfinite(value) and value >= 0, f"{name} is {value}")


@requirement("nothing-before-connect", "Nothing is sent before connect.")
def _nothing_before_connect(world: World) -> None:
    check(not world.evidence.requests, f"{world.evidence.requests} requests were sent")


@requirement(
    "session-needed",
    "Only connect authenticates: without a session the other verbs raise AuthRejected.",
    after=("nothing-before-connect",),
)
def _session_needed(world: World) -> None:
    ref = Ref(Kind.SERVER, world.subject.impossible_id, world.name)
    asked: Dict[str, Callable[[], object]] = {
        "list": lambda: world.cloud.list(Kind.SERVER, world.name),
        "show": lambda: world.cloud.show(ref),
    }
    for verb, ask in asked.items():
        try:
            ask()
        except AuthRejected:
            continue
        raise Failed(f"{verb} was answered before connect")


@requirement("session-opened", "connect opens a session, and opens another one when asked again.")
def _session_opened(world: World) -> None:
    try:
        world.cloud.connect()
    except VmprobeError as error:
        world.unusable = f"no session: {error}"
        raise
    world.connected = True
    world.cloud.connect()
    world.cloud.list(Kind.SERVER, world.name)


@requirement("description", "describe has the version, and the same each time.", after=CONNECTED)
def _description(world: World) -> str:
    said = world.cloud.describe()
    check(str(said.get("version") or ""), f"describe has no version: {said}")
    again = world.cloud.describe()
    check(again.get("version") == said["version"], f"version is {said['version']}, then {again}")
    try:
        check(isinstance(world.cloud.offers(), dict), "offers is no dictionary")
    except NotPermitted:
        pass  # it may be for administrators
    return f"version {said['version']}"


@requirement(
    "endpoints", "endpoints has URLs, and credential_expiry a time or None.", after=CONNECTED
)
def _endpoints(world: World) -> None:
    wrong = [url for url in world.cloud.endpoints() if not re.match(r"https?://[^/]", url)]
    check(not wrong, f"endpoints has {wrong}")
    expiry = world.cloud.credential_expiry(lambda path: 4e9)
    check(expiry is None or expiry > world.deadline.clock.utc(), f"credential_expiry is {expiry}")


@requirement(
    "missing-image",
    "resolve raises NotFound for an image that does not exist, and names it.",
    after=CONNECTED,
)
def _missing_image(world: World) -> None:
    test_vm: TestVM = {**world.subject.test_vm, "image": NO_IMAGE}
    try:
        plan = world.cloud.resolve(test_vm)
    except NotFound as missing:
        check(NO_IMAGE in str(missing), f"the message does not name the image: {missing}")
        return
    raise Failed(f"resolve found an image {NO_IMAGE}: {plan}")


@requirement(
    "images",
    "images shows the test VM's image with id and state, and no image that does not exist.",
    after=CONNECTED,
    needs=[Capability.IMAGES],
)
def _images(world: World) -> None:
    name = world.subject.test_vm["image"]
    found = world.cloud.images(name, ["sha512"])
    check(found, f"images shows no {name}")
    for image in found:
        check(image.id and image.provider_state, f"no id or provider_state: {image}")
        check(name in (image.name, image.id), f"asked for {name}, images shows {image}")
        for algorithm, digits in image.checksums.items():
            check(re.fullmatch(r"[0-9a-f]{32,128}", digits), f"{algorithm} is {digits!r}")
    check(any(image.state is State.READY for image in found), f"no {name} is READY: {found}")
    nothing = world.cloud.images(NO_IMAGE)
    check(nothing == [], f"asked for {NO_IMAGE}, images shows {nothing}")
    world.got.capabilities.add(Capability.IMAGES)


@requirement(
    "all-images",
    "images without a name shows all, the test VM's image among them; none if the manager cannot "
    "list them.",
    after=("images",),
    needs=[Capability.IMAGES],
)
def _all_images(world: World) -> None:
    name = world.subject.test_vm["image"]
    ids = {image.id for image in world.cloud.images(name)}
    every = {image.id for image in world.cloud.images()}
    check(not every or ids <= every, f"not among all images: {', '.join(sorted(ids - every))}")


@requirement("plan", "resolve finds what a test VM is made of; it only reads.", after=CONNECTED)
def _plan(world: World) -> str:
    try:
        plan = world.cloud.resolve(world.subject.test_vm)
    except (ClientError, NotFound) as error:
        world.unusable = f"the site's test VM: {error}"
        raise
    check(plan.image, f"the plan has no image: {plan!r}")
    for name in ("vcpus", "memory", "root_volume"):
        value = getattr(plan, name)
        check(value is None or value > 0, f"the plan's {name} is {value}, and not None")
    again = world.cloud.resolve(world.subject.test_vm)
    check(again == plan, f"resolve gives {plan!r}, then {again!r}")
    world.plan_found = plan
    return str(plan)


@requirement(
    "unused-name", "A list by a name that was never used is empty, for each kind.", after=["plan"]
)
def _unused_name(world: World) -> None:
    for kind in world.cloud.kinds:
        found = world.cloud.list(kind, world.name)
        check(found == [], f"list of {kind.value}: {refs(found)}")


@requirement(
    "unknown-id",
    "What never existed is NotFound to show; to delete it is success, for each kind.",
    after=CONNECTED,
)
def _unknown_id(world: World) -> None:
    for kind in world.cloud.kinds:
        nothing = Ref(kind, world.subject.impossible_id, world.name)
        try:
            seen = world.cloud.show(nothing)
        except NotFound:
            world.cloud.delete(nothing)
            continue
        raise Failed(f"show was asked for {nothing}, which does not exist, and showed {seen}")
