"""The packages, built once by the commands of rpm/README.md, and scratch roots to install them into."""

import os
import re
import shlex
import shutil
import subprocess

import pytest

from packages.root import Root, missing
from running import CHECKOUT

TOOLS = ("git", "rpmbuild", "rpmlint", "dnf", "systemd-analyze", "mandoc", "pipx")
QUICK = "tests/unit/lease/test_ledger.py tests/unit/site/test_site.py tests/checks/lifecycle/test_verdicts.py"  # of the offline tests; the others run beside these
SOURCE = "/src/vmprobe"  # where the source is in a root


@pytest.fixture(scope="session")
def new_root(tmp_path_factory):
    """``new_root()``: a scratch root in which the checkout cannot be seen."""
    if not (CHECKOUT / ".git").exists():
        pytest.skip("packages are made from a git checkout")
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    if lacking or missing():
        pytest.skip(missing() or f"not installed: {', '.join(lacking)}")
    return lambda: Root(tmp_path_factory.mktemp("root"), hide=CHECKOUT)


def source(root):
    """The last commit, cloned into a root."""
    target = root.upper / SOURCE[1:]
    subprocess.run(
        ["git", "clone", "--quiet", "--no-hardlinks", str(CHECKOUT), str(target)], check=True
    )
    return target


def stand_in(root):
    """What EL and EPEL would have, as a package without files, so that rpm and dnf resolve what ours require."""
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
    """Every command of rpm/README.md, run in its order: [(command, wanted output, exit code, output)]."""
    root = new_root()
    source(root)
    stand_in(root)
    found = []
    for block in re.findall(
        r"```console\n(.*?)```", (CHECKOUT / "rpm" / "README.md").read_text(), re.S
    ):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command, _, wanted = part.partition("\n")
            code, output = root.run(
                command,
                cwd=SOURCE,
                RPMFLAGS=f"--define 'check_tests {QUICK}'",
                **{word: value for word, value in os.environ.items() if word.startswith("PIP_")},
            )
            found.append((command, wanted, code, output))
            if command == "make rpm" and code == 0:
                packages = root.upper / "packages"
                shutil.copytree(root.upper / SOURCE[1:] / "build" / "rpm", packages, symlinks=True)
    return root, found


@pytest.fixture(scope="session")
def rpms(readme):
    """The packages' files by name."""
    root, _ = readme
    found = sorted((root.upper / "packages" / "RPMS" / "noarch").glob("*.rpm"))
    assert found, "make rpm made no packages"
    return {re.sub(r"-\d.*", "", path.name): path for path in found}


def install(root, files, options="-i"):
    """Packages from elsewhere, installed into a root."""
    for path in files:
        shutil.copy(path, root.upper)
    return root.does(
        f"rpm {options} --nodeps {' '.join(shlex.quote('/' + path.name) for path in files)}"
    )


@pytest.fixture
def installed(new_root, rpms):
    """A root with all packages in it, but none of their sources."""
    root = new_root()
    install(root, rpms.values())
    return root
