"""vmprobectl as other users run it: umasks, accounts, groups, interrupts."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controlling import GOLDEN, SITE, ctl
from running import PROBES


def modes(folder):
    return {
        str(path.relative_to(folder)): path.stat().st_mode & 0o7777
        for path in folder.rglob("*")
        if not path.name.startswith(".")
    }


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077], ids=oct)
def test_generated_files_are_readable_by_the_daemon_whatever_the_umask_is(tmp_path, mask):
    words = (
        "config",
        "--target",
        "icinga2",
        "--sites",
        GOLDEN / "sites",
        "--output",
        tmp_path / "a" / "out",
    )

    assert ctl(*words, umask=mask)[0] == 0
    files = (
        "global-templates/vmprobe.conf",
        "iberia/sites/cesga-fusion.conf",
        "iberia/sites/cesga-ops.conf",
        "master/sites/local.conf",
        "zones.conf",
    )
    folders = ("global-templates", "iberia", "iberia/sites", "master", "master/sites")
    assert modes(tmp_path / "a" / "out") == {
        **dict.fromkeys(folders, 0o755),
        **dict.fromkeys(files, 0o644),
    }
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "out")] == [
        0o755,
        0o755,
    ]

    (tmp_path / "a" / "out" / "zones.conf").write_text("changed")
    (tmp_path / "a" / "out" / "zones.conf").chmod(0o600)
    assert ctl(*words, umask=mask)[0] == 0
    assert modes(tmp_path / "a" / "out")["zones.conf"] == 0o644


def test_an_inherited_group_and_existing_directories_are_kept(sites, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    output.chmod(0o2750)

    assert (
        ctl("config", "--target", "nagios", "--sites", sites, "--output", output, umask=0o077)[0]
        == 0
    )
    assert (output.stat().st_mode & 0o7777, (output / "sites").stat().st_mode & 0o7777) == (
        0o2750,
        0o2755,
    )


@pytest.mark.parametrize(
    "target, daemon", [("nagios", "nagios4"), ("icinga2", "icinga2")], ids=["nagios", "icinga2"]
)
def test_validation_works_whatever_the_umask_and_the_path_are(sites, tmp_path, target, daemon):
    if not shutil.which(daemon):
        pytest.skip(f"{daemon} is not installed (Debian: see tests/packages.txt)")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)

    assert ctl(
        "config",
        "--target",
        target,
        "--sites",
        sites,
        "--output",
        tmp_path / "out",
        "--validate",
        umask=0o077,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(private)},
    )[::2] == (0, "")


def _without_account():
    """A user's number that has no account, and that no other run of these tests takes."""
    known = {each.pw_uid for each in pwd.getpwall()}
    return next(
        number for number in range(20000 + os.getpid() % 30000, 65000) if number not in known
    )


NOBODY = _without_account()


@pytest.fixture
def nobody(tmp_path):
    """``nobody(program, ...)``: run by a user who has neither an account nor a home."""
    if os.geteuid():
        pytest.skip("only root can become a user without an account")
    if (
        not os.access("/usr/bin/python3", os.X_OK)
        or subprocess.run(
            ["/usr/bin/python3", "-c", "import requests, nagiosplugin, jinja2"],
            capture_output=True,
            check=False,
        ).returncode
    ):
        pytest.skip("the system's Python has not what the probes need")
    place = Path(f"/tmp/vmprobe-test-{os.getpid()}")  # tmp_path is for its owner only
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(PROBES, place / "probes", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PROBES.parent / "templates", place / "share" / "vmprobe" / "templates")
    (place / "here").mkdir()
    os.chown(place / "here", NOBODY, NOBODY)
    yield lambda program, *words, **env: subprocess.run(
        ["/usr/bin/python3", str(place / "probes" / program), *map(str, words)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd=place / "here",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **env},
    )
    shutil.rmtree(place)
    shutil.rmtree(f"/var/tmp/vmprobe-{NOBODY}", ignore_errors=True)


@pytest.fixture
def quick(tmp_path):
    path = Path(f"/tmp/vmprobe-test-{os.getpid()}") / "sites" / "one.ini"
    path.parent.mkdir()
    path.write_text(
        SITE.format(name="one", notes="a").replace("memory\n", "memory\nboot = 0.1 s\n")
        + "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n"
        "[sample]\nreadings = 0\n[budget]\ndeadline = 30 s\nreserve = 5 s\n"
    )
    return path


def test_a_user_without_an_account_has_its_ledgers_where_the_next_run_looks(nobody, quick):
    done = nobody("check_vm_lifecycle", "--site", quick)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert os.listdir(quick.parent.parent / "here") == []
    assert (
        Path(f"/var/tmp/vmprobe-{NOBODY}/ledger").is_dir()
        and os.stat(f"/var/tmp/vmprobe-{NOBODY}").st_mode & 0o777 == 0o700
    )


def test_a_state_directory_that_somebody_else_made_is_not_used(nobody, quick):
    place = Path(f"/var/tmp/vmprobe-{NOBODY}")
    place.mkdir()
    os.chown(place, 65001, 65001)

    done = nobody("check_vm_lifecycle", "--site", quick)

    assert (done.returncode, done.stdout, done.stderr) == (
        3,
        f"VM_LIFECYCLE UNKNOWN - {place} is another user's; this user has no home, so name a directory for the state in VMPROBE_STATE\n",
        "",
    )


def test_a_user_without_an_account_can_validate_with_nagios(nobody, quick):
    if not shutil.which("nagios4"):
        pytest.skip("nagios4 is not installed (Debian: see tests/packages.txt)")
    done = nobody(
        "vmprobectl",
        "config",
        "--target",
        "nagios",
        "--sites",
        quick.parent,
        "--output",
        "out",
        "--validate",
        PATH="/usr/sbin:/usr/bin:/bin",
    )

    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "1 site, 3 files: 3 new, 0 changed, 0 removed\n",
        "",
    )


def test_import_and_config_work_with_the_strictest_umask(nobody, quick, table):
    place = Path(f"/tmp/vmprobe-test-{os.getpid()}/here")
    shutil.copy(table, place)
    (place / "sites").mkdir(0o755)
    os.chown(place / "sites", NOBODY, NOBODY)
    before = os.umask(0o777)
    try:
        imported = nobody(
            "vmprobectl", "sites", "import", "--from", "csv", table.name, "--output", "sites"
        )
        configured = nobody(
            "vmprobectl", "config", "--target", "nagios", "--sites", "sites", "--output", "out"
        )
    finally:
        os.umask(before)

    assert (imported.returncode, imported.stdout, imported.stderr) == (
        0,
        "one: added\n1 site found, 0 services skipped\n",
        "",
    )
    assert (configured.returncode, configured.stdout, configured.stderr) == (
        0,
        "1 site, 3 files: 3 new, 0 changed, 0 removed\n",
        "",
    )


def test_without_a_home_directory_an_image_needs_an_output_directory(nobody):
    done = nobody("vmprobectl", "image", "build", HOME="/")

    assert done.returncode == 1
    assert done.stderr in (
        "vmprobectl: there is no place for the test image, because this user has no home; name a directory in VMPROBE_IMAGES\n",
        "vmprobectl: /var/cache/vmprobe/image/.lock: Permission denied\n",
    )


def test_an_interrupt_while_python_loads_is_one_line(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "argparse.py").write_text(
        f"import sys\nopen({str(fifo)!r}).read()\nsys.path.remove({str(tmp_path)!r})\n"
        "del sys.modules['argparse']\nimport argparse\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(PROBES / "vmprobectl"), "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        # a shell that runs the tests in the background ignores it, and so would we
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with open(fifo, "w"):
        process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)

    assert (process.returncode, output, errors) == (1, "", "vmprobectl: interrupted\n")
