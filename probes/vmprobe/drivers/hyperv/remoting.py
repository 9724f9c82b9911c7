"""A PowerShell session on a Hyper-V host (PSRP over WS-Management), by the library pypsrp.

pypsrp waits as long as the host keeps it waiting. So each script runs in a thread of its own; when
there is no answer in time, the thread and its session are abandoned, and the host ends that session
after ``_IDLE`` seconds. The next script then finds no session: the suite connects again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import queue
import threading
from typing import Any, Callable, Dict, Iterator, Mapping, NoReturn, Optional, Tuple, Type, cast
from urllib.parse import urlsplit

from vmprobe.core import urls
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    GatewayFailed,
    TooLarge,
    Unreachable,
    VmprobeError,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.text import cut
from vmprobe.drivers.hyperv import failures
from vmprobe.transport import tls

_IDLE = 180  # seconds after which the host ends a session that nobody uses
_CLOSING = 5.0  # seconds for the end of a session, at most
_POLL = 10  # seconds after which the host answers that there is nothing new yet
_MAX_BYTES = 16 * 2**20  # of one reply; it is base64 of XML of JSON


def library() -> Any:
    """pypsrp's module; ClientError if it is not installed."""
    try:
        import pypsrp.powershell
        import pypsrp.wsman
    except ImportError:
        raise ClientError(
            "the driver hyperv needs pypsrp: pip install pypsrp, or vmprobe[hyperv]"
        ) from None
    # Without a handler, Python's logging writes their warnings to stderr.
    for name in ("pypsrp", "spnego", "requests_credssp", "urllib3"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    return pypsrp


class Remoting:
    """A session on one host, which runs scripts with parameters and returns their JSON."""

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        self._endpoint, self._credentials = endpoint, credentials
        self._deadline, self._evidence = deadline, evidence
        self._host = urls.host(endpoint["url"])
        self._library: Any = None
        self._pool: Optional[Any] = None

    def open(self) -> None:
        """Log in and open a session."""
        self._library = library()
        self.close()
        began, status = self._deadline.clock.now(), "failed"
        request = f"open a session with {self._endpoint['url']}"
        try:
            pool = self._prepared()
            self._bounded(request, pool.open, sent=False)
            self._pool, status = pool, "ok"
        except VmprobeError as error:
            status = str(error)
            raise
        finally:
            self._evidence.record(request, "", status, "", self._deadline.clock.now() - began)

    def run(
        self,
        request: str,
        script: str,
        failed: Type[CloudError] = GatewayFailed,
        cause: str = "",
        **parameters: object,
    ) -> Dict[str, Any]:
        """Run a script and return the JSON object that it writes.

        ``request`` is what error texts call it. An error of PowerShell that ``failures`` does not
        know becomes ``failed``, with ``cause``.
        """
        pool = self._pool
        if pool is None:
            raise AuthRejected(f"no session with {self._host}")
        began, status, received = self._deadline.clock.now(), "failed", ""
        try:
            received, errors = self._bounded(
                request, lambda: self._invoke(pool, script, parameters)
            )
            if errors:  # of PowerShell itself: no script lets one of its own out
                name = getattr(errors[0], "fq_error", None)
                raise failures.of_script(request, str(name or ""), str(errors[0]), failed, cause)
            reply = _parsed(request, received)
            if "error_id" in reply:
                name, text = reply["error_id"], reply.get("error")
                raise failures.of_script(request, str(name), str(text or ""), failed, cause)
            status = "ok"
            return reply
        except VmprobeError as error:
            status = str(error)
            raise
        finally:
            self._evidence.record(
                request,
                json.dumps(parameters, sort_keys=True),
                status,
                received,
                self._deadline.clock.now() - began,
            )

    def close(self) -> None:
        """End the session. Never raises."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with contextlib.suppress(VmprobeError):
                self._bounded("close the session", pool.close, longest=_CLOSING)

    # --- helpers ----------------------------------------------------------------------------------

    def _prepared(self) -> Any:
        """A session that is not open yet; nothing is sent."""
        parts, endpoint, credentials = (
            urlsplit(self._endpoint["url"]),
            self._endpoint,
            dict(self._credentials),
        )
        method, is_tls = endpoint["authentication"], parts.scheme == "https"
        certificate: Dict[str, str] = {}
        if method == "certificate":
            certificate = _certificate(credentials, is_tls)
        if is_tls:  # its errors name the file that cannot be used
            tls.client_context(endpoint["ca"] or "", *certificate.values())
        elif method in ("basic", "credssp", "ntlm") and not credentials.get("password"):
            raise ClientError(f"authentication = {method} needs username and password")
        if method == "basic" and not is_tls and not _is_loopback(self._host):
            raise ClientError("authentication = basic sends the password: url has to be https://")
        try:
            wsman = self._library.wsman.WSMan(
                self._host,
                port=parts.port,
                ssl=is_tls,
                path=parts.path.strip("/") or "wsman",
                auth=method,
                username=credentials.get("username"),
                password=credentials.get("password"),
                cert_validation=endpoint["ca"] or tls.system_ca(),
                encryption="never" if method == "basic" else "auto",
                operation_timeout=_POLL,
                connection_timeout=endpoint["timeout"],
                read_timeout=endpoint["timeout"] + _POLL,
                **certificate,
            )
            # Built here and not at the first request, so that its replies can be limited.
            wsman.transport.session = session = wsman.transport._build_session()
        except ImportError as missing:
            raise ClientError(f"authentication = {method}: {missing}") from None
        except (ValueError, OSError) as wrong:
            raise ClientError(f"authentication = {method}: {cut(str(wrong), 200)}") from None
        for adapter in session.adapters.values():  # a hook would not see the answers to a login
            adapter.send = _checked(adapter.send)
        pool = self._library.powershell.RunspacePool(
            wsman, configuration_name=endpoint["configuration"]
        )
        pool.shell.idle_time_out = _IDLE
        return pool

    def _invoke(
        self, pool: Any, script: str, parameters: Mapping[str, object]
    ) -> Tuple[str, Tuple[Any, ...]]:
        """(what a script writes, its errors)."""
        shell = self._library.powershell.PowerShell(pool)
        shell.add_script(script)
        # As text: pypsrp sends every number in 32 bits. The script's parameter has the type.
        shell.add_parameters({name: str(value) for name, value in parameters.items()})
        try:
            shell.begin_invoke()
        except self._library.exceptions.WSManFaultError as fault:
            if fault.code == failures.NO_SESSION:  # the host did not run it
                raise AuthRejected(f"{self._host} has ended the session") from None
            raise
        output = shell.end_invoke()
        return str(output[-1]) if output else "", tuple(shell.streams.error)

    def _bounded(
        self,
        request: str,
        act: Callable[[], Any],
        sent: bool = True,
        longest: float = math.inf,
    ) -> Any:
        """Return the answer of a call; Unreachable when its time is over."""
        limit = min(self._endpoint["timeout"], self._deadline.left(), longest)
        if limit <= 0:
            raise Unreachable(f"{request}: no time is left to ask", sent=False)
        box: "queue.SimpleQueue[Tuple[Any, Optional[BaseException]]]" = queue.SimpleQueue()

        def work() -> None:
            try:
                box.put((act(), None))
            except BaseException as error:
                box.put((None, error))

        threading.Thread(target=work, name="hyperv", daemon=True).start()
        try:
            answer, error = box.get(timeout=limit)
        except queue.Empty:
            self._pool = None
            raise Unreachable(
                f"{request}: no answer within {limit:.3g} s from {self._host}", sent=sent
            ) from None
        if error is not None:
            self._raise(request, error, sent)
        return answer

    def _raise(self, request: str, error: BaseException, sent: bool) -> NoReturn:
        """Raise what the suite calls this error; the session is not used again."""
        self._pool = None
        if isinstance(error, VmprobeError) or not isinstance(error, Exception):
            raise error
        user = self._credentials.get("username") or "the credential"
        raise failures.of_transport(request, error, self._host, user, sent) from None


def _parsed(request: str, text: str) -> Dict[str, Any]:
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        raise GatewayFailed(f"{request}: the answer is not a JSON object: {cut(text, 100)!r}")
    return cast("Dict[str, Any]", reply)


def _certificate(credentials: Mapping[str, str], is_tls: bool) -> Dict[str, str]:
    if not is_tls:
        raise ClientError("authentication = certificate needs url = https://...")
    if not credentials.get("certificate"):
        raise ClientError("authentication = certificate needs certificate, and key")
    certificate = credentials["certificate"]
    return {
        "certificate_pem": certificate,
        "certificate_key_pem": credentials.get("key") or certificate,
    }


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _checked(send: Callable[..., Any]) -> Callable[..., Any]:
    """``send`` of an adapter of requests, with the limit to its replies.

    A redirect is not followed. An error that is not WS-Management's is a web server's or a proxy's:
    pypsrp would take it for a fault without details. The body of a login's answer is not read
    here, because pypsrp then could not bind the login to the TLS connection.
    """

    def checked(*arguments: Any, **more: Any) -> Any:
        response = send(*arguments, **more)
        host = urls.host(response.url)
        if response.is_redirect:  # a login would be sent to wherever it leads
            raise GatewayFailed(f"{host} redirects to another address, which is not followed")
        response.iter_content = _limited(response.iter_content, host)
        kind = response.headers.get("content-type", "")
        is_ours = "soap+xml" in kind or kind.startswith("multipart/")
        if response.status_code >= 400 and response.status_code != 401 and not is_ours:
            raise failures.of_status(response.status_code, response.content, host)
        return response

    return checked


def _limited(read: Callable[..., Any], host: str) -> Callable[..., Iterator[bytes]]:
    def limited(*arguments: Any, **more: Any) -> Iterator[bytes]:
        total = 0
        for part in read(*arguments, **more):
            total += len(part)
            if total > _MAX_BYTES:
                raise TooLarge(f"the reply of {host} is larger than allowed")
            yield part

    return limited
