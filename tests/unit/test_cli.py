"""Probes as schedulers and people call them: as processes, with one clean line and an exit code of 0 to 3."""

import errno
import io
import json
import os
import re
import subprocess
import sys

import pytest

from running import CHECKOUT, PROBES, run_probe

LIFECYCLE = str(PROBES / "check_vm_lifecycle")


@pytest.fixture
def quick(tmp_path):
    """A site over the cloud in memory that is through in less than a second."""
    return _site(tmp_path, boot="0.1 s")


def _site(directory, boot="0.1 s", faults=""):
    path = directory / "quick.ini"
    path.write_text(
        f"[site]\nname = quick\n[endpoint]\nmanager = memory\nboot = {boot}\n{'faults = ' + faults if faults else ''}\n"
        "[test vm]\nimage = vmprobe-test\n[budget]\ndeadline = 30 s\nreserve = 10 s\n"
        "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 0\n"
    )
    return str(path)


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
        ([], "VM_LIFECYCLE UNKNOWN - which site? Name it by --site"),
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
def test_what_is_no_file_is_not_replaced_by_one(quick, tmp_path, name):
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


@pytest.mark.parametrize("library", ["argparse", "typing"])
def test_a_library_that_is_missing_is_exit_code_3_on_a_full_disk_too(quick, tmp_path, library):
    (tmp_path / f"{library}.py").write_text("raise ImportError('missing')\n")

    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, LIFECYCLE, "--site", quick],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )

    assert (done.returncode, done.stderr) == (3, b"")


def test_nobody_reading_the_output_does_not_change_the_exit_code(quick):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, LIFECYCLE, "--site", quick],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("options, code", [([], 0), (["--help"], 3), (["-V"], 3), (["--sight"], 3)])
def test_a_full_disk_behind_stdout_does_not_change_the_exit_code(quick, options, code):
    environment = {key: text for key, text in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, LIFECYCLE, "--site", quick, *options],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment,
            timeout=60,
        )

    assert (done.returncode, done.stderr) == (code, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_the_caller_has_closed_changes_nothing(quick, closed, state_directory):
    done = subprocess.run(
        ["sh", "-c", f'"$0" "$@" {closed}', sys.executable, LIFECYCLE, "--site", quick],
        timeout=60,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "" if ">&-" in closed.replace("2>&-", "") else "VM_LIFECYCLE OK - quick: test VM ran "
    )
    assert list(state_directory.glob("ledger/quick/*")) == []


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C"}, {"LANG": "de_DE.UTF-8"}, {"PYTHONWARNINGS": "always"}, {"HOME": "/"}],
)
def test_the_environment_does_not_change_the_output(quick, environment):
    code, output, errors = run_probe("check_vm_lifecycle", "--site", quick, env=environment)

    assert (code, errors, output.count("\n")) == (0, "", 1)


@pytest.mark.parametrize(
    "encoding",
    ["ascii", "ascii:strict", "cp037", "utf-16", "utf-32", "idna", "latin-1", "shift_jis"],
)
def test_the_output_is_ascii_whatever_encoding_the_environment_asks_for(quick, encoding):
    for options, code, begins in (
        ([], 0, b"VM_LIFECYCLE OK - quick: test VM ran "),
        (["--help"], 3, b"usage: check_vm_lifecycle "),
        (["--sight", "\u00e9"], 3, b"VM_LIFECYCLE UNKNOWN - unrecognized arguments: --sight "),
    ):
        done = subprocess.run(
            [sys.executable, LIFECYCLE, "--site", quick, *options],
            capture_output=True,
            timeout=60,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )

        assert (done.returncode, done.stderr, done.stdout[: len(begins)]) == (code, b"", begins)
        assert done.stdout.isascii() and b"\0" not in done.stdout and done.stdout.endswith(b"\n")


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
@pytest.mark.parametrize(
    "probe, options",
    [
        ("check_vm_lifecycle", ["--site", b"\xff"]),
        ("check_vm_state", ["--site", "memory", "--name", b"\xff\xc2\xb2"]),
        ("check_vm_activity", ["--site", "memory", "--name", b"\xff"]),
        ("check_vm_state", ["-H", b"\xff"]),
        ("check_vm_state", ["--site", "memory", "--submit", b"file:{}/\xff"]),
        ("check_vm_leftovers", ["--site", "memory", "--owner", b"\xff"]),
        ("check_vm_lifecycle", ["--site", "memory", "--plan", "--json", b"{}/\xff"]),
        ("check_vm_image", ["--site", "memory", "--list", b"\xff"]),
    ],
)
def test_words_that_are_no_text_are_taken_as_they_are(tmp_path, environment, probe, options):
    words = [word if isinstance(word, bytes) else word.encode() for word in options]
    done = subprocess.run(
        [
            sys.executable.encode(),
            str(PROBES / probe).encode(),
            *(word.replace(b"{}", str(tmp_path).encode()) for word in words),
        ],
        capture_output=True,
        timeout=60,
        env={**os.environ, **environment},
    )

    assert done.returncode in range(4) and done.stderr == b""
    assert (
        done.stdout.startswith(probe.replace("check_", "").upper().encode() + b" ")
        and done.stdout.isascii()
    )
    assert b"unforeseen" not in done.stdout


def test_an_executable_without_the_package_beside_it_is_unknown_with_one_line(tmp_path):
    (tmp_path / "check_vm_state").write_bytes((PROBES / "check_vm_state").read_bytes())
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(tmp_path / "check_vm_state")],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (3, "", 1)
    assert done.stdout.startswith("VM_STATE UNKNOWN - ModuleNotFoundError(")


def test_a_library_that_is_broken_in_words_of_no_encoding_is_unknown(quick, tmp_path):
    (tmp_path / "argparse.py").write_text(
        "raise ImportError('caf\u00e9 \ud83d\ude00 | \udcff')".encode("unicode_escape").decode()
        + "\n"
    )
    code, output, errors = run_probe(
        "check_vm_lifecycle",
        "--site",
        quick,
        env={"PYTHONPATH": str(tmp_path), "PYTHONIOENCODING": "ascii:strict"},
    )

    assert (code, output, errors) == (3, "VM_LIFECYCLE UNKNOWN - caf? ?? / ?\n", "")


def test_a_terminal_that_is_gone_does_not_end_a_run(site, monkeypatch):
    class Gone(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("sys.stderr", Gone())

    assert site.lifecycle()[0] == 0


def test_without_a_place_for_the_ledger_the_run_goes_on_and_says_so(quick):
    code, output, _ = run_probe(
        "check_vm_lifecycle", "--site", quick, env={"VMPROBE_STATE": "/dev/null/state"}
    )

    assert code == 0
    assert (
        "; the ledger cannot be written: Not a directory: /dev/null/state/ledger/quick | " in output
    )


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


@pytest.mark.parametrize("library", ["nagiosplugin", "argparse"])
@pytest.mark.parametrize(
    "code, words",
    [
        (
            "raise ImportError('No module named this | and\\n that')",
            "No module named this / and that",
        ),
        ("import sys; sys.exit(0)", ""),
        ("raise RuntimeError('of another version')", "of another version"),
        ("def f(:", "invalid syntax"),
    ],
)
def test_a_library_that_is_missing_or_broken_is_unknown_and_named(
    quick, tmp_path, library, code, words
):
    (tmp_path / f"{library}.py").write_text(code + "\n")
    code, output, errors = run_probe(
        "check_vm_lifecycle", "--site", quick, env={"PYTHONPATH": str(tmp_path)}
    )

    assert (code, errors, output.count("\n"), output.count("|")) == (3, "", 1, 0)
    assert output.startswith("VM_LIFECYCLE UNKNOWN - ") and words in output


def test_the_same_line_is_short_enough_for_nrpe(quick):
    _, output, _ = run_probe("check_vm_lifecycle", "--site", quick)

    assert len(output) < 900 and len(output.split(" | ")[0]) < 200


@pytest.mark.parametrize("path", sorted(PROBES.glob("check_vm_*")), ids=lambda path: path.name)
def test_an_executable_is_a_few_lines(path):
    assert len(path.read_text().splitlines()) <= 14
    assert os.access(path, os.X_OK)
    assert (CHECKOUT / "setup.cfg").read_text().count(f"probes/{path.name}\n") == 1
