"""The spec's %check passes with the distribution's pytest and with EL 9's, and nothing else installed.

Its command is taken from the spec, and runs in the source that the packages are made of.
"""

import os
import re
import shlex
import shutil
import subprocess

import pytest

from packages.conftest import source
from packages.test_pythons import oldest  # noqa: F401  # a fixture
from running import CHECKOUT

pytestmark = pytest.mark.packaging
# The first of these collects every test.
QUICK = "tests/test_ids.py tests/ctl/test_main.py tests/unit/transport/test_http.py"
TIMEOUT = 3600  # seconds
NEEDED = ("hypothesis", "jinja2", "nagiosplugin", "OpenSSL", "pytest", "requests", "responses")


def check():
    """The command of the spec's %check."""
    spec = (CHECKOUT / "rpm" / "nagios-plugins-vmprobe.spec").read_text()
    command = re.search(r"(?m)^%check\n%if %\{with check\}\n((?:.*\\\n)*.*)\n%endif", spec)[1]
    return command.replace("%{?check_tests}", "")


@pytest.fixture
def unpacked(tmp_path):
    """A directory with the last commit, unpacked from an archive as packages are."""
    if not (CHECKOUT / ".git").exists():
        pytest.skip("packages are made from a git checkout")
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=CHECKOUT, stdout=subprocess.PIPE, check=True
    ).stdout
    subprocess.run(
        ["tar", "x", "--no-same-permissions"], cwd=tmp_path, input=archive, umask=0o022, check=True
    )
    return tmp_path


def essential(folder):
    """A PATH with the programs that every Debian has, and openssl, which python3-requests requires."""
    folder.mkdir()
    packages = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Essential} ${Priority} ${Package}\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = [
        line.split()[-1]
        for line in packages.splitlines()
        if line.startswith("yes") or " required " in line
    ]
    files = subprocess.run(
        ["dpkg-query", "-L", "openssl", *names], capture_output=True, text=True, check=True
    ).stdout
    for path in sorted(set(re.findall(r"(?m)^(?:/usr)?/s?bin/[^/\n]+$", files))):
        if os.path.exists(path):
            (folder / os.path.basename(path)).symlink_to(path)
    return str(folder)


def run(command, cwd, python, **environment):
    """Run the check with this Python; returns (exit code, the end of its output)."""
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        **environment,
    }
    done = subprocess.run(
        ["sh", "-c", command.replace("%{_bindir}/%{py}", shlex.quote(str(python)))],
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout[-6000:]


@pytest.fixture
def plain(tmp_path_factory):
    """``run`` with the distribution's Python, and only the programs that every Debian has."""
    if not shutil.which("dpkg-query"):
        pytest.skip("needs dpkg-query, to know what every Debian has")
    if subprocess.run(
        ["/usr/bin/python3", "-c", f"import {', '.join(NEEDED)}"], capture_output=True, check=False
    ).returncode:
        pytest.skip(
            "the distribution's Python lacks what %check needs (Debian: see tests/packages.txt)"
        )
    path = essential(tmp_path_factory.mktemp("plain") / "bin")
    return lambda command, cwd: run(command, cwd, "/usr/bin/python3", PATH=path)


def test_every_test_can_be_collected_with_the_distributions_pytest(unpacked, plain):
    code, output = plain(f"{check()} {QUICK}", unpacked)

    assert code == 0, output


def test_every_test_can_be_collected_with_the_pytest_of_el_9(unpacked, oldest):  # noqa: F811
    code, output = run(f"{check()} {QUICK}", unpacked, oldest)

    assert code == 0, output


@pytest.mark.slow
def test_make_rpm_passes_where_rpm_knows_no_installed_package(new_root):
    root = new_root()
    source(root)

    code, output = root.run("make rpm RPMFLAGS=--nodeps", cwd="/src/vmprobe", timeout=TIMEOUT)

    assert code == 0, output[-6000:]
    assert re.search(r"\n\d{4,} passed, ", output) and not re.search(r"\d+ (failed|error)", output)


@pytest.mark.slow
def test_the_check_passes_with_the_distributions_pytest_and_nothing_else(unpacked, plain):
    code, output = plain(check(), unpacked)

    assert code == 0, output


@pytest.mark.slow
def test_the_check_passes_with_the_pytest_of_el_9(unpacked, oldest):  # noqa: F811
    code, output = run(check(), unpacked, oldest)

    assert code == 0, output
