"""The AWS Query API, as EC2, CloudWatch and STS speak it, and the two signatures that such requests carry.

    ec2 = Query(http, keys, service="ec2", region="eu-west-1", version="2016-11-15", classify=...)
    reply = ec2("DescribeInstances", {"Filter": [{"Name": "tag:Name", "Value": ["web-*"]}]})

A request is a form by POST, its answer is XML. Signature version 4: AWS General Reference, "Create a signed AWS API
request"; version 2: the same, "Signature Version 2 signing process". What they are proved by is in tests/drivers/ec2/test_query.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import quote, urlsplit

from vmprobe.core.errors import CloudError, GatewayFailed, VmprobeError
from vmprobe.core.text import cut
from vmprobe.transport import xml
from vmprobe.transport.http import Http, Reply

FORM = "application/x-www-form-urlencoded; charset=utf-8"
_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^<>]*\?>\s*)?<(?:[\w.-]+:)?(\w+)[\s/>]")
_ERRORS = ("Response", "ErrorResponse")  # what an error document is called
_PREAMBLE = re.compile(
    r"^You are not authorized to perform this operation\. User: \S+ is (?=not authorized to perform:)"
)
_ENCODED = re.compile(r" ?Encoded authorization failure message: \S+")
_ALGORITHM = "AWS4-HMAC-SHA256"


class Keys(NamedTuple):
    """A pair of keys; ``token`` belongs to a session, which ends at ``expires`` (seconds since the epoch) where that is known."""

    access: str
    secret: str
    token: str = ""
    expires: Optional[float] = None
    source: str = ""  # where they were found, for people
    place: str = ""  # the endpoint that is named beside them, '' if none is


class Refusal(NamedTuple):
    """What an error document says; all of it is '' where there is none."""

    code: str = ""
    message: str = ""
    request: str = ""

    def __str__(self) -> str:
        return (
            f"{self.code}: {self.message}"
            if self.message and self.message != self.code
            else self.code
        )


Classify = Callable[[Reply, Refusal], Optional[VmprobeError]]


class Query:
    """Calls of one service at one URL, each signed anew by the clock of the run."""

    def __init__(
        self,
        http: Http,
        keys: Keys,
        *,
        service: str,
        region: str,
        version: str,
        signature: int = 4,
        classify: Optional[Classify] = None,
    ):
        """``classify`` turns a refusal into an error, or into None, which is the error of the status."""
        self.http, self.keys, self.service, self.region, self.version = (
            http,
            keys,
            service,
            region,
            version,
        )
        self._signed = self._version_2 if signature == 2 else self._version_4
        self._classify = classify
        http.headers = {**http.headers, "Accept": "text/xml, application/xml", "Content-Type": FORM}
        http.classify = self._refused

    def __call__(
        self,
        action: str,
        words: Optional[Mapping[str, Any]] = None,
        asked: str = "",
        struck: bool = False,
    ) -> Reply:
        """The answer to one call; ``words`` may hold lists and mappings, which become ``Word.1.Name``; None is left out.

        ``struck``: the answer is a secret.
        """
        form = {"Action": action, "Version": self.version, **flat(words or {})}
        body, headers = self._signed(form)
        reply = self.http.post(
            body=body.encode("ascii"), headers=headers, asked=asked or action, struck=struck
        )
        root = _ROOT.match(reply.body[:1000])
        said = root[1].decode("ascii", "replace") if root else ""
        if (
            said != f"{action}Response"
        ):  # what answers another question, and a page of somebody in between, has nothing in it
            error = self._refused(reply) if said in _ERRORS else None
            raise error or reply.failed(
                f"the answer is one to {cut(said[:-8], 60)}"
                if said[:-8] and said.endswith("Response")
                else "the answer is no answer of this service"
            )
        return reply

    def _version_4(self, form: Mapping[str, str]) -> Tuple[str, Dict[str, str]]:
        body = encoded(form)
        return body, signed(
            self.http,
            self.keys,
            {"Content-Type": FORM},
            body.encode("ascii"),
            self.region,
            self.service,
        )

    def _version_2(self, form: Mapping[str, str]) -> Tuple[str, Dict[str, str]]:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.http.deadline.clock.utc()))
        form = {
            **form,
            "AWSAccessKeyId": self.keys.access,
            "SignatureVersion": "2",
            "SignatureMethod": "HmacSHA256",
            "Timestamp": stamp,
        }
        if self.keys.token:
            form["SecurityToken"] = self.keys.token
        form["Signature"] = signature_2(self.keys.secret, "POST", self.http.url, form)
        return encoded(form), {}

    def _refused(self, reply: Reply) -> Optional[VmprobeError]:
        said = refusal(reply.body)
        if not said.code and reply.status in (404, 409, 410):
            return reply.error(
                GatewayFailed
            )  # the service says by a code what it does not know: this is somebody in between
        return self._classify(reply, said) if said.code and self._classify else None


# --- what an answer says ------------------------------------------------------------------------------------------


def refusal(body: bytes) -> Refusal:
    """The first error of a document: EC2's ``Response/Errors/Error``, or ``ErrorResponse/Error`` of the other services."""
    if b"<" not in body[:100]:
        return Refusal()
    try:
        document = xml.parse(body)
    except VmprobeError:
        return Refusal()
    error = document if document.tag == "Error" else document.find(".//Error")
    if error is None:
        return Refusal()
    request = next(
        (
            found.strip()
            for found in map(document.findtext, (".//RequestID", ".//RequestId", ".//requestId"))
            if found and found.strip()
        ),
        "",
    )
    code, message = (" ".join((error.findtext(name) or "").split()) for name in ("Code", "Message"))
    return Refusal(
        cut(code, 100), cut(_ENCODED.sub("", _PREAMBLE.sub("", message)), 500), cut(request, 100)
    )


def refused(
    kind: Any, reply: Reply, said: Refusal, cause: str = "", wait: Optional[float] = None
) -> CloudError:
    """The error of this kind: what was asked, the status, code and words, and the id of the request."""
    more: Dict[str, Any] = {} if wait is None else {"wait": wait}
    return kind(
        f"{reply.asked}: {reply.status} {said}",
        cause=cause,
        request=said.request or reply.request,
        **more,
    )


def rows(element: Any, where: str) -> List[Any]:
    """The ``item`` (or ``member``) elements of a set; a set that is not there is empty."""
    return (
        []
        if element is None
        else element.findall(f"{where}/item") + element.findall(f"{where}/member")
    )


# --- what a request says ------------------------------------------------------------------------------------------


def flat(words: Any, prefix: str = "") -> Dict[str, str]:
    """Lists and mappings as the Query API has them: ``Filter.1.Value.2``; None, and what is empty, is left out.

    >>> flat({"Filter": [{"Name": "state", "Value": ["a", "b"]}], "Max": 5, "Dry": True, "Not": None})
    {'Filter.1.Name': 'state', 'Filter.1.Value.1': 'a', 'Filter.1.Value.2': 'b', 'Max': '5', 'Dry': 'true'}
    """
    if isinstance(words, Mapping):
        pairs = [(f"{prefix}{name}", value) for name, value in words.items()]
    else:
        pairs = [(f"{prefix}{number}", value) for number, value in enumerate(words, 1)]
    found: Dict[str, str] = {}
    for name, value in pairs:
        if isinstance(value, (Mapping, list, tuple)):
            found.update(flat(value, f"{name}."))
        elif value is not None:
            found[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def encoded(form: Mapping[str, str]) -> str:
    """A form as RFC 3986 has it, in the order of the names' bytes, which is also what signature version 2 wants."""
    return "&".join(
        f"{_quoted(name)}={_quoted(form[name])}"
        for name in sorted(form, key=lambda name: name.encode())
    )


def host(url: str) -> str:
    """The Host header that goes with a URL: a port that goes without saying is not said."""
    parts = urlsplit(url)
    name = (parts.hostname or "").lower()
    name = f"[{name}]" if ":" in name else name
    return (
        name
        if parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme))
        else f"{name}:{parts.port}"
    )


# --- signatures ---------------------------------------------------------------------------------------------------


def signed(
    http: Http, keys: Keys, headers: Mapping[str, str], body: bytes, region: str, service: str
) -> Dict[str, str]:
    """These headers of a POST, and those that signature version 4 adds: time, session token, signature over all of them."""
    parts = urlsplit(http.url)
    found = {**headers, "X-Amz-Date": _stamp(http.deadline.clock.utc())}
    if keys.token:
        found["X-Amz-Security-Token"] = keys.token
    everything = {**found, "Host": host(http.url)}
    return {
        **found,
        "Authorization": authorization(
            keys, "POST", parts.path, parts.query, everything, body, region, service
        ),
    }


def authorization(
    keys: Keys,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    region: str,
    service: str,
) -> str:
    """The Authorization header of signature version 4; ``headers`` are all that is signed, X-Amz-Date among them."""
    lower = {name.lower(): re.sub(" +", " ", value.strip()) for name, value in headers.items()}
    names = ";".join(sorted(lower))
    moment = lower["x-amz-date"]
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    pairs = sorted(part if "=" in part else f"{part}=" for part in query.split("&") if part)
    request = "\n".join(
        [
            method,
            quote(path or "/", safe="/-_.~"),
            "&".join(pairs),
            *(f"{name}:{lower[name]}" for name in sorted(lower)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
    )
    wanted = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{keys.secret}".encode()
    for word in scope.split("/"):
        key = _hmac(key, word)
    return f"{_ALGORITHM} Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={_hmac(key, wanted).hex()}"


def signature_2(secret: str, method: str, url: str, form: Mapping[str, str]) -> str:
    """The ``Signature`` of version 2, by HMAC-SHA256, over all other words of the form."""
    wanted = "\n".join([method, host(url), urlsplit(url).path or "/", encoded(form)])
    return base64.b64encode(_hmac(secret.encode(), wanted)).decode("ascii")


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _stamp(utc: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(utc))


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
