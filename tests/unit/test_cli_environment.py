"""A check prints one line and exits with its code, whatever its caller and its host give it."""

import errno
import io
import os
import subprocess
import sys

import pytest

from running import LIFECYCLE, PROBES, run_probe


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


def test_a_closed_pipe_behind_stdout_does_not_change_the_exit_code(quick):
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
def test_standard_streams_that_the_caller_closed_change_nothing(quick, closed, state_directory):
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
def test_arguments_that_are_not_utf_8_are_taken_as_they_are(tmp_path, environment, probe, options):
    arguments = [word if isinstance(word, bytes) else word.encode() for word in options]
    done = subprocess.run(
        [
            sys.executable.encode(),
            str(PROBES / probe).encode(),
            *(word.replace(b"{}", str(tmp_path).encode()) for word in arguments),
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


def test_a_library_whose_error_cannot_be_encoded_is_unknown(quick, tmp_path):
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


def test_without_a_directory_for_the_ledger_the_run_goes_on_and_reports_it(quick):
    code, output, _ = run_probe(
        "check_vm_lifecycle", "--site", quick, env={"VMPROBE_STATE": "/dev/null/state"}
    )

    assert code == 0
    assert (
        "; the ledger cannot be written: Not a directory: /dev/null/state/ledger/quick | " in output
    )


@pytest.mark.parametrize("library", ["nagiosplugin", "argparse"])
@pytest.mark.parametrize(
    "code, message",
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
    quick, tmp_path, library, code, message
):
    (tmp_path / f"{library}.py").write_text(code + "\n")
    code, output, errors = run_probe(
        "check_vm_lifecycle", "--site", quick, env={"PYTHONPATH": str(tmp_path)}
    )

    assert (code, errors, output.count("\n"), output.count("|")) == (3, "", 1, 0)
    assert output.startswith("VM_LIFECYCLE UNKNOWN - ") and message in output
