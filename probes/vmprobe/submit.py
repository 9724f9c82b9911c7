"""Passive results: what a probe said is handed to a monitoring server, or several, and never changes by that.

A target is one word, ``KIND:WHERE`` with ``,key=value`` behind it, and no secret in it:

    nagios:/var/lib/nagios4/rw/nagios.cmd            Nagios' command pipe
    results:/var/lib/nagios4/spool/checkresults      Nagios' check-result directory
    icinga2:https://mon:5665,credentials=F,ca=F      Icinga 2's REST API; username and password, or certificate and key
    nsca:mon:5667,config=/etc/send_nsca.cfg          by the program send_nsca
    nrdp:https://mon/nrdp/,credentials=F,ca=F        NRDP; token
    file:/var/log/vmprobe.json                       one JSON object for one line, appended

What cannot be delivered in time is spooled, and delivered before the next result of any probe for the same target.
Sources: Nagios Core 4 "External Commands" and "Check Result Files"; Icinga 2 "REST API", process-check-result; NRDP's README.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
import subprocess
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple
from urllib.parse import urlencode

from vmprobe import files, paths
from vmprobe.errors import ClientError, VmprobeError
from vmprobe.text import one_line

KINDS = ("nagios", "results", "icinga2", "nsca", "nrdp", "file")
LEAST, MOST = 5.0, 30.0  # seconds for all targets, whatever is left of the run's time
_PAUSES = (0.3, 1.0, 2.0, 4.0)
_SPOOLED, _OLDEST = 200, 86400.0  # results of one target, and seconds
_PIPE = 4096  # bytes that a pipe takes at once on Linux


class Target(NamedTuple):
    """Where results go."""

    kind: str
    where: str
    options: Mapping[str, str]
    word: str  # as it was given


class Result(NamedTuple):
    """What a probe said, as a monitoring server takes it. Times are seconds since the epoch."""

    host: str
    service: str
    state: int
    output: str  # the whole: line 1 with its perfdata, further lines
    began: float
    ended: float

    @property
    def line(self) -> str:
        return self.output.split("\n", 1)[0]


class Undelivered(VmprobeError):
    """A target did not take a result; the text says why."""


class Unknown(Undelivered):
    """A target takes results, and knows nothing of what this one is about."""


_OPTIONS = {"nagios": (), "results": (), "file": (), "nsca": ("config",), "icinga2": ("credentials", "ca"),
            "nrdp": ("credentials", "ca")}


def target(word: str) -> Target:
    """The target that a word means; ValueError: what would be right."""
    kind, _, rest = word.partition(":")
    if kind not in KINDS:
        raise ValueError(f"is no target: {kind} is none of {', '.join(KINDS)}")
    where, *pairs = rest.split(",")
    options = dict(pair.partition("=")[::2] for pair in pairs)
    for name in options:
        if name not in _OPTIONS[kind]:
            raise ValueError(f"is no target: {kind} has no option {name}; there are {', '.join(_OPTIONS[kind]) or 'none'}")
    if kind in ("nagios", "results", "file") and not os.path.isabs(where):
        raise ValueError(f"is no target: {kind} needs an absolute path")
    if kind in ("icinga2", "nrdp"):
        if not where.startswith("https://"):
            raise ValueError(f"is no target: {kind} needs a URL that begins with https://")
        if "credentials" not in options:
            raise ValueError(f"is no target: {kind} needs credentials=FILE")
    if kind == "nsca" and not where:
        raise ValueError("is no target: nsca needs a host")
    return Target(kind, where, options, word)


def submit(targets: Sequence[Target], result: Result, seconds: float) -> List[str]:
    """Deliver to all targets, again and again for at most ``seconds``; what is left is spooled. Returns what to tell."""
    until = time.monotonic() + min(MOST, max(LEAST, seconds))
    told: Dict[str, str] = {}
    waiting = list(targets)
    for pause in _PAUSES:
        for each in list(waiting):
            try:
                _replay(each, until)
                SEND[each.kind](each, result, max(1.0, until - time.monotonic()))
                waiting.remove(each)
            except (VmprobeError, OSError) as failed:
                told[each.word] = one_line(failed)
        if not waiting or time.monotonic() + pause >= until:
            break
        time.sleep(pause)
    return [f"not submitted to {each.kind}:{each.where}: {told[each.word]}; {_spool(each, result)}" for each in waiting]


# --- the spool ----------------------------------------------------------------------------------------------------

def _folder(each: Target) -> str:
    return os.path.join(paths.state_directory(), "spool", hashlib.sha256(each.word.encode()).hexdigest()[:16])


def _spool(each: Target, result: Result) -> str:
    folder = _folder(each)
    try:
        files.own(os.path.dirname(folder))
        files.remember(os.path.join(folder, f"{result.ended:.6f}.json"), result)
        for name in sorted(os.listdir(folder))[:-_SPOOLED]:
            os.unlink(os.path.join(folder, name))
        return "spooled"
    except OSError as failed:
        return f"and it cannot be spooled: {failed.strerror}" + (f": {failed.filename}" if failed.filename else "")


def _replay(each: Target, until: float) -> None:
    """Deliver what was spooled, oldest first; the first that fails ends it, but one that the target knows nothing of waits."""
    folder = _folder(each)
    for name in sorted(os.listdir(folder)) if os.access(folder, os.R_OK | os.X_OK) else ():
        path = os.path.join(folder, name)
        if not name.endswith(".json"):
            continue
        result = _spooled(path)
        if result is not None and time.time() - result.ended < _OLDEST:
            if time.monotonic() >= until:
                raise Undelivered("no time is left for what was spooled")
            try:
                SEND[each.kind](each, result, max(1.0, until - time.monotonic()))
            except Unknown:
                continue
        with contextlib.suppress(FileNotFoundError):  # another probe was quicker
            os.unlink(path)


def _spooled(path: str) -> Any:
    """The result in a file; None when it is none, which is forgotten."""
    try:
        with open(path, encoding="utf-8") as file:
            host, service, state, output, began, ended = json.load(file)
        return Result(str(host), str(service), int(state), str(output), float(began), float(ended))
    except (ValueError, TypeError, OSError):
        return None


# --- how each kind takes it ---------------------------------------------------------------------------------------

def _nagios(each: Target, result: Result, seconds: float) -> None:
    """One command, in one write: a pipe does not mix those of up to 4096 bytes."""
    text = f"[{int(result.ended)}] PROCESS_SERVICE_CHECK_RESULT;{result.host};{result.service};{result.state};"
    line = (text + _escaped(result.output)).encode()
    if len(line) >= _PIPE:
        line = (text + _escaped(result.line)).encode()[: _PIPE - 1]
    try:
        descriptor = os.open(each.where, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as failed:
        said = "nobody reads it: is Nagios running?" if failed.errno == errno.ENXIO else failed.strerror
        raise Undelivered(f"{each.where}: {said}") from None
    try:
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            raise Undelivered(f"{each.where} is no pipe: is Nagios running?")
        if os.write(descriptor, line + b"\n") != len(line) + 1:
            raise Undelivered(f"{each.where} took a part only")
    except BlockingIOError:
        raise Undelivered(f"{each.where} is full") from None
    finally:
        os.close(descriptor)


_RESULT = """\
### vmprobe
file_time={ended:.0f}

host_name={host}
service_description={service}
check_type=1
check_options=0
scheduled_check=0
reschedule_check=0
latency=0
start_time={began:.6f}
finish_time={ended:.6f}
early_timeout=0
exited_ok=1
return_code={state}
output={output}
"""


def _results(each: Target, result: Result, seconds: float) -> None:
    """A file of seven letters that begins with c, and when it is whole, an empty one with ``.ok`` behind its name."""
    text = _RESULT.format(**{**result._asdict(), "output": _escaped(result.output)})
    try:
        for _ in range(100):
            path = os.path.join(each.where, "c" + secrets.token_hex(3))
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                break
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)  # Nagios is another user, and the directory is its own
            file.write(text)
        os.close(os.open(path + ".ok", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except OSError as failed:
        raise Undelivered(f"{failed.filename or each.where}: {failed.strerror}") from None


def _icinga2(each: Target, result: Result, seconds: float) -> None:
    http = _http(each, seconds, ("username", "password", "certificate", "key"))
    text, _, data = result.line.partition(" | ")
    more = result.output.partition("\n")[1:]
    reply = http.post("v1/actions/process-check-result", {
        "type": "Service", "filter": "host.name == wanted_host && service.name == wanted_service",
        "filter_vars": {"wanted_host": result.host, "wanted_service": result.service},
        "exit_status": result.state, "plugin_output": text + "".join(more), "performance_data": data.split(" ") if data else [],
        "execution_start": result.began, "execution_end": result.ended, "check_source": socket.gethostname()},
        accept=(404, 409, 500))
    answers = [] if reply.status == 404 else reply.items("results")
    if not answers:
        raise Unknown(f"it knows no service {result.host}!{result.service}")
    if answers[0].get("code") not in (200, 409):  # 409: it has a newer one, which it keeps
        raise Undelivered(f"it says: {answers[0].get('status', 'nothing')}")


def _nsca(each: Target, result: Result, seconds: float) -> None:
    program = shutil.which("send_nsca", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not program:
        raise Undelivered("send_nsca is not installed")
    host, _, port = each.where.partition(":")
    command = [program, "-H", host, "-p", port or "5667", "-to", str(int(min(10, seconds)))]
    command += ["-c", each.options["config"]] if each.options.get("config") else []
    fields = (result.host, result.service, str(result.state), result.line)
    try:
        done = subprocess.run(command, input="\t".join(fields).encode() + b"\n", stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise Undelivered(f"send_nsca was not through in {seconds:.0f} s") from None
    except OSError as failed:
        raise Undelivered(f"send_nsca: {failed.strerror}") from None
    if done.returncode:
        raise Undelivered(f"send_nsca: {one_line(done.stdout.decode('utf-8', 'replace')) or f'exit code {done.returncode}'}")


def _nrdp(each: Target, result: Result, seconds: float) -> None:
    from xml.sax.saxutils import escape

    fields = {"hostname": result.host, "servicename": result.service, "state": str(result.state), "output": result.output,
              "time": str(int(result.ended))}
    body = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items())
    document = f"<?xml version='1.0'?><checkresults><checkresult type='service' checktype='1'>{body}</checkresult></checkresults>"
    http = _http(each, seconds, ("token",))
    form = urlencode({"token": http.credentials["token"], "cmd": "submitcheck", "XMLDATA": document}).encode()
    reply = http.request("POST", body=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    root = reply.xml()
    if (root.findtext("status") or "").strip() != "0":
        raise Undelivered(f"it says: {one_line(root.findtext('message') or reply.text)}")


def _file(each: Target, result: Result, seconds: float) -> None:
    try:
        descriptor = os.open(each.where, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        try:
            os.write(descriptor, (json.dumps(result._asdict()) + "\n").encode())
        finally:
            os.close(descriptor)
    except OSError as failed:
        raise Undelivered(f"{each.where}: {failed.strerror}") from None


SEND: Dict[str, Callable[[Target, Result, float], None]] = {
    "nagios": _nagios, "results": _results, "icinga2": _icinga2, "nsca": _nsca, "nrdp": _nrdp, "file": _file}


def _http(each: Target, seconds: float, known: Tuple[str, ...]) -> Any:
    """A session with the target, its certificate checked, and what its credentials file has."""
    from vmprobe.clock import Deadline
    from vmprobe.evidence import Evidence
    from vmprobe.site import read_credentials
    from vmprobe.transport.http import Http

    held = read_credentials(each.options["credentials"], known, f"--submit {each.kind}")
    if not held.get("username") and not held.get("certificate") and not held.get("token"):
        raise ClientError(f"{each.options['credentials']}: has none of {', '.join(known)}")
    http = Http(each.where, Deadline(seconds, 0), Evidence(), timeout=min(10.0, seconds), ca=each.options.get("ca"),
                certificate=held.get("certificate", ""), key=held.get("key", ""))
    if held.get("username"):
        pair = base64.b64encode(f"{held['username']}:{held.get('password', '')}".encode()).decode()
        http.present("Authorization", f"Basic {pair}")
    http.credentials = held
    return http


def _escaped(output: str) -> str:
    return output.replace("\\", "\\\\").replace("\n", "\\n")
