"""The ledger's file: what it remembers, who may read it, and who may settle it."""

import json
import multiprocessing
import os
import tempfile
from pathlib import Path

import pytest

from disasters import SHM, Disaster
from ledger_files import HANDLE, NOW, SERVER, VOLUME, ended_runs, owed
from users import NOBODY, as_root
from vmprobe.core import handle as handles
from vmprobe.core import redact
from vmprobe.core.model import Kind, Ref
from vmprobe.lease import ledger as ledgers
from vmprobe.lease.ledger import Ledger


def test_what_was_asked_for_is_owed_until_it_was_refused_or_seen_gone(directory):
    ledger = Ledger.begin(directory, HANDLE)
    ledger.intent(Kind.VOLUME, [str(HANDLE)], NOW)
    ledger.created([VOLUME], NOW)
    ledger.intent(Kind.SERVER, [str(HANDLE)], NOW)
    ledger.intent(Kind.SNAPSHOT, [str(HANDLE)], NOW)
    ledger.refused(Kind.SNAPSHOT, [str(HANDLE)])
    ledger.close(settled=False)
    assert owed(directory) == [Ref(Kind.SERVER, "", str(HANDLE)), VOLUME]

    (ledger,) = ended_runs(directory, NOW)
    ledger.created([SERVER], NOW)
    ledger.gone([VOLUME])
    ledger.close(settled=False)
    assert owed(directory) == [SERVER]

    (ledger,) = ended_runs(directory, NOW)
    ledger.gone([SERVER])
    assert ledger.owed() == []
    ledger.close(settled=True)
    assert os.listdir(directory) == []


def test_a_line_with_a_time_that_is_no_number_does_not_keep_a_debt_for_ever(directory):
    ledger = Ledger.begin(directory, HANDLE)
    for at in (float("nan"), float("inf")):
        ledger.intent(Kind.SERVER, [str(HANDLE)], at)
        assert [debt.at for debt in ledger.owed()] == [0.0]
    ledger.close(settled=True)


def test_only_its_user_can_read_the_file_and_it_names_the_endpoint(directory):
    ledger = Ledger.begin(directory, HANDLE, site="cesga", endpoint="memory memory://cloud")

    assert os.stat(ledger.path).st_mode & 0o777 == 0o600
    assert os.stat(directory).st_mode & 0o777 == 0o700
    assert json.loads(Path(ledger.path).read_text()) == {
        "event": "lease",
        "handle": str(HANDLE),
        "site": "cesga",
        "endpoint": "memory memory://cloud",
        "pid": os.getpid(),
    }


def test_an_id_that_is_a_secret_is_in_memory_only_and_a_number_is_not_changed(
    directory, monkeypatch
):
    monkeypatch.setattr(redact, "_current", [redact.Redactor(["a-Secret-1", "42"])])
    ledger = Ledger.begin(directory, HANDLE)
    ledger.created([Ref(Kind.SERVER, "a-Secret-1", "x"), Ref(Kind.VOLUME, "42", "y")], NOW)
    ledger.belongs([Ref(Kind.PORT, "port-1", "of a-Secret-1")], "a-Secret-1", NOW)

    assert [debt.ref.id for debt in ledger.owed()] == ["port-1", "42", "a-Secret-1"]
    ledger.close(settled=False)
    text = Path(ledger.path).read_text()
    assert "Secret" not in text and '"id": "***"' in text and '"id": "42"' in text


def test_the_ledger_of_a_run_that_lives_is_skipped(directory):
    ledger = Ledger.begin(directory, HANDLE)
    ledger.created([SERVER], NOW)

    assert list(ended_runs(directory, NOW)) == []
    ledger.close(settled=False)
    assert owed(directory) == [SERVER]


def test_of_two_processes_one_settles_a_debt(directory):
    ledger = Ledger.begin(directory, HANDLE)
    ledger.created([SERVER], NOW)
    ledger.close(settled=False)
    with multiprocessing.get_context("fork").Pool(8) as pool:
        settled = pool.map(_settles, [directory] * 200)

    assert sum(settled) == 1
    assert os.listdir(directory) == []


def _settles(directory):
    number = 0
    for ledger in ended_runs(directory, NOW):
        number += 1
        ledger.close(settled=True)
    return number


def test_no_process_ever_sees_a_ledger_half_made(directory):
    with multiprocessing.get_context("fork").Pool(8) as pool:
        troubles = pool.map(_lives, [(directory, number) for number in range(400)])

    assert [trouble for trouble in troubles if trouble] == []
    assert os.listdir(directory) == []


def _lives(arguments):
    directory, number = arguments
    ledger = Ledger.begin(directory, handles.Handle("mon", int(NOW), 6, f"{number:08d}"))
    ledger.intent(Kind.SERVER, ["x"], NOW)
    others = [ended.path + ended.warning for ended in ended_runs(directory, NOW)]
    ledger.refused(Kind.SERVER, ["x"])
    ledger.close(settled=True)
    return ledger.warning + "".join(others)


def test_an_unfinished_ledger_of_a_killed_run_is_removed_after_its_lease(directory):
    os.makedirs(directory)
    path = os.path.join(directory, f"{HANDLE}.ledger.new")
    Path(path).touch()

    assert list(ended_runs(directory, NOW + 60)) == [] and os.path.exists(path)
    assert list(ended_runs(directory, NOW + 7 * 60)) == [] and not os.path.exists(path)


@as_root
def test_a_run_by_root_leaves_nothing_that_the_scheduler_cannot_use(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, NOBODY, NOBODY)
    ledger = Ledger.begin(ledgers.directory(str(state), "site"), HANDLE)

    assert ledger.warning == ""
    assert {
        os.stat(path).st_uid for path in (ledger.path, *list(Path(ledger.path).parents)[:2])
    } == {NOBODY}


@as_root
@pytest.mark.parametrize(
    "owner, mode, trouble",
    [
        (1, 0o755, "{directory} is another user's"),
        (0, 0o700, "Permission denied"),
        (NOBODY, 0o500, "Permission denied"),
    ],
)
def test_another_users_directory_is_reported_and_the_run_goes_on(owner, mode, trouble):
    with tempfile.TemporaryDirectory(dir=SHM) as name:
        world = Disaster(Path(name) / "world")
        directory = Path(ledgers.directory(str(world.state), "site"))
        directory.mkdir(parents=True)
        for path in (directory, *list(directory.parents)[:4]):
            path.chmod(0o777)
        os.chown(directory, owner, owner)
        directory.chmod(mode)
        world.site.lifecycle(
            "--plan"
        )  # what is imported on demand may be in a place that only root can read
        world.site.write = lambda: world.site.path
        os.seteuid(NOBODY)
        try:
            code, output = world.run()
        finally:
            os.seteuid(0)

    assert (code, world.ours()) == (0, [])
    assert (
        "; the ledger cannot be written: " in output.text
    )  # whole below line 1, which has no room for two paths
    assert f"; the ledger cannot be written: {trouble.format(directory=directory)}"[
        :90
    ] in "\n".join([output.text, *output.details])
