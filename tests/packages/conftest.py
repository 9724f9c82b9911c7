"""The packages, built once by the commands of rpm/README.md, and scratch roots to install them in."""

import os
import re
import shlex
import shutil
import subprocess

import pytest

from packages.root import Root, missing
from running import CHECKOUT

TOOLS = ("git", "rpmbuild", "rpmlint", "dnf", "systemd-analyze", "mandoc", "pipx")
# A few of the offline tests, for %check. The others run elsewhere in the same pytest run.
QUICK = (
    "tests/unit/lease/test_ledger.py tests/unit/site/test_site.py"
    " tests/checks/lifecycle/test_verdicts.py"
)
SOURCE = "/src/vmprobe"  # the source inside a root


@pytest.fixture(scope="session")
def new_root(tmp_path_factory):
    """``new_root()`` makes a scratch root, from which the checkout cannot be seen."""
    if not (CHECKOUT / ".git").exists():
        pytest.skip("packages are made from a git checkout")
    missing_tools = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing_tools or missing():
        pytest.skip(missing() or f"not installed: {', '.join(missing_tools)}")
    return lambda: Root(tmp_path_factory.mktemp("root"), hide=CHECKOUT)


def source(root):
    """Clone the last commit into a root; returns where it is outside."""
    target = root.upper / SOURCE[1:]
    subprocess.run(
        ["git", "clone", "--quiet", "--no-hardlinks", str(CHECKOUT), str(target)], check=True
    )
    return target


def stand_in(root):
    """Install a package without files that provides what EL and EPEL have.

    So rpm and dnf can resolve what the packages of the suite require.
    """
    spec = (CHECKOUT / "rpm" / "nagios-plugins-vmprobe.spec").read_text()
    names = re.findall(r"(?m)^(?:Build)?Requires(?:\(\w+\))?:\s+(%\{py\}[\w-]*|[a-z][\w-]*)", spec)
    provides = "".join(
        f"Provides: {name.replace('%{py}', 'python3')} = 99\n" for name in sorted(set(names))
    )
    text = (
        "Name: distribution\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\nAutoReqProv: no\n"
        f"{provides}Provides: /bin/sh\nProvides: /usr/bin/python3\n%description\nx\n%files\n"
    )
    (root.upper / "stand-in.spec").write_text(text)
    root.does(
        "rpmbuild -bb --quiet --define '_topdir /stand-in' /stand-in.spec && rpm -i --nodeps /stand-in/RPMS/noarch/*.rpm"
    )


@pytest.fixture(scope="session")
def readme(new_root):
    """The root in which every command of rpm/README.md ran, in its order, and the results.

    Each result is (command, expected output, exit code, output).
    """
    root = new_root()
    source(root)
    stand_in(root)
    results = []
    for block in re.findall(
        r"```console\n(.*?)```", (CHECKOUT / "rpm" / "README.md").read_text(), re.S
    ):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command, _, expected = part.partition("\n")
            code, output = root.run(
                command,
                cwd=SOURCE,
                RPMFLAGS=f"--define 'check_tests {QUICK}'",
                **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
            )
            results.append((command, expected, code, output))
            if command == "make rpm" and code == 0:
                packages = root.upper / "packages"
                shutil.copytree(root.upper / SOURCE[1:] / "build" / "rpm", packages, symlinks=True)
    return root, results


@pytest.fixture(scope="session")
def rpms(readme):
    """The package files, by package name."""
    root, _ = readme
    files = sorted((root.upper / "packages" / "RPMS" / "noarch").glob("*.rpm"))
    assert files, "make rpm made no packages"
    return {re.sub(r"-\d.*", "", path.name): path for path in files}


def install(root, files, options="-i"):
    """Install package files from outside into a root; returns the output."""
    for path in files:
        shutil.copy(path, root.upper)
    return root.does(
        f"rpm {options} --nodeps {' '.join(shlex.quote('/' + path.name) for path in files)}"
    )


@pytest.fixture
def installed(new_root, rpms):
    """A root with all packages installed, and without their sources."""
    root = new_root()
    install(root, rpms.values())
    return root
