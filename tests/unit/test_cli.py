"""Checks as schedulers and people call them: options, what they print, and the files that they write."""

import json
import os
import re
import subprocess
import sys

import pytest

from running import CHECKOUT, LIFECYCLE, PROBES, run_probe


def test_help_and_version_exit_3():
    code, output, _ = run_probe("check_vm_lifecycle", "--help")
    assert code == 3
    assert output.startswith("usage: check_vm_lifecycle ")
    assert max(map(len, output.splitlines())) <= 80
    assert len(output[: output.index("\n\n")].splitlines()) <= 23

    code, output, _ = run_probe("check_vm_lifecycle", "-V")
    assert (code, re.match(r"check_vm_lifecycle \d+\.\d+\.\d+\n$", output) is not None) == (3, True)


@pytest.mark.parametrize(
    "options, line",
    [
        ([], "VM_LIFECYCLE UNKNOWN - no site given; use --site or -H"),
        (
            ["--sight", "x"],
            "VM_LIFECYCLE UNKNOWN - unrecognized arguments: --sight x (see check_vm_lifecycle --help)",
        ),
        (
            ["--site"],
            "VM_LIFECYCLE UNKNOWN - argument --site: expected one argument (see check_vm_lifecycle --help)",
        ),
        (
            ["-t", "soon"],
            "VM_LIFECYCLE UNKNOWN - argument -t/--timeout: 'soon' is not a duration like '300 s', '5 min' or '1 h' "
            "(see check_vm_lifecycle --help)",
        ),
        (
            ["-t", "0"],
            "VM_LIFECYCLE UNKNOWN - argument -t/--timeout: '0' has to be more than 0 s (see check_vm_lifecycle --help)",
        ),
        (
            ["-t", "25 h"],
            "VM_LIFECYCLE UNKNOWN - argument -t/--timeout: '25 h' is longer than a day (see check_vm_lifecycle --help)",
        ),
        (
            ["-t", "9" * 400],
            f"VM_LIFECYCLE UNKNOWN - argument -t/--timeout: '{'9' * 57}...' is not a duration like '300 s', '5 min' or "
            "'1 h' (see check_vm_lifecycle --help)",
        ),
        (
            ["--count", "-1"],
            "VM_LIFECYCLE UNKNOWN - argument --count: '-1' is not a whole number from 1 up "
            "(see check_vm_lifecycle --help)",
        ),
        (
            ["--count", "\u00b2"],
            "VM_LIFECYCLE UNKNOWN - argument --count: '?' is not a whole number from 1 up "
            "(see check_vm_lifecycle --help)",
        ),
        (
            ["--count", "1001"],
            "VM_LIFECYCLE UNKNOWN - argument --count: '1001' is more than 1000 (see check_vm_lifecycle --help)",
        ),
        (
            ["--site", "memory", "-w", "activ=1"],
            "VM_LIFECYCLE UNKNOWN - --warning activ=1: no such metric; did you mean active?",
        ),
        (
            ["--site", "memory", "-c", "skew=1"],
            "VM_LIFECYCLE UNKNOWN - --critical skew=1: check_vm_lifecycle never measures skew; its --help lists its "
            "metrics",
        ),
        (
            ["--site", "memory", "-c", "1e3"],
            "VM_LIFECYCLE UNKNOWN - --critical 1e3: '1e3' is not a range in seconds",
        ),
        (
            ["--site", "memory", "-w", "\u0663"],
            "VM_LIFECYCLE UNKNOWN - --warning ?: '?' is not a range in seconds",
        ),
        (
            ["--site", "memory", "-w", "5\n"],
            "VM_LIFECYCLE UNKNOWN - --warning 5 : '5 ' is not a range in seconds",
        ),
        (
            ["--site", "/nowhere.ini"],
            "VM_LIFECYCLE UNKNOWN - /nowhere.ini: No such file or directory",
        ),
        (
            ["-H", "nowhere.example.org"],
            "VM_LIFECYCLE UNKNOWN - no site file has the host nowhere.example.org; name one with --site",
        ),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_3(options, line):
    assert run_probe("check_vm_lifecycle", *options) == (3, line + "\n", "")


def test_nothing_but_the_line_is_printed_without_v(quick):
    code, output, errors = run_probe(
        "check_vm_lifecycle", "--site", quick, "-H", "ignored", "-t", "25"
    )

    assert (code, errors, output.count("\n")) == (0, "", 1)
    assert output.startswith("VM_LIFECYCLE OK - quick: test VM ran and is gone in ")


def test_the_timeline_is_written_as_json(quick, tmp_path):
    path = tmp_path / "timeline.json"
    code, output, _ = run_probe(
        "check_vm_lifecycle", "--site", quick, "--json", str(path), "--count", "2"
    )
    document = json.loads(path.read_text())

    assert (code, document["state"], document["site"], document["leftovers"]) == (
        0,
        "OK",
        "quick",
        [],
    )
    assert [stage["stage"] for stage in document["stages"]] == [
        "auth",
        "image",
        "submit",
        "active",
        "network",
        "storage",
        "detach",
        "delete",
        "gone",
    ]
    assert sorted(document["stages"][3]["servers"]) == [
        document["handle"] + "-1",
        document["handle"] + "-2",
    ]
    assert document["requests"] > 10
    assert os.stat(path).st_mode & 0o077 == 0


def test_a_file_that_cannot_be_written_does_not_change_the_verdict(quick):
    code, output, errors = run_probe(
        "check_vm_lifecycle",
        "--site",
        quick,
        "--json",
        "/nowhere/x.json",
        "--evidence",
        "/dev/null/x",
    )

    assert (code, errors) == (0, "")
    assert (
        "the timeline could not be written: No such file or directory: /nowhere/x.json"
        in output.splitlines()
    )
    assert "the evidence could not be written: Not a directory: /dev/null/x" in output


@pytest.mark.parametrize("name", ["lifecycle", "gateway"])
def test_only_a_regular_file_is_replaced_by_the_json(quick, tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path):
        before = os.lstat(path)

        code, output, errors = run_probe(f"check_vm_{name}", "--site", quick, "--json", str(path))

        assert (code, errors) == (0, "")
        assert output.endswith(f" could not be written: is not a regular file: {path}\n")
        assert os.path.samestat(os.lstat(path), before)


def test_a_plan_shows_and_keeps_its_requests_as_a_run_does(quick, tmp_path):
    code, output, _ = run_probe(
        "check_vm_lifecycle",
        "--site",
        quick,
        "--plan",
        "-vv",
        "--json",
        str(tmp_path / "plan.json"),
        "--evidence",
        str(tmp_path / "evidence"),
    )
    (path,) = (tmp_path / "evidence").iterdir()

    assert code == 0 and f"the evidence is in {path}" in output
    assert re.findall(r"^#\d+ (\w+)", output, re.M) == ["connect", "resolve"]
    assert [exchange["request"] for exchange in json.loads(path.read_text())["exchanges"]] == [
        "connect",
        "resolve image vmprobe-test",
    ]
    assert json.loads((tmp_path / "plan.json").read_text())["requests"] == 2


def test_evidence_holds_requests_and_replies_for_its_owner_only(quick, tmp_path):
    code, output, _ = run_probe(
        "check_vm_lifecycle", "--site", quick, "--evidence", str(tmp_path / "evidence")
    )
    (path,) = (tmp_path / "evidence").iterdir()
    document = json.loads(path.read_text())

    assert code == 0 and f"the evidence is in {path}" in output
    assert document["handle"] == path.stem
    assert {key: document["exchanges"][0][key] for key in ("request", "status")} == {
        "request": "connect",
        "status": "ok",
    }
    assert os.stat(path).st_mode & 0o077 == 0


def test_vv_shows_requests(quick):
    code, output, _ = run_probe("check_vm_lifecycle", "--site", quick, "-vv")

    assert code == 0
    assert re.search(r"^#3 create volume vmprobe-\S+ -> ok in ", output, re.M)


def test_a_probe_runs_through_a_symlink(quick, tmp_path):
    link = tmp_path / "plugins"
    link.mkdir()
    (link / "check_vm_lifecycle").symlink_to(LIFECYCLE)
    done = subprocess.run(
        [sys.executable, str(link / "check_vm_lifecycle"), "--site", quick],
        capture_output=True,
        cwd="/",
    )

    assert (done.returncode, done.stderr) == (0, b"")


def test_the_same_line_is_short_enough_for_nrpe(quick):
    _, output, _ = run_probe("check_vm_lifecycle", "--site", quick)

    assert len(output) < 900 and len(output.split(" | ")[0]) < 200


@pytest.mark.parametrize("path", sorted(PROBES.glob("check_vm_*")), ids=lambda path: path.name)
def test_an_executable_is_a_few_lines(path):
    assert len(path.read_text().splitlines()) <= 14
    assert os.access(path, os.X_OK)
    assert (CHECKOUT / "setup.cfg").read_text().count(f"probes/{path.name}\n") == 1
