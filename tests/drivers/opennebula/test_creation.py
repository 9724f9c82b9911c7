"""What a VM's CONTEXT gives to its guest."""

import shutil

import pytest

from images import NONCE
from reporting import BOOT, SHELLS, Machine
from reporting import NETWORK as REACHED
from running import run_probe
from simulators.opennebula_world import LIFECYCLE, connected, line, removed
from vmprobe.core.model import ServerSpec
from vmprobe.site.site import load
from waiting import soon

pytestmark = pytest.mark.live  # whole runs, many of them in processes of their own


@pytest.mark.parametrize("test_vm", [{}, {"flavor": "tiny"}], ids=["inline", "template"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_one_context_is_given_the_reporter_and_need_not_wait_for_it(
    world, tmp_path, shell, test_vm
):
    """Do what the guest's net-97-start-script does: decode the script into a file, run it in the CD-ROM's directory, remove it."""
    if not shutil.which(SHELLS[shell][0]):
        pytest.skip(f"not installed: {shell}")
    driver = connected(world)
    plan = driver.resolve(load(world.site(reporter="yes", **test_vm)).test_vm)
    server = driver.create(ServerSpec("vmprobe-x", plan, nonce=NONCE))
    machine = Machine(tmp_path / "machine", SHELLS[shell])
    machine.put("proc/cmdline", "quiet\n")
    machine.put("mnt/context.sh", world.oned.context(int(server.id)))

    running = machine.run("sh", "-c", ONE_CONTEXT, "sh", *machine.shell).process
    try:
        assert (running.communicate(timeout=60), running.returncode) == ((b"YES\n", b""), 0)
        machine.says(BOOT, REACHED)
    finally:
        machine.stop()
    soon(lambda: removed(driver, server))


ONE_CONTEXT = """. mnt/context.sh && echo "$NETWORK" && [ -z "$START_SCRIPT" ] && cd mnt &&
echo "$START_SCRIPT_BASE64" | base64 -d >../one-start-script && chmod +x ../one-start-script && "$@" ../one-start-script
ended=$?; rm ../one-start-script; exit $ended"""


def test_a_site_with_the_depth_console_is_refused_because_there_is_no_console(world):
    code, output, _ = run_probe(
        LIFECYCLE, "--site", world.site(reporter="yes"), "--depth", "console"
    )

    assert (code, line(output)) == (
        3,
        "VM_LIFECYCLE UNKNOWN - opennebula: [test vm] asks for console, which opennebula does not offer",
    )
    assert world.oned.calls == []
