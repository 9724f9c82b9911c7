"""Measure what a check costs, print it, and write it to RESULTS.md.

The figures are ratios, so that they can be compared between machines: of CPU time (user and system)
over pairs of processes that run in turn; and peak memory. Each measure is one function in MEASURES.
It returns rows of (what, figure, target), whose first column begins with its docstring. A measure
that needs something that this machine lacks says so in its row.
"""

import compileall
import os
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
sys.path[:0] = [str(CHECKOUT / folder) for folder in ("probes", "tests/support", "tests")]

from costs import NOTHING, cost, pairs  # noqa: E402
from on_openstack import (  # noqa: E402
    LIFECYCLE,
    gateway_of_openstack,
    lifecycle_against_novaprobe,
    lifecycle_on_openstack,
)

from virtual import VirtualClock  # noqa: E402
from vmprobe.core.clock import Deadline, Polling  # noqa: E402

SITE = """\
[site]
name = bench
[endpoint]
manager = memory
boot = 0.1 s
[test vm]
image = vmprobe-test
[budget]
deadline = 100 s
[polling]
first = 0.1 s
shortest = 0.1 s
[sample]
readings = 2
interval = 0.1 s
"""


def lifecycle_of_one(directory, environment):
    """`check_vm_lifecycle`, one VM in memory"""
    ratio, memory = pairs(
        LIFECYCLE + ["--site", str(directory / "bench.ini")], NOTHING, 15, environment
    )
    return [
        ("CPU against `python -c pass`", f"{ratio:.1f} x", "<= 24 x"),
        ("peak memory", f"{memory:.0f} MiB", "<= 34 MiB"),
    ]


def starting_up(directory, environment):
    """Start-up with `--help`"""
    rows = []
    for path in sorted((CHECKOUT / "probes").glob("check_vm_*")):
        command = [sys.executable, str(path), "--help"]
        ratio, _ = pairs(command, NOTHING, 21, environment, code=3)
        rows.append((f"`{path.name}`, CPU against `python -c pass`", f"{ratio:.2f} x", ""))
    return rows


def fleet_of_fifty(directory, environment):
    """A fleet of 50 in memory"""
    site = ["--site", str(directory / "bench.ini")]
    ratio, _ = pairs(LIFECYCLE + site + ["--count", "50"], LIFECYCLE + site, 5, environment)
    return [("CPU for each VM against a run of one", f"{ratio / 50:.3f}", "<= 0.15")]


def seeing_a_state(directory, environment):
    """Seeing a state after it is really there, over boots of 5 to 60 s"""
    random.seed(1)
    delays, polls = [], []
    for _ in range(2000):
        boot = 5 * 12 ** random.random()  # log-uniform
        deadline = Deadline(600, 0, VirtualClock(), Polling())
        for number, elapsed in enumerate(deadline.polls(0.0), 1):
            if elapsed >= boot:
                delays.append(elapsed - boot)
                polls.append(number)
                break
    return [
        ("mean delay", f"{statistics.mean(delays):.2f} s", "<= 1.4 s"),
        ("mean polls", f"{statistics.mean(polls):.1f}", "<= 15"),
    ]


READ = """\
import pathlib, sys
for file in pathlib.Path(sys.argv[1]).rglob("*"):
    if file.is_file(): content = file.read_bytes()"""


def ten_thousand_sites(directory, environment):
    """`vmprobectl config` for Nagios, 10 000 sites"""
    sites, output, copy = (directory / name for name in ("sites", "output", "copy"))
    sites.mkdir()
    for number in range(10000):
        (sites / f"site-{number:05}.ini").write_text(
            f"[site]\nname = site-{number:05}\n[endpoint]\nmanager = memory\n"
            "[test vm]\nimage = vmprobe-test\n"
            f"[labels]\nvo = vo-{number % 20}\n"
        )
    config = [
        sys.executable,
        str(CHECKOUT / "probes" / "vmprobectl"),
        "config",
        "--target",
        "nagios",
        "--sites",
        str(sites),
        "--output",
        str(output),
    ]
    first, memory = cost(config, environment)
    second, again = cost(config, environment)
    shutil.copytree(output, copy)
    read = [sys.executable, "-c", READ, str(copy)]
    rewrite = [sys.executable, "-c", READ + "; file.write_bytes(content)", str(copy)]
    writing = cost(rewrite, environment)[0] - cost(read, environment)[0]
    return [
        ("CPU against writing the same bytes", f"{first / writing:.1f} x", "<= 8 x"),
        ("a second run, against the first", f"{second / first:.2f}", "<= 0.5"),
        ("peak memory", f"{max(memory, again):.0f} MiB", "<= 150 MiB"),
    ]


def an_hour_of_a_site(directory, environment):
    """All services of a site over HTTP, for an hour"""
    from outside.webserver import WebServer
    from vmprobe.site.services import SERVICES

    runs = {
        name: 3600 / service.interval
        for name, service in SERVICES.items()
        if name not in ("capacity", "image")
    }
    environment = {**environment, "PYTHONPATH": str(CHECKOUT / "tests" / "support")}
    folder = directory / "web"
    folder.mkdir()
    with WebServer() as server:
        site = server.site(folder, poll=0.1)
        measured = {
            name: [
                cost(
                    [
                        sys.executable,
                        str(CHECKOUT / "probes" / f"check_vm_{name}"),
                        "--site",
                        str(site),
                    ],
                    environment,
                )
                for _ in range(5)
            ]
            for name in runs
        }
    cpu = {
        name: statistics.median(seconds for seconds, _ in costs) for name, costs in measured.items()
    }
    nothing = statistics.median(cost(NOTHING, environment)[0] for _ in range(15))
    hour = sum(cpu[name] * runs[name] for name in runs)
    return [
        (
            f"CPU of its {sum(runs.values()):.0f} checks against `python -c pass`",
            f"{hour / nothing:.0f} x",
            "<= 800 x",
        ),
        (
            "the most memory of any of them",
            f"{max(memory for costs in measured.values() for _, memory in costs):.0f} MiB",
            "<= 34 MiB",
        ),
        (
            f"sites that half a core carries, where `python -c pass` takes {nothing * 1000:.0f} ms",
            f"{1800 / hour:.0f}",
            "",
        ),
    ]


MEASURES = [
    lifecycle_of_one,
    starting_up,
    fleet_of_fifty,
    seeing_a_state,
    ten_thousand_sites,
    an_hour_of_a_site,
    gateway_of_openstack,
    lifecycle_on_openstack,
    lifecycle_against_novaprobe,
]


def main():
    rows = [
        "# What a check costs",
        "",
        "Written by `make bench`. Ratios are of CPU time, over interleaved pairs.",
        "",
        "| measure | figure | target |",
        "|---|--:|--:|",
    ]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "bench.ini").write_text(SITE)
        compileall.compile_dir(
            CHECKOUT / "probes" / "vmprobe", quiet=1
        )  # packages have compiled modules
        environment = {**os.environ, "VMPROBE_STATE": str(directory / "state")}
        for measure in MEASURES:
            for what, figure, target in measure(directory, environment):
                rows.append(f"| {measure.__doc__.strip()}: {what} | {figure} | {target} |")
                print(rows[-1], flush=True)
    (HERE / "RESULTS.md").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
