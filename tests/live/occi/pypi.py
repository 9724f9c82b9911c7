"""A server's code from PyPI, in a directory of its own, installed once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..openstack.place import default_state


def site(package: str, version: str) -> Path:
    """The directory to import ``package`` from, without its dependencies; skips the test, with the reason, where PyPI does not give it."""
    directory = default_state().parent / "pypi" / f"{package}-{version}"
    if not directory.exists():
        half = directory.with_name(directory.name + ".half")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--upgrade",
                "--target",
                str(half),
                f"{package}=={version}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            pytest.skip(
                f"{package} {version} cannot be had from PyPI: {' '.join(done.stdout.split()[-20:])}"
            )
        half.rename(directory)
    return directory
