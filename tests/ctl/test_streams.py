"""vmprobectl and its standard streams: whatever becomes of them, the work is done."""

import os
import subprocess
import sys

import pytest

from controlling import FULL, ctl
from running import PROBES


@pytest.mark.parametrize(
    "streams, code, errors",
    [
        (">&-", 0, ""),
        (">/dev/full", 1, FULL),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full 2>&1", 1, ""),
    ],
    ids=["closed", "full", "errors-closed", "all-closed", "both-full"],
)
def test_the_command_is_carried_out_whatever_happens_to_the_streams(
    sites, table, tmp_path, streams, code, errors
):
    reload = ("--reload", f"touch {tmp_path}/reloaded")

    found = ctl(
        "config",
        "--target",
        "nagios",
        "--sites",
        sites,
        "--output",
        tmp_path / "out",
        *reload,
        streams=streams,
    )
    assert (found[0], found[2]) == (code, errors)
    assert (tmp_path / "reloaded").exists() and (tmp_path / "out" / "vmprobe.cfg").exists()

    found = ctl(
        "sites",
        "import",
        "--from",
        "csv",
        table,
        "--output",
        tmp_path / "imported",
        streams=streams,
    )
    assert (found[0], found[2]) == (code, errors)
    assert (tmp_path / "imported" / "one.ini").exists()


@pytest.mark.parametrize(
    "words, code",
    [(["--help"], 0), (["config", "--help"], 0), (["nonsense"], 2)],
    ids=["help", "a-command", "wrong"],
)
@pytest.mark.parametrize(
    "streams", [">&- 2>&-", ">/dev/full 2>/dev/full", "<&-"], ids=["closed", "full", "no-input"]
)
def test_help_and_usage_errors_without_a_reader_give_no_traceback(words, code, streams):
    found = ctl(*words, streams=streams)

    assert found[0] == (1 if "full" in streams and not code else code)
    assert "Traceback" not in found[2] and "Exception" not in found[2]


def test_an_unreadable_wrong_command_still_has_its_exit_code(tmp_path):
    for streams in ("2>&-", "2>/dev/full"):
        assert ctl(
            "config",
            "--target",
            "nagios",
            "--sites",
            tmp_path / "nowhere",
            "--output",
            tmp_path / "out",
            streams=streams,
        ) == (1, "", "")


def test_a_reader_that_has_gone_does_not_end_the_work(sites, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [
            sys.executable,
            str(PROBES / "vmprobectl"),
            "config",
            "--target",
            "nagios",
            "--sites",
            str(sites),
            "--output",
            str(tmp_path / "out"),
            "--reload",
            f"touch {tmp_path}/reloaded",
        ],
        stdout=writer,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (1, b"")
    assert (tmp_path / "reloaded").exists()
