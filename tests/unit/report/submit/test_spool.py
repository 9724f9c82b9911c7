"""The spool: what it keeps, what it drops, and what others put there."""

import os
import time

import pytest

from submitting import RESULT, deliver, lines, plant, spooled
from vmprobe.report.submit import delivery, spool
from vmprobe.site import targets


def test_a_result_spooled_a_day_ago_is_dropped(tmp_path, monkeypatch):
    word = f"file:{tmp_path}/there/file"
    deliver(word)
    (tmp_path / "there").mkdir()
    later = RESULT.ended + 86401
    monkeypatch.setattr(time, "time", lambda: later)

    assert deliver(word, RESULT._replace(state=0, ended=later - 1)) == []
    assert [each["state"] for each in lines(tmp_path / "there" / "file")] == [0]


def test_a_result_dated_in_the_future_replaces_nothing(monitor):
    monitor.is_away = True
    deliver(monitor.word, RESULT._replace(state=2, ended=999999.0))
    monitor.is_away = False

    assert deliver(monitor.word, RESULT._replace(state=0)) == []
    assert [(each.state, each.ended) for each in monitor.got] == [(0, 1010.5)]
    assert spooled(monitor.word) == []


def test_the_spool_keeps_the_newest_results_and_only_its_owner_can_read_them(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "MOST", 5)
    held = spool.Spool(str(tmp_path / "spool" / "one"), keeps_all=True)
    for number in range(8):
        held.put(RESULT._replace(ended=1000.0 + number))

    assert [name.partition("-")[0] for name in held.waiting("")] == [
        "1007.000000",
        "1006.000000",
        "1005.000000",
        "1004.000000",
        "1003.000000",
    ]
    assert sorted(os.listdir(held.folder)) == sorted(held.waiting(""))
    assert (
        os.stat(held.folder).st_mode & 0o077,
        os.stat(os.path.join(held.folder, held.waiting("")[0])).st_mode & 0o077,
    ) == (0, 0)


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can run a probe in another user's state directory"
)
def test_a_result_spooled_by_root_belongs_to_the_monitoring_user(state_directory):
    os.makedirs(state_directory)
    os.chown(state_directory, 65534, 65534)

    assert deliver("file:/nowhere/file")[0].endswith("; spooled")
    assert {path.stat().st_uid for path in state_directory.rglob("*")} == {65534}
    assert len(list(state_directory.rglob("*.json"))) == 1


NONSENSE = {
    "nothing": "",
    "a list": "[]",
    "an object": "{}",
    "a word": "x",
    "a state that is no number": '["h","s","x","o",1,2]',
    "an infinite state": '["h","s",Infinity,"o",1,2]',
    "a state beyond four": '["h","s",4,"o",1,2]',
    "a time that is none": '["h","s",0,"o",1,NaN]',
    "a time beyond all measure": '["h","s",0,"o",1,1' + "0" * 400 + "]",
    "a second command": '["h","s\\n[1] SHUTDOWN_PROGRAM",0,"o",1,2]',
    "a second field": '["h;x","s",0,"o",1,2]',
    "half a letter": '["h","s",0,"\\ud800",1,2]',
    "nested too deep": "[" * 100000,
    "a byte too many": " " * (2**20 + 1),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_in_the_spool_is_removed_and_holds_back_nothing(tmp_path, what):
    word = f"file:{tmp_path}/file"
    plant(word, "1001.000000.json", NONSENSE[what])

    assert deliver(word) == []
    assert [each["state"] for each in lines(tmp_path / "file")] == [2]
    assert spooled(word) == []


FOREIGN = {
    "a directory": lambda path: os.makedirs(f"{path}/x"),
    "a pipe": os.mkfifo,
    "a link to a device": lambda path: os.symlink("/dev/zero", path),
    "a dangling link": lambda path: os.symlink("/nowhere", path),
}


@pytest.mark.parametrize("name", ["1001.000000.json", "lock", "with a\nline.json"])
@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_not_a_file_in_the_spool_is_ignored(tmp_path, what, name):
    word = f"file:{tmp_path}/file"
    plant(word, "note", "somebody's")
    FOREIGN[what](os.path.join(delivery.spool_folder(targets.parse(word)), name))

    assert deliver(word) == []
    assert deliver(word, RESULT._replace(state=0, ended=1011.0)) == []
    assert [each["state"] for each in lines(tmp_path / "file")] == [2, 0]


def test_a_temporary_file_of_a_killed_run_is_removed_after_an_hour(tmp_path, monkeypatch):
    word = f"file:{tmp_path}/file"
    plant(word, ".vmprobe-abc", '["cesga", "vm-life')
    folder = delivery.spool_folder(targets.parse(word))
    os.utime(os.path.join(folder, ".vmprobe-abc"), (1000, 1000))
    assert deliver(word) == []
    assert ".vmprobe-abc" in os.listdir(folder)
    monkeypatch.setattr(time, "time", lambda: 1000.0 + 3601)

    assert deliver(word, RESULT._replace(ended=4600.0)) == []
    assert os.listdir(folder) == ["lock"]


def test_a_world_writable_spool_is_neither_read_nor_written(tmp_path):
    word = f"file:{tmp_path}/file"
    plant(word, "1001.000000.json", '["cesga","vm-lifecycle",0,"planted",1.0,1001.0]')
    os.chmod(delivery.spool_folder(targets.parse(word)), 0o777)

    assert deliver(word) == []
    assert [each["state"] for each in lines(tmp_path / "file")] == [2]
    assert spooled(word) == ["1001.000000.json"]


def test_without_a_spool_results_are_delivered_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("VMPROBE_STATE", "/dev/null/state")

    assert deliver(f"file:{tmp_path}/file") == []
    assert [each["state"] for each in lines(tmp_path / "file")] == [2]


def test_a_result_that_can_neither_be_delivered_nor_spooled_is_reported(monkeypatch):
    monkeypatch.setenv("VMPROBE_STATE", "/dev/null/state")

    assert deliver("file:/nowhere/file") == [
        "not submitted to file:/nowhere/file: /nowhere/file: No such file or directory; it cannot be spooled either: "
        "Not a directory: /dev/null/state"
    ]


def test_a_path_with_an_extra_slash_is_the_same_target(tmp_path):
    word = f"file:{tmp_path}/folder/file"
    deliver(word)  # the folder is not there yet
    (tmp_path / "folder").mkdir()

    assert deliver(f"file:{tmp_path}//folder/file", RESULT._replace(state=0, ended=1011.0)) == []
    assert [each["state"] for each in lines(tmp_path / "folder" / "file")] == [2, 0]
    assert spooled(word) == []
