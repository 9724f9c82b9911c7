"""The state directory: whose it is, who shares it, and what lies in it that is not the suite's."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from running import PROBES
from vmprobe.host import files

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")
DAEMON, PERSON, GROUP = 54001, 54002, 54003


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_only_its_owner_has_access_to_a_directory(tmp_path):
    files.make_own_directory(str(tmp_path / "state" / "ledger" / "site"))

    assert [mode(tmp_path / "state" / path) for path in ("", "ledger", "ledger/site")] == [
        0o700,
        0o700,
        0o700,
    ]


def test_below_a_directory_that_a_group_shares_everything_belongs_to_the_group(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o2770)

    files.make_own_directory(str(tmp_path / "state" / "ledger" / "site"))
    files.save_json(str(tmp_path / "state" / "activity" / "site.json"), {})

    assert [
        mode(tmp_path / "state" / path)
        for path in ("ledger", "ledger/site", "activity", "activity/site.json")
    ] == [0o2770, 0o2770, 0o2770, 0o660]


def test_what_was_made_before_the_state_directory_was_shared_is_shared_too(tmp_path):
    files.make_own_directory(str(tmp_path / "state" / "turn"))
    (tmp_path / "state").chmod(0o2770)

    files.make_own_directory(str(tmp_path / "state" / "turn"))

    assert mode(tmp_path / "state" / "turn") == 0o2770


@pytest.mark.parametrize("above", [0o770, 0o2750, 0o3777])
def test_a_directory_that_nobody_meant_to_share_is_not_shared(tmp_path, above):
    """A group that may write without the bit that hands the group on, as a umask of 002 makes them, is one user's mostly."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(above)

    files.make_own_directory(str(tmp_path / "state" / "ledger"))

    assert mode(tmp_path / "state" / "ledger") & 0o777 == 0o700


LIBRARIES = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))


def as_user(user, *command, **environment):
    """A command as a user whose other group is GROUP, and who has no home."""
    return subprocess.run(
        ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={GROUP}", *command],
        capture_output=True,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": LIBRARIES,
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        check=False,
    )


@pytest.fixture
def python():
    """A Python that every user can run, with the libraries of this one."""
    for found in (sys.executable, "/usr/bin/python3"):
        if (
            as_user(
                PERSON, found, "-c", f"import os, nagiosplugin; os.listdir({str(PROBES)!r})"
            ).returncode
            == 0
        ):
            return found
    return pytest.skip("other users can run no Python with this checkout")


def probe(python, user, site, *arguments):
    """(exit code, output) of check_vm_lifecycle as a user."""
    done = as_user(
        user,
        python,
        str(PROBES / "check_vm_lifecycle"),
        "--site",
        str(site),
        *arguments,
        VMPROBE_STATE=os.environ["VMPROBE_STATE"],
    )
    return done.returncode, done.stdout


@pytest.fixture
def shared(monkeypatch):
    """A state directory as the packages make it, and a site, where every user comes to: pytest's own directories are private."""
    directory = Path(tempfile.mkdtemp(prefix="vmprobe-"))
    directory.chmod(0o755)
    (directory / "site.ini").write_text(
        "[site]\nname = one\nowner = mon\n[endpoint]\nmanager = memory\nboot = 0.1 s\n[test vm]\nimage = vmprobe-test\n[budget]\n"
        "deadline = 30 s\nreserve = 5 s\n[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 0\n"
        "[schedule]\nparallel = 2\n"
    )
    (directory / "site.ini").chmod(0o644)
    (directory / "state").mkdir()
    os.chown(directory / "state", DAEMON, GROUP)
    (directory / "state").chmod(0o2770)
    monkeypatch.setenv("VMPROBE_STATE", str(directory / "state"))
    yield directory
    shutil.rmtree(directory)


@as_root
@pytest.mark.parametrize(
    "order",
    [(DAEMON, PERSON, 0), (PERSON, DAEMON, 0), (0, PERSON, DAEMON)],
    ids=["daemon-first", "person-first", "root-first"],
)
def test_members_of_a_group_and_root_share_ledgers_slots_and_spool_whoever_comes_first(
    shared, python, order
):
    for user in order:
        code, output = probe(
            python, user, shared / "site.ini", "--submit", "file:/nowhere/file", "-t", "10"
        )

        assert code == 0, output
        assert output.count("\n") == 2, (user, output)
        line, told = output.rstrip("\n").split("\n")
        assert " cannot be " not in line, line
        assert (
            told
            == "not submitted to file:/nowhere/file: /nowhere/file: No such file or directory; spooled"
        )
    assert len(list((shared / "state" / "spool").glob("*/*.json"))) == 3
    assert list((shared / "state" / "ledger").glob("*/*")) == []


@as_root
def test_a_ledger_that_one_member_left_is_settled_by_another(shared, python):
    name = "vmprobe-mon-20200101t000000z-5-abcdefgh"
    begin = [
        {"event": "lease", "handle": name, "site": "one", "endpoint": "memory memory://", "pid": 1}
    ]
    directory = shared / "state" / "ledger" / "one"
    files.make_own_directory(str(directory))
    with open(directory / f"{name}.ledger", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in begin)
        files.match_owner(file.fileno(), str(directory))
    os.chown(directory / f"{name}.ledger", PERSON, GROUP)

    code, output = probe(python, DAEMON, shared / "site.ini")

    assert (code, "ledger" in output) == (0, False)


@as_root
def test_another_user_s_directory_is_refused_where_no_group_shares_it(tmp_path, monkeypatch):
    files.make_own_directory(str(tmp_path / "ledger"))
    monkeypatch.setattr(os, "geteuid", lambda: PERSON)
    os.chown(tmp_path / "ledger", DAEMON, GROUP)
    (tmp_path / "ledger").chmod(0o2770)

    with pytest.raises(OSError, match="is another user's"):
        files.make_own_directory(str(tmp_path / "ledger"))


def test_a_directory_in_the_place_of_a_saved_document_is_set_aside(tmp_path):
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "site.json").mkdir()

    files.save_json(str(tmp_path / "state" / "site.json"), {"taken": 1})

    assert files.load_json(
        str(tmp_path / "state" / "site.json"), lambda document: document, None
    ) == (
        {"taken": 1},
        "",
    )
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == [
        "site.json",
        "site.json.damaged",
    ]


@as_root
def test_a_result_is_submitted_though_its_user_has_no_place_for_state(shared, python):
    (shared / "out").mkdir()
    (shared / "out").chmod(0o777)
    somebody_s = Path(f"/var/tmp/vmprobe-{PERSON}")
    somebody_s.mkdir()
    try:
        somebody_s.chmod(0o777)
        done = as_user(
            PERSON,
            python,
            str(PROBES / "check_vm_lifecycle"),
            "--site",
            str(shared / "site.ini"),
            "--submit",
            f"file:{shared}/out/file",
        )
    finally:
        somebody_s.rmdir()

    assert (done.returncode, "everybody can write in" in done.stdout, done.stdout.count("\n")) == (
        3,
        True,
        1,
    )
    assert json.loads((shared / "out" / "file").read_text())["output"] == done.stdout.rstrip("\n")
