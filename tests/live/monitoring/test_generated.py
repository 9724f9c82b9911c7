"""What vmprobectl config writes, in the daemons that it is for: right state, text and perfdata, and who waits for whom."""

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from running import CHECKOUT, PROBES
from vmprobe.core.clock import Deadline
from vmprobe.report.submit import delivery
from vmprobe.report.submit.spool import PassiveResult
from vmprobe.site import targets
from waiting import soon

from .icinga import PASSWORD
from .place import AS_USER, needed, own

pytestmark = pytest.mark.live

CHECK_NRPE = "/usr/lib/nagios/plugins/check_nrpe"
LINE = r"VM_LIFECYCLE OK - good: test VM ran and is gone in [\d.]+ s \(active [\d.]+ s, network [\d.]+ s, storage [\d.]+ s\)"


def site(directory: Path, name: str, **sections: str) -> Path:
    """A site in memory that is through in less than a second."""
    texts = {
        "site": f'name = {name}\ncontact = Zoë; "ops" <{name}@example.org>',
        "endpoint": "manager = memory\nboot = 0.2 s",
        "test vm": "image = vmprobe-test",
        "budget": "deadline = 40 s\nreserve = 10 s",
        "polling": "first = 0.1 s\nshortest = 0.1 s",
        "sample": "readings = 0",
        **sections,
    }
    texts["schedule"] = texts.get("schedule", "") + "\nprobes = gateway, lifecycle"
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.ini"
    path.write_text("".join(f"[{section}]\n{text}\n" for section, text in texts.items()))
    return path


def three(directory: Path) -> Path:
    """One that is good, one whose image is missing, one whose gateway does not answer."""
    sites = directory / "sites"
    site(sites, "good", labels="vo = ops.example.org")
    site(sites, "bad", **{"test vm": "image = nowhere"})
    site(sites, "dead", endpoint="manager = memory\nfaults = auth-rejected")
    return sites


def generate(target: str, output: Path, sites: Path, plugins: Path, *options: str) -> None:
    """As an operator does; the probes are called with the Python that runs the tests."""
    plugins.mkdir(exist_ok=True)
    for probe in PROBES.glob("check_vm_*"):
        wrapper = plugins / probe.name
        wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} {probe} "$@"\n')
        wrapper.chmod(0o755)
    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / "vmprobectl"),
            "config",
            "--target",
            target,
            "--output",
            str(output),
            "--sites",
            str(sites),
            "--plugins",
            str(plugins),
            "--validate",
            *options,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def perfdata(text: str) -> dict:
    return dict(item.split("=", 1) for item in text.split())


# --- active -------------------------------------------------------------------------------------------------------


def test_nagios_holds_what_the_probes_say_and_starts_no_vm_at_a_dead_gateway(nagios_at):
    nagios = nagios_at()
    nagios.environment["VMPROBE_STATE"] = str(nagios.directory / "state")
    sites = three(nagios.directory)
    generate("nagios", nagios.objects / "vmprobe", sites, nagios.directory / "plugins")
    nagios.start()

    def held(host, name):
        return soon(
            lambda: (lambda found: found.get("has_been_checked") == "1" and found)(
                nagios.service(host, name)
            )
        )

    for host in ("good", "dead"):
        nagios.check_now(host, "vm-gateway")
    nagios.check_now("good", "vm-lifecycle")
    nagios.check_now("bad", "vm-lifecycle")

    good, bad = held("good", "vm-lifecycle"), held("bad", "vm-lifecycle")
    assert (good["current_state"], re.fullmatch(LINE, good["plugin_output"]) is not None) == (
        "0",
        True,
    )
    assert {"active", "network", "storage", "gone", "total"} <= set(
        perfdata(good["performance_data"])
    )
    assert (bad["current_state"], bad["plugin_output"]) == (
        "2",
        "VM_LIFECYCLE CRITICAL - bad: image: no image named 'nowhere' (cause=image)",
    )
    assert held("dead", "vm-gateway")["current_state"] == "2"
    assert 'Zoë; "ops" <good@example.org>' in (nagios.var / "objects.cache").read_text()

    nagios.check_now("dead", "vm-lifecycle", forced=False)
    nagios.check_now("good", "vm-lifecycle", forced=False)
    when = good["last_check"]
    soon(
        lambda: nagios.service("good", "vm-lifecycle")["last_check"] != when
    )  # the one that was asked for later ran
    assert nagios.service("dead", "vm-lifecycle")["has_been_checked"] == "0"

    site(sites, "dead")
    nagios.check_now("dead", "vm-gateway")
    soon(lambda: nagios.service("dead", "vm-gateway")["current_state"] == "0")
    nagios.check_now("dead", "vm-lifecycle", forced=False)
    assert held("dead", "vm-lifecycle")["current_state"] == "0"


def test_icinga_holds_what_the_probes_say_and_starts_no_vm_at_a_dead_gateway(icinga_at):
    icinga = icinga_at()
    icinga.environment["VMPROBE_STATE"] = str(icinga.directory / "state")
    sites = three(icinga.directory)
    generate("icinga2", icinga.conf / "vmprobe", sites, icinga.directory / "plugins")
    icinga.start()

    def held(host, name):
        return soon(lambda: icinga.result(host, name))

    for host in ("good", "dead"):
        icinga.check_now(host, "vm-gateway")
    icinga.check_now("good", "vm-lifecycle")
    icinga.check_now("bad", "vm-lifecycle")

    good, bad = held("good", "vm-lifecycle"), held("bad", "vm-lifecycle")
    assert (good["state"], re.fullmatch(LINE, good["output"].rstrip()) is not None) == (0, True)
    assert {"active", "network", "storage", "gone", "total"} <= set(
        perfdata(" ".join(good["performance_data"]))
    )
    assert (bad["state"], bad["output"].rstrip()) == (
        2,
        "VM_LIFECYCLE CRITICAL - bad: image: no image named 'nowhere' (cause=image)",
    )
    assert held("dead", "vm-gateway")["state"] == 2
    assert icinga.ask("GET", "objects/hosts/good")[0]["attrs"]["vars"]["contact"] == (
        'Zoë; "ops" <good@example.org>'
    )
    soon(
        lambda: icinga.ask("GET", "objects/hosts/good")[0]["attrs"]["last_check_result"]
    )  # it is up, and not pending
    assert icinga.ask("GET", "objects/hosts/good")[0]["attrs"]["state"] == 0

    before = icinga.result("dead", "vm-lifecycle")
    icinga.check_now("dead", "vm-lifecycle", forced=False)
    icinga.check_now("good", "vm-lifecycle", forced=False)
    when = good["execution_start"]
    soon(lambda: icinga.result("good", "vm-lifecycle")["execution_start"] != when)
    assert icinga.result("dead", "vm-lifecycle") == before

    site(sites, "dead")
    icinga.check_now("dead", "vm-gateway")
    soon(lambda: icinga.result("dead", "vm-gateway")["state"] == 0)
    icinga.check_now("dead", "vm-lifecycle", forced=False)
    soon(lambda: icinga.result("dead", "vm-lifecycle").get("state") == 0)


# --- passive ------------------------------------------------------------------------------------------------------


def submitted(path: Path, state: Path, *targets: str):
    """A run as the timer starts it, as the daemons' user would; (exit code, what is said beside line 1)."""
    words = [word for target in targets for word in ("--submit", target)]
    done = subprocess.run(
        [sys.executable, str(PROBES / "check_vm_lifecycle"), "--site", str(path), *words],
        text=True,
        capture_output=True,
        env={"VMPROBE_STATE": str(state), "PATH": "/usr/sbin:/usr/bin:/bin"},
        check=False,
    )
    return done.returncode, done.stdout.split("\n", 1)[1].strip()


def test_nagios_takes_submitted_results_by_pipe_by_directory_and_by_nsca(nagios_at):
    nagios = nagios_at()
    sites, state = nagios.directory / "sites", nagios.directory / "state"
    for name in ("pipe", "spool", "nsca"):
        site(
            sites,
            name,
            schedule="checks = passive",
            **({"test vm": "image = nowhere"} if name == "spool" else {}),
        )
    generate("nagios", nagios.objects / "vmprobe", sites, nagios.directory / "plugins")
    pipe = f"nagios:{nagios.pipe}"

    code, said = submitted(sites / "pipe.ini", state, pipe)  # Nagios is not there yet
    assert code == 0 and re.fullmatch(
        r"not submitted to nagios:\S+: \S+: No such file or directory; spooled", said
    )
    nagios.start()
    soon(nagios.pipe.exists)
    assert submitted(sites / "spool.ini", state, f"results:{nagios.results}", pipe) == (
        2,
        "",
    )  # with what was spooled

    for name, wanted, line in (
        ("pipe", "0", LINE.replace("good", "pipe")),
        (
            "spool",
            "2",
            r"VM_LIFECYCLE CRITICAL - spool: image: no image named 'nowhere' \(cause=image\)",
        ),
    ):
        found = soon(
            lambda: (lambda held: held.get("has_been_checked") == "1" and held)(
                nagios.service(name, "vm-lifecycle")
            )
        )
        assert (found["current_state"], re.fullmatch(line, found["plugin_output"]) is not None) == (
            wanted,
            True,
        )
        assert {"auth", "total"} <= set(perfdata(found["performance_data"]))

    nagios.check_now("nsca", "vm-lifecycle")  # what freshness does when nothing came
    stale = soon(
        lambda: (lambda held: held.get("has_been_checked") == "1" and held)(
            nagios.service("nsca", "vm-lifecycle")
        )
    )
    assert (stale["current_state"], stale["plugin_output"]) == (
        "3",
        "UNKNOWN - no result came in time: does the timer of this check run, and can it submit?",
    )

    with Nsca(nagios) as target:
        assert submitted(sites / "nsca.ini", state, target) == (0, "")
    found = soon(
        lambda: (lambda held: held["current_state"] == "0" and held)(
            nagios.service("nsca", "vm-lifecycle")
        )
    )
    assert re.fullmatch(LINE.replace("good", "nsca"), found["plugin_output"])


GROUP = """\
define command {{
    command_name tell
    command_line /bin/sh -c 'echo "$CONTACTNAME$ $HOSTNAME$ $SERVICEDESC$ $SERVICESTATE$" >>{told}'
}}
define timeperiod {{
    timeperiod_name always
    alias always
    {days}
}}
define contact {{
    contact_name zoe
    host_notification_options d,u,r
    service_notification_options w,u,c,r
    host_notification_period always
    service_notification_period always
    host_notification_commands tell
    service_notification_commands tell
}}
define contactgroup {{
    contactgroup_name cloud-admins
    alias cloud-admins
    members zoe
}}
"""


def test_nagios_tells_the_contact_group_that_a_site_names_and_nobody_of_the_others(nagios_at):
    nagios = nagios_at(enable_notifications=1)
    sites, state, told = (
        nagios.directory / "sites",
        nagios.directory / "state",
        nagios.directory / "told",
    )
    broken = {"test vm": "image = nowhere"}
    for name, groups in (("nobodys", ""), ("zoes", "\ncontact groups = cloud-admins")):
        site(sites, name, schedule=f"checks = passive{groups}", **broken)
    days = "\n    ".join(
        f"{day} 00:00-24:00"
        for day in "monday tuesday wednesday thursday friday saturday sunday".split()
    )
    (nagios.objects / "groups.cfg").write_text(GROUP.format(told=told, days=days))
    generate("nagios", nagios.objects / "vmprobe", sites, nagios.directory / "plugins")
    nagios.start()
    soon(nagios.pipe.exists)

    for name in ("nobodys", "zoes"):
        assert submitted(sites / f"{name}.ini", state, f"nagios:{nagios.pipe}") == (2, "")
        soon(lambda: nagios.service(name, "vm-lifecycle")["current_state"] == "2")
    assert soon(lambda: told.exists() and told.read_text()) == "zoe zoes vm-lifecycle CRITICAL\n"


class Nsca:
    """The real NSCA daemon on loopback, which writes to Nagios' pipe."""

    def __init__(self, nagios):
        needed("nsca", "send_nsca")
        self.directory, self.port = nagios.directory, 15667
        self.receive, self.send = self.directory / "nsca.cfg", self.directory / "send_nsca.cfg"
        self.receive.write_text(
            f"server_port={self.port}\nserver_address=127.0.0.1\ncommand_file={nagios.pipe}\nalternate_dump_file={self.directory}/dump\n"
            "aggregate_writes=0\nappend_to_file=0\nmax_packet_age=30\npassword=loopback\ndecryption_method=1\n"
            f"nsca_user=nagios\nnsca_group=nagios\npid_file={self.directory}/nsca.pid\ndebug=0\n"
        )
        self.send.write_text("password=loopback\nencryption_method=1\n")

    def __enter__(self) -> str:
        self.process = subprocess.Popen(
            ["nsca", "-f", "-c", str(self.receive)], stdin=subprocess.DEVNULL
        )

        def answers():
            """nsca answers"""
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        soon(answers)
        return f"nsca:127.0.0.1:{self.port},config={self.send}"

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)


def test_icinga_takes_submitted_results_by_its_api_with_its_certificate_checked(icinga_at):
    icinga = icinga_at()
    sites, state = icinga.directory / "sites", icinga.directory / "state"
    path = site(sites, "good", schedule="checks = passive")
    generate("icinga2", icinga.conf / "vmprobe", sites, icinga.directory / "plugins")
    credentials = icinga.directory / "icinga.ini"
    credentials.write_text(f"[credentials]\nusername = root\npassword = {PASSWORD}\n")
    icinga.start()
    credentials.chmod(0o600)
    target = f"icinga2:https://127.0.0.1:{icinga.port},credentials={credentials}"

    code, said = submitted(path, state, target)  # by the system's authorities, it is nobody's
    assert code == 0 and "certificate" in said.lower() and said.endswith("; spooled"), said
    began = time.time()
    assert submitted(path, state, f"{target},ca={icinga.authority.certificate}") == (0, "")

    found = soon(lambda: icinga.result("good", "vm-lifecycle"))
    assert (
        found["state"],
        re.fullmatch(LINE, found["output"].rstrip()) is not None,
        found["active"],
    ) == (0, True, False)
    assert {"active", "network", "storage", "gone", "total"} <= set(
        perfdata(" ".join(found["performance_data"]))
    )
    assert began - 1 <= found["execution_start"] <= found["execution_end"] <= time.time()


def test_a_result_that_icinga_does_not_want_holds_back_no_other(icinga_at, state_directory):
    icinga = icinga_at()
    sites = icinga.directory / "sites"
    site(sites, "good", schedule="checks = passive")
    generate("icinga2", icinga.conf / "vmprobe", sites, icinga.directory / "plugins")
    credentials = icinga.directory / "icinga.ini"
    credentials.write_text(f"[credentials]\nusername = root\npassword = {PASSWORD}\n")
    icinga.start()
    credentials.chmod(0o600)
    target = targets.parse(
        f"icinga2:https://127.0.0.1:{icinga.port},credentials={credentials},ca={icinga.authority.certificate}"
    )

    def said(host, text, ended):
        return delivery.submit(
            [target], PassiveResult(host, "vm-lifecycle", 0, text, ended - 1, ended), Deadline(5, 0)
        )

    now = time.time()

    assert said("stranger", "nobody knows me", now - 60) == [
        f"not submitted to icinga2:{target.where}: it has no service stranger!vm-lifecycle; spooled"
    ]
    assert said("good", "new", now - 10) == []
    assert (
        said("good", "old", now - 100) == []
    )  # what Icinga has is newer, as after an outage: there is nothing left to do
    assert icinga.result("good", "vm-lifecycle")["output"] == "new"
    (spooled,) = state_directory.rglob("*.json")
    assert "nobody knows me" in spooled.read_text()


# --- by NRPE ------------------------------------------------------------------------------------------------------


def test_nrpe_runs_a_check_by_the_lines_of_the_documentation(nagios_at):
    needed("nrpe", CHECK_NRPE)
    directory, port = nagios_at().directory, 15668
    path = site(directory / "sites", "demo")
    generate("nagios", directory / "objects", directory / "sites", directory / "plugins")
    lines = re.search(
        r"(?m)^command_timeout=.*\ncommand\[vm-lifecycle-demo\]=.*$",
        (CHECKOUT / "docs" / "scale.md").read_text(),
    )[0]
    config = directory / "nrpe.cfg"
    config.write_text(
        f"server_port={port}\nserver_address=127.0.0.1\nallowed_hosts=127.0.0.1\nnrpe_user=nagios\nnrpe_group=nagios\n"
        f"dont_blame_nrpe=0\npid_file={directory}/nrpe.pid\n"
        + lines.replace("/usr/libexec/vmprobe", str(directory / "plugins")).replace(
            "--site demo", f"--site {path}"
        )
        + "\n"
    )
    own(directory)
    server = subprocess.Popen(
        [*AS_USER, "nrpe", "-f", "-c", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"VMPROBE_STATE": str(directory / "state"), "PATH": "/usr/sbin:/usr/bin:/bin"},
    )
    try:

        def asked():
            """nrpe answers"""
            done = subprocess.run(
                [
                    CHECK_NRPE,
                    "-H",
                    "127.0.0.1",
                    "-p",
                    str(port),
                    "-t",
                    "60",
                    "-c",
                    "vm-lifecycle-demo",
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            return "refused" not in done.stdout + done.stderr and (done.returncode, done.stdout)

        code, said = soon(asked)
    finally:
        server.terminate()
        server.wait(10)

    text, _, figures = said.partition(" | ")
    assert (code, bool(re.fullmatch(LINE.replace("good", "demo"), text))) == (0, True), said
    assert {"active", "network", "storage", "gone", "total"} <= set(perfdata(figures))
