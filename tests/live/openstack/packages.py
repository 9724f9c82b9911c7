"""The Debian packages of the stack: which are installed, and how the others get there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


class Unavailable(Exception):
    """This machine cannot run the stack; the text is the reason."""


def listed_packages(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [name for line in lines if not line.startswith("#") for name in line.split()]


def installed_versions(path: Path) -> str:
    """One line "package version" for each of the listed packages that is installed."""
    if not shutil.which("dpkg-query"):
        raise Unavailable("not a Debian: the stack is installed by apt")
    query = [
        "dpkg-query",
        "--show",
        "--showformat=${db:Status-Status} ${Package} ${Version}\n",
        *listed_packages(path),
    ]
    lines = subprocess.run(
        query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout.splitlines()
    return "\n".join(line.partition(" ")[2] for line in lines if line.startswith("installed "))


def missing_packages(path: Path) -> list[str]:
    installed = {line.split()[0] for line in installed_versions(path).splitlines()}
    return [name for name in listed_packages(path) if name not in installed]


def apt_install(packages: list[str]) -> None:
    """Install without questions and without starting anything; raises ``Unavailable`` with apt's last message."""
    answers = "".join(
        f"{package} {package.partition('-')[0]}/configure_db boolean false\n"
        for package in (
            "keystone",
            "glance-common",
            "placement-common",
            "nova-common",
            "neutron-common",
            "cinder-common",
        )
    )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    apt = [
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=900",
        "-o",
        "Dpkg::Options::=--force-confold",
        "--yes",
        "--no-install-recommends",
    ]
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        for command, typed in (
            (["apt-get", "update"], None),
            (["debconf-set-selections"], answers),
            ([*apt, "install", *packages], None),
        ):
            done = subprocess.run(
                command,
                input=typed,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            if done.returncode != 0:
                raise Unavailable(f"{command[0]} failed: {' '.join(done.stdout.split()[-40:])}")
    finally:
        if ours:
            policy.unlink()
