"""Whether a release can be made: version, changelog, spec and tag have to agree. One line for each that does not."""

import os
import re
import subprocess
import sys


def main(checkout):
    version = _found(checkout, "probes/vmprobe/__init__.py", r'__version__ = "(.+)"')
    wrong = [
        f"{file} has {have or 'none'}, and not {version}"
        for file, have in (
            (
                "CHANGELOG.md, first section with a date,",
                _found(checkout, "CHANGELOG.md", r"## \[([^]]+)\] - \d{4}-\d\d-\d\d$"),
            ),
            (
                "rpm/nagios-plugins-vmprobe.spec, Version,",
                _found(checkout, "rpm/nagios-plugins-vmprobe.spec", r"Version:\s+(.+)"),
            ),
            (
                "rpm/nagios-plugins-vmprobe.spec, %changelog,",
                _found(
                    checkout,
                    "rpm/nagios-plugins-vmprobe.spec",
                    r"%changelog\n\*.* - ([^-\s]+)-\d+$",
                ),
            ),
            (
                "rpm/selinux/vmprobe.te",
                _found(checkout, "rpm/selinux/vmprobe.te", r"policy_module\(vmprobe, (.+)\)"),
            ),
            ("the tag of this commit", _tag(checkout)),
        )
        if have != version
    ]
    waiting = _found(checkout, "CHANGELOG.md", r"## \[Unreleased\]\n+([^#\n].*|### .*)$")
    if waiting:
        wrong.append("CHANGELOG.md has something under [Unreleased]")
    print("\n".join(wrong) or f"version {version}: changelog, spec and tag agree")
    return 1 if wrong else 0


def _found(checkout, file, pattern):
    with open(os.path.join(checkout, file), encoding="utf-8") as text:
        match = re.search(f"^{pattern}", text.read(), re.M)
    return match[1] if match else ""


def _tag(checkout):
    """The version that a tag v... of the last commit names; '' if none does."""
    done = subprocess.run(
        ["git", "-C", checkout, "tag", "--points-at", "HEAD", "--list", "v*"],
        stdout=subprocess.PIPE,
        universal_newlines=True,
        check=True,
    )
    return done.stdout.split("\n")[0][1:]


if __name__ == "__main__":
    sys.exit(main(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
