"""Requirements on what a manager measures and limits, and on snapshots."""

from __future__ import annotations

import math
from typing import Dict, List, Optional

from vmprobe.core.errors import NotMeasured, NotPermitted
from vmprobe.core.model import EXTRA_METRICS, METRICS, Capability, Kind, Sample
from vmprobe.ctl.conform.making import gone_from_list, make, ready
from vmprobe.ctl.conform.requirement import Group, Inapplicable, check
from vmprobe.ctl.conform.world import World

requirement = Group("Figures and snapshots")
METERED, RUNS = [Capability.METRICS], ("server-ready",)


@requirement(
    "metrics-read",
    "Each sample is of a metric that the driver offers, a number that is not negative, at a time; "
    "those of one metric are in the order of time.",
    after=RUNS,
    needs=METERED,
)
def _metrics_read(world: World) -> str:
    samples = world.until(lambda: _metrics(world), "a first sample")
    names = {sample.metric for sample in samples}
    strange = names - set(world.cloud.metrics_offered) | names - {*METRICS, *EXTRA_METRICS}
    check(not strange, f"not among the metrics offered: {', '.join(sorted(strange))}")
    for sample in samples:
        check(math.isfinite(sample.value) and sample.value >= 0, f"not a figure: {sample}")
        check(math.isfinite(sample.at) and sample.at > 0, f"not a time: {sample}")
        check(
            sample.counter or sample.metric not in ("cpu", "ready") or sample.value <= 200,
            f"not in percent of all vCPUs: {sample}",
        )
        check(not sample.counter or sample.metric != "memory", f"memory is a counter: {sample}")
    for metric in names:
        times = [sample.at for sample in samples if sample.metric == metric]
        check(times == sorted(times), f"{metric} is not in the order of time: {times}")
    world.got.capabilities.add(Capability.METRICS)
    world.got.metrics.update(names)
    return ", ".join(sorted(names))


def _metrics(world: World) -> List[Sample]:
    try:
        return world.cloud.metrics(world.server)
    except NotMeasured as none:
        check(str(none), "NotMeasured without a reason")
        return []
    except NotPermitted as refused:
        raise Inapplicable(f"metrics are for others: {refused}") from None


@requirement(
    "counters-grow",
    "Counters and their times never go back; cpu and ready grow by a second per second at most.",
    after=("metrics-read",),
    needs=METERED,
)
def _counters_grow(world: World) -> str:
    before = _newest(world)
    if not before:
        return "there are no counters"

    def later() -> Optional[Dict[str, Sample]]:
        now = _newest(world)
        for metric, sample in now.items():
            earlier = before.get(metric, sample)
            check(sample.at >= earlier.at, f"{metric} went back in time: {earlier}, {sample}")
            check(sample.value >= earlier.value, f"{metric} went back: {earlier}, {sample}")
        missing = before.keys() - now.keys()
        check(not missing, f"not measured any more: {', '.join(sorted(missing))}")
        return now if any(now[metric].at > before[metric].at for metric in before) else None

    world.deadline.sleep(1)
    for metric, sample in world.until(later, "a later sample").items():
        if metric in ("cpu", "ready") and metric in before:
            grown = sample.value - before[metric].value
            passed = sample.at - before[metric].at
            check(grown <= 2 * passed + 2, f"{metric}: {grown} s of CPU time in {passed} s")
    return ", ".join(sorted(before))


def _newest(world: World) -> Dict[str, Sample]:
    return {sample.metric: sample for sample in _metrics(world) if sample.counter}


@requirement(
    "capacity",
    "Each limit has a name, a usage that is not negative, and a total that is not negative or "
    "None; servers of a quota count the one that runs.",
    after=RUNS,
    needs=[Capability.CAPACITY],
)
def _capacity(world: World) -> str:
    limits = world.cloud.capacity()
    check(limits, "there is no limit")
    for limit in limits:
        check(limit.name and limit.source, f"without a name or a source: {limit}")
        check(math.isfinite(limit.used) and limit.used >= 0, f"used: {limit}")
        total = limit.total
        check(total is None or (math.isfinite(total) and total >= 0), f"total: {limit}")
        counts = limit.name == "servers" and limit.source.startswith("quota") and not limit.of
        check(not counts or limit.used >= 1, f"the server that runs is not counted: {limit}")
    world.got.capabilities.add(Capability.CAPACITY)
    return ", ".join(sorted({limit.name for limit in limits}))


@requirement(
    "needs",
    "needs says what one test VM takes of each limit: more than nothing.",
    after=("plan", "capacity"),
    needs=[Capability.CAPACITY],
)
def _needs(world: World) -> None:
    needs = world.cloud.needs(world.plan, world.subject.test_vm)
    check(needs, "a test VM needs nothing")
    for (name, of), amount in needs.items():
        where = f"{name} of {of}" if of else name
        check(math.isfinite(amount) and amount > 0, f"it needs {amount} of {where}")
    servers = needs.get(("servers", ""), 1.0)
    check(servers == 1, f"one test VM needs {servers} servers")


@requirement(
    "snapshot",
    "snapshot makes a snapshot of the running server, which is found by its name, becomes READY, "
    "and is deleted without the server, which stays READY.",
    after=RUNS,
    needs=[Capability.SNAPSHOTS],
)
def _snapshot(world: World) -> str:
    began = world.deadline.clock.now()
    listed = make(
        world,
        Kind.SNAPSHOT,
        world.name,
        lambda: world.cloud.snapshot(world.server, world.name),
    )
    seen = world.until(lambda: ready(world, listed.ref), "READY")
    check(seen.size is None or seen.size > 0, f"its size is {seen.size}, and not None")
    world.until(lambda: ready(world, world.server), "the server is READY")
    world.remove(listed.ref)
    gone_from_list(world, listed.ref)
    check(ready(world, world.server), "the server is not READY any more")
    world.got.capabilities.add(Capability.SNAPSHOTS)
    return f"after {world.seconds(began)}"
