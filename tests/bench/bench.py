"""What a check costs: ratios, which can be compared between machines, printed and written to RESULTS.md.

Figures of processes are CPU time (user and system) and peak memory, of pairs that were run interleaved. Each measure is
one function in MEASURES; one that needs what is not here says so in its row.
"""

import compileall
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
sys.path[:0] = [str(CHECKOUT / "probes"), str(CHECKOUT / "tests" / "support")]

from virtual import VirtualClock  # noqa: E402
from vmprobe.core.clock import Deadline, Polling  # noqa: E402

LIFECYCLE = [sys.executable, str(CHECKOUT / "probes" / "check_vm_lifecycle")]
NOTHING = [sys.executable, "-c", "pass"]
SITE = """[site]\nname = bench\n[endpoint]\nmanager = memory\nboot = 0.1 s\n[test vm]\nimage = vmprobe-test
[budget]\ndeadline = 100 s\n[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 2\ninterval = 0.1 s\n"""


def cost(command, environment):
    """(CPU seconds, peak MiB) of one process, which has to exit with 0."""
    null = os.open(os.devnull, os.O_RDWR)
    pid = os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)],
    )
    os.close(null)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def pairs(one, other, rounds, environment):
    """Medians of (CPU ratio, peak MiB of ``one``) over interleaved pairs."""
    ratios, memory = [], []
    for _ in range(rounds):
        first, second = cost(one, environment), cost(other, environment)
        ratios.append(first[0] / second[0])
        memory.append(first[1])
    return statistics.median(ratios), statistics.median(memory)


def lifecycle_of_one(directory, environment):
    """`check_vm_lifecycle`, one VM in memory"""
    ratio, memory = pairs(
        LIFECYCLE + ["--site", str(directory / "bench.ini")], NOTHING, 15, environment
    )
    return [
        ("CPU against `python -c pass`", f"{ratio:.1f} x", "<= 24 x"),
        ("peak memory", f"{memory:.0f} MiB", "<= 34 MiB"),
    ]


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


def ten_thousand_sites(directory, environment):
    """`vmprobectl config` for Nagios, 10 000 sites"""
    sites, output, copy = (directory / name for name in ("sites", "output", "copy"))
    sites.mkdir()
    for number in range(10000):
        (sites / f"site-{number:05}.ini").write_text(
            f"[site]\nname = site-{number:05}\n[endpoint]\nmanager = memory\n[test vm]\nimage = vmprobe-test\n"
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
    write = "import pathlib, sys\nfor f in pathlib.Path(sys.argv[1]).rglob('*'):\n  if f.is_file(): g = f.read_bytes(); f.write_bytes(g)"
    read = write.rpartition(";")[0]
    written = (
        cost([sys.executable, "-c", write, str(copy)], environment)[0]
        - cost([sys.executable, "-c", read, str(copy)], environment)[0]
    )
    return [
        ("CPU against writing the same bytes", f"{first / written:.1f} x", "<= 8 x"),
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
        found = {
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
        name: statistics.median(seconds for seconds, _ in costs) for name, costs in found.items()
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
            f"{max(memory for costs in found.values() for _, memory in costs):.0f} MiB",
            "<= 34 MiB",
        ),
        (
            f"sites that half a core carries, where `python -c pass` takes {nothing * 1000:.0f} ms",
            f"{1800 / hour:.0f}",
            "",
        ),
    ]


BARE = """import os, sys, nagiosplugin, requests
class Cloud(nagiosplugin.Resource):
    def probe(self):
        http, word = requests.Session(), os.environ
        domain = {"name": "Default"}
        reply = http.post(word["OS_AUTH_URL"] + "/auth/tokens", json={"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": word["OS_USERNAME"], "domain": domain, "password": word["OS_PASSWORD"]}}},
            "scope": {"project": {"name": word["OS_PROJECT_NAME"], "domain": domain}}}})
        http.headers["X-Auth-Token"] = reply.headers["X-Subject-Token"]
        nova = next(one["url"] for entry in reply.json()["token"]["catalog"] if entry["type"] == "compute"
                    for one in entry["endpoints"] if one["interface"] == "public")
        found = [http.get(url).json() for url in sys.argv[1:] or [nova + "/servers/detail"]]
        return nagiosplugin.Metric("answers", len(found))
nagiosplugin.guarded(lambda: nagiosplugin.Check(Cloud(), nagiosplugin.ScalarContext("answers")).main())()
"""
SDK = """import openstack
print(len(list(openstack.connect(load_yaml_config=False).compute.servers())))
"""


def gateway_of_openstack(directory, environment):
    """`check_vm_gateway`, an OpenStack on loopback"""
    goals = [
        ("CPU against nagiosplugin and requests asking the same of it", "<= 1.15"),
        (
            "CPU against nagiosplugin and requests asking for a token and the servers alone",
            "<= 1.15",
        ),
        ("CPU against an openstacksdk script asking for these", "<= 0.38"),
        ("CPU against `openstack server list`", "<= 0.15"),
    ]
    stack = running_openstack()
    if isinstance(stack, str):
        return [(what, stack, target) for what, target in goals]
    from unittest import (
        mock,
    )  # here: what this process has in memory, each that it starts is said to have had

    from live.openstack.shared import site_file
    from vmprobe.checks.gateway import command as gateway_probe
    from vmprobe.core.exchanges import Evidence

    gateway = [
        sys.executable,
        str(CHECKOUT / "probes" / "check_vm_gateway"),
        "--site",
        str(site_file(directory, stack.cloud())),
    ]
    with mock.patch.object(Evidence, "record") as note:
        looked = gateway_probe.main(gateway[2:]).verdict
    assert looked.state == 0, looked.text
    urls = [
        url
        for word, _, url in (call.args[0].partition(" ") for call in note.call_args_list)
        if word == "GET"
    ]

    words = {**environment, **stack.variables(stack.cloud().member)}
    bare = [sys.executable, "-c", BARE]
    others = [
        (bare + urls, 9),
        (bare, 9),
        (["/usr/bin/python3", "-c", SDK], 5),
        (["/usr/bin/openstack", "server", "list"], 5),
    ]
    ratios = [pairs(gateway, other, rounds, words)[0] for other, rounds in others]
    return [(what, f"{ratio:.2f}", target) for (what, target), ratio in zip(goals, ratios)]


def lifecycle_on_openstack(directory, environment):
    """`check_vm_lifecycle`, one VM with a volume on an OpenStack on loopback"""
    what, target = "requests besides looking again", "counted"
    stack = running_openstack()
    if isinstance(stack, str):
        return [(what, stack, target)]
    from live.openstack.shared import site_file

    cost(
        LIFECYCLE
        + [
            "--site",
            str(site_file(directory, stack.cloud())),
            "--evidence",
            str(directory / "evidence"),
        ],
        environment,
    )
    (file,) = (directory / "evidence").iterdir()
    asked = [exchange["request"] for exchange in json.loads(file.read_text())["exchanges"]]
    return [(what, str(len(set(asked))), target), ("requests in all", str(len(asked)), target)]


NOVAPROBE = """import os, sys
sys.path.insert(0, os.environ["VMPROBE_NOVAPROBE"])
from argo_probe_fedcloud import helpers, novaprobe
from keystoneauth1 import session
from keystoneauth1.identity import v3
class Password(helpers.BaseV3Auth):
    name = "password"  # in place of an access token, at a Keystone without TLS
    def __init__(self, host, *words, **more):
        self.auth_url = host
    def get_unscoped_token(self):
        self.session = session.Session(auth=v3.Password(auth_url=self.auth_url, username=os.environ["OS_USERNAME"],
                                                        password=os.environ["OS_PASSWORD"], user_domain_name="Default"))
        return self.session.get_token()
helpers.OIDCAuth = Password
novaprobe.main()
"""
TIMED = """import json, resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
wall, usage = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, done.returncode, done.stdout]))
"""


def lifecycle_against_novaprobe(directory, environment):
    """`check_vm_lifecycle` without a volume and figures, against EGI's novaprobe, on an OpenStack on loopback"""
    goals = [
        ("wall time", "<= 0.35"),
        ("CPU", "<= 0.40"),
        ("peak memory", "<= 0.60"),
        ("its durations, furthest from Nova's", "<= 0.5 s"),
        ("novaprobe's durations, furthest from Nova's", ""),
    ]
    stack = running_openstack()
    if isinstance(stack, str) or not os.environ.get("VMPROBE_NOVAPROBE"):
        reason = (
            stack
            if isinstance(stack, str)
            else "not measured: VMPROBE_NOVAPROBE does not say where novaprobe is"
        )
        return [(what, reason, target) for what, target in goals]
    from live.openstack.shared import site_file

    cloud, admin = stack.cloud(), stack.api()
    image = next(
        one["id"]
        for one in stack.api(cloud.member).get("image", "/v2/images")["images"]
        if one["name"] == cloud.image
    )
    document, token = directory / "lifecycle.json", directory / "token"
    token.write_text("none")  # it wants one, and does not use it
    ours = LIFECYCLE + [
        "--site",
        str(site_file(directory, cloud, sample={"readings": "1"}, volume="none")),
        "--json",
        str(document),
    ]
    theirs = [
        "/usr/bin/python3",
        "-c",
        NOVAPROBE,
        "--endpoint",
        cloud.auth_url,
        "--access-token",
        str(token),
        "--image",
        image,
        "--flavor",
        cloud.flavor,
        "--argo-host-name",
        "bench",
    ]
    words = {**environment, **stack.variables(cloud.member)}

    ratios, errors = [], {"ours": [], "theirs": []}
    for _ in range(5):
        one, said = timed(ours, words), json.loads(document.read_text())
        took = {stage["stage"]: stage["seconds"] for stage in said["stages"]}
        (server,) = admin.get(
            "compute", f"/servers?all_tenants=1&deleted=true&name={said['handle']}"
        )["servers"]
        errors["ours"].append(
            furthest((took["active"], took["gone"]), nova_took(admin, server["id"]))
        )

        other = timed(theirs, words)
        server, made, removed = re.search(
            r"instance=(\S+) created\(([\d.]+)s\) and destroyed\(([\d.]+)s\)", other[4]
        ).groups()
        errors["theirs"].append(furthest((float(made), float(removed)), nova_took(admin, server)))
        ratios.append([mine / yours for mine, yours in zip(one[:3], other[:3])])
    figures = [f"{statistics.median(column):.2f}" for column in zip(*ratios)]
    figures += [f"{statistics.median(errors[whose]):.1f} s" for whose in ("ours", "theirs")]
    return [(what, figure, target) for (what, target), figure in zip(goals, figures)]


def timed(command, environment):
    """(wall seconds, CPU seconds, peak MiB, exit code, output) of one process, started by a small one, whose memory it does not inherit."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED, *command],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    if found[3]:
        sys.exit(f"{' '.join(command)} ended with {found[3]}: {found[4]}")
    return found


def furthest(said, real):
    return max(abs(one - other) for one, other in zip(said, real))


def nova_took(admin, server):
    """(seconds to create, to delete) by Nova's own instance actions, from the request to the end of the last event."""
    where = f"/servers/{server}/os-instance-actions"
    found = {}
    for action in admin.get("compute", where)["instanceActions"]:
        told = admin.get("compute", f"{where}/{action['request_id']}")["instanceAction"]
        began, *ends = [
            datetime.fromisoformat(stamp)
            for stamp in (told["start_time"], *(event["finish_time"] for event in told["events"]))
        ]
        found[action["action"]] = (max(ends) - began).total_seconds()
    return found["create"], found["delete"]


def running_openstack():
    """The stack of the live tests if one runs (tests/live/openstack/stack.py up), else why it is not measured."""
    from live.openstack.stack import Stack, Unavailable

    stack = Stack()
    try:
        return stack if stack.is_well() else "not measured: no OpenStack runs"
    except Unavailable as reason:
        return f"not measured: {reason}"


MEASURES = [
    lifecycle_of_one,
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
        compileall.compile_dir(CHECKOUT / "probes" / "vmprobe", quiet=1)  # as a package brings it
        environment = {**os.environ, "VMPROBE_STATE": str(directory / "state")}
        for measure in MEASURES:
            for what, figure, target in measure(directory, environment):
                rows.append(f"| {measure.__doc__.strip()}: {what} | {figure} | {target} |")
                print(rows[-1], flush=True)
    (HERE / "RESULTS.md").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
