"""The unit tests pass with the oldest versions of Python and libraries that setup.cfg promises, and the newest."""

import configparser
import glob
import os
import re
import shutil
import subprocess

import pytest

from packages.environments import environment
from running import CHECKOUT

pytestmark = pytest.mark.packaging
UNIT = ("tests/unit", "tests/checks")
SLOW = (  # searches: they find the same with every Python
    "tests/unit/transport/test_hostile.py",
    "tests/unit/transport/test_hostile_probe.py",
    "tests/unit/transport/test_hostile_cost.py",
)
# The versions of EL 9, or of EPEL 9 for what EL 9 does not have.
OLDEST = (
    "nagiosplugin==1.3.2",
    "requests==2.25.0",
    "pytest==6.2.5",
    "jinja2==2.11.3",
    "markupsafe<2.1",
    "pyOpenSSL==20.0.1",
    "cryptography<37",
)
NEWEST = ("nagiosplugin", "requests", "pytest", "jinja2", "pyOpenSSL")
TEST_TOOLS = ("responses", "hypothesis")
SUPPORTED = range(9, 15)  # minor versions of Python 3


def pythons():
    """The supported Pythons of this machine that can make environments: (path, minor version), oldest first."""
    for minor in SUPPORTED:
        installed = glob.glob(f"{os.path.expanduser('~')}/.pyenv/versions/3.{minor}.*/bin/python3")
        for path in [shutil.which(f"python3.{minor}"), *sorted(installed)]:
            check = f"import sys, venv; assert sys.version_info[:2] == (3, {minor})"
            if path and subprocess.run([path, "-c", check], capture_output=True).returncode == 0:
                yield path, minor
                break


def versions(which, tell):
    """The Python of an environment with the oldest or the newest of everything."""
    available = list(pythons())
    if not available:
        pytest.skip("no Python that can make environments")
    if which == "oldest":
        (path, minor), libraries, expected = available[0], OLDEST, SUPPORTED[0]
    else:
        (path, minor), libraries, expected = available[-1], NEWEST, SUPPORTED[-1]
    missing = "" if minor == expected else f"; Python 3.{expected} is not installed"
    tell(f"{which} versions: Python 3.{minor}, {', '.join(libraries[:3])}{missing}")
    return environment(f"{which}-3.{minor}", path, [*libraries, *TEST_TOOLS])


@pytest.fixture(scope="module")
def oldest(tell):
    return versions("oldest", tell)


@pytest.fixture(scope="module")
def newest(tell):
    return versions("newest", tell)


@pytest.mark.parametrize("age", ["oldest", "newest"])
def test_the_unit_tests_pass_with_the_oldest_and_the_newest_of_everything(age, request):
    python = request.getfixturevalue(age)
    selection = ["-m", "not live and not slow", *UNIT, *(f"--ignore={path}" for path in SLOW)]
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *selection],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "PYTHONPATH": "probes:tests:tests/support",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_these_are_the_versions_that_setup_cfg_promises():
    parser = configparser.ConfigParser()
    parser.read(CHECKOUT / "setup.cfg")
    promised = dict(re.findall(r"(?m)^([a-z]+) >=([\d.]+)$", parser["options"]["install_requires"]))
    tested = dict(pin.split("==") for pin in OLDEST if "==" in pin)

    assert parser["options"]["python_requires"] == ">=3.9"
    assert {name: tested[name] for name in promised} == {
        "nagiosplugin": "1.3.2",
        "requests": "2.25.0",
    }
    assert all(tested[name].startswith(version) for name, version in promised.items())
