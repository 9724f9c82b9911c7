"""Generated files: only what changed is written, only our own are removed, whatever happens."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from configuring import ctl, write, written
from running import PROBES
from vmprobe.ctl.config import output as files


def test_the_second_run_writes_nothing(sites, tmp_path):
    output = tmp_path / "out"
    assert ctl("icinga2", output, sites) == (
        0,
        "3 sites, 5 files: 5 new, 0 changed, 0 removed\n",
        "",
    )
    before = written(output)

    assert ctl("icinga2", output, sites) == (
        0,
        "3 sites, 5 files: 0 new, 0 changed, 0 removed\n",
        "",
    )
    assert written(output) == before


def test_only_changed_files_are_written_and_obsolete_ones_removed(sites, tmp_path):
    output = tmp_path / "out"
    ctl("nagios", output, sites)
    before = written(output)
    (sites / "local.ini").unlink()
    path = sites / "cesga-ops.ini"
    path.write_text(path.read_text().replace("country = es", "country = pt"))

    assert ctl("nagios", output, sites) == (
        0,
        "2 sites, 4 files: 0 new, 2 changed, 1 removed\n",
        "",
    )
    after = written(output)
    assert {name for name in before if after.get(name) != before[name]} == {
        ".vmprobe-nagios.json",
        "sites/cesga-ops.cfg",
        "sites/local.cfg",
        "vmprobe.cfg",
    }


def test_foreign_files_are_neither_removed_nor_replaced(sites, tmp_path):
    output = tmp_path / "out"
    ctl("nagios", output, sites)
    (output / "sites" / "mine.cfg").write_text("mine")
    shutil.rmtree(sites)
    write(sites, name="mine")

    assert (
        ctl("nagios", output, sites)[2]
        == f"vmprobectl: {output}/sites/mine.cfg was not written by vmprobectl; move it out of the way\n"
    )
    assert (output / "sites" / "mine.cfg").read_text() == "mine"
    assert (output / "sites" / "cesga-ops.cfg").exists()


def test_an_edited_file_is_written_again(sites, tmp_path):
    output = tmp_path / "out"
    ctl("nagios", output, sites)
    text = (output / "vmprobe.cfg").read_text()
    (output / "vmprobe.cfg").write_text("# mine\n")

    assert ctl("nagios", output, sites)[1] == "3 sites, 5 files: 0 new, 1 changed, 0 removed\n"
    assert (output / "vmprobe.cfg").read_text() == text


def test_check_writes_nothing_shows_the_difference_and_exits_1(sites, tmp_path):
    output = tmp_path / "out"
    assert ctl("systemd", output, sites, "--check")[0] == 1
    assert not output.exists()
    ctl("systemd", output, sites)
    path = sites / "cesga-ops.ini"
    path.write_text(path.read_text().replace("600 s", "500 s"))
    before = written(output)

    code, said, _ = ctl("systemd", output, sites, "--check")

    assert code == 1
    assert "-TimeoutStartSec=665\n+TimeoutStartSec=555\n" in said
    assert written(output) == before


def test_a_closed_pipe_is_not_an_error(sites, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / "vmprobectl"),
            "config",
            "--target",
            "icinga2",
            "--output",
            str(tmp_path / "out"),
            "--sites",
            str(sites),
            "--check",
        ],
        stdout=writer,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, b"")


def test_a_manifest_with_paths_outside_the_directory_removes_nothing(sites, tmp_path):
    output, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("here")
    output.mkdir()
    (output / ".vmprobe-nagios.json").write_text(
        json.dumps({"files": {"../victim": "", str(victim): ""}, "remembered": {}})
    )

    assert ctl("nagios", output, sites)[0] == 0
    assert victim.read_text() == "here"


def test_a_damaged_manifest_is_named(sites, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / ".vmprobe-nagios.json").write_text("{")

    assert ctl("nagios", output, sites) == (
        1,
        "",
        f"vmprobectl: {output}/.vmprobe-nagios.json: is damaged; remove it together with the generated files next to it\n",
    )


def test_after_an_interruption_at_any_write_the_next_run_repairs_the_files(
    sites, tmp_path, monkeypatch
):
    """By the death of a process between two of its writes: what it replaced is whole, and what it did not is found."""

    class Killed(BaseException):
        pass

    first = {f"sites/{name}.cfg": name for name in ("a", "b", "c")}
    second = {"sites/a.cfg": "a", "sites/b.cfg": "new", "d.cfg": "d"}
    real = os.replace
    for number in range(1, 9):
        output = tmp_path / f"out{number}"
        with files.open_tree(str(output), "nagios", True) as found:
            found.apply(first, found.changes(first), {})
        calls = iter(range(1, 99))

        def replace(*words, calls=calls, number=number):
            if next(calls) == number:
                raise Killed
            real(*words)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replace)
            with contextlib.suppress(Killed), files.open_tree(str(output), "nagios", True) as found:
                found.apply(second, found.changes(second), {"some": "thing"})

        with files.open_tree(str(output), "nagios", True) as found:
            found.apply(second, found.changes(second), {"some": "thing"})
        assert {
            str(path.relative_to(output)): path.read_text() for path in output.rglob("*.cfg")
        } == second
        with files.open_tree(str(output), "nagios", False) as found:
            assert (found.changes(second), found.remembered) == ([], {"some": "thing"})


def test_a_full_disk_gives_one_line_and_the_next_run_repairs_the_files(sites, tmp_path):
    """As far as a process can tell: no file may have more than 1024 bytes."""
    output, words = (
        tmp_path / "out",
        [
            "config",
            "--target",
            "nagios",
            "--output",
            str(tmp_path / "out"),
            "--sites",
            str(sites),
            "--reload",
            f"touch {tmp_path}/reloaded",
        ],
    )
    ctl("nagios", output, sites)
    (sites / "cesga-ops.ini").write_text(
        (sites / "cesga-ops.ini").read_text().replace("country = es", "country = pt")
    )
    done = subprocess.run(
        [
            "sh",
            "-c",
            'ulimit -f 2; exec "$0" "$@"',
            sys.executable,
            str(PROBES / "vmprobectl"),
            *words,
        ],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"vmprobectl: {output}: File too large\n",
    )
    assert (
        not [path for path in output.rglob("*") if path.name.endswith("-new")]
        and not (tmp_path / "reloaded").exists()
    )
    assert ctl("nagios", output, sites, "--reload", f"touch {tmp_path}/reloaded")[::2] == (0, "")
    assert (
        "pt" in (output / "sites" / "cesga-ops.cfg").read_text()
        and (tmp_path / "reloaded").exists()
    )


def test_an_output_directory_that_is_a_link_is_followed(sites, tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "real")
    assert ctl("nagios", tmp_path / "out", sites) == (
        1,
        "",
        f"vmprobectl: {tmp_path}/out: File exists\n",
    )  # it leads nowhere
    (tmp_path / "real").mkdir()

    assert ctl("nagios", tmp_path / "out", sites)[::2] == (0, "")
    assert (tmp_path / "real" / "vmprobe.cfg").exists() and (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("name", ["vmprobe.cfg", ".vmprobe-nagios.json", "vmprobe.cfg.vmprobe-new"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_a_pipe_or_directory_in_the_way_does_not_block(sites, tmp_path, name, make):
    output = tmp_path / "out"
    ctl("nagios", output, sites)
    for path in (output / "vmprobe.cfg", output / name):
        path.unlink(missing_ok=True)
    make(output / name)

    code, said, errors = ctl("nagios", output, sites)
    if (
        name.endswith("-new") and make is os.mkfifo
    ):  # left by a run that was cut off, as far as anybody can tell
        assert (code, errors) == (0, "")
    else:
        assert (code, said, errors.count("\n")) == (1, "", 1) and errors.startswith(
            f"vmprobectl: {output}/{name}: "
        )


def test_two_runs_do_not_write_at_once(sites, tmp_path):
    with files.open_tree(str(tmp_path / "out"), "nagios", True):
        assert ctl("nagios", tmp_path / "out", sites) == (
            1,
            "",
            f"vmprobectl: {tmp_path}/out: another run of vmprobectl writes here\n",
        )


def test_a_link_in_the_place_of_a_file_is_not_followed(sites, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "vmprobe.cfg").symlink_to(tmp_path / "victim")

    assert ctl("nagios", tmp_path / "out", sites)[0] == 0
    assert (
        not (tmp_path / "out" / "vmprobe.cfg").is_symlink() and not (tmp_path / "victim").exists()
    )


@pytest.mark.parametrize(
    "place, words",
    [
        ("file", "File exists"),
        ("file/below", "Not a directory"),
        ("/proc/nowhere", "No such file or directory"),
    ],
)
def test_a_directory_that_cannot_be_written_is_named(sites, tmp_path, place, words):
    (tmp_path / "file").write_text("")

    assert ctl("nagios", tmp_path / place, sites) == (
        1,
        "",
        f"vmprobectl: {tmp_path / place}: {words}\n",
    )
