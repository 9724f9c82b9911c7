"""The oldest versions that setup.cfg promises do: of Python, and of each library."""

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
QUICK = (
    "unit/site/test_site.py",
    "checks/lifecycle/test_verdicts.py",
    "unit/lease/test_ledger.py",
    "unit/lease/test_debts.py",
    "unit/transport/test_http.py",
)
# EL 9's, and where it has none, EPEL 9's
OLDEST = (
    "nagiosplugin==1.3.2",
    "requests==2.25.0",
    "pytest==6.2.5",
    "jinja2==2.11.3",
    "markupsafe<2.1",
    "pyOpenSSL==20.0.1",
    "cryptography<37",
)
NEWEST_OF = ("responses", "hypothesis")  # test tools only


def python():
    """The oldest supported Python of this machine: 3.9 if it is here, else the next that is."""
    for minor in range(9, 14):
        for path in [
            shutil.which(f"python3.{minor}"),
            *sorted(
                glob.glob(f"{os.path.expanduser('~')}/.pyenv/versions/3.{minor}.*/bin/python3")
            ),
        ]:
            if (
                path
                and subprocess.run(
                    [path, "-c", f"import sys, venv; assert sys.version_info[:2] == (3, {minor})"],
                    capture_output=True,
                    check=False,
                ).returncode
                == 0
            ):
                return path, f"3.{minor}"
    return None, ""


@pytest.fixture(scope="module")
def oldest(tell):
    """An environment with the oldest of everything; it is kept for the next time."""
    path, version = python()
    if not path:
        pytest.skip("no Python that can make environments")
    tell(
        f"oldest versions: Python {version}, {', '.join(OLDEST[:3])}"
        + ("" if version == "3.9" else "; Python 3.9 is not here")
    )
    return environment(f"oldest-{version}", path, [*OLDEST, *NEWEST_OF])


def test_the_offline_tests_pass_with_the_oldest_of_everything(oldest):
    files = [f"tests/{name}" for name in QUICK]
    done = subprocess.run(
        [
            str(oldest),
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "not live and not slow",
            *files,
        ],
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
    tried = dict(word.split("==") for word in OLDEST if "==" in word)

    assert parser["options"]["python_requires"] == ">=3.9"
    assert {name: tried[name] for name in promised} == {
        "nagiosplugin": "1.3.2",
        "requests": "2.25.0",
    }
    assert all(tried[name].startswith(version) for name, version in promised.items())
