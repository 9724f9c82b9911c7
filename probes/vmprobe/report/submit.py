"""Passive results: what a probe said is handed to a monitoring server, or several, and never changes by that.

A target is one word, ``KIND:WHERE`` with ``,key=value`` behind it, and no secret in it:

    nagios:/var/lib/nagios4/rw/nagios.cmd            Nagios' command pipe
    results:/var/lib/nagios4/spool/checkresults      Nagios' check-result directory
    icinga2:https://mon:5665,credentials=F,ca=F      Icinga 2's REST API; username and password, or certificate and key
    nsca:mon:5667,config=/etc/send_nsca.cfg          by the program send_nsca; an IPv6 address as nsca:[2001:db8::1]:5667
    nrdp:https://mon/nrdp/,credentials=F,ca=F        NRDP; token
    file:/var/log/vmprobe.json                       one JSON object for one line, appended

A result is spooled first, and delivered at least once: what could not be delivered in time is delivered by the next
probe that has a result for the same target. Only a result whose request was accepted with an answer that cannot be
understood is not sent again. The newest result of a service goes first and replaces older ones; a file gets all, in order.
Sources: Nagios Core 4 "External Commands" and "Check Result Files"; Icinga 2 "REST API", process-check-result; NRDP's README.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import string
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type
from urllib.parse import urlencode

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    ClientError,
    DeadlinePassed,
    GatewayFailed,
    Interrupted,
    Unreachable,
    VmprobeError,
)
from vmprobe.core.text import one_line
from vmprobe.host import files, paths
from vmprobe.report.spool import Result, Spool

KINDS = ("nagios", "results", "icinga2", "nsca", "nrdp", "file")
LEAST, MOST = 5.0, 30.0  # seconds for all targets, whatever is left of the run's time
_PAUSES = (0.0, 0.3, 1.0, 2.0, 4.0)  # before each attempt
_FAILURES = 2  # so many in a row, and the target is away
_ABANDONED = 3600.0  # seconds after which nobody is at work any more on a file that is not whole
_YOUNG = 60.0  # seconds for which the run that made a result may still be there to tell what becomes of it


class Target(NamedTuple):
    """Where results go."""

    kind: str
    where: str
    options: Mapping[str, str]
    word: str  # as it was given

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.where}"


class Undelivered(VmprobeError):
    """A target did not take a result; the text says why."""


class NotTaken(Undelivered):
    """A target answers, and did not take this very result; another one it may take."""


class Discarded(NotTaken):
    """A target has a newer result of this service, and does not want this one."""


class Unread(Undelivered):
    """A target accepted the request, and its answer cannot be understood: the result may have been taken, or not."""


_OPTIONS = {
    "nagios": (),
    "results": (),
    "file": (),
    "nsca": ("config",),
    "icinga2": ("credentials", "ca"),
    "nrdp": ("credentials", "ca"),
}


def target(word: str) -> Target:
    """The target that a word means; ValueError: what would be right."""
    kind, _, rest = word.partition(":")
    if kind not in KINDS:
        raise ValueError(f"is no target: {kind} is none of {', '.join(KINDS)}")
    where, *pairs = rest.split(",")
    options = dict(pair.partition("=")[::2] for pair in pairs)
    for name in options:
        if name not in _OPTIONS[kind]:
            raise ValueError(
                f"is no target: {kind} has no option {name}; there are {', '.join(_OPTIONS[kind]) or 'none'}"
            )
    if kind in ("nagios", "results", "file") and not os.path.isabs(where):
        raise ValueError(f"is no target: {kind} needs an absolute path")
    if kind in ("icinga2", "nrdp"):
        if not where.startswith("https://"):
            raise ValueError(f"is no target: {kind} needs a URL that begins with https://")
        if "@" in where:
            raise ValueError(
                "is no target: the URL carries a user or password; these belong into the credentials file"
            )
        if "credentials" not in options:
            raise ValueError(f"is no target: {kind} needs credentials=FILE")
    if kind == "nsca":
        _host_and_port(where)
    return Target(kind, where, options, word)


def _host_and_port(where: str) -> Tuple[str, str]:
    """NSCA's host and port, out of ``host``, ``host:port``, ``[address]``, ``[address]:port`` or a bare IPv6 address."""
    match = re.fullmatch(
        r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([A-Za-z0-9_](?:[\w.-]*\w)?\.?))(?::([0-9]{1,5}))?",
        where,
    )
    host, port = ((match[1] or match[2]), int(match[3] or 5667)) if match else (where, 5667)
    if not where:
        raise ValueError("is no target: nsca needs a host")
    try:
        if ":" in host:
            import ipaddress  # few need it, and each start pays

            ipaddress.IPv6Address(host.partition("%")[0])
        if not (match or ":" in host) or not 0 < port < 65536:
            raise ValueError
    except ValueError:
        raise ValueError(
            "is no target: nsca needs a host and a port like mon.example.org:5667, 192.0.2.1 or "
            "[2001:db8::1]:5667"
        ) from None
    return host, str(port)


def patience(left: float) -> Deadline:
    """The time to hand a result over, where ``left`` seconds are left of the run's own."""
    return Deadline(min(MOST, max(LEAST, left)), 0)


def submit(targets: Sequence[Target], result: Result, deadline: Deadline) -> List[str]:
    """Deliver to all targets, again and again while there is time, each with its share; returns what to tell."""
    deliveries = [Delivery(each, result) for each in {each.word: each for each in targets}.values()]
    with contextlib.suppress(DeadlinePassed, Interrupted):  # what is left is spooled
        for pause in _PAUSES:
            waiting = [delivery for delivery in deliveries if not delivery.over]
            if not waiting or deadline.left() <= pause:
                break
            deadline.sleep(pause)
            for number, delivery in enumerate(waiting):
                share = deadline.left() / (len(waiting) - number)
                with deadline.within(deadline.clock.now() + share):
                    delivery.attempt(deadline)
    return [line for line in (delivery.told() for delivery in deliveries) if line]


class Delivery:
    """One result on its way to one target."""

    def __init__(self, target: Target, result: Result):
        self.target, self.result = target, result
        self.over = False  # delivered, or to be left to the next run
        self._receiver = RECEIVERS[target.kind]
        self._spool = Spool("")
        self._failure: Optional[Exception] = Undelivered("there was no time for it")
        self._name, self._trouble = "", ""
        try:
            self._spool = Spool(_folder(target), keeps_all=self._receiver.is_log)
            self._name = self._spool.put(result)
        except (OSError, ClientError) as failed:
            self._trouble = f"and it cannot be spooled: {_words(failed)}"

    def attempt(self, deadline: Deadline) -> None:
        """Try once to deliver this result, and then whatever else waits for the target; nothing is raised."""
        try:
            with self._spool.only_sender(deadline):
                waiting = (
                    self._spool.waiting(self._name) if self._name else []
                )  # what could not be written to is not read either
                if self._name and not self._spool.has(
                    self._name
                ):  # another run delivered it, or has a newer one
                    self.over, self._failure = True, None
                elif self._receiver.is_log:
                    self._deliver(waiting[::-1] or [""], deadline)
                else:
                    self._deliver(
                        [self._name, *(name for name in waiting if name != self._name)], deadline
                    )
        except (VmprobeError, OSError) as failed:
            self._failure = failed
        self.over = self.over or _is_no_better_soon(self._failure)

    def told(self) -> str:
        """What its operator has to know of this delivery, '' if nothing."""
        if self._failure is None:
            return ""
        said = one_line(_words(self._failure))
        if isinstance(self._failure, Unread):
            return f"submitted to {self.target.name}, whose answer cannot be understood: {said}; it is not sent again"
        if isinstance(self._failure, Discarded):
            return f"not submitted to {self.target.name}: {said}; it is not sent again"
        return f"not submitted to {self.target.name}: {said}; {self._trouble or 'spooled'}"

    def _deliver(self, names: Sequence[str], deadline: Deadline) -> None:
        """Send results in this order. This run's own is among them; it is not read from the spool, where it may not be."""
        receiver, failures = self._receiver(self.target, deadline), 0
        for name in names:
            is_own = name == self._name
            result = self.result if is_own else self._spool.read(name)
            if result is None:
                continue
            failed = self._send(receiver, result, deadline)
            if is_own or receiver.is_log and failed is not None:
                self._failure, self.over = failed, failed is None or isinstance(failed, Unread)
            if _is_done_with(failed, is_own or time.time() - result.ended > _YOUNG):
                self._spool.forget(name)
            failures = (
                0 if failed is None or isinstance(failed, (NotTaken, Unread)) else failures + 1
            )
            if failures >= (1 if receiver.is_log else _FAILURES):
                break

    @staticmethod
    def _send(receiver: "Receiver", result: Result, deadline: Deadline) -> Optional[Exception]:
        """Why a result was not taken, None if it was."""
        try:
            deadline.check()
            receiver.send(result)
        except (
            Exception
        ) as failed:  # whatever is wrong with one result must not keep the others from being sent
            return failed
        return None


def _is_done_with(failed: Optional[Exception], is_told: bool) -> bool:
    """Whether a result need not be sent again. What is discarded is left to its own run to tell, while that may live."""
    return failed is None or isinstance(failed, Unread) or isinstance(failed, Discarded) and is_told


def _is_no_better_soon(failed: Optional[Exception]) -> bool:
    """Whether this run need not try again: no pause helps, or the request left, its answer is lost, and once more may be twice."""
    return (
        isinstance(failed, (NotTaken, ClientError))
        or isinstance(failed, Unreachable)
        and failed.sent
    )


def _folder(each: Target) -> str:
    """Where a target's results are spooled; a path is the same one with a slash more."""
    name = re.sub("//+", "/", each.name).rstrip("/") if os.path.isabs(each.where) else each.name
    return os.path.join(
        paths.state_directory(),
        "spool",
        hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16],
    )


def _words(failed: Exception) -> str:
    """An error in words, for people."""
    if isinstance(failed, OSError):
        words, path = failed.strerror or str(failed), str(failed.filename or "")
        return f"{words}: {path}" if path not in words else words
    return (
        str(failed)
        if isinstance(failed, VmprobeError)
        else f"unforeseen: {type(failed).__name__}: {failed}"
    )


# --- how each kind takes it ---------------------------------------------------------------------------------------


class Receiver:
    """One kind of target, for one attempt: ``send`` hands over one result, or raises why it was not taken."""

    is_log = (
        False  # it keeps all results, where a monitoring server has the last one of each service
    )

    def __init__(self, target: Target, deadline: Deadline):
        self.target, self.where, self.deadline = target, target.where, deadline

    def send(self, result: Result) -> None:
        raise NotImplementedError


class Pipe(Receiver):
    """Nagios' command pipe: one command in one write, because a pipe does not mix those of up to 4096 bytes."""

    longest = 4096  # bytes that a pipe takes at once on Linux

    def send(self, result: Result) -> None:
        text = f"[{int(result.ended)}] PROCESS_SERVICE_CHECK_RESULT;{result.host};{result.service};{result.state};"
        line = (text + _escaped(result.output)).encode()
        if len(line) >= self.longest:
            line = (text + _escaped(result.line)).encode()[: self.longest - 1]
        try:
            descriptor = os.open(self.where, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as failed:
            said = (
                "nobody reads it: is Nagios running?"
                if failed.errno == errno.ENXIO
                else failed.strerror
            )
            raise Undelivered(f"{self.where}: {said}") from None
        try:
            if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                raise Undelivered(f"{self.where} is no pipe: is Nagios running?")
            if os.write(descriptor, line + b"\n") != len(line) + 1:
                raise Undelivered(f"{self.where} took a part only")
        except BlockingIOError:
            raise Undelivered(f"{self.where} is full") from None
        finally:
            os.close(descriptor)


class CheckResults(Receiver):
    """Nagios' check-result directory: a file of seven letters that begins with c, and when it is whole, an empty one
    with ``.ok`` behind its name.

    Nagios reads such files in no order. So before a result is put there, an older one of the same service that Nagios
    has not read yet is taken away; to be found, all results of a service have names that begin with the same letters.
    """

    letters = string.ascii_letters + string.digits
    largest = 65536  # bytes of a file that may be one of ours

    def send(self, result: Result) -> None:
        places = self._places(result)
        try:
            used = [
                place
                for place in places
                if os.path.lexists(place) or os.path.lexists(place + ".ok")
            ]
            for place in used:
                ended = self._unread(place, result)
                if ended is not None and result.ended < ended < time.time() + _YOUNG:
                    return  # a newer result of this service is there already
                if ended is not None:
                    self._take_away(place)
            free = [
                place for place in places if place not in used
            ]  # Nagios may be about to remove what it has just read
            if not free:
                raise Undelivered(
                    f"{self.where}: there is no name left for a result of this service"
                )
            self._put(free[0], result)
        except OSError as failed:
            raise Undelivered(f"{failed.filename or self.where}: {failed.strerror}") from None

    def _places(self, result: Result) -> List[str]:
        """Where results of this service may lie."""
        digest = hashlib.sha256(f"{result.host}\0{result.service}".encode()).digest()
        stem = "c" + "".join(self.letters[byte % len(self.letters)] for byte in digest[:5])
        return [os.path.join(self.where, stem + letter) for letter in self.letters]

    def _unread(self, place: str, result: Result) -> Optional[float]:
        """The time of a result of ours for the same service that Nagios has not read; None if there lies something else."""
        try:
            with files.open_regular(place, self.largest) as file:
                changed = os.fstat(file.fileno()).st_mtime
                text = file.read(self.largest).decode("utf-8", "replace")
        except OSError:
            return None
        if not text or text.startswith(_OURS) and not os.path.lexists(place + ".ok"):
            return (
                0.0 if time.time() - changed > _ABANDONED else None
            )  # a run that was killed left it
        found = [
            re.search(rf"^{name}=(.*)$", text, re.M)
            for name in ("host_name", "service_description", "finish_time")
        ]
        words = [match[1] if match else "" for match in found]
        is_ours = text.startswith(_OURS) and words[:2] == [result.host, result.service]
        return _number(words[2]) if is_ours else None

    @staticmethod
    def _take_away(place: str) -> None:
        for path in (place + ".ok", place):  # Nagios reads what has an .ok
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _put(self, place: str, result: Result) -> None:
        text = _RESULT.format(**{**result._asdict(), "output": _escaped(result.output)})
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(place, flags, 0o644)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, 0o644)  # Nagios is another user, and the directory is its own
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            os.close(os.open(place + ".ok", flags, 0o644))
        except OSError:
            os.unlink(place)
            raise


_OURS = "### vmprobe\n"
_RESULT = (
    _OURS
    + """\
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
)


class Icinga2(Receiver):
    """Icinga 2's REST API. It has one time for each result, and discards what is older than what it has."""

    def __init__(self, target: Target, deadline: Deadline):
        super().__init__(target, deadline)
        self._http, _ = _session(target, deadline, ("username", "password", "certificate", "key"))

    def send(self, result: Result) -> None:
        text, _, data = result.line.partition(" | ")
        more = result.output.partition("\n")[1:]
        reply = self._http.post(
            "v1/actions/process-check-result",
            {
                "type": "Service",
                "filter": "host.name == wanted_host && service.name == wanted_service",
                "filter_vars": {"wanted_host": result.host, "wanted_service": result.service},
                "exit_status": result.state,
                "plugin_output": text + "".join(more),
                "performance_data": data.split(" ") if data else [],
                "execution_start": result.began,
                "execution_end": result.ended,
                "check_source": socket.gethostname(),
            },
            accept=(404, 409, 500),
        )
        try:
            document = reply.json()
            is_unknown = reply.status == 404 and isinstance(document, dict) and "error" in document
            answers = [] if is_unknown else reply.items("results")
        except GatewayFailed as wrong:
            raise (Unread if reply.status < 300 else Undelivered)(
                f"{wrong} (status {reply.status})"
            ) from None
        codes = [each.get("code") for each in answers]
        if not answers:
            raise NotTaken(f"it knows no service {result.host}!{result.service}")
        if 200 in codes:
            return
        raise (Discarded if 409 in codes else NotTaken)(
            f"it says: {answers[0].get('status', 'nothing')}"
        )


class Nsca(Receiver):
    """NSCA's own program, which speaks its protocol and knows its ciphers."""

    def send(self, result: Result) -> None:
        from vmprobe.host import programs

        program = shutil.which(
            "send_nsca", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        )
        if not program:
            raise Undelivered("send_nsca is not installed")
        host, port = _host_and_port(self.where)
        seconds = max(1.0, min(10.0, self.deadline.left()))
        command = [program, "-H", host, "-p", port, "-to", str(int(seconds))]
        command += (
            ["-c", self.target.options["config"]] if self.target.options.get("config") else []
        )
        fields = (result.host, result.service, str(result.state), result.line.replace("\t", " "))
        try:
            done = programs.run(
                command, seconds, self.deadline, ("\t".join(fields) + "\n").encode()
            )
        except programs.TooSlow:
            raise Undelivered(f"send_nsca was not through in {seconds:.0f} s") from None
        except OSError as failed:
            raise Undelivered(f"send_nsca: {failed.strerror}") from None
        if done.code:
            raise Undelivered(f"send_nsca: {one_line(done.text) or f'exit code {done.code}'}")
        if re.search(r"(?m)^0 data packet", done.text):
            raise NotTaken(f"send_nsca: {one_line(done.text)}")


class Nrdp(Receiver):
    """NRDP, whose answer is XML, or JSON where the URL says ``output_type=json``, between whatever else its PHP wrote."""

    def __init__(self, target: Target, deadline: Deadline):
        super().__init__(target, deadline)
        self._http, held = _session(target, deadline, ("token",))
        self._token = held.get("token", "")

    def send(self, result: Result) -> None:
        from xml.sax.saxutils import escape

        fields = {
            "hostname": result.host,
            "servicename": result.service,
            "state": str(result.state),
            "output": result.output,
            "time": str(int(result.ended)),
        }
        body = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items())
        document = f"<?xml version='1.0'?><checkresults><checkresult type='service' checktype='1'>{body}</checkresult></checkresults>"
        form = urlencode({"token": self._token, "cmd": "submitcheck", "XMLDATA": document}).encode()
        # the URL as it was given: without the slash at its end a web server redirects, and a POST is not repeated
        reply = self._http.request(
            "POST",
            self.where,
            body=form,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        status, message, output = self._read(reply)
        if status != "0":
            raise Undelivered(f"it says: {one_line(message or reply.text)}")
        if re.match(r"0 checks? processed", output):
            raise NotTaken(f"it says: {one_line(output)}")

    @staticmethod
    def _read(reply: Any) -> Tuple[str, str, str]:
        """(status, message, output) of NRDP's answer."""
        from vmprobe.transport import error_text as words
        from vmprobe.transport import http, xml
        from vmprobe.transport import json as fields

        if words.is_page(reply.body):
            raise Undelivered("a page for people answers there, and not NRDP: is the URL right?")
        document = re.search(rb'\{\s*"result"\s*:.*\}', reply.body, re.S)
        tree = re.search(rb"<result>.*</result>", reply.body, re.S)
        try:
            if document and not tree:
                found = fields.field(http.parsed(document[0]), "result", dict)
                meta = found.get("meta")
                output = meta.get("output") if isinstance(meta, dict) else ""
                return (
                    fields.word(found, "status"),
                    str(found.get("message") or ""),
                    str(output or ""),
                )
            root = xml.parse(tree[0] if tree else reply.body)
            return (
                xml.text(root, "status"),
                xml.text(root, "message", ""),
                xml.text(root, "meta/output", ""),
            )
        except GatewayFailed as wrong:
            raise Unread(str(wrong)) from None


class File(Receiver):
    """A file of JSON, one line for one result. What was written in part is taken back."""

    is_log = True

    def send(self, result: Result) -> None:
        try:
            descriptor = self._opened()
            try:
                self._append(descriptor, (json.dumps(result._asdict()) + "\n").encode())
            finally:
                os.close(descriptor)
        except OSError as failed:
            raise Undelivered(f"{self.where}: {failed.strerror}") from None

    def _opened(self) -> int:
        """The file; a new one can be read by everybody, whatever the umask is, because who forwards results is another user."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(self.where, flags | os.O_EXCL, 0o644)
        except FileExistsError:
            return os.open(self.where, flags, 0o644)
        os.fchmod(descriptor, 0o644)
        return descriptor

    def _append(self, descriptor: int, line: bytes) -> None:
        """One line in one write, behind a line end."""
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        line = (b"\n" if is_file and self._is_torn(descriptor) else b"") + line
        written = os.write(descriptor, line)
        if written != len(line):
            end = os.lseek(descriptor, 0, os.SEEK_CUR) if is_file else 0
            if (
                is_file and os.fstat(descriptor).st_size == end
            ):  # and nobody else has written behind it
                os.ftruncate(descriptor, end - written)
            raise OSError(errno.ENOSPC, "took a part only")
        if is_file:
            os.fsync(descriptor)

    def _is_torn(self, descriptor: int) -> bool:
        """Whether the file ends within a line; where it may not be read, it is not known."""
        try:
            reader = os.open(self.where, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            size = os.fstat(reader).st_size
            return size > 0 and os.pread(reader, 1, size - 1) not in (b"\n", b"")
        finally:
            os.close(reader)


RECEIVERS: Dict[str, Type[Receiver]] = {
    "nagios": Pipe,
    "results": CheckResults,
    "icinga2": Icinga2,
    "nsca": Nsca,
    "nrdp": Nrdp,
    "file": File,
}


def _session(
    each: Target, deadline: Deadline, known: Tuple[str, ...]
) -> Tuple[Any, Dict[str, str]]:
    """HTTP to the target, its certificate checked, and what its credentials file has."""
    from vmprobe.core.exchanges import Evidence
    from vmprobe.site.site import read_credentials
    from vmprobe.transport.http import Http

    held = read_credentials(each.options["credentials"], known, f"--submit {each.kind}")
    if not held.get("username") and not held.get("certificate") and not held.get("token"):
        raise ClientError(f"{each.options['credentials']}: has none of {', '.join(known)}")
    http = Http(
        each.where,
        deadline,
        Evidence(),
        timeout=10.0,
        ca=each.options.get("ca"),
        certificate=held.get("certificate", ""),
        key=held.get("key", ""),
    )
    if held.get("username"):
        pair = base64.b64encode(f"{held['username']}:{held.get('password', '')}".encode()).decode()
        http.present("Authorization", f"Basic {pair}")
    return http, held


def _escaped(output: str) -> str:
    return output.replace("\\", "\\\\").replace("\n", "\\n")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
