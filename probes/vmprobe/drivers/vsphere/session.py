"""The session: login, calls, faults, and the logout at the end of a run.

A session that is left open stays in vCenter until it has been idle for half an hour, and each login
is an event. So one session serves a whole run, and ``close`` ends it whatever happened before.
"""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional
from urllib.parse import urlsplit

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import AuthRejected, ClientError, CloudError, GatewayFailed, VmprobeError
from vmprobe.core.exchanges import Evidence
from vmprobe.drivers.vsphere import faults, soap
from vmprobe.drivers.vsphere.soap import Moref, Value
from vmprobe.transport.http import MAX_BYTES, Http, Reply
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_VERSION = "urn:vim25/6.0"  # the oldest API that has all we need; newer servers speak it, too
_COOKIE = "vmware_soap_session="
_LOGOUT = 5.0  # seconds for the logout, at most
_SERVICE = Moref("ServiceInstance", "ServiceInstance")
MANAGERS = (  # of the service's content
    "rootFolder",
    "propertyCollector",
    "viewManager",
    "sessionManager",
    "searchIndex",
    "fileManager",
    "virtualDiskManager",
    "perfManager",
)


class Session:
    """One vCenter or ESXi host, as one user. Nothing is sent before ``open``."""

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        url = endpoint["url"]
        self.credentials, self.deadline, self.evidence = credentials, deadline, evidence
        self.http = Http(
            url if urlsplit(url).path else f"{url}/sdk",
            deadline,
            evidence,
            timeout=endpoint["timeout"],
            ca=endpoint["ca"],
            classify=_refusal,
        )
        self.http.headers["Content-Type"] = "text/xml; charset=utf-8"
        self.http.headers["Accept"] = "text/xml"
        self.http.headers["SOAPAction"] = _VERSION
        self.about: Dict[str, str] = {}
        self._managers: Dict[str, Moref] = {}
        self._is_open = False

    @property
    def is_vcenter(self) -> bool:
        """Whether this is a vCenter, not a single host."""
        return self.about.get("apiType") == "VirtualCenter"

    def open(self) -> None:
        """Log in; AuthRejected where the user or the password is not accepted."""
        username, password = self.credentials.get("username"), self.credentials.get("password")
        if not username or not password:
            raise ClientError("the credentials need both username and password")
        self._is_open = False
        self.http.headers.pop("Cookie", None)
        content = self._call("RetrieveServiceContent", _SERVICE, {}, "service content")
        returned = content.find("returnval")
        if returned is None:
            raise GatewayFailed("service content: the answer has none")
        self._managers = {
            name: soap.moref(returned.find(name))
            for name in MANAGERS
            if returned.find(name) is not None
        }
        self.about = {item.tag: (item.text or "").strip() for item in returned.iterfind("about/*")}
        reply = self._exchange(
            "Login",
            self.manager("sessionManager"),
            {"userName": username, "password": password},
            "login",
            is_secret=True,
        )
        self._keep_cookie(reply)
        key = reply.parse(lambda: text(_content(reply, "Login"), "returnval/key", ""))
        self.evidence.redactor.add(key)  # names of this session's views have it in them
        reply.forget()
        self._is_open = True

    def _keep_cookie(self, reply: Reply) -> None:
        for part in reply.headers.get("Set-Cookie", "").split(";"):
            _, found, value = part.partition(_COOKIE)
            if found and value.strip():
                self.evidence.redactor.add(value.strip().strip('"'))
                self.http.add_secret_header("Cookie", _COOKIE + value.strip())
                return
        raise reply.malformed("the answer has no session cookie")

    def manager(self, name: str) -> Moref:
        """One of the managers of the service; CloudError where this server has none."""
        if not self._managers:
            raise AuthRejected("no session")
        try:
            return self._managers[name]
        except KeyError:
            product = self.about.get("fullName") or "this server"
            raise CloudError(f"{product} has no {name}", cause="gateway") from None

    def call(
        self,
        method: str,
        this: Moref,
        arguments: Mapping[str, Value],
        asked: str,
        max_bytes: int = MAX_BYTES,
    ) -> Element:
        """Call a method; the result is its whole response. Faults are errors of this suite."""
        if not self._is_open:
            raise AuthRejected(f"{asked}: no session")
        try:
            return self._call(method, this, arguments, asked, max_bytes)
        except AuthRejected:
            self._is_open = False
            raise

    def returned(
        self, method: str, this: Moref, arguments: Mapping[str, Value], asked: str
    ) -> Moref:
        """Call a method that returns a reference, such as that of a task."""
        return soap.moref(self.call(method, this, arguments, asked).find("returnval"))

    def _call(
        self,
        method: str,
        this: Moref,
        arguments: Mapping[str, Value],
        asked: str,
        max_bytes: int = MAX_BYTES,
    ) -> Element:
        reply = self._exchange(method, this, arguments, asked, max_bytes)
        return reply.parse(lambda: _content(reply, method))

    def _exchange(
        self,
        method: str,
        this: Moref,
        arguments: Mapping[str, Value],
        asked: str,
        max_bytes: int = MAX_BYTES,
        is_secret: bool = False,
    ) -> Reply:
        return self.http.post(
            body=soap.envelope(method, this, arguments),
            asked=asked,
            max_bytes=max_bytes,
            redact_reply=is_secret,
        )

    def close(self) -> None:
        """Log out and close the connections. Never raises.

        It is sent even when the deadline has passed or a signal came: the session would outlive us.
        """
        if self._is_open:
            self._is_open = False
            http = copy.copy(self.http)
            http.deadline = Deadline(_LOGOUT, 0, self.deadline.clock)
            http.timeout = min(http.timeout, _LOGOUT)
            with contextlib.suppress(VmprobeError, KeyError):
                body = soap.envelope("Logout", self._managers["sessionManager"], {})
                http.post(body=body, asked="logout")
        self.http.close()


def _content(reply: Reply, method: str) -> Element:
    content = soap.parse(reply.body)
    if content.tag != f"{method}Response":
        raise GatewayFailed(f"the answer is a {content.tag}, not a {method}Response")
    return content


def _refusal(reply: Reply) -> Optional[VmprobeError]:
    """A fault comes with HTTP status 500: read the body before the status."""
    fault = soap.fault(reply.body)
    return None if fault is None else faults.error(reply.asked, fault)
