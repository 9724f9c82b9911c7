"""Procedures of oned, OpenNebula's daemon, over XML-RPC: session, pools, refusals.

The only definition is the source: ``src/rm/Request.cc`` (an answer is: done, result or message,
error code).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Union
from urllib.parse import urlsplit

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import (
    AuthRejected,
    CloudError,
    Conflict,
    GatewayFailed,
    Incomplete,
    NotFound,
    NotPermitted,
    QuotaExceeded,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Ref
from vmprobe.core.text import cut
from vmprobe.drivers.opennebula import tokens
from vmprobe.drivers.opennebula.pages import Pages
from vmprobe.transport import xml
from vmprobe.transport.http import Http
from vmprobe.transport.xml import text
from vmprobe.transport.xmlrpc import XmlRpc

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Argument = Union[str, int]  # and bool, which is an int

ALL, MINE = -2, -3  # whose resources a pool is asked for: all that may be seen, or the user's own
_ANY_STATE_BUT_DONE = -1
_PAGE = 200  # resources of a pool in one request
_TRIES = 3  # to read the user's own pool while it changes

(
    AUTHENTICATION,
    AUTHORIZATION,
    NO_EXISTS,
    ACTION,
    XML_RPC_API,
    INTERNAL,
    ALLOCATE,
    LOCKED,
    REPLICATION,
) = (0x100 << bit for bit in range(9))  # ErrorCode in Request.h

_WITH_SECRETS = {  # their answers have hashes, tokens, passwords
    "one.user.info",
    "one.group.info",
    "one.system.config",
}
_NO_SUCH_PROCEDURE = re.compile(r"not defined|no such method|fault -506", re.I)
_NOT_NOW = re.compile(
    r"wrong state|image locked|has to be running|in use|VMs using it|is locked|active clone", re.I
)
_CAUSES = (
    (r"own an image", "image"),
    (r"lease|network|\bnic\b", "network"),
    (r"datastore|\bdisk|\bspace\b", "storage"),
    (r"image", "image"),
    (r"cluster|host", "scheduler"),
)
_QUOTA = re.compile(r"\bquota\b|\blimit of\b")
_CREATES = re.compile(
    r"^\[(one\.\w+\.(allocate|instantiate|disksaveas)|\w*(Allocate|Instantiate|DiskSaveAs))\]", re.I
)
_UNDECIDED = re.compile(
    r"Cannot process request|timed out|could ?n[o']t connect|connection|HTTP|database|\bDB\b", re.I
)


class Oned:
    """One oned as one user. Nothing is sent before ``connect``."""

    has_pages = True  # whether a pool can be asked for in parts

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        self.credentials, self.deadline, self.evidence = credentials, deadline, evidence
        self.http = self.new_http(endpoint)
        self.version = ""
        self._rpc, self._session = XmlRpc(self.http), ""

    @property
    def username(self) -> Optional[str]:
        """The user among the credentials; None if they do not name one."""
        return self.credentials.get("username")

    def new_http(self, endpoint: Mapping[str, Any]) -> Http:
        """The HTTP session that carries the procedures. A URL without a path gets ``/RPC2``."""
        url = endpoint["url"]
        return Http(
            url if urlsplit(url).path else f"{url}/RPC2",
            self.deadline,
            self.evidence,
            timeout=endpoint["timeout"],
            ca=endpoint["ca"],
        )

    def sessions(self) -> List[str]:
        """The sessions to try, the likeliest first; ClientError if a credential is unusable."""
        return tokens.sessions(self.credentials, self.deadline.clock.utc())

    def connect(self) -> None:
        """Try the sessions until oned accepts one, by asking for its version.

        AuthRejected if it accepts none.
        """
        sessions = self.sessions()
        for number, session in enumerate(sessions, 1):
            self._session = session
            self._redact(session)
            try:
                self.version = self._ask_version()
                return
            except AuthRejected:
                self._session = ""
                if number == len(sessions):
                    raise

    def _redact(self, session: str) -> None:
        """Hide what follows the user's name.

        The session of a service names two users: its token is hidden alone as well.
        """
        redactor, secret = self.evidence.redactor, session.partition(":")[2]
        redactor.add(secret)
        if self.credentials.get("server_user"):
            redactor.add(secret.partition(":")[2])

    def _ask_version(self) -> str:
        """The version. Any answer but a rejection accepts the session.

        oned before 3.6 cannot be asked for its version: there another procedure is asked.
        """
        try:
            return str(self.call("one.system.version"))
        except AuthRejected:
            raise
        except CloudError as wrong:
            if not _NO_SUCH_PROCEDURE.search(str(wrong)):
                raise
        self.call("one.vmpool.info", MINE, -1, -1, -1)
        return "before 3.6"

    def is_at_least(self, *version: int) -> bool:
        """Whether oned has at least this version (major, minor); False if it states no number."""
        parts = re.match(r"(\d{1,4})\.(\d{1,4})", self.version)
        return parts is not None and (int(parts[1]), int(parts[2])) >= version

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    # --- procedures -------------------------------------------------------------------------------

    def call(self, procedure: str, *arguments: Argument) -> object:
        """The procedure's result: a number or a text.

        A refusal raises the error that ``refusal`` says.
        """
        if not self._session:
            raise AuthRejected("there is no session")
        answer = self._rpc.call(
            procedure, self._session, *arguments, redact_reply=procedure in _WITH_SECRETS
        )
        if not isinstance(answer, list) or len(answer) < 2 or type(answer[0]) is not bool:
            raise GatewayFailed(
                f"{procedure}: the answer does not have the form of oned: done, result, code"
            )
        if answer[0]:
            return answer[1]
        code = answer[2] if len(answer) > 2 and type(answer[2]) is int else 0
        raise refusal(code, f"{answer[1]}".strip())

    def create(self, procedure: str, *arguments: Argument) -> str:
        """The id of what the procedure created; GatewayFailed if the answer has none."""
        identity = self.call(procedure, *arguments)
        if type(identity) is not int or identity < 0:
            raise GatewayFailed(f"{procedure}: the answer has no id of the new object")
        return str(identity)

    def xml(self, procedure: str, *arguments: Argument) -> Element:
        """The root of the XML document in the answer; GatewayFailed if it is no XML."""
        document = self.call(procedure, *arguments)
        try:
            root: Element = xml.parse(f"{document}".encode())
        except GatewayFailed as wrong:
            raise GatewayFailed(f"{procedure}: {wrong}") from None
        return root

    def xml_if_permitted(self, procedure: str, *arguments: int) -> Optional[Element]:
        """The document of a procedure that not everybody may call; None if oned refuses."""
        try:
            return self.xml(procedure, *arguments)
        except (NotPermitted, NotFound):
            return None

    # --- pools ------------------------------------------------------------------------------------

    def vms(self, whose: int) -> List[Element]:
        """The VMs that are not DONE. ``whose`` is ALL or MINE, here and below."""
        return self._pool("one.vmpool.info", "VM", whose, _ANY_STATE_BUT_DONE)

    def images(self, whose: int = ALL) -> List[Element]:
        """The images."""
        return self._pool("one.imagepool.info", "IMAGE", whose)

    def networks(self) -> List[Element]:
        """The virtual networks that the user may see."""
        return self._pool("one.vnpool.info", "VNET", ALL)

    def templates(self) -> List[Element]:
        """The VM templates that the user may see."""
        return self._pool("one.templatepool.info", "VMTEMPLATE", ALL)

    def hosts(self) -> List[Element]:
        """The hosts; empty if the user may not see them."""
        pool = self.xml_if_permitted("one.hostpool.info")
        return pool.findall("HOST") if pool is not None else []

    def datastores(self) -> List[Element]:
        """The datastores; empty if the user may not see them."""
        pool = self.xml_if_permitted("one.datastorepool.info")
        return pool.findall("DATASTORE") if pool is not None else []

    def _pool(self, procedure: str, tag: str, whose: int, *more: int) -> List[Element]:
        """The whole pool, read page by page: a user can have more VMs than one answer may hold.

        When something goes while the pool is read, what follows it moves to a page that was read
        already. So the pages of the user's own pool overlap, and are read again when they do not
        fit; Incomplete when they never do. A view of everybody's resources may lack one.
        """
        if not self.has_pages:
            return self.xml(procedure, whose, -1, -1, *more).findall(tag)
        for _ in range(_TRIES if whose == MINE else 1):
            resources = self._read_pages(procedure, tag, whose, *more)
            if resources is not None:
                return resources
        raise Incomplete(f"{procedure}: it changed during each of {_TRIES} reads")

    def _read_pages(
        self, procedure: str, tag: str, whose: int, *more: int
    ) -> Optional[List[Element]]:
        """All resources of a pool; None when overlapping pages of the own pool do not fit."""
        overlap = 1 if whose == MINE else 0
        pages = Pages(procedure)
        while True:
            start = len(pages) * (_PAGE - overlap)
            document = self.xml(procedure, whose, start, -_PAGE, *more)
            resources = document.findall(tag)
            first = text(resources[0], "ID") if resources else ""
            if overlap and len(pages) and first != text(pages.resources[-1], "ID"):
                return None
            pages.add(document, resources, first)
            ignores_pages = len(resources) > _PAGE and len(pages) == 1  # then this is all there is
            if len(resources) < _PAGE or ignores_pages:
                by_id = {text(resource, "ID"): resource for resource in pages.resources}
                return list(by_id.values())
            # An error on the next page would keep this frame, and the page, in memory.
            del document, resources


def id_number(ref: Ref) -> int:
    """The id as the number that the procedures take; GatewayFailed if it is none."""
    if not re.fullmatch(r"[0-9]{1,9}", ref.id):
        raise GatewayFailed(f"{cut(ref.id, 60)!r} is not a valid id")
    return int(ref.id)


def refusal(code: int, message: str) -> CloudError:
    """The error that a refusal means.

    The message begins with the procedure: ``[one.vm.allocate] User [2] : limit of 1 reached ...``.
    """
    message = re.sub(r"\s+", " ", message) or f"error {code} without a message"
    if code == AUTHENTICATION:
        return AuthRejected(message)
    if code == NO_EXISTS:
        return NotFound(message)
    if code in (AUTHORIZATION, INTERNAL, ACTION, ALLOCATE) and _QUOTA.search(message):
        return QuotaExceeded(message)
    if code in (AUTHORIZATION, LOCKED):
        return NotPermitted(message)
    if code in (ACTION, INTERNAL) and _NOT_NOW.search(message):
        return Conflict(message)
    if code == REPLICATION or code == INTERNAL and not _refuses_to_create(message):
        return GatewayFailed(message)
    if code == XML_RPC_API:
        return CloudError(message, cause="gateway")
    return CloudError(message, cause=_cause(message.partition("]")[2]))


def _refuses_to_create(message: str) -> bool:
    """Whether an INTERNAL error says that oned refused to create something: nothing was made.

    oned has no other code for leases, clusters and names. When a follower could not pass the
    request on to its leader (an election, no answer), something may have been made.
    """
    return bool(_CREATES.search(message)) and not _UNDECIDED.search(message)


def _cause(message: str) -> str:
    for pattern, cause in _CAUSES:
        if re.search(pattern, message, re.I):
            return cause
    return ""
