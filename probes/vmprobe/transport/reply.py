"""What a server answered, with readers that raise this suite's errors only."""

from __future__ import annotations

import json as library
import math
import re
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Type, TypeVar

from vmprobe.core.errors import CloudError, GatewayFailed, TooLarge, Transient
from vmprobe.core.text import cut
from vmprobe.transport import error_text
from vmprobe.transport import json as fields

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

T = TypeVar("T")

_MAX_COST = (
    20 * 2**20
)  # bytes of memory for parsed JSON: an error that is kept can hold another one
_MAX_WAIT = 60.0  # seconds of a Retry-After that are believed
_MAX_DIGITS = 30  # of a whole number
_REQUEST_ID_HEADERS = (
    "x-openstack-request-id",
    "x-compute-request-id",
    "x-amzn-requestid",
    "x-amz-request-id",
    "x-ms-request-id",
    "x-request-id",
)


class Reply:
    """One answer.

    What it is not, or cannot be read as, is GatewayFailed, whose text begins with ``asked``.
    """

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
        """``headers`` are found whatever their case.

        ``utc``: our clock at the answer, in seconds since the epoch.
        """
        self.asked, self.method, self.url = asked, method, url
        self.status, self.reason, self.headers, self.body = status, reason, headers, body
        self._utc = utc
        self._parsed: List[Any] = []  # the JSON of the body, once it is parsed

    # --- what it says -----------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 in it is replaced."""
        return self.body.decode("utf-8", "replace")

    @property
    def message(self) -> str:
        """The server's message for what went wrong, at most 500 characters.

        Without one, the reason of the status.
        """
        own = error_text.message(self.body) or cut(self.reason, error_text.LONGEST)
        return own or "no reason given"

    @property
    def request_id(self) -> str:
        """The server's id of the request, for a ticket; '' if it gave none."""
        given = (self.headers.get(name, "") for name in _REQUEST_ID_HEADERS)
        return next(filter(None, given), "")

    @property
    def retry_after(self) -> float:
        """Seconds to wait by Retry-After (RFC 9110, 10.2.3), from 0 to 60; 0 where there is none.

        A date is compared with the server's own Date, if there is one: our clock or the server's
        may be wrong.
        """
        text = self.headers.get("Retry-After", "").strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            return min(float(text), _MAX_WAIT)
        until, now = _http_date(text), _http_date(self.headers.get("Date", ""))
        if until is None:
            return 0.0
        return min(max(0.0, until - (self._utc if now is None else now)), _MAX_WAIT)

    # --- as an error ------------------------------------------------------------------------------

    def error(self, kind: Type[CloudError], message: str = "", **more: Any) -> CloudError:
        """An error of this kind: what was asked, the status, the server's message (or ``message``),
        the request id.

        ``more`` are arguments of the error, such as ``cause``. A Transient error gets the wait of
        Retry-After.
        """
        message = message or self.message
        status = "" if message.startswith(str(self.status)) else f"{self.status} "
        if issubclass(kind, Transient):
            more.setdefault("wait", self.retry_after)
        return kind(f"{self.asked}: {status}{message}", request=self.request_id, **more)

    def malformed(self, problem: object) -> GatewayFailed:
        """The error for an answer that cannot be used; ``problem``: a reason or exception."""
        text = str(problem)
        if not text.startswith(f"{self.asked}: "):
            text = f"{self.asked}: {text}"
        kind = TooLarge if isinstance(problem, TooLarge) else GatewayFailed
        return kind(text, request=self.request_id)

    def forget(self) -> None:
        """Drop the body.

        An error is kept together with the frames that it passed, and these must not hold it.
        """
        self.body = b""
        self._parsed.clear()

    # --- its content ------------------------------------------------------------------------------

    def json(self) -> Any:
        """The body as JSON.

        NaN, infinities, and numbers too large for a float or of more than 30 digits are None.
        """
        return self.parse(self._json)

    def field(self, *path: Any, **default: Any) -> Any:
        """``json.field`` of the body."""
        return self.parse(lambda: fields.field(self._json(), *path, **default))

    def items(self, *path: Any, **default: Any) -> List[Dict[str, Any]]:
        """``json.items`` of the body."""
        return self.parse(lambda: fields.items(self._json(), *path, **default))

    def short_text(self, *path: Any, **default: Any) -> str:
        """``json.short_text`` of the body."""
        return self.parse(lambda: fields.short_text(self._json(), *path, **default))

    def xml(self) -> Element:
        """The root element of the body as XML, with all names without their namespaces."""
        from vmprobe.transport import xml

        return self.parse(lambda: xml.parse(self.body))

    def parse(self, read: Callable[[], T]) -> T:
        """Call ``read``, which reads this answer.

        A GatewayFailed of it gets ``asked`` and the request id; the body is dropped.
        """
        try:
            return read()
        except GatewayFailed as problem:
            error = self.malformed(problem)
        self.forget()
        raise error

    def _json(self) -> Any:
        if not self._parsed:
            self._parsed.append(parse_json(self.body))
        return self._parsed[0]


def parse_json(body: bytes) -> Any:
    """JSON with numbers as in ``Reply.json``. GatewayFailed where it is none; TooLarge where it
    would cost too much memory.

    The cost is estimated first: a list of empty objects takes 30 times the room of its text.
    """
    # One character beyond ASCII makes the whole text four bytes wide
    width = 1 if body.isascii() and b"\\u" not in body else 4
    containers = body.count(b"{") + body.count(b"[")
    members = body.count(b",") + body.count(b":")
    if (1 + 2 * width) * len(body) + 240 * containers + 80 * members > _MAX_COST:
        raise TooLarge(f"the JSON of the answer, {len(body)} bytes, is too much to be held")
    try:
        return library.loads(
            body, parse_int=_integer, parse_float=_finite, parse_constant=lambda _: None
        )
    except RecursionError:
        raise GatewayFailed("the JSON of the answer is nested too deep") from None
    except ValueError as error:
        raise GatewayFailed(f"the answer is no JSON: {cut(str(error), 100)}") from None


def _integer(digits: str) -> Optional[int]:
    return int(digits) if len(digits) <= _MAX_DIGITS else None


def _finite(digits: str) -> Optional[float]:
    number = float(digits)
    return number if math.isfinite(number) else None


def _http_date(text: str) -> Optional[float]:
    """Seconds since the epoch of a date in any of HTTP's three forms (RFC 9110, 5.6.7).

    None where it is none.
    """
    from email.utils import mktime_tz, parsedate_tz

    try:
        parsed = parsedate_tz(text[:60])
        if not parsed:
            return None
        return float(mktime_tz((*parsed[:9], parsed[9] or 0)))  # the form without a zone means UTC
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
