"""The packages' own check, whole, with the pytest of the distribution and with that of EL 9, where nothing but it is installed.

What the spec's %check runs is run here as it stands there, from the source that the packages are made of.
"""

import os
import re
import shlex
import shutil
import subprocess

import pytest

from packages.conftest import source
from packages.test_pythons import oldest  # noqa: F401  a fixture
from running import CHECKOUT

pytestmark = pytest.mark.packaging
QUICK = "tests/test_ids.py tests/ctl/test_main.py tests/unit/transport/test_http.py"  # the first collects every test
PATIENCE = 3600  # seconds
NEEDED = ("hypothesis", "jinja2", "nagiosplugin", "OpenSSL", "pytest", "requests", "responses")


def check():
    """The command of the spec's %check."""
    spec = (CHECKOUT / "rpm" / "nagios-plugins-vmprobe.spec").read_text()
    found = re.search(r"(?m)^%check\n%if %\{with check\}\n((?:.*\\\n)*.*)\n%endif", spec)[1]
    return found.replace("%{?check_tests}", "")


@pytest.fixture
def unpacked(tmp_path):
    """The last commit, as the packages' source has it."""
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
    """A PATH of what every Debian has, and openssl, which Python's requests cannot be installed without."""
    folder.mkdir()
    told = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Essential} ${Priority} ${Package}\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = [
        line.split()[-1]
        for line in told.splitlines()
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
    """(exit code, the end of what was said) of the check with one Python."""
    words = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", **environment}
    done = subprocess.run(
        ["sh", "-c", command.replace("%{_bindir}/%{py}", shlex.quote(str(python)))],
        cwd=cwd,
        env=words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout[-6000:]


@pytest.fixture
def plain(tmp_path_factory):
    """``run`` with the distribution's Python, on a Debian on which nothing else is installed."""
    if not shutil.which("dpkg-query"):
        pytest.skip("what every Debian has is known on Debian only")
    if subprocess.run(
        ["/usr/bin/python3", "-c", f"import {', '.join(NEEDED)}"], capture_output=True, check=False
    ).returncode:
        pytest.skip(
            "the distribution's Python has not what the packages' check needs (Debian: see tests/packages.txt)"
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
def test_make_rpm_is_green_where_rpm_knows_of_no_package(new_root):
    root = new_root()
    source(root)

    code, output = root.run("make rpm RPMFLAGS=--nodeps", cwd="/src/vmprobe", timeout=PATIENCE)

    assert code == 0, output[-6000:]
    assert re.search(r"\n\d{4,} passed, ", output) and not re.search(r"\d+ (failed|error)", output)


@pytest.mark.slow
def test_the_check_is_green_with_the_distributions_pytest_and_nothing_else(unpacked, plain):
    code, output = plain(check(), unpacked)

    assert code == 0, output


@pytest.mark.slow
def test_the_check_is_green_with_the_pytest_of_el_9(unpacked, oldest):  # noqa: F811
    code, output = run(check(), unpacked, oldest)

    assert code == 0, output
