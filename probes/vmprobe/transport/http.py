"""HTTP as every driver speaks it, and nothing that a server does can hurt the run.

    self.http = Http(endpoint["url"], self.deadline, self.evidence, timeout=endpoint["timeout"], ca=endpoint["ca"])
    reply = self.http.post("auth/tokens", json={...})                  what is not good is an error of this suite
    self.http.add_secret_header("X-Auth-Token", reply.headers["X-Subject-Token"])        from now on, and never shown
    server = self.http.get(path("servers", ref.id)).field("server", dict)      a wrong shape is GatewayFailed

One connection pool for a run. A whole exchange, from looking up the host to the last byte, is over within
``timeout`` and what the deadline leaves, and its answer is no larger than allowed. Nothing is ever sent twice, nor to
another host, nor without checking the certificate. Importing this module is cheap: requests is loaded by the first
request, pyOpenSSL only where there is a client certificate.
"""

from __future__ import annotations

import copy
import json as jsons
import math
import re
import time
from typing import Any, Callable, Collection, Dict, List, Mapping, Optional, Tuple, Type, Union
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
    TooLarge,
    Transient,
    VmprobeError,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.text import cut
from vmprobe.transport import error_text
from vmprobe.transport import json as fields

LARGEST = 4 * 2**20  # bytes of an answer; a list of a thousand servers has half of it
_HEAVIEST = (
    20 * 2**20
)  # bytes that parsing an answer may cost; an error that is remembered can hold another one
_LONGEST_WAIT = 60.0  # seconds of Retry-After that are believed
_REDIRECTS = 3
_SECRET = {
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
_REQUEST_IDS = (
    "x-openstack-request-id",
    "x-compute-request-id",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-ms-request-id",
    "x-request-id",
)

Classify = Callable[["Reply"], Optional[VmprobeError]]


class Http:
    """Requests to one base URL, and to others that its manager names (``at``), over the same connections."""

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
        """``ca``: a file or hashed directory; default: the system's. ``certificate``: PEM, a proxy with its key in one file.

        ``classify`` is shown each refusal before it becomes the error of its status, and may return a better one:
        a quota's text, an error code in the body. Nothing is opened or sent before the first request.
        """
        self.url, self.deadline, self.evidence, self.timeout = (
            url.rstrip("/"),
            deadline,
            evidence,
            timeout,
        )
        self.classify = classify
        self.headers: Dict[str, str] = {
            "User-Agent": f"vmprobe/{__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._secret = set(_SECRET)
        self._tls = (ca or "", certificate, key)
        self._wires: List[Any] = []  # the one Connections, once there is one; shared with ``at``

    # --- for drivers ------------------------------------------------------------------------------------------

    def at(self, url: str) -> "Http":
        """This session at another base URL that the manager named, headers shared; never from https back to http."""
        scheme = origin(url)[0]
        if urlsplit(self.url).scheme == "https" and scheme != "https":
            raise CloudError(
                f"the manager names {cut(url, 200)}, which is not https as {self.url} is: not used",
                cause="gateway",
            )
        other = copy.copy(self)
        other.url = url.rstrip("/")
        return other

    def add_secret_header(self, header: str, secret: str) -> None:
        """Send this header with every request from now on, and show it nowhere."""
        self.evidence.redactor.add(secret)
        self.evidence.redactor.add(
            secret.partition(" ")[2]
        )  # behind "Basic" or "Bearer", as a server may echo it
        self._secret.add(header.lower())
        self.headers[header] = secret

    def add_basic_auth(self, username: str, password: str) -> None:
        """Authenticate every request from now on by a password (RFC 7617, in UTF-8)."""
        from base64 import b64encode

        self.evidence.redactor.add(password)
        self.add_secret_header(
            "Authorization", f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"
        )

    def get(self, path: str = "", query: Any = None, **more: Any) -> "Reply":
        return self.request("GET", path, query=query, **more)

    def post(self, path: str = "", json: Any = None, **more: Any) -> "Reply":
        return self.request("POST", path, json=json, **more)

    def put(self, path: str = "", json: Any = None, **more: Any) -> "Reply":
        return self.request("PUT", path, json=json, **more)

    def delete(self, path: str = "", **more: Any) -> "Reply":
        return self.request("DELETE", path, **more)

    def request(
        self,
        method: str,
        path: str = "",
        *,
        query: Union[str, Mapping[str, Any], None] = None,
        json: Any = None,
        body: Optional[bytes] = None,
        headers: Optional[Mapping[str, str]] = None,
        accept: Collection[int] = (),
        asked: str = "",
        largest: int = LARGEST,
        redact_reply: bool = False,
    ) -> "Reply":
        """The answer to one request; every other outcome is an error of this suite.

        ``path`` is below the base URL, or a whole URL of the same host (the ``next`` of a list). Statuses from 400
        are errors unless in ``accept``: 401 AuthRejected, 403 NotPermitted, 404 NotFound (a page for people is none),
        409 Conflict, 429 RateLimited, 408, 413 and 5xx GatewayFailed, with Retry-After; others CloudError. No answer: Unreachable.
        ``asked`` is what their texts call the request; default: method and path. ``redact_reply``: the answer is a secret.
        """
        url = self._url(path, query)
        if json is not None:
            body, headers = (
                jsons.dumps(json).encode(),
                {"Content-Type": "application/json", **(headers or {})},
            )
        for _ in range(_REDIRECTS + 1):
            reply = self._exchange(
                method, url, {**self.headers, **(headers or {})}, body, asked, largest, redact_reply
            )
            if 200 <= reply.status < 300 or reply.status == 300 or reply.status in accept:
                return reply
            if not 300 < reply.status < 400:
                error = self._refusal(reply)
                reply.forget()
                raise error
            url = _redirected(reply)
        raise reply.error(CloudError, f"more than {_REDIRECTS} redirects")

    def close(self) -> None:
        """Let go of the connections."""
        for wire in self._wires:
            wire.close()

    # --- one exchange -----------------------------------------------------------------------------------------

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Optional[bytes],
        asked: str,
        largest: int,
        redact_reply: bool,
    ) -> "Reply":
        self.deadline.check()
        wire = self._wire()
        asked = asked or f"{method} {cut(urlsplit(url).path, 80) or '/'}"
        sent, status, received = self._shown(headers, body), "", ""
        began = time.monotonic()
        try:
            seconds = min(self.timeout, self.deadline.left())
            reply = Reply(
                asked,
                method,
                url,
                *wire.exchange(asked, method, url, headers, body, seconds, largest),
                utc=self.deadline.clock.utc(),
            )
            if reply.headers.get("Date"):
                self.evidence.server_date = reply.headers["Date"], self.deadline.clock.utc()
            status, received = (
                f"{reply.status} {reply.reason}",
                self._shown(reply.headers, b"***" if redact_reply else reply.body),
            )
            return reply
        except VmprobeError as failed:
            status = str(failed)
            raise
        finally:
            self.evidence.record(
                f"{method} {url}", sent, status, received, time.monotonic() - began
            )

    def _wire(self) -> Any:
        if not self._wires:
            try:
                from vmprobe.transport.sockets import Connections
            except ImportError as missing:
                raise ClientError(f"HTTP needs requests: {missing}") from None
            self._wires.append(Connections(self._context))
        return self._wires[0]

    def _context(self) -> Any:
        """TLS, once it is needed; a client certificate that is not valid by its own dates is not shown to anybody."""
        from vmprobe.transport.sockets import tls_context

        ca, certificate, key = self._tls
        if certificate:
            from vmprobe.transport import x509

            x509.check(certificate, self.deadline.clock.utc())
        return tls_context(ca, certificate, key)

    def _url(self, path: str, query: Union[str, Mapping[str, Any], None]) -> str:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
            if origin(path) != origin(self.url):
                raise GatewayFailed(
                    f"{self.url} names {cut(path, 200)} for what follows, which is another host: not asked"
                )
            url = path
        else:
            url = f"{self.url}/{path.lstrip('/')}" if path else self.url
        text = query if isinstance(query, str) else urlencode(query, doseq=True) if query else ""
        return f"{url}{'&' if '?' in url else '?'}{text}" if text else url

    def _refusal(self, reply: "Reply") -> VmprobeError:
        """The error that a status is, unless the driver knows better."""
        better = self.classify(reply) if self.classify else None
        if better is not None:
            return better
        if reply.status in (404, 410) and error_text.is_html_page(reply.body):
            return reply.error(
                GatewayFailed
            )  # a proxy's page: the manager itself has not said that it is gone
        if reply.status == 429 or reply.status == 413 and reply.headers.get("Retry-After"):
            return reply.error(RateLimited)
        if reply.status in (408, 413) or not 400 <= reply.status < 500:
            return reply.error(GatewayFailed)
        return reply.error(_ERRORS.get(reply.status, CloudError))

    def _shown(self, headers: Mapping[str, str], body: Optional[bytes]) -> str:
        """Headers and body for the evidence, which strikes out the secrets that it knows; these headers go whole."""
        if not self.evidence.keep:
            return ""
        lines = [
            f"{name}: {'***' if name.lower() in self._secret else value}"
            for name, value in headers.items()
        ]
        return "\n".join(lines + ["", (body or b"").decode("utf-8", "replace")]).strip()


_ERRORS: Dict[int, Type[CloudError]] = {
    401: AuthRejected,
    403: NotPermitted,
    404: NotFound,
    409: Conflict,
    410: NotFound,
}


class Reply:
    """An answer: ``status``, ``reason``, ``headers`` (whatever their case), ``body``, and readers that cannot surprise."""

    def __init__(
        self,
        asked: str,
        method: str,
        url: str,
        status: int,
        reason: str,
        headers: Mapping[str, str],
        body: bytes,
        utc: float = 0.0,
    ):
        self.asked, self.method, self.url = asked, method, url
        self.status, self.reason, self.headers, self.body = status, reason, headers, body
        self._utc = utc
        self._document: Tuple[Any, ...] = ()

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 in it is replaced."""
        return self.body.decode("utf-8", "replace")

    @property
    def message(self) -> str:
        """The server's own words for what went wrong, else the status's."""
        return (
            error_text.message(self.body)
            or cut(self.reason, error_text.LONGEST)
            or "no reason given"
        )

    @property
    def request_id(self) -> str:
        """The server's id of the request, for the ticket; '' if it gave none."""
        return next((self.headers[name] for name in _REQUEST_IDS if self.headers.get(name)), "")

    @property
    def retry_after(self) -> float:
        """Seconds that Retry-After asks to wait, given in seconds or as a date; at most a minute.

        A date is compared with the server's own, where it says that: our clock or its may be wrong.
        """
        text = self.headers.get("Retry-After", "").strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            return min(float(text), _LONGEST_WAIT)
        until, now = _date(text), _date(self.headers.get("Date", ""))
        return (
            min(max(0.0, until - (self._utc if now is None else now)), _LONGEST_WAIT)
            if until is not None
            else 0.0
        )

    def error(self, kind: Type[CloudError], said: str = "", **more: Any) -> CloudError:
        """An error of this kind with what was asked, the status, the server's words (or ``said``) and its request id."""
        said = said or self.message
        status = "" if said.startswith(str(self.status)) else f"{self.status} "
        if issubclass(kind, Transient):
            more.setdefault("wait", self.retry_after)
        return kind(f"{self.asked}: {status}{said}", request=self.request_id, **more)

    def malformed(self, wrong: object) -> GatewayFailed:
        """What is wrong with the answer, with what was asked before it, once, and the request id."""
        said = str(wrong)
        kind = TooLarge if isinstance(wrong, TooLarge) else GatewayFailed
        return kind(
            said if said.startswith(f"{self.asked}: ") else f"{self.asked}: {said}",
            request=self.request_id,
        )

    def forget(self) -> None:
        """Let go of the answer: an error is remembered, with the frames that it passed, and they must not hold it."""
        self.body, self._document = b"", ()

    def json(self) -> Any:
        """The body as JSON; GatewayFailed when it is none, or too much to be held. NaN, infinities and 1e400 are None."""
        return self._read(lambda document: document)

    def field(self, *path: Any, **default: Any) -> Any:
        """``fields.field`` of the JSON in the body, and the error names the request."""
        return self._read(fields.field, *path, **default)

    def items(self, *path: Any, **default: Any) -> List[Dict[str, Any]]:
        """``fields.items`` of the JSON in the body."""
        return self._read(fields.items, *path, **default)

    def short_text(self, *path: Any, **default: Any) -> str:
        """``fields.short_text`` of the JSON in the body."""
        return self._read(fields.short_text, *path, **default)

    def xml(self) -> Any:
        """The root element of the XML in the body."""
        from vmprobe.transport import xml

        return self.parse(lambda: xml.parse(self.body))

    def _read(self, reader: Callable[..., Any], *path: Any, **default: Any) -> Any:
        return self.parse(lambda: reader(self._parsed(), *path, **default))

    def _parsed(self) -> Any:
        if not self._document:
            self._document = (parse_json(self.body),)
        return self._document[0]

    def parse(self, read: Callable[[], Any]) -> Any:
        """What ``read`` makes of the answer; where it cannot, the error names the request, and the answer is let go."""
        try:
            return read()
        except GatewayFailed as wrong:
            error = self.malformed(wrong)
        self.forget()
        raise error


def path(*segments: str) -> str:
    """Segments as a path, each quoted; GatewayFailed for one that would lead elsewhere, as ids from outside might."""
    for segment in segments:
        if segment in ("", ".", "..") or len(segment) > 255 or not segment.isprintable():
            raise GatewayFailed(f"{cut(segment, 60)!r} is no id that can be asked for")
    return "/".join(quote(segment, safe="") for segment in segments)


def parse_json(body: bytes) -> Any:
    """JSON, after a look at what it would cost: a list of empty objects takes 30 times the room of its text."""
    width = (
        1 if body.isascii() and b"\\u" not in body else 4
    )  # one rare character makes a whole text wide
    containers, members = body.count(b"{") + body.count(b"["), body.count(b",") + body.count(b":")
    weight = (1 + 2 * width) * len(body) + 240 * containers + 80 * members
    if weight > _HEAVIEST:
        raise TooLarge(f"the JSON of the answer, {len(body)} bytes, is too much to be held")
    try:
        return jsons.loads(
            body, parse_int=_whole, parse_float=_number, parse_constant=lambda word: None
        )
    except RecursionError:
        raise GatewayFailed("the JSON of the answer is nested too deep") from None
    except ValueError as wrong:
        raise GatewayFailed(f"the answer is no JSON: {cut(str(wrong), 100)}") from None


def _whole(digits: str) -> Optional[int]:
    return int(digits) if len(digits) <= 30 else None


def _number(digits: str) -> Optional[float]:
    found = float(digits)
    return found if math.isfinite(found) else None


def origin(url: str) -> urls.Origin:
    """Scheme, host and port of a URL that credentials may go to; GatewayFailed where it is none, or has a user in it."""
    try:
        found = urls.origin(url)
        if "@" in urlsplit(url).netloc:
            raise ValueError
    except ValueError:
        raise GatewayFailed(f"{cut(url, 200)!r} is no URL that can be asked") from None
    return found


def _date(text: str) -> Optional[float]:
    """Seconds since the epoch of a date in any of HTTP's three forms (RFC 9110, 5.6.7); None when it is none."""
    from email.utils import mktime_tz, parsedate_tz

    try:
        parsed = parsedate_tz(text[:60])
        return (
            float(mktime_tz((*parsed[:9], parsed[9] or 0))) if parsed else None
        )  # the form without a zone means UTC
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _redirected(reply: Reply) -> str:
    """Where a read is redirected to, within the same host; everything else is refused: credentials stay here.

    A server behind a proxy that ends TLS often redirects to http at its own address: it is asked there by https.
    """
    location = reply.headers.get("Location", "")
    if not location:
        raise reply.error(GatewayFailed, "redirects to nowhere")
    try:
        target = urljoin(reply.url, location)
    except ValueError:
        raise reply.error(GatewayFailed, "redirects to what is no URL") from None
    named, own = urlsplit(target), urlsplit(reply.url)
    if (named.scheme, own.scheme) == (
        "http",
        "https",
    ) and named.netloc.lower() == own.netloc.lower():
        target = named._replace(scheme="https").geturl()
    if origin(target) != origin(reply.url):
        raise reply.error(
            CloudError,
            f"redirects to {cut(target, 120)}, another host: not followed",
            cause="gateway",
        )
    if reply.method not in ("GET", "HEAD"):
        raise reply.error(
            CloudError, f"redirects to {cut(target, 120)}: only reads are followed", cause="gateway"
        )
    return target
