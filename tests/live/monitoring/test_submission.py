"""Submitted check results arrive in Nagios and Icinga 2 with the right state, text and perfdata."""

import re
import time

import pytest

from vmprobe.core.clock import Deadline
from vmprobe.report.submit import delivery
from vmprobe.report.submit.spool import PassiveResult
from vmprobe.site import targets
from waiting import soon

from .generating import LINE, generate, perfdata, site, submitted
from .icinga import PASSWORD
from .nsca import Nsca

pytestmark = pytest.mark.live


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

    code, output = submitted(sites / "pipe.ini", state, pipe)  # Nagios is not there yet
    assert code == 0 and re.fullmatch(
        r"not submitted to nagios:\S+: \S+: No such file or directory; spooled", output
    )
    nagios.start()
    soon(nagios.pipe.exists)
    assert submitted(sites / "spool.ini", state, f"results:{nagios.results}", pipe) == (
        2,
        "",
    )  # and it delivers the spooled result

    for name, state_number, line in (
        ("pipe", "0", LINE.replace("good", "pipe")),
        (
            "spool",
            "2",
            r"VM_LIFECYCLE CRITICAL - spool: image: no image named 'nowhere' \(cause=image\)",
        ),
    ):
        service = soon(
            lambda: (lambda held: held.get("has_been_checked") == "1" and held)(
                nagios.service(name, "vm-lifecycle")
            )
        )
        assert (
            service["current_state"],
            re.fullmatch(line, service["plugin_output"]) is not None,
        ) == (
            state_number,
            True,
        )
        assert {"auth", "total"} <= set(perfdata(service["performance_data"]))

    nagios.check_now("nsca", "vm-lifecycle")  # as Nagios does when no result arrives in time
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
    service = soon(
        lambda: (lambda held: held["current_state"] == "0" and held)(
            nagios.service("nsca", "vm-lifecycle")
        )
    )
    assert re.fullmatch(LINE.replace("good", "nsca"), service["plugin_output"])


GROUP = """\
define command {{
    command_name tell
    command_line /bin/sh -c 'echo "$CONTACTNAME$ $HOSTNAME$ $SERVICEDESC$ $SERVICESTATE$" >>{notifications}'
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
    sites, state, notifications = (
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
    (nagios.objects / "groups.cfg").write_text(GROUP.format(notifications=notifications, days=days))
    generate("nagios", nagios.objects / "vmprobe", sites, nagios.directory / "plugins")
    nagios.start()
    soon(nagios.pipe.exists)

    for name in ("nobodys", "zoes"):
        assert submitted(sites / f"{name}.ini", state, f"nagios:{nagios.pipe}") == (2, "")
        soon(lambda: nagios.service(name, "vm-lifecycle")["current_state"] == "2")
    assert (
        soon(lambda: notifications.exists() and notifications.read_text())
        == "zoe zoes vm-lifecycle CRITICAL\n"
    )


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

    code, output = submitted(path, state, target)  # the system's CAs did not issue its certificate
    assert code == 0 and "certificate" in output.lower() and output.endswith("; spooled"), output
    began = time.time()
    assert submitted(path, state, f"{target},ca={icinga.authority.certificate}") == (0, "")

    result = soon(lambda: icinga.result("good", "vm-lifecycle"))
    assert (
        result["state"],
        re.fullmatch(LINE, result["output"].rstrip()) is not None,
        result["active"],
    ) == (0, True, False)
    assert {"active", "network", "storage", "gone", "total"} <= set(
        perfdata(" ".join(result["performance_data"]))
    )
    assert began - 1 <= result["execution_start"] <= result["execution_end"] <= time.time()


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
    )  # Icinga has a newer result, as after an outage: nothing is left to do
    assert icinga.result("good", "vm-lifecycle")["output"] == "new"
    (spooled,) = state_directory.rglob("*.json")
    assert "nobody knows me" in spooled.read_text()
