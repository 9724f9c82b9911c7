"""What every driver has to do, whichever it is: the docstrings of core/driver.py, tested one by one.

The tests of a harness share one server and one volume, because a real server takes seconds to boot. So they are in one
file, and run in its order.

Above 400 lines: the tests of a harness share one server and one volume, and run in the order of this file.
"""

import math
import re

import pytest

from conformance import got
from conformance.harnesses import HARNESSES, LIVE, make
from vmprobe.core import handle
from vmprobe.core.errors import AuthRejected, CloudError, Conflict, NotFound, Transient
from vmprobe.core.model import (
    EXTRA_METRICS,
    METRICS,
    Capability,
    Kind,
    Ref,
    ServerSpec,
    State,
    VolumeSpec,
)
from vmprobe.guest import console

pytestmark = pytest.mark.usefixtures("harness")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.live] if name in LIVE else []) for name in HARNESSES
    ],
)
def harness(request):
    with make(request.param) as found:
        found.name = request.param
        yield found
        found.driver.close()


class World:
    """The state that the tests of one harness share."""

    def __init__(self, harness):
        self.harness, self.cloud, self.deadline = harness, harness.driver, harness.deadline
        self.handle = handle.new("conformance", 600, self.deadline.clock.utc())
        self.name = str(self.handle)
        self.server = self.volume = self.plan = None
        self.got = {
            "capabilities": set(),
            "metrics": set(),
        }  # what the server really gave: see got.py

    def until(self, look, what):
        """Poll until ``look`` returns something true, through transient failures, and return that."""
        began, last = self.deadline.clock.now(), None
        for elapsed in self.deadline.polls(began, first=0):
            try:
                found = look()
            except Transient as passing:
                found, last = None, passing
            if found:
                return found
            assert elapsed < 240, f"{what}: not within 240 s ({last})"


@pytest.fixture(scope="module")
def world(harness):
    found = World(harness)
    with pytest.raises(AuthRejected):  # only ``connect`` authenticates
        harness.driver.list(Kind.SERVER, found.name)
    harness.driver.connect()
    yield found
    found.deadline.clean_up()
    for kind in found.cloud.kinds:
        for thing in found.cloud.list(kind, found.name):
            found.until(lambda ref=thing.ref: _removed(found.cloud, ref), f"removal of {thing.ref}")


def _removed(cloud, ref):
    cloud.delete(ref)
    try:
        cloud.show(ref)
    except NotFound:
        return True
    return False


def needs(world, capability):
    if capability in world.harness.lacks:
        pytest.skip(f"{capability.value}: {world.harness.lacks[capability]}")
    if capability not in world.cloud.capabilities:
        pytest.skip(f"{world.cloud.system} has no {capability.value}")


# --- before anything is created --------------------------------------------------------------------------------------


def test_it_says_what_it_is(world):
    assert str(world.cloud.describe()["version"])
    assert world.cloud.system and world.cloud.proved_against != "nothing yet"


def test_a_missing_image_is_not_found_and_named(world):
    with pytest.raises(NotFound) as wrong:
        world.cloud.resolve({**world.harness.test_vm, "image": "vmprobe-no-such-image"})
    assert "vmprobe-no-such-image" in str(wrong.value)


def test_an_image_has_an_id_and_a_state(world):
    needs(world, Capability.IMAGES)
    found = world.cloud.images(world.harness.test_vm["image"], ["sha512"])

    assert found and all(image.id and image.provider_state for image in found)
    assert any(image.state is State.READY for image in found)
    assert all(
        re.fullmatch(r"[0-9a-f]{32,128}", digits)
        for image in found
        for digits in image.checksums.values()
    )
    assert world.cloud.images("vmprobe-no-such-image") == []
    world.got["capabilities"].add(Capability.IMAGES)


def test_a_test_vm_can_be_planned(world):
    world.plan = world.cloud.resolve(world.harness.test_vm)
    assert world.plan.image


def test_a_name_that_was_never_used_lists_nothing(world):
    assert [world.cloud.list(kind, world.name) for kind in world.cloud.kinds] == [
        [] for _ in world.cloud.kinds
    ]


def test_what_never_existed_is_not_found_and_can_be_deleted(world):
    for kind in world.cloud.kinds:
        nothing = Ref(kind, _impossible_id(world), world.name)
        with pytest.raises(NotFound):
            world.cloud.show(nothing)
        world.cloud.delete(nothing)


def _impossible_id(world):
    return getattr(world.harness, "impossible_id", "00000000-0000-4000-8000-000000000000")


# --- one server and one volume ------------------------------------------------------------------------------------


def _server_spec(world, name, servers=1):
    depth = world.harness.test_vm["depth"]
    return ServerSpec(name, world.plan, servers, nonce=world.handle.random, depth=depth)


def test_a_server_can_be_found_by_its_name_from_the_moment_it_is_asked_for(world):
    world.server = world.cloud.create(_server_spec(world, world.name))

    found = world.cloud.list(Kind.SERVER, world.name)

    assert [(thing.ref.id, thing.ref.name) for thing in found] == [(world.server.id, world.name)]


def test_an_empty_name_lists_the_servers_of_everybody(world):
    assert world.server in [thing.ref for thing in world.cloud.list(Kind.SERVER, "")]


def test_a_server_becomes_ready(world):
    def look():
        seen = world.cloud.show(world.server)
        assert seen.state is not State.FAILED, f"{seen.provider_state}: {seen.fault}"
        if world.cloud.needs_start(seen):
            world.cloud.start(world.server)
        return seen if seen.state is State.READY else None

    seen = world.until(look, "ready")

    assert seen.ref == world.server and seen.provider_state
    assert world.cloud.list(Kind.SERVER, world.name)[0].state is State.READY


def test_a_list_matches_the_beginning_of_a_name_only(world):
    assert world.cloud.list(Kind.SERVER, world.name[:-1])
    assert world.cloud.list(Kind.SERVER, world.name + "-") == []
    assert world.cloud.list(Kind.SERVER, world.name[1:]) == []


def test_a_server_has_its_network(world):
    def look():
        if Capability.PORTS in world.cloud.capabilities:
            ports = world.cloud.ports([world.server])
            assert {port.server for port in ports} <= {world.server.id}
            world.got["capabilities"] |= {Capability.PORTS} if ports else set()
            return ports and all(port.state is State.READY and port.addresses for port in ports)
        return world.cloud.show(world.server).addresses

    assert world.until(look, "network")


def test_the_console_speaks_with_the_runs_nonce(world):
    needs(world, Capability.CONSOLE)
    if not world.harness.reports:
        assert isinstance(world.cloud.console(world.server), str)
        world.got["capabilities"].add(Capability.CONSOLE)
        pytest.skip("the image is not the suite's own: its console has no facts")

    def look():
        said = console.facts(world.cloud.console(world.server), world.handle.random)
        return not console.missing(said, "network", world.server)

    assert world.until(look, "network on the console")
    world.got["capabilities"].add(Capability.CONSOLE)


def test_a_volume_becomes_ready_and_is_free(world):
    needs(world, Capability.VOLUMES)
    world.volume = world.cloud.create(
        VolumeSpec(world.name, world.harness.test_vm["volume"] or 2**30, world.plan)
    )

    seen = world.until(lambda: _ready(world.cloud.show(world.volume)), "volume")

    assert (seen.server, seen.ref.name) == ("", world.name)
    assert seen.size >= (world.harness.test_vm["volume"] or 2**30)


def _ready(seen):
    assert seen.state is not State.FAILED, f"{seen.provider_state}: {seen.fault}"
    return seen if seen.state is State.READY else None


def test_a_volume_is_attached_to_the_server(world):
    needs(world, Capability.VOLUMES)
    world.until(lambda: _accepted(world.cloud.attach, world.server, world.volume), "attach")

    seen = world.until(lambda: _attached(world), "attachment")

    assert seen.server == world.server.id
    assert [thing.server for thing in world.cloud.list(Kind.VOLUME, world.name)] == [
        world.server.id
    ]
    world.got["capabilities"].add(Capability.VOLUMES)


def _accepted(ask, *words):
    try:
        ask(*words)
    except Conflict:
        return False
    return True


def _attached(world):
    seen = _ready(world.cloud.show(world.volume))
    return seen if seen and seen.server else None


def test_an_attached_volume_is_not_removed(world):
    needs(world, Capability.VOLUMES)
    with pytest.raises(Conflict):
        world.cloud.delete(world.volume)
    assert world.cloud.show(world.volume).server == world.server.id


def test_the_server_has_written_and_read_its_volume(world):
    needs(world, Capability.VOLUMES)
    needs(world, Capability.CONSOLE)
    if not world.harness.reports:
        pytest.skip("the image is not the suite's own: its console has no facts")

    def look():
        said = console.facts(world.cloud.console(world.server), world.handle.random)
        return not console.missing(said, "disk", world.server)

    assert world.until(look, "disk on the console")


def test_metrics_are_among_those_offered_and_are_numbers(world):
    needs(world, Capability.METRICS)
    samples = world.until(lambda: world.cloud.metrics(world.server), "a first sample")

    assert (
        {sample.metric for sample in samples}
        <= set(world.cloud.metrics_offered)
        <= {*METRICS, *EXTRA_METRICS}
    )
    assert all(math.isfinite(sample.value) and sample.value >= 0 for sample in samples)
    world.got["capabilities"].add(Capability.METRICS)
    world.got["metrics"] |= {sample.metric for sample in samples}


def test_counters_only_grow(world):
    needs(world, Capability.METRICS)
    before = {
        sample.metric: sample for sample in world.cloud.metrics(world.server) if sample.counter
    }

    def look():
        return [
            sample
            for sample in world.cloud.metrics(world.server)
            if sample.counter and sample.metric in before and sample.at > before[sample.metric].at
        ]

    if before:
        world.deadline.sleep(1)
        assert all(
            sample.value >= before[sample.metric].value
            for sample in world.until(look, "a later sample")
        )


def test_limits_are_not_negative(world):
    needs(world, Capability.CAPACITY)
    limits = world.cloud.capacity()

    assert limits
    assert all(limit.used >= 0 and (limit.total is None or limit.total >= 0) for limit in limits)
    world.got["capabilities"].add(Capability.CAPACITY)


def test_a_snapshot_of_the_running_server_becomes_ready_and_is_removed(world):
    needs(world, Capability.SNAPSHOTS)
    taken = world.cloud.snapshot(world.server, world.name)

    world.until(lambda: _ready(world.cloud.show(taken)), "snapshot")

    assert [thing.ref.id for thing in world.cloud.list(Kind.SNAPSHOT, world.name)] == [taken.id]
    world.until(lambda: _removed(world.cloud, taken), "removal of the snapshot")
    assert world.cloud.list(Kind.SNAPSHOT, world.name) == []
    world.got["capabilities"].add(Capability.SNAPSHOTS)


def test_a_detached_volume_is_free_and_can_be_detached_again(world):
    needs(world, Capability.VOLUMES)
    world.until(lambda: _accepted(world.cloud.detach, world.server, world.volume), "detach")

    world.until(lambda: not world.cloud.show(world.volume).server, "detachment")

    world.cloud.detach(world.server, world.volume)


def test_a_removed_server_is_gone_and_can_be_removed_again(world):
    world.until(lambda: _removed(world.cloud, world.server), "removal")

    assert world.cloud.list(Kind.SERVER, world.name) == []
    world.cloud.delete(world.server)


def test_a_removed_volume_is_gone_and_can_be_removed_again(world):
    needs(world, Capability.VOLUMES)
    world.until(lambda: _removed(world.cloud, world.volume), "removal")

    assert world.cloud.list(Kind.VOLUME, world.name) == []
    world.cloud.delete(world.volume)


def test_several_servers_are_made_by_one_request(world):
    needs(world, Capability.BULK)
    name = f"{world.name}-bulk"
    before = world.harness.driver.evidence.requests
    world.cloud.create(_server_spec(world, name, servers=2))

    assert world.harness.driver.evidence.requests == before + 1
    found = world.until(
        lambda: (
            [thing for thing in world.cloud.list(Kind.SERVER, name)]
            if len(world.cloud.list(Kind.SERVER, name)) == 2
            else None
        ),
        "both members",
    )
    assert sorted(thing.ref.name for thing in found) == [f"{name}-1", f"{name}-2"]
    for thing in found:
        world.until(lambda ref=thing.ref: _removed(world.cloud, ref), "removal")
    world.got["capabilities"].add(Capability.BULK)


def test_the_evidence_has_all_requests_and_no_secrets(world):
    evidence = world.harness.driver.evidence
    text = "\n".join(evidence.lines())

    assert evidence.requests == len(evidence.exchanges) > 10
    assert [secret for secret in world.harness.secrets if secret in text] == []


def test_an_impossible_server_is_refused_or_fails_in_the_managers_words(world):
    spoil = world.harness.impossible
    if spoil is None:
        pytest.skip("this harness knows no test VM that is impossible")
    plan = world.cloud.resolve({**world.harness.test_vm, **spoil})
    try:
        ref = world.cloud.create(ServerSpec(world.name, plan))
    except CloudError as refused:
        assert str(refused)
        return
    seen = world.until(
        lambda: world.cloud.show(ref) if world.cloud.show(ref).state is State.FAILED else None,
        "failure",
    )
    assert seen.fault
    world.until(lambda: _removed(world.cloud, ref), "removal")


def test_the_readme_has_what_this_server_gave(world, request):
    """The last test: compare what the others got with the record that the README is made from."""
    given = got.entry(world.cloud, world.got["capabilities"], world.got["metrics"])
    if request.config.getoption("--regen"):
        got.write(world.harness.name, given)
    if world.harness.name not in got.read():
        pytest.skip(
            f"nothing is recorded of {world.harness.name} yet: pytest --regen tests/conformance -k {world.harness.name}"
        )

    assert given == got.read()[world.harness.name]
