"""Fixtures: servers whose counters grow at a given rate."""

import pytest

from vmprobe.core.model import Kind, Sample


@pytest.fixture
def busy(site):
    """Make a running server: ``cpu`` is CPU seconds per second, ``traffic`` bytes per second of everything else."""
    counted = {}
    site.set("sample", readings="1")

    def make(name, cpu=0.0, traffic=0.0, **options):
        thing = site.cloud.things[site.cloud.make(Kind.SERVER, name).id]
        thing.word = options.pop("word", "RUNNING")
        counted[thing.id] = (cpu, traffic, site.clock.now())
        for key, value in options.items():
            setattr(thing, key, value)
        return thing

    def metrics(identity):
        cpu, traffic, made = counted[identity]
        age, now = site.clock.now() - made, site.clock.utc()
        return [Sample("cpu", cpu * age, now)] + [
            Sample(metric, traffic * age, now)
            for metric in ("disk_read", "disk_write", "net_in", "net_out")
        ]

    site.cloud.metrics = metrics
    make.counted = counted
    return make
