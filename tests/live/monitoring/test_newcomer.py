"""The README's ten lines on a fresh machine: the services of the demo site are green in Nagios' page and in Icinga's API."""

import re
import shutil

import pytest

from packages.root import missing
from running import CHECKOUT
from waiting import soon

from .machine import Machine
from .place import needed

pytestmark = pytest.mark.live
BLOCKS = re.findall(r"```console\n(# .*?)```", (CHECKOUT / "README.md").read_text(), re.S)
COMMANDS = [
    part.partition("\n")[::2] for block in BLOCKS for part in re.split(r"(?m)^# ", block)[1:]
]
ONLINE = re.compile(r"apt-get|pip install|image build")
PAGE = "http://127.0.0.1/nagios4/cgi-bin/status.cgi?host=demo"
PICTURE = "docs/nagios.png"
PROBES = ("ACTIVITY", "CAPACITY", "GATEWAY", "IMAGE", "LEFTOVERS", "LIFECYCLE", "STATE")


def plain(text: str) -> str:
    return re.sub(r"\d+(\.\d+)? s\b", "T", text).rstrip()


def shown(machine):
    """From Nagios' page: the number of hosts that are up, and (state, start of the text) of each service."""
    text = machine.run(f"curl -s '{PAGE}'")[1]
    return re.findall(r"class='hostTotalsUP'>(\d+)<", text) + re.findall(
        r"class='status(\w+)'>\1</td>.*?<td class='status\w+' valign='center'>(\w+ \w+) - demo: ",
        text,
        re.S,
    )


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A machine on which a newcomer ran the commands of the README; each output is compared."""
    needed("unshare", "nsenter", "ip", "apt-get")
    if missing():
        pytest.skip(missing())
    made = Machine(tmp_path_factory.mktemp("machine"))
    try:
        code, output = made.run(
            "rm -f /var/cache/icinga2/*; apt-get update", online=True
        )  # the node name of the last try
        if code:
            pytest.skip(f"Debian's packages cannot be had: {output[-300:]}")
        yield made
    finally:
        made.end()


def test_a_newcomer_follows_the_readme_and_sees_the_demo_green(machine, tmp_path, request):
    assert len(COMMANDS) >= 10
    for command, pattern in COMMANDS:

        def as_wanted():
            """the output that the README has"""
            nonlocal output
            code, output = machine.run(command, online=bool(ONLINE.search(command)))
            return code == 0 and (not pattern or plain(output) == plain(pattern))

        output = ""
        try:
            soon(
                as_wanted, 180 if command.startswith("curl") else 0, 1
            )  # reload the page until the first checks have run
        except AssertionError:
            pytest.fail(f"{command}\n{output}{machine.run('tail -n 20 /var/log/*.systemd')[1]}")

    def green():
        """the host and all services are green"""
        return shown(machine) == ["1", *(("OK", f"VM_{probe} OK") for probe in PROBES)]

    soon(green, 60, 1)
    if not shutil.which("chromium"):
        pytest.skip(
            "all green; no picture: chromium is not installed (Debian: see tests/packages.txt)"
        )
    picture = tmp_path / "nagios.png"
    machine.screenshot(PAGE, picture, 1000, 460)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 20_000
    assert f"]({PICTURE})" in (CHECKOUT / "README.md").read_text()
    if request.config.getoption("--regen"):
        shutil.copy(picture, CHECKOUT / PICTURE)
