"""make release checks that every place that names the version names the same one."""

import re
import shutil
import subprocess
import sys

import pytest

from running import CHECKOUT

pytestmark = pytest.mark.packaging
FILES = (
    "probes/vmprobe/__init__.py",
    "rpm/nagios-plugins-vmprobe.spec",
    "rpm/selinux/vmprobe.te",
    "rpm/release.py",
)
CHANGES = "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-12-01\n\n### Added\n\n- all\n"


@pytest.fixture
def tree(tmp_path):
    """A git tree that is ready for a release, with its tag."""
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / file, tmp_path / file)
    edit(tmp_path / FILES[0], '(?<=").*(?="$)', "0.1.0")
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(
        tmp_path,
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@example.org",
        "commit",
        "--quiet",
        "-m",
        "x",
    )
    git(tmp_path, "tag", "v0.1.0")
    return tmp_path


def git(tree, *words):
    subprocess.run(["git", "-C", str(tree), *words], check=True)


def edit(file, pattern, text):
    file.write_text(re.sub(pattern, text, file.read_text(), flags=re.M))


def release(tree):
    done = subprocess.run(
        [sys.executable, str(tree / "rpm" / "release.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_a_version_that_is_the_same_everywhere_can_be_released(tree):
    assert release(tree) == (0, "version 0.1.0: changelog, spec and tag agree\n")


@pytest.mark.parametrize(
    "file, pattern, line",
    [
        (
            "CHANGELOG.md",
            r"\[0.1.0\]",
            "CHANGELOG.md, first section with a date: 9.9.9, expected 0.1.0\n",
        ),
        ("CHANGELOG.md", r"\[Unreleased\]", "CHANGELOG.md: [Unreleased] is not empty\n"),
        (
            "rpm/nagios-plugins-vmprobe.spec",
            r"(?<=^Version:        )0.1.0",
            "rpm/nagios-plugins-vmprobe.spec, Version: 9.9.9, expected 0.1.0\n",
        ),
        (
            "rpm/nagios-plugins-vmprobe.spec",
            r"0.1.0(?=-1$)",
            "rpm/nagios-plugins-vmprobe.spec, %changelog: 9.9.9, expected 0.1.0\n",
        ),
        ("rpm/selinux/vmprobe.te", r"0.1.0", "rpm/selinux/vmprobe.te: 9.9.9, expected 0.1.0\n"),
    ],
)
def test_a_place_with_another_version_is_named(tree, file, pattern, line):
    edit(
        tree / file,
        pattern,
        "[Unreleased]\n\n- news\n"
        if "Unreleased" in pattern
        else "[9.9.9]"
        if "[" in pattern
        else "9.9.9",
    )

    assert release(tree) == (1, line)


def test_a_missing_tag_is_named(tree):
    git(tree, "tag", "-d", "v0.1.0")

    assert release(tree) == (1, "the tag of this commit: none, expected 0.1.0\n")
