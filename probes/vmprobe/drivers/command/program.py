"""Run the command once: one JSON object in, one out, and an exit code that says what went wrong.

    Program(path, common, deadline, evidence, timeout).ask("show", {"kind": "server", "id": "7"})

The verb is the only argument. Credentials reach the command by standard input, never by arguments
or environment. Standard error is for people: its text is the reason when the command fails.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any, Callable, Dict, Mapping, NamedTuple, NoReturn, Sequence, Type, TypeVar

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    CAUSES,
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    Ended,
    GatewayFailed,
    Incomplete,
    NotFound,
    NotMeasured,
    NotPermitted,
    NotYet,
    QuotaExceeded,
    RateLimited,
    ResourceFailed,
    TooLarge,
    Transient,
    Unreachable,
    VmprobeError,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.text import cut
from vmprobe.host import paths, programs
from vmprobe.transport.json import field, short_text
from vmprobe.transport.reply import parse_json

T = TypeVar("T")

PROTOCOL = 1
# From 201 up: no usual tool ends with such a code by itself, nor a shell for a signal. A script
# that fails by accident must never say that a server does not exist.
ERRORS: Mapping[int, Type[VmprobeError]] = {
    201: ClientError,
    202: AuthRejected,
    203: NotPermitted,
    204: NotFound,
    205: Ended,
    206: NotMeasured,
    207: QuotaExceeded,
    208: ResourceFailed,
    211: Unreachable,  # surely nothing was sent
    212: Unreachable,  # it may have been sent
    213: GatewayFailed,
    214: RateLimited,
    215: Incomplete,
    216: Conflict,
    217: NotYet,
}
NOTHING_SENT = 211
_NO_PROGRAM = (126, 127)  # what shells end with when a program cannot be started
_LARGEST_REQUEST = 60 * 2**10  # bytes; a pipe holds 64 KiB
_LARGEST_ANSWER = 6 * 2**20  # bytes; a console of 4 MiB in base64
_LONGEST_MESSAGE = 500  # characters
_LONGEST_WAIT = 60.0  # seconds that are believed
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Failure(NamedTuple):
    """What the command says of its failure."""

    message: str
    cause: str = ""
    request: str = ""
    wait: float = 0.0
    document: Any = None  # the answer, if it is one


class Program:
    """The command of a site, with what is the same in each of its requests."""

    def __init__(
        self,
        path: str,
        endpoint: Mapping[str, object],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
        timeout: float,
    ):
        self.name = os.path.basename(path)
        self._path, self._endpoint, self._credentials = path, endpoint, credentials
        self._deadline, self._evidence, self._timeout = deadline, evidence, timeout

    def ask(
        self,
        verb: str,
        request: Mapping[str, object],
        session: str = "",
        is_secret: bool = False,
    ) -> Dict[str, Any]:
        """Run the command for one verb and return its answer, or raise the error that it names.

        ``is_secret``: the answer must not be recorded.
        """
        self._deadline.check()
        seconds = max(0.1, min(self._timeout, self._deadline.left()))
        asked = {"protocol": PROTOCOL, "verb": verb, "endpoint": self._endpoint, **request}
        secret = {"credentials": self._credentials, "session": session, "timeout": seconds}
        stdin = json.dumps({**asked, **secret}).encode("ascii")
        if len(stdin) > _LARGEST_REQUEST:
            raise ClientError(
                f"{self.name} {verb}: the request has {len(stdin)} bytes, and may have "
                f"{_LARGEST_REQUEST}"
            )
        began, status, received = self._deadline.clock.now(), "failed", ""
        try:
            done = self._run(verb, stdin, seconds)
            status = f"exit code {done.code}"
            received = "not shown" if is_secret and not done.code else done.text
            return self._answer(verb, done)
        finally:
            seconds = self._deadline.clock.now() - began
            self._evidence.record(f"{self.name} {verb}", asked, status, received, seconds)

    def _run(self, verb: str, stdin: bytes, seconds: float) -> programs.Done:
        """Run the command. A signal to this process does not cut a request in half."""
        environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8"}
        if paths.home():
            environment["HOME"] = paths.home()
        try:
            return programs.run(
                [self._path, verb],
                seconds,
                stdin=stdin,
                largest=_LARGEST_ANSWER,
                env=environment,
                cwd="/",
            )
        except programs.TooSlow:
            raise Unreachable(f"{self.name} {verb}: no answer within {seconds:g} s") from None
        except OSError as error:
            raise ClientError(
                f"[endpoint] command: {self._path} cannot be run: {error.strerror}"
            ) from None

    def _answer(self, verb: str, done: programs.Done) -> Dict[str, Any]:
        asked = f"{self.name} {verb}"
        if done.code:
            _fail(asked, done)
        if not done.is_whole:
            raise TooLarge(f"{asked}: the answer is larger than {_LARGEST_ANSWER} bytes")
        try:
            document = parse_json(done.output)
            answer: Dict[str, Any] = field(document, dict)
            return answer
        except GatewayFailed as problem:
            raise type(problem)(f"{asked}: {problem}") from None


def _fail(asked: str, done: programs.Done) -> NoReturn:
    """Raise the error that an exit code names."""
    if done.code < 0:
        raise Unreachable(f"{asked}: was ended by {_signal_name(-done.code)}")
    failure = _failure(done)
    text = f"{asked}: {failure.message or 'no reason given'}"
    kind = ERRORS.get(done.code, GatewayFailed)
    if done.code in _NO_PROGRAM:
        kind = ClientError
    elif done.code not in ERRORS:
        text = f"{asked}: exit code {done.code}: {failure.message or 'no reason given'}"
    if kind is Incomplete:
        raise Incomplete(text, _partial(failure.document), failure.request)
    if kind is Unreachable:
        sent = done.code != NOTHING_SENT
        raise Unreachable(text, failure.cause, failure.request, sent=sent)
    if issubclass(kind, Transient):
        raise kind(text, failure.cause, failure.request, wait=failure.wait)
    assert issubclass(kind, (ClientError, CloudError))
    raise kind(text, failure.cause, failure.request)


def _failure(done: programs.Done) -> Failure:
    """What the command says of its failure: an answer with ``error``, or its standard error."""
    said = cut(done.errors.decode("utf-8", "replace").strip(), _LONGEST_MESSAGE)
    try:
        answer = field(parse_json(done.output), dict) if done.is_whole else {}
    except GatewayFailed:
        return Failure(said)
    error, cause = answer.get("error"), answer.get("cause")
    return Failure(
        cut(error.strip(), _LONGEST_MESSAGE) if isinstance(error, str) and error.strip() else said,
        cause if cause in CAUSES else "",
        _or(lambda: short_text(answer, "request", default=""), ""),
        min(max(0.0, _or(lambda: field(answer, "wait", float, default=0.0), 0.0)), _LONGEST_WAIT),
        answer,
    )


def _or(read: Callable[[], T], otherwise: T) -> T:
    """What ``read`` returns, or ``otherwise`` where the answer has something else there."""
    try:
        return read()
    except GatewayFailed:
        return otherwise


def _partial(document: Any) -> Sequence[object]:
    """The part of a list that the command has told all the same; the driver parses it."""
    return _or(lambda: tuple(field(document, "resources", list, default=[])), ())


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
