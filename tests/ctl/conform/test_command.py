"""``vmprobectl conform`` as a process: its report, its exit codes, and that nothing stays."""

import json
import re
import signal
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from outside.webserver import PASSWORD, WebServer
from running import PROBES, run_probe
from vmprobe.ctl.conform.run import REQUIREMENTS

SITE = """\
[site]
name = here
owner = mon
[endpoint]
manager = memory
boot = 0 s
{faults}[test vm]
image = {image}
depth = console
"""
IDS = [requirement.id for requirement in REQUIREMENTS]


def conform(directory, *options, faults="", image="vmprobe-test"):
    """(exit code, stdout, stderr) of a run over a cloud in memory."""
    path = directory / "here.ini"
    path.write_text(SITE.format(faults=f"faults = {faults}\n" if faults else "", image=image))
    return run_probe("vmprobectl", "conform", "--site", str(path), *options)


def test_every_requirement_has_an_id_a_sentence_and_earlier_ones_that_it_needs():
    assert len(set(IDS)) == len(IDS)
    for number, requirement in enumerate(REQUIREMENTS):
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", requirement.id)
        assert requirement.sentence.endswith(".")
        assert set(requirement.after) <= set(IDS[:number])


def test_a_cloud_that_keeps_the_contract_passes_with_a_line_for_each_requirement(tmp_path):
    code, stdout, stderr = conform(tmp_path)

    assert (code, stderr) == (0, "")
    first, *lines, last = stdout.splitlines()
    assert re.fullmatch(r"here: in-memory, vmprobe-mon-\d+t\d+z-31-\w{8}", first)
    assert [re.split(r"[ :]+", line)[1] for line in lines] == IDS
    assert re.fullmatch(
        rf"{len(IDS)} requirements: {len(IDS) - 2} passed, 2 skipped; \d+ requests in [\d.]+ s",
        last,
    )


def test_a_cloud_that_breaks_the_contract_fails_with_the_sentence_and_the_reason(tmp_path):
    code, stdout, _ = conform(tmp_path, faults="volume-broken")

    assert code == 1
    lines = stdout.splitlines()
    number = next(n for n, line in enumerate(lines) if line.startswith("FAILED "))
    assert lines[number].startswith("FAILED   volume-created: create asks for a volume, ")
    assert re.fullmatch(r" +volume vol-\d+ is BROKEN: no space left in pool", lines[number + 1])
    assert "skipped  volume-attached: needs volume-created, which failed" in lines
    assert any(line.startswith("ok       nothing-left: removed: volume vol-") for line in lines)


def test_the_requests_of_what_failed_are_shown_with_v(tmp_path):
    code, stdout, _ = conform(tmp_path, "-v", faults="volume-broken")

    assert code == 1
    assert re.search(
        r"\n {9}create volume vmprobe-mon-\S+ -> ok\n {11}> X-Auth-Token: \*\*\*\n", stdout
    )


@pytest.mark.parametrize(
    "words, message",
    [
        ({"image": "other"}, "stopped: the site's test VM: no image named 'other'"),
        ({"faults": "auth-rejected"}, "stopped: no session: user probe is not accepted"),
    ],
    ids=["image", "credential"],
)
def test_what_the_site_has_wrong_is_no_fault_of_the_cloud(tmp_path, words, message):
    code, stdout, _ = conform(tmp_path, **words)

    assert code == 3
    assert message in stdout.splitlines()


def test_a_site_file_that_is_wrong_is_one_line(tmp_path):
    code, stdout, stderr = conform(tmp_path, faults="no-such-fault")

    assert (code, stdout, stderr.count("\n")) == (3, "", 1)
    assert stderr.startswith("vmprobectl: here.ini [endpoint] faults: 'no-such-fault' is not among")


def test_a_requirement_that_is_left_out_must_exist(tmp_path):
    assert conform(tmp_path, "--skip", "snapshots")[::2] == (
        3,
        "vmprobectl: --skip snapshots: no such requirement; did you mean snapshot?\n",
    )


def test_a_requirement_that_is_left_out_is_skipped(tmp_path):
    code, stdout, _ = conform(tmp_path, "--skip", "snapshot")

    assert (code, "skipped  snapshot: left out by --skip\n" in stdout) == (0, True)


def test_a_server_that_cannot_be_is_asked_for_where_one_is_named(tmp_path):
    code, stdout, _ = conform(tmp_path, "--impossible", "flavor=huge")

    assert code == 0
    assert "ok       impossible-server: refused: no flavor named 'huge'\n" in stdout


def test_the_json_has_every_requirement_and_the_requests_of_what_failed(tmp_path):
    conform(tmp_path, "--json", str(tmp_path / "report.json"), faults="volume-broken")
    document = json.loads((tmp_path / "report.json").read_text())

    assert [one["id"] for one in document["requirements"]] == IDS
    assert (document["site"], document["result"], document["counts"]["failed"]) == (
        "here",
        "failed",
        1,
    )
    failed = next(one for one in document["requirements"] if one["result"] == "failed")
    assert failed["id"] == "volume-created"
    assert failed["exchanges"][0]["request"].startswith("create volume vmprobe-mon-")


def test_junit_has_a_case_for_every_requirement(tmp_path):
    conform(tmp_path, "--junit", str(tmp_path / "report.xml"), faults="volume-broken")
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()[0]

    assert [case.get("name") for case in suite] == IDS
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == (
        str(len(IDS)),
        "1",
        "0",
    )
    (failed,) = [case for case in suite if case.find("failure") is not None]
    assert failed.get("name") == "volume-created"
    assert "no space left in pool" in failed.find("failure").get("message")


def test_a_report_that_cannot_be_written_is_said(tmp_path):
    code, stdout, stderr = conform(tmp_path, "--json", str(tmp_path / "none" / "report.json"))

    assert (code, stderr) == (
        3,
        f"vmprobectl: {tmp_path}/none/report.json: No such file or directory\n",
    )
    assert "passed" in stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_nothing_left(tmp_path, number):
    with WebServer() as server:
        path = server.site(tmp_path)
        path.write_text(
            path.read_text().replace("depth = console", "depth = console\nvolume = 1 GiB")
        )
        process = subprocess.Popen(
            [sys.executable, str(PROBES / "vmprobectl"), "conform", "--site", str(path)],
            env={"PYTHONPATH": f"{PROBES}:{PROBES.parent / 'tests' / 'support'}"},
            stdout=subprocess.PIPE,
            text=True,
        )
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "volume-attached" in line:
                process.send_signal(number)
        process.wait()

        assert process.returncode == 3, lines
        assert f"stopped: interrupted by {signal.Signals(number).name}\n" in lines
        assert server.things == {}


def test_no_secret_is_in_any_report(tmp_path):
    with WebServer() as server:
        path = server.site(tmp_path)
        path.write_text(path.read_text().replace("vmprobe-test", "no-such-image"))
        done = run_probe(
            "vmprobectl",
            *("conform", "--site", str(path), "-v"),
            *("--json", str(tmp_path / "report.json"), "--junit", str(tmp_path / "report.xml")),
            env={"PYTHONPATH": f"{PROBES}:{PROBES.parent / 'tests' / 'support'}"},
        )

    written = [(tmp_path / f"report.{kind}").read_text() for kind in ("json", "xml")]
    assert [PASSWORD in text for text in [*done[1:], *written]] == [False] * 4
