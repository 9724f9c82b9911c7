"""libvirt's own library behind one door: every request bounded in time and noted, every error in the suite's words.

The library waits as long as its daemon does, so each call runs in a thread of its own, and one without an answer is
left behind together with its connection. A connection that broke is opened anew by the next request: libvirt's VMs
survive a restart of their daemon, so a probe does, too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import queue
import shutil
import socket
import threading
from typing import Any, Callable, Iterator, List, Mapping, Optional, Type, TypeVar
from urllib.parse import quote, urlsplit

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
    Unreachable,
    VmprobeError,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.host import files, programs

T = TypeVar("T")

ERRORS = {  # libvirt's virErrorNumber, by name because bindings differ in what they know
    # not VIR_ERR_NO_STORAGE_POOL: where the pool is not there, nothing is known of its volumes
    "VIR_ERR_NO_DOMAIN": NotFound,
    "VIR_ERR_NO_NETWORK": NotFound,
    "VIR_ERR_NO_STORAGE_VOL": NotFound,
    "VIR_ERR_DEVICE_MISSING": NotFound,
    "VIR_ERR_AUTH_FAILED": AuthRejected,
    "VIR_ERR_AUTH_CANCELLED": AuthRejected,
    "VIR_ERR_AUTH_UNAVAILABLE": NotPermitted,
    "VIR_ERR_ACCESS_DENIED": NotPermitted,
    "VIR_ERR_OPERATION_DENIED": NotPermitted,
    "VIR_ERR_OPERATION_INVALID": Conflict,
    "VIR_ERR_OPERATION_TIMEOUT": Conflict,
    "VIR_ERR_RESOURCE_BUSY": Conflict,
    "VIR_ERR_NO_CONNECT": Unreachable,
    "VIR_ERR_RPC": Unreachable,
}
_IDLE = 120  # seconds after which a daemon without VMs and clients ends; what libvirt itself says for a user's session
_SESSIONS = "/var/cache/vmprobe/libvirt"


def binding() -> Any:
    """libvirt's own Python binding, made quiet; ClientError when it is not there."""
    try:
        import libvirt
    except ImportError:
        raise ClientError(
            "the driver libvirt needs libvirt's own Python binding: the package python3-libvirt, or "
            "pip install libvirt-python with gcc, pkg-config and libvirt's headers"
        ) from None
    libvirt.registerErrorHandler(
        lambda context, error: None, None
    )  # without one it writes to stderr
    return libvirt


class Connection:
    """A connection to one libvirt daemon, by its URI."""

    def __init__(
        self,
        url: str,
        user: str,
        credentials: Mapping[str, str],
        deadline: Deadline,
        timeout: float,
        evidence: Evidence,
    ):
        self.url, self._user, self._credentials = url, user, credentials
        self._deadline, self._timeout, self._evidence = deadline, timeout, evidence
        self._wanted = False
        self._connection: Optional[Any] = None
        self.library: Any = None

    def open(self) -> None:
        """Connect and authenticate. ClientError, AuthRejected, NotPermitted or Unreachable when that cannot be."""
        self.library = binding()
        self._wanted = True
        self._open()

    def ask(
        self,
        words: str,
        act: Callable[[Any], T],
        sent: str = "",
        failed: Type[CloudError] = GatewayFailed,
        cause: str = "",
    ) -> T:
        """What ``act(connection)`` returns, as one request called ``words``; ``sent`` is for the evidence.

        ``act`` runs in another thread. An error of libvirt's that is not in ERRORS becomes ``failed``; ``cause`` is for
        that and for NotFound. Unreachable when no answer came in time.
        """
        if not self._wanted:
            raise AuthRejected(f"no session with {self.url}")
        connection = self._connection or self._open()
        with self._noted(words, sent) as answered:
            return answered(self._bounded(lambda: act(connection), failed, cause))

    def leniently(self, act: Callable[[], T], otherwise: T, *codes: str) -> T:
        """Within ``ask``: what ``act()`` returns, and ``otherwise`` where libvirt says one of ``codes``; any no at all
        if there are none, but for a broken connection."""
        try:
            return act()
        except self.library.libvirtError as no:
            if no.get_error_domain() == self.library.VIR_FROM_RPC:
                raise
            if codes and no.get_error_code() not in [getattr(self.library, code) for code in codes]:
                raise
            return otherwise

    def close(self) -> None:
        connection, self._connection, self._wanted = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(VmprobeError):
                self._bounded(connection.close)

    # ----------------------------------------------------------------------------------------------------------

    def _open(self) -> Any:
        with self._noted(f"open {self.url}") as answered:
            url = self._local_session() if self._user else _without_questions(self.url)
            auth = [
                [self.library.VIR_CRED_AUTHNAME, self.library.VIR_CRED_PASSPHRASE],
                self._answer,
                None,
            ]
            try:
                self._connection = self._bounded(lambda: self.library.openAuth(url, auth, 0))
            except Unreachable as failed:
                raise Unreachable(str(failed), sent=False) from None
            answered("")
        return self._connection

    def _answer(self, questions: List[List[Any]], _: Any) -> int:
        """libvirt asks for what the daemon wants to know; -1 says that we cannot."""
        known = {
            self.library.VIR_CRED_AUTHNAME: "username",
            self.library.VIR_CRED_PASSPHRASE: "password",
        }
        for question in questions:
            answer = self._credentials.get(known.get(question[0], ""))
            if answer is None:
                return -1
            question[4] = answer
        return 0

    def _bounded(
        self, act: Callable[[], T], failed: Type[CloudError] = GatewayFailed, cause: str = ""
    ) -> T:
        """The answer of a call, or Unreachable when the time for it is over; libvirt's errors as the suite's."""
        limit = min(self._timeout, self._deadline.left())
        if limit <= 0:
            raise Unreachable("no time is left to ask", sent=False)
        box: "queue.SimpleQueue[Any]" = queue.SimpleQueue()

        def work() -> None:
            try:
                box.put((act(), None))
            except BaseException as error:
                box.put((None, error))

        threading.Thread(target=work, name="libvirt", daemon=True).start()
        try:
            answer, error = box.get(timeout=limit)
        except queue.Empty:
            self._connection = None
            raise Unreachable(f"no answer within {limit:.3g} s") from None
        if isinstance(error, self.library.libvirtError):
            raise self._translated(error, failed, cause) from None
        if error is not None:
            raise error
        return answer

    def _translated(self, error: Any, failed: Type[CloudError], cause: str) -> CloudError:
        number, text = error.get_error_code(), " ".join(str(error).split())
        kind = next(
            (kind for name, kind in ERRORS.items() if getattr(self.library, name, None) == number),
            None,
        )
        if kind is None and error.get_error_domain() == self.library.VIR_FROM_RPC:
            refused = number == self.library.VIR_ERR_SYSTEM_ERROR and error.get_int1() in (
                errno.EACCES,
                errno.EPERM,
            )
            kind = NotPermitted if refused else Unreachable
        if kind is Unreachable:
            self._connection = None
        if kind is None or kind is NotFound:
            return (kind or failed)(text, cause)
        return kind(text)

    @contextlib.contextmanager
    def _noted(self, words: str, sent: str = "") -> Iterator[Callable[[T], T]]:
        """Note one request with what came of it."""
        began, status, received = self._deadline.clock.now(), "failed", [""]

        def answered(answer: T) -> T:
            received[0] = str(answer)
            return answer

        try:
            yield answered
            status = "ok"
        except VmprobeError as error:
            status = str(error)
            raise
        finally:
            self._evidence.record(
                words, sent, status, received[0], self._deadline.clock.now() - began
            )

    # --- the session of a user, for root, which has none ------------------------------------------------------

    def _local_session(self) -> str:
        """The URI of the user's session, whose daemon is started if it does not run, as libvirt does it for a user."""
        home = session_home(self._user)
        path = os.path.join(home, ".cache", "libvirt", "libvirt-sock")
        with _locked(os.path.dirname(home), self._user, self._deadline):
            if not _listens(path, self._limit()):
                self._start_daemon(home)
        return f"qemu+unix:///session?socket={quote(path)}"

    def _limit(self) -> float:
        return max(0.1, min(self._timeout, self._deadline.left()))

    def _start_daemon(self, home: str) -> None:
        daemon = shutil.which("libvirtd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not daemon:
            raise ClientError("no libvirtd is installed here: the package libvirt-daemon")
        account = pwd.getpwnam(self._user)
        limit = self._limit()
        try:  # it returns when the daemon can be asked
            done = programs.run(
                [daemon, "--daemon", f"--timeout={_IDLE}"],
                limit,
                self._deadline,
                cwd="/",
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                env={"HOME": home, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        except OSError as failed:
            raise ClientError(
                f"{daemon} cannot be run as {self._user}: {failed.strerror}"
            ) from None
        except programs.TooSlow:
            raise Unreachable(f"{daemon} of {self._user} does not come up", sent=False) from None
        if done.code:
            said = done.text.strip().splitlines() or [f"exit code {done.code}"]
            raise Unreachable(f"{daemon} of {self._user}: {said[-1]}", sent=False)


def session_home(user: str) -> str:
    """Where root keeps the session of this user."""
    return os.path.join(_SESSIONS, user)


@contextlib.contextmanager
def _locked(directory: str, user: str, deadline: Deadline) -> Iterator[None]:
    """The user's home below ``directory`` is there, and only one of us at a time looks whether its daemon runs."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise ClientError(f"[endpoint] user: there is no user {user} on this host") from None
    home = os.path.join(directory, user)
    try:
        for path in (os.path.dirname(directory), directory):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
                os.chmod(path, 0o755)  # whatever our umask is: the user has to come through
        with contextlib.suppress(FileExistsError):
            os.mkdir(home, 0o700)
            os.chown(home, account.pw_uid, account.pw_gid)
        if os.lstat(home).st_uid != account.pw_uid:
            raise ClientError(f"{home} does not belong to {user}")
        flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(os.path.join(directory, f"{user}.lock"), flags, 0o600)
    except OSError as failed:
        raise ClientError(f"{failed.filename or home}: {failed.strerror}") from None
    try:
        try:
            files.lock(lock, deadline)
        except OSError as failed:
            raise ClientError(f"{directory}/{user}.lock: {failed.strerror}") from None
        yield
    finally:
        os.close(lock)


def _listens(path: str, seconds: float) -> bool:
    """Whether somebody listens, be it that connections wait already that are not taken."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        try:
            client.connect(path)
        except (socket.timeout, BlockingIOError):
            return True
        except OSError:
            return False
    return True


def _without_questions(url: str) -> str:
    """The URI, such that ssh asks nobody for a password: there is nobody."""
    if not urlsplit(url).scheme.endswith(("+ssh", "+libssh", "+libssh2")) or "no_tty=" in url:
        return url
    return url + ("&" if "?" in url else "?") + "no_tty=1"
