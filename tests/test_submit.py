"""Passive results: delivered, or spooled and delivered later; the verdict is never another one."""

import json
import os
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest

from conftest import run_probe
from vmprobe import submit
from vmprobe.errors import VmprobeError

RESULT = submit.Result("cesga", "vm-lifecycle", 2, "VM_LIFECYCLE CRITICAL - a\\b; c | total=1s;;;0\nmore", 1000.25, 1010.5)


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.ini"
    path.write_text("[site]\nname = quick\n[endpoint]\nmanager = memory\nboot = 0.1 s\n[test vm]\nimage = vmprobe-test\n"
                    "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\n[sample]\nreadings = 0\n[budget]\ndeadline = 30 s\nreserve = 5 s\n")
    return str(path)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(submit, "_PAUSES", (0.01, 0.01))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# --- the probe ----------------------------------------------------------------------------------------------------

def test_a_result_goes_to_several_targets_and_the_output_stays_as_it_is(quick, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"

    code, output, errors = run_probe("check_vm_lifecycle", "--site", quick, "--submit", f"file:{first}", "--submit", f"file:{second}")

    assert (code, output.count("\n"), errors) == (0, 1, "")
    assert lines(first) == lines(second)
    assert [(each["host"], each["service"], each["state"], each["output"]) for each in lines(first)] == [
        ("quick", "vm-lifecycle", 0, output.rstrip("\n"))]


def test_what_ends_a_run_before_it_begins_is_submitted_too(quick, tmp_path):
    file = tmp_path / "file"

    code, output, _ = run_probe("check_vm_lifecycle", "--site", quick, "--submit", f"file:{file}", "-w", "nothing=1")

    assert code == 3
    assert [(each["state"], each["output"]) for each in lines(file)] == [(3, output.rstrip("\n"))]


def test_a_target_that_fails_changes_neither_line_1_nor_the_state(quick, tmp_path):
    code, output, errors = run_probe("check_vm_lifecycle", "--site", quick, "--submit", "file:/nowhere/file", "-t", "20")

    assert (code, errors) == (0, "")
    assert output.splitlines()[0].startswith("VM_LIFECYCLE OK - quick: test VM ran and is gone in ")
    assert output.splitlines()[1:] == ["not submitted to file:/nowhere/file: /nowhere/file: No such file or directory; spooled"]


def test_a_site_that_cannot_be_read_has_no_name_to_submit_under():
    code, output, _ = run_probe("check_vm_lifecycle", "--site", "/nowhere.ini", "--submit", "file:/nowhere/file")

    assert (code, output) == (3, "VM_LIFECYCLE UNKNOWN - /nowhere.ini: No such file or directory\n"
                                 "not submitted: /nowhere.ini: No such file or directory\n")


@pytest.mark.parametrize("word, wrong", [
    ("pigeon:x", "is no target: pigeon is none of nagios, results, icinga2, nsca, nrdp, file"),
    ("file:relative", "is no target: file needs an absolute path"),
    ("nagios:/pipe,ca=x", "is no target: nagios has no option ca; there are none"),
    ("icinga2:http://mon,credentials=x", "is no target: icinga2 needs a URL that begins with https://"),
    ("nrdp:https://mon", "is no target: nrdp needs credentials=FILE"),
    ("nsca:", "is no target: nsca needs a host"),
])
def test_a_target_that_is_none_is_named(word, wrong):
    with pytest.raises(ValueError) as said:
        submit.target(word)

    assert str(said.value) == wrong


# --- the spool ----------------------------------------------------------------------------------------------------

def test_what_was_spooled_goes_first_oldest_first_and_once(tmp_path, monkeypatch):
    target = submit.target(f"file:{tmp_path}/there/file")
    monkeypatch.setattr(submit.time, "time", lambda: 1020.0)
    for number in (1, 2):
        assert submit.submit([target], RESULT._replace(state=number, ended=1000.0 + number), 5)[0].endswith("; spooled")
    (tmp_path / "there").mkdir()

    assert submit.submit([target], RESULT._replace(state=3), 5) == []
    assert submit.submit([target], RESULT._replace(state=0), 5) == []

    assert [(each["state"], each["ended"]) for each in lines(tmp_path / "there" / "file")] == [
        (1, 1001.0), (2, 1002.0), (3, 1010.5), (0, 1010.5)]


def test_what_was_spooled_a_day_ago_is_forgotten(tmp_path, monkeypatch):
    target = submit.target(f"file:{tmp_path}/there/file")
    submit.submit([target], RESULT, 5)
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(submit.time, "time", lambda: RESULT.ended + 86401)

    assert submit.submit([target], RESULT._replace(state=0), 5) == []
    assert [each["state"] for each in lines(tmp_path / "there" / "file")] == [0]


def test_the_spool_holds_the_newest_and_is_its_owners_alone(tmp_path, state_directory):
    target = submit.target("file:/nowhere/file")
    for number in range(submit._SPOOLED + 5):
        submit._spool(target, RESULT._replace(ended=2000.0 + number))

    names = sorted(os.listdir(submit._folder(target)))
    assert (len(names), names[0]) == (submit._SPOOLED, "2005.000000.json")
    assert os.stat(submit._folder(target)).st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a probe in another user's state directory")
def test_what_root_spools_by_hand_is_the_monitoring_user_s(state_directory):
    os.makedirs(state_directory)
    os.chown(state_directory, 65534, 65534)

    assert submit._spool(submit.target("file:/nowhere/file"), RESULT) == "spooled"
    assert {path.stat().st_uid for path in state_directory.rglob("*")} == {65534}
    assert len(list(state_directory.rglob("*.json"))) == 1


def test_what_a_target_knows_nothing_of_waits_and_holds_back_nothing(tmp_path, monkeypatch):
    target, got = submit.target(f"file:{tmp_path}/file"), []

    def send(each, result, seconds):
        if result.host == "stranger":
            raise submit.Unknown("it knows no service")
        got.append(result.state)
    monkeypatch.setitem(submit.SEND, "file", send)
    monkeypatch.setattr(submit.time, "time", lambda: 1020.0)
    submit.submit([target], RESULT._replace(host="stranger"), 5)

    assert submit.submit([target], RESULT._replace(state=1), 5) == []
    assert (got, os.listdir(submit._folder(target))) == ([1], ["1010.500000.json"])


def test_a_damaged_spool_file_is_forgotten(tmp_path, state_directory):
    target = submit.target(f"file:{tmp_path}/file")
    os.makedirs(submit._folder(target))
    for number, text in enumerate(("", "[]", "{}", '["a",1,"x","y",1,2]')):
        (state_directory / "spool" / os.path.basename(submit._folder(target)) / f"{number}.json").write_text(text)

    assert submit.submit([target], RESULT, 5) == []
    assert [each["state"] for each in lines(tmp_path / "file")] == [2]


def test_a_file_that_is_a_pipe_without_a_reader_is_no_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    assert submit.submit([submit.target(f"file:{tmp_path}/pipe")], RESULT, 5) == [
        f"not submitted to file:{tmp_path}/pipe: {tmp_path}/pipe: No such device or address; spooled"]


def test_without_a_place_for_the_spool_it_is_said(monkeypatch):
    monkeypatch.setenv("VMPROBE_STATE", "/dev/null/state")

    assert submit.submit([submit.target("file:/nowhere/file")], RESULT, 5) == [
        "not submitted to file:/nowhere/file: /nowhere/file: No such file or directory; and it cannot be spooled: "
        "Not a directory: /dev/null/state"]


# --- Nagios -------------------------------------------------------------------------------------------------------

def test_the_pipe_gets_one_command_in_one_write(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    assert submit.submit([submit.target(f"nagios:{tmp_path}/pipe")], RESULT, 5) == []

    assert os.read(reader, 9999) == (b"[1010] PROCESS_SERVICE_CHECK_RESULT;cesga;vm-lifecycle;2;"
                                     b"VM_LIFECYCLE CRITICAL - a\\\\b; c | total=1s;;;0\\nmore\n")
    os.close(reader)


def test_what_is_too_long_for_one_write_loses_its_details_and_keeps_its_perfdata(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)

    submit.submit([submit.target(f"nagios:{tmp_path}/pipe")], RESULT._replace(output="one | a=1\n" + 5000 * "x"), 5)

    assert os.read(reader, 9999) == b"[1010] PROCESS_SERVICE_CHECK_RESULT;cesga;vm-lifecycle;2;one | a=1\n"
    os.close(reader)


@pytest.mark.parametrize("make, said", [
    (lambda path: None, "No such file or directory"),
    (lambda path: path.write_text(""), "is no pipe: is Nagios running?"),
    (os.mkfifo, "nobody reads it: is Nagios running?"),
])
def test_a_pipe_that_is_none_or_has_no_reader_is_named_and_left_alone(tmp_path, make, said):
    path = tmp_path / "pipe"
    make(path)

    with pytest.raises(VmprobeError, match=said.replace("?", r"\?")):
        submit.SEND["nagios"](submit.target(f"nagios:{path}"), RESULT, 5)
    assert not path.is_file() or path.read_text() == ""


# --- HTTP ---------------------------------------------------------------------------------------------------------

class Nrdp(BaseHTTPRequestHandler):
    """NRDP's interface as its README has it; there is no package of it to be had."""

    reply, got = "<result><status>0</status><message>OK</message></result>", []

    def do_POST(self):
        self.got.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.reply.encode())

    def log_message(self, *_):
        """Nothing is logged."""


@pytest.fixture
def nrdp(tmp_path, monkeypatch):
    """The target of an NRDP on loopback whose certificate is good."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout",
                    key, "-out", certificate, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    monkeypatch.setattr(Nrdp, "got", [])
    monkeypatch.setattr(Nrdp, "reply", Nrdp.reply)
    server = HTTPServer(("127.0.0.1", 0), Nrdp)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    credentials = tmp_path / "nrdp.ini"
    credentials.write_text("[credentials]\ntoken = s3cr3t-token\n")
    credentials.chmod(0o600)
    yield f"nrdp:https://127.0.0.1:{server.server_port}/nrdp/,credentials={credentials},ca={certificate}"
    server.shutdown()
    server.server_close()


def test_nrdp_gets_the_result_and_its_time(nrdp):
    assert submit.submit([submit.target(nrdp)], RESULT, 5) == []

    form = Nrdp.got[0]
    assert (form["token"], form["cmd"]) == (["s3cr3t-token"], ["submitcheck"])
    result = ElementTree.fromstring(form["XMLDATA"][0]).find("checkresult")
    assert {field.tag: field.text for field in result} == {
        "hostname": "cesga", "servicename": "vm-lifecycle", "state": "2", "output": RESULT.output, "time": "1010"}


def test_what_nrdp_answers_is_told_without_the_token(nrdp, monkeypatch):
    monkeypatch.setattr(Nrdp, "reply", "<result><status>-1</status><message>BAD TOKEN</message></result>")

    said = submit.submit([submit.target(nrdp)], RESULT, 5)

    assert len(said) == 1 and said[0].endswith("it says: BAD TOKEN; spooled") and "s3cr3t" not in said[0]


def test_a_certificate_that_nobody_vouches_for_gets_no_token(nrdp):
    said = submit.submit([submit.target(nrdp.rpartition(",ca=")[0])], RESULT, 5)

    assert "certificate" in said[0]
    assert Nrdp.got == []
