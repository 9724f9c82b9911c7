"""HTTP for drivers: nothing that a server does can hurt the run. Part of the public interface for
drivers elsewhere.

    self.http = Http(endpoint["url"], self.deadline, self.evidence, timeout=endpoint["timeout"])
    reply = self.http.post("auth/tokens", json={...})      # a refusal is an error of this suite
    token = reply.headers["X-Subject-Token"]
    self.http.add_secret_header("X-Auth-Token", token)     # sent from now on, never shown
    server = self.http.get(path("servers", ref.id)).field("server", dict)  # or GatewayFailed

What a driver can rely on:

- A whole exchange, from looking up the host to the last byte, is over within ``timeout`` and what
  the deadline leaves, and its answer is no larger than ``max_bytes``.
- Nothing is sent twice, to another host, or before the server's certificate is checked.
- Every failure is an error of ``vmprobe.core.errors`` whose text begins with what was asked.
- Requests and answers go to the evidence with secrets redacted.

Importing this module is cheap: requests is loaded by the first request, pyOpenSSL only for a client
certificate.
"""

from __future__ import annotations

import copy
import json as library
import re
import time
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Collection,
    Dict,
    List,
    Mapping,
    Optional,
    Type,
    Union,
)
from urllib.parse import quote, urlencode, urljoin, urlsplit

from vmprobe import __version__
from vmprobe.core import urls
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotPermitted,
    RateLimited,
    VmprobeError,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.text import cut
from vmprobe.transport import error_text
from vmprobe.transport.reply import Reply

if TYPE_CHECKING:  # requests is half of a check's start-up time
    from typing import TypedDict

    from typing_extensions import Unpack

    from vmprobe.transport.connections import Connections
    from vmprobe.transport.tls import Context

    class Options(TypedDict, total=False):
        """What ``request`` also takes, beside method, path, query and JSON."""

        body: Optional[bytes]
        headers: Optional[Mapping[str, str]]
        accept: Collection[int]
        asked: str
        max_bytes: int
        redact_reply: bool

    class QueryOptions(Options, total=False):
        query: Query


__all__ = ["MAX_BYTES", "Classify", "Http", "Query", "Reply", "origin", "path"]

MAX_BYTES = 4 * 2**20  # of an answer; a list of a thousand servers has half of it
_REDIRECTS = 3
_SECRET_HEADERS = {
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-auth-token",
    "x-subject-token",
    "x-service-token",
    "x-amz-security-token",
    "x-aws-ec2-metadata-token",
    "vmware-api-session-id",
}
_ERRORS: Dict[int, Type[CloudError]] = {
    401: AuthRejected,
    403: NotPermitted,
    404: NotFound,
    409: Conflict,
    410: NotFound,
}

Classify = Callable[[Reply], Optional[VmprobeError]]
Query = Union[
    str, Mapping[str, Any], None
]  # what follows the "?", as it is written or by its names


class Http:
    """Requests to a base URL, and to others that the manager names, over the same connections."""

    def __init__(
        self,
        url: str,
        deadline: Deadline,
        evidence: Evidence,
        *,
        timeout: float = 30.0,
        ca: Optional[str] = None,
        certificate: str = "",
        key: str = "",
        classify: Optional[Classify] = None,
    ):
        """Nothing is opened or sent before the first request.

        ``timeout``: seconds for one exchange. ``ca``: a file or hashed directory; default: the
        system's. ``certificate``: a PEM file, shown to the server; ``key`` may be '' where that
        file has it, as a proxy's has. ``classify`` is given each refusal before it becomes the
        error of its status, and may return a better one, for instance by a quota's text or an error
        code in the body.
        """
        self.url, self.deadline, self.evidence = url.rstrip("/"), deadline, evidence
        self.timeout, self.classify = timeout, classify
        self.headers: Dict[str, str] = {
            "User-Agent": f"vmprobe/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._secret_headers = set(_SECRET_HEADERS)
        self._tls = (ca or "", certificate, key)
        self._opened: List[Connections] = []  # at most one; the list is shared with ``at``

    def at(self, url: str) -> Http:
        """The same session, headers and connections included, at another base URL that the manager
        named.

        CloudError where that leads from https back to http, GatewayFailed where it is no URL.
        """
        scheme = origin(url).scheme
        if urlsplit(self.url).scheme == "https" and scheme != "https":
            raise CloudError(
                f"the manager names {cut(url, 200)}, which is not https as {self.url} is: not used",
                cause="gateway",
            )
        other = copy.copy(self)
        other.url = url.rstrip("/")
        return other

    def add_secret_header(self, name: str, value: str) -> None:
        """Send this header with every request from now on; its value is shown nowhere."""
        self.evidence.redactor.add(value)
        # A server may repeat what follows "Basic" or "Bearer"
        self.evidence.redactor.add(value.partition(" ")[2])
        self._secret_headers.add(name.lower())
        self.headers[name] = value

    def add_basic_auth(self, username: str, password: str) -> None:
        """Authenticate every request from now on by a password (RFC 7617, in UTF-8)."""
        from base64 import b64encode

        self.evidence.redactor.add(password)
        pair = b64encode(f"{username}:{password}".encode()).decode()
        self.add_secret_header("Authorization", f"Basic {pair}")

    def get(self, path: str = "", query: Query = None, **more: Unpack[Options]) -> Reply:
        """``request`` with GET; ``more`` are its other arguments."""
        return self.request("GET", path, query=query, **more)

    def post(self, path: str = "", json: Any = None, **more: Unpack[QueryOptions]) -> Reply:
        """``request`` with POST."""
        return self.request("POST", path, json=json, **more)

    def put(self, path: str = "", json: Any = None, **more: Unpack[QueryOptions]) -> Reply:
        """``request`` with PUT."""
        return self.request("PUT", path, json=json, **more)

    def delete(self, path: str = "", **more: Unpack[QueryOptions]) -> Reply:
        """``request`` with DELETE."""
        return self.request("DELETE", path, **more)

    def request(
        self,
        method: str,
        path: str = "",
        *,
        query: Query = None,
        json: Any = None,
        body: Optional[bytes] = None,
        headers: Optional[Mapping[str, str]] = None,
        accept: Collection[int] = (),
        asked: str = "",
        max_bytes: int = MAX_BYTES,
        redact_reply: bool = False,
    ) -> Reply:
        """Send one request and return the answer; every other outcome is an error of this suite.

        ``path`` is below the base URL, or a whole URL of the same host (the ``next`` of a list).
        ``json`` is sent as the body, else ``body``. ``asked`` is what error texts call the request,
        by default method and path. ``redact_reply``: the answer is a secret, and is not shown.

        A status from 400 on is an error, unless it is in ``accept``: 401 AuthRejected, 403
        NotPermitted, 404 and 410 NotFound (GatewayFailed with a page for people: the manager has
        not said it), 409 Conflict, 429 RateLimited, 408, 413 and 5xx GatewayFailed; others
        CloudError. No whole answer is Unreachable, too large an answer is TooLarge. Reads follow up
        to three redirects within the same host; any other redirect is an error.
        """
        url = self._url(path, query)
        sent_headers = {**self.headers, **(headers or {})}
        if json is not None:
            body = library.dumps(json).encode()
            sent_headers = {**self.headers, "Content-Type": "application/json", **(headers or {})}
        for _ in range(_REDIRECTS + 1):
            reply = self._exchange(method, url, sent_headers, body, asked, max_bytes, redact_reply)
            if 200 <= reply.status < 300 or reply.status == 300 or reply.status in accept:
                return reply
            if not 300 < reply.status < 400:
                error = self._refusal(reply)
                reply.forget()
                raise error
            url = _redirected(reply)
        raise reply.error(CloudError, f"more than {_REDIRECTS} redirects")

    def close(self) -> None:
        """Close the connections, also those of ``at``."""
        for connections in self._opened:
            connections.close()

    # --- one exchange -----------------------------------------------------------------------------

    def _url(self, path: str, query: Query) -> str:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
            if origin(path) != origin(self.url):
                raise GatewayFailed(
                    f"{self.url} names {cut(path, 200)} for what follows, "
                    "which is another host: not asked"
                )
            url = path
        else:
            url = f"{self.url}/{path.lstrip('/')}" if path else self.url
        text = query if isinstance(query, str) else urlencode(query, doseq=True) if query else ""
        return f"{url}{'&' if '?' in url else '?'}{text}" if text else url

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Optional[bytes],
        asked: str,
        max_bytes: int,
        redact_reply: bool,
    ) -> Reply:
        """One exchange, noted as evidence whatever comes of it."""
        self.deadline.check()
        connections = self._connections()
        asked = asked or f"{method} {cut(urlsplit(url).path, 80) or '/'}"
        sent, status, received = self._shown(headers, body), "", ""
        began = time.monotonic()
        try:
            seconds = min(self.timeout, self.deadline.left())
            answer = connections.exchange(asked, method, url, headers, body, seconds, max_bytes)
            utc = self.deadline.clock.utc()
            reply = Reply(asked, method, url, *answer, utc)
            if reply.headers.get("Date"):
                self.evidence.server_date = reply.headers["Date"], utc
            status = f"{reply.status} {reply.reason}"
            received = self._shown(reply.headers, b"***" if redact_reply else reply.body)
            return reply
        except VmprobeError as error:
            status = str(error)
            raise
        finally:
            self.evidence.record(
                f"{method} {url}", sent, status, received, time.monotonic() - began
            )

    def _connections(self) -> Connections:
        if not self._opened:
            try:
                from vmprobe.transport.connections import Connections
            except ImportError as error:
                raise ClientError(f"HTTP needs requests: {error}") from None
            self._opened.append(Connections(self._context))
        return self._opened[0]

    def _context(self) -> Context:
        """TLS for the first https request.

        A client certificate outside its own dates is not shown to anybody.
        """
        from vmprobe.transport import tls

        ca, certificate, key = self._tls
        if certificate:
            from vmprobe.transport import x509

            x509.check(certificate, self.deadline.clock.utc())
        return tls.client_context(ca, certificate, key)

    def _refusal(self, reply: Reply) -> VmprobeError:
        """The error for a status, unless the driver knows a better one."""
        better = self.classify(reply) if self.classify else None
        if better is not None:
            return better
        if reply.status in (404, 410) and error_text.is_html_page(reply.body):
            return reply.error(
                GatewayFailed
            )  # from a proxy: the manager has not said that it is gone
        if reply.status == 429 or reply.status == 413 and reply.headers.get("Retry-After"):
            return reply.error(RateLimited)
        if reply.status in (408, 413) or not 400 <= reply.status < 500:
            return reply.error(GatewayFailed)
        return reply.error(_ERRORS.get(reply.status, CloudError))

    def _shown(self, headers: Mapping[str, str], body: Optional[bytes]) -> str:
        """Headers and body for the evidence, which redacts the secrets that it knows.

        Secret headers are redacted here.
        """
        if not self.evidence.keep:
            return ""
        lines = [
            f"{name}: {'***' if name.lower() in self._secret_headers else value}"
            for name, value in headers.items()
        ]
        return "\n".join([*lines, "", (body or b"").decode("utf-8", "replace")]).strip()


def path(*segments: str) -> str:
    """Segments as a path, each quoted.

    GatewayFailed for one that would lead elsewhere, as an id from outside might.
    """
    for segment in segments:
        if segment in ("", ".", "..") or len(segment) > 255 or not segment.isprintable():
            raise GatewayFailed(f"{cut(segment, 60)!r} is no id that can be asked for")
    return "/".join(quote(segment, safe="") for segment in segments)


def origin(url: str) -> urls.Origin:
    """Scheme, host and port of a URL that credentials may go to.

    GatewayFailed where it is none, or has a user in it.
    """
    try:
        found = urls.origin(url)
        if "@" in urlsplit(url).netloc:
            raise ValueError
    except ValueError:
        raise GatewayFailed(f"{cut(url, 200)!r} is no URL that can be asked") from None
    return found


def _redirected(reply: Reply) -> str:
    """Where a read is redirected to, within the same host. Any other redirect is an error:
    credentials stay here.

    A server behind a proxy that ends TLS often redirects to http at its own address: it is asked
    there by https.
    """
    location = reply.headers.get("Location", "")
    if not location:
        raise reply.error(GatewayFailed, "redirects to nowhere")
    try:
        target = urljoin(reply.url, location)
    except ValueError:
        raise reply.error(GatewayFailed, "redirects to a malformed URL") from None
    named, own = urlsplit(target), urlsplit(reply.url)
    is_same_address = named.netloc.lower() == own.netloc.lower()
    if (named.scheme, own.scheme) == ("http", "https") and is_same_address:
        target = named._replace(scheme="https").geturl()
    problem = ""
    if origin(target) != origin(reply.url):
        problem = f"redirects to {cut(target, 120)}, another host: not followed"
    elif reply.method not in ("GET", "HEAD"):
        problem = f"redirects to {cut(target, 120)}: only reads are followed"
    if problem:
        raise reply.error(CloudError, problem, cause="gateway")
    return target
