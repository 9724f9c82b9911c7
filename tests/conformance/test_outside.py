"""A driver that lives outside the tree: what it imports, its types, and the conformance suite over it."""

import ast
import os
import subprocess
import sys

import pytest

from outside.webserver import WebServer
from running import CHECKOUT, PROBES, run_probe

# What CONTRIBUTING promises to keep; a change there is named in the changelog.
PUBLIC = {
    "vmprobe.core.driver",
    "vmprobe.core.errors",
    "vmprobe.core.model",
    "vmprobe.core.values",
    "vmprobe.transport.http",
    "vmprobe.transport.json",
}
SUPPORT = CHECKOUT / "tests" / "support"
DRIVERS = ["minimal", "webcloud"]


@pytest.mark.parametrize("name", DRIVERS)
def test_it_imports_only_the_public_interface(name):
    tree = ast.parse((SUPPORT / "outside" / f"{name}.py").read_text())

    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module for module in imported if module.startswith("vmprobe")} <= PUBLIC


def test_it_can_be_typed_strictly(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
        + [f"--cache-dir={tmp_path}", *(f"outside/{name}.py" for name in DRIVERS)],
        cwd=SUPPORT,
        env={**os.environ, "MYPYPATH": str(PROBES)},
        capture_output=True,
        text=True,
    )

    assert done.stdout == "Success: no issues found in 2 source files\n"


@pytest.mark.parametrize("name", DRIVERS)
def test_it_passes_the_conformance_suite(name, tmp_path):
    with WebServer() as server:
        path = server.site(tmp_path, poll=0.2)
        path.write_text(path.read_text().replace("outside.webcloud", f"outside.{name}"))
        code, stdout, stderr = run_probe(
            "vmprobectl",
            *("conform", "--site", str(path)),
            env={"PYTHONPATH": os.pathsep.join(map(str, (PROBES, SUPPORT)))},
        )

    assert (code, stderr, "FAILED" in stdout) == (0, "", False), stdout


def test_the_example_in_contributing_is_one_of_these():
    example = (SUPPORT / "outside" / "minimal.py").read_text()

    assert f"```python\n{example}```\n" in (CHECKOUT / "CONTRIBUTING.md").read_text()
