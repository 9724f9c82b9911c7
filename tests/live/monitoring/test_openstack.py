"""The generated configuration of an OpenStack site in both daemons: what they show of a real cloud's VM."""

import re

import pytest

from live.openstack.shared import running, site_file
from waiting import soon

from .generating import LINE, generate, perfdata
from .place import own

pytestmark = pytest.mark.live
GATEWAY = r"VM_GATEWAY OK - openstack: OpenStack Nova [\d.]+ answers in [\d.]+ s \(.*\)"


@pytest.fixture
def site():
    """Write the site file of the running cloud into a directory of the daemons' user."""
    cloud = running().cloud()

    def write(directory):
        sites, secret = directory / "sites", directory / "secret"
        sites.mkdir()
        secret.mkdir()
        text = (
            site_file(secret, cloud, sample={"readings": "0"})
            .read_text()
            .replace("credentials.ini", str(own(secret / "credentials.ini")))
        )
        (sites / "openstack.ini").write_text(text + "[schedule]\nprobes = gateway, lifecycle\n")
        return sites

    return write


def test_nagios_holds_what_became_of_a_vm_of_openstack(nagios_at, site):
    nagios = nagios_at(service_check_timeout=700)
    nagios.environment["VMPROBE_STATE"] = str(nagios.directory / "state")
    generate(
        "nagios",
        nagios.objects / "vmprobe",
        site(nagios.directory),
        nagios.directory / "plugins",
        "--limit",
        "700",
    )
    nagios.start()

    def held(name, seconds):
        nagios.check_now("openstack", name)
        return soon(
            lambda: (lambda service: service.get("has_been_checked") == "1" and service)(
                nagios.service("openstack", name)
            ),
            seconds,
        )

    gateway, lifecycle = held("vm-gateway", 60), held("vm-lifecycle", 200)

    assert (gateway["current_state"], bool(re.fullmatch(GATEWAY, gateway["plugin_output"]))) == (
        "0",
        True,
    ), gateway
    assert (
        lifecycle["current_state"],
        bool(re.fullmatch(LINE.replace("good", "openstack"), lifecycle["plugin_output"])),
    ) == ("0", True), lifecycle
    assert {"active", "network", "storage", "gone", "total"} <= set(
        perfdata(lifecycle["performance_data"])
    )


def test_icinga_holds_what_became_of_a_vm_of_openstack(icinga_at, site):
    icinga = icinga_at()
    icinga.environment["VMPROBE_STATE"] = str(icinga.directory / "state")
    generate(
        "icinga2", icinga.conf / "vmprobe", site(icinga.directory), icinga.directory / "plugins"
    )
    icinga.start()

    def held(name, seconds):
        icinga.check_now("openstack", name)
        return soon(lambda: icinga.result("openstack", name), seconds)

    gateway, lifecycle = held("vm-gateway", 60), held("vm-lifecycle", 200)

    assert (gateway["state"], bool(re.fullmatch(GATEWAY, gateway["output"].rstrip()))) == (
        0,
        True,
    ), gateway
    assert (
        lifecycle["state"],
        bool(re.fullmatch(LINE.replace("good", "openstack"), lifecycle["output"].rstrip())),
    ) == (0, True), lifecycle
    assert {"active", "network", "storage", "gone", "total"} <= set(
        perfdata(" ".join(lifecycle["performance_data"]))
    )
