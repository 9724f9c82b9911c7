"""The output of vmprobectl config in real daemons: they show the right state, text and perfdata, and obey the dependencies."""

import re

import pytest

from waiting import soon

from .generating import LINE, generate, perfdata, site, three

pytestmark = pytest.mark.live


def test_nagios_holds_what_the_probes_say_and_starts_no_vm_at_a_dead_gateway(nagios_at):
    nagios = nagios_at()
    nagios.environment["VMPROBE_STATE"] = str(nagios.directory / "state")
    sites = three(nagios.directory)
    generate("nagios", nagios.objects / "vmprobe", sites, nagios.directory / "plugins")
    nagios.start()

    def held(host, name):
        return soon(
            lambda: (lambda service: service.get("has_been_checked") == "1" and service)(
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
    )  # the check that was requested later has run
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
    )  # the host is up, and not pending
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
