"""NRPE runs a check by the lines of the documentation."""

import re
import subprocess

import pytest

from running import CHECKOUT
from waiting import soon

from .generating import LINE, generate, perfdata, site
from .place import AS_USER, needed, own

pytestmark = pytest.mark.live
CHECK_NRPE = "/usr/lib/nagios/plugins/check_nrpe"


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

        code, output = soon(asked)
    finally:
        server.terminate()
        server.wait(10)

    text, _, labels = output.partition(" | ")
    assert (code, bool(re.fullmatch(LINE.replace("good", "demo"), text))) == (0, True), output
    assert {"active", "network", "storage", "gone", "total"} <= set(perfdata(labels))
