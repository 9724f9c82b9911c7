"""Check that version, changelog, spec, policy and tag agree: one line for each that does not."""

import os
import re
import subprocess
import sys


def main(checkout):
    """Exit code 0 when this checkout can be released, else 1."""
    version = _match(checkout, "probes/vmprobe/__init__.py", r'__version__ = "(.+)"')
    problems = [
        f"{place}: {found or 'none'}, expected {version}"
        for place, found in (
            (
                "CHANGELOG.md, first section with a date",
                _match(checkout, "CHANGELOG.md", r"## \[([^]]+)\] - \d{4}-\d\d-\d\d$"),
            ),
            (
                "rpm/nagios-plugins-vmprobe.spec, Version",
                _match(checkout, "rpm/nagios-plugins-vmprobe.spec", r"Version:\s+(.+)"),
            ),
            (
                "rpm/nagios-plugins-vmprobe.spec, %changelog",
                _match(
                    checkout,
                    "rpm/nagios-plugins-vmprobe.spec",
                    r"%changelog\n\*.* - ([^-\s]+)-\d+$",
                ),
            ),
            (
                "rpm/selinux/vmprobe.te",
                _match(checkout, "rpm/selinux/vmprobe.te", r"policy_module\(vmprobe, (.+)\)"),
            ),
            ("the tag of this commit", _tag(checkout)),
        )
        if found != version
    ]
    unreleased = _match(checkout, "CHANGELOG.md", r"## \[Unreleased\]\n+([^#\n].*|### .*)$")
    if unreleased:
        problems.append("CHANGELOG.md: [Unreleased] is not empty")
    print("\n".join(problems) or f"version {version}: changelog, spec and tag agree")
    return 1 if problems else 0


def _match(checkout, file, pattern):
    """The first group of ``pattern``, which matches at the beginning of a line; '' if none does."""
    with open(os.path.join(checkout, file), encoding="utf-8") as text:
        match = re.search(f"^{pattern}", text.read(), re.M)
    return match[1] if match else ""


def _tag(checkout):
    """The version in the tag of the last commit (v1.2.3 gives 1.2.3); '' without one."""
    listed = subprocess.run(
        ["git", "-C", checkout, "tag", "--points-at", "HEAD", "--list", "v*"],
        stdout=subprocess.PIPE,
        universal_newlines=True,
        check=True,
    )
    return listed.stdout.split("\n")[0][1:]


if __name__ == "__main__":
    sys.exit(main(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
