"""One connection to libvirt: every request is bounded in time and recorded.

libvirt's library waits as long as its daemon does. So each call runs in a thread of its own; when
it gets no answer in time, the thread and its connection are abandoned. A connection that broke is
opened again by the next request: libvirt's VMs survive a restart of their daemon, so a run does
too.
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
from typing import Any, Callable, Iterator, List, Mapping, Optional, Tuple, Type, TypeVar, cast
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

ERRORS = {  # virErrorNumber, by name: not every version of the binding knows all of them
    # VIR_ERR_NO_STORAGE_POOL is missing on purpose: without the pool, nothing is known of volumes.
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
# Seconds after which a daemon without VMs and clients ends, as in libvirt's own sessions.
_IDLE = 120
_SESSIONS = "/var/cache/vmprobe/libvirt"


def binding() -> Any:
    """libvirt's Python binding, made quiet; ClientError if it is not installed."""
    try:
        import libvirt
    except ImportError:
        raise ClientError(
            "the driver libvirt needs libvirt's own Python binding: the package python3-libvirt, "
            "or pip install libvirt-python with gcc, pkg-config and libvirt's headers"
        ) from None
    # Without a handler it writes errors to stderr.
    libvirt.registerErrorHandler(lambda context, error: None, None)
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
        self._is_open = False
        self._connection: Optional[Any] = None
        self.library: Any = None

    def open(self) -> None:
        """Connect and authenticate.

        ClientError, AuthRejected, NotPermitted or Unreachable if it fails.
        """
        self.library = binding()
        self._is_open = True
        self._open()

    def ask(
        self,
        request: str,
        act: Callable[[Any], T],
        sent: str = "",
        failed: Type[CloudError] = GatewayFailed,
        cause: str = "",
    ) -> T:
        """Return what ``act(connection)`` returns; it runs in another thread, as one request.

        ``request`` and ``sent`` are for the evidence. An error of libvirt that is not in ERRORS
        becomes ``failed``; ``cause`` is the cause of that error and of NotFound. Unreachable if
        there is no answer in time.
        """
        if not self._is_open:
            raise AuthRejected(f"no session with {self.url}")
        connection = self._connection or self._open()
        with self._recorded(request, sent) as answered:
            return answered(self._bounded(lambda: act(connection), failed, cause))

    def leniently(self, act: Callable[[], T], otherwise: T, *codes: str) -> T:
        """Within ``ask``: return what ``act()`` returns, or ``otherwise`` when libvirt says no.

        Only for the errors named by ``codes``, or for any error if none is named. A broken
        connection is always an error.
        """
        try:
            return act()
        except self.library.libvirtError as error:
            if error.get_error_domain() == self.library.VIR_FROM_RPC:
                raise
            if codes and error.get_error_code() not in [
                getattr(self.library, code) for code in codes
            ]:
                raise
            return otherwise

    def close(self) -> None:
        connection, self._connection, self._is_open = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(VmprobeError):
                self._bounded(connection.close)

    # --- helpers ----------------------------------------------------------------------------------

    def _open(self) -> Any:
        with self._recorded(f"open {self.url}") as answered:
            url = self._local_session() if self._user else _without_questions(self.url)
            auth = [
                [self.library.VIR_CRED_AUTHNAME, self.library.VIR_CRED_PASSPHRASE],
                self._answer_questions,
                None,
            ]
            try:
                self._connection = self._bounded(lambda: self.library.openAuth(url, auth, 0))
            except Unreachable as failed:
                raise Unreachable(str(failed), sent=False) from None
            answered("")
        return self._connection

    def _answer_questions(self, questions: List[List[Any]], _: Any) -> int:
        """Answer libvirt's questions for a user name and a password; return -1 if we cannot."""
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
        """Return the answer of a call; Unreachable when its time is over."""
        limit = min(self._timeout, self._deadline.left())
        if limit <= 0:
            raise Unreachable("no time is left to ask", sent=False)
        box: "queue.SimpleQueue[Tuple[Any, Optional[BaseException]]]" = queue.SimpleQueue()

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
        return cast(T, answer)

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
    def _recorded(self, request: str, sent: str = "") -> Iterator[Callable[[T], T]]:
        """Record one request with its result."""
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
                request, sent, status, received[0], self._deadline.clock.now() - began
            )

    # --- root has no session of its own, so it uses that of a user --------------------------------

    def _local_session(self) -> str:
        """The URI of the user's session; its daemon is started if it does not run."""
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
        try:  # it returns when the daemon listens
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
            messages = done.text.strip().splitlines() or [f"exit code {done.code}"]
            raise Unreachable(f"{daemon} of {self._user}: {messages[-1]}", sent=False)


def session_home(user: str) -> str:
    """The directory in which root keeps the session of this user."""
    return os.path.join(_SESSIONS, user)


@contextlib.contextmanager
def _locked(directory: str, user: str, deadline: Deadline) -> Iterator[None]:
    """Create the user's home below ``directory``; one process at a time checks for its daemon."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise ClientError(f"[endpoint] user: there is no user {user} on this host") from None
    home = os.path.join(directory, user)
    try:
        for path in (os.path.dirname(directory), directory):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path)
                os.chmod(path, 0o755)  # whatever our umask is, the user has to get through
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
    """Whether a daemon listens, also one whose queue of connections is full."""
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
    """The URI, with ssh told not to ask for a password: nobody could answer."""
    if not urlsplit(url).scheme.endswith(("+ssh", "+libssh", "+libssh2")) or "no_tty=" in url:
        return url
    return url + ("&" if "?" in url else "?") + "no_tty=1"
