"""Read properties of managed objects by the PropertyCollector, page by page.

What an object lacks, or what the credential may not see, is left out: most properties are optional,
and a machine that is being made has hardly any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from vmprobe.core.errors import GatewayFailed, Incomplete, NotFound
from vmprobe.drivers.vsphere import soap
from vmprobe.drivers.vsphere.session import Session
from vmprobe.drivers.vsphere.soap import Data, Moref, Value
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_PAGE = 100  # objects in one answer
_MAX_PAGES = 1000


class Thing(NamedTuple):
    """A managed object with those of its properties that the server told, by their paths."""

    ref: Moref
    values: Mapping[str, Element]
    hidden: Sequence[str] = ()  # properties that the credential may not see

    def text(self, name: str) -> str:
        """A property's text; '' where it was not told."""
        value = self.values.get(name)
        return "" if value is None else (value.text or "").strip()

    def items(self, name: str) -> List[Element]:
        """The items of a property that is a list; none where it was not told."""
        value = self.values.get(name)
        return [] if value is None else list(value)


class Collector:
    """The property collector of a session, with a view for each set of types that was listed."""

    def __init__(self, session: Session):
        self.session = session
        self._views: Dict[Tuple[Moref, Tuple[str, ...]], Moref] = {}

    def forget_views(self) -> None:
        """Views end with their session."""
        self._views.clear()

    def get(self, ref: Moref, names: Sequence[str], asked: str) -> Thing:
        """One object; NotFound when it does not exist."""
        found = self.get_all([ref], names, asked)
        if not found:
            raise NotFound(f"{asked}: the manager shows no {ref.type} {ref.value}")
        return found[0]

    def get_all(self, refs: Sequence[Moref], names: Sequence[str], asked: str) -> List[Thing]:
        """Several objects of one type, by one request. NotFound when one of them is gone."""
        if not refs:
            return []
        objects: List[Value] = [Data({"obj": ref}) for ref in refs]
        return self._retrieve([refs[0].type], names, objects, asked)

    def list(
        self, container: Moref, types: Sequence[str], names: Sequence[str], asked: str
    ) -> List[Thing]:
        """All objects of these types anywhere below a folder, datacenter or cluster."""
        key = (container, tuple(types))
        if key not in self._views:
            self._views[key] = self.session.returned(
                "CreateContainerView",
                self.session.manager("viewManager"),
                {"container": container, "type": list(types), "recursive": True},
                asked,
            )
        view = self._views[key]
        traversal = Data(
            {"type": view.type, "path": "view", "skip": False},
            "TraversalSpec",
        )
        objects: List[Value] = [Data({"obj": view, "skip": True, "selectSet": traversal})]
        try:
            found = self._retrieve(types, names, objects, asked)
        except NotFound:  # the view, or an object that went while it was read
            self._views.pop(key, None)
            raise GatewayFailed(f"{asked}: the list changed while it was read") from None
        hidden = [thing for thing in found if "name" in thing.hidden]
        if hidden:
            raise Incomplete(f"{asked}: the names of {len(hidden)} objects are hidden from us")
        return found

    def _retrieve(
        self, types: Sequence[str], names: Sequence[str], objects: List[Value], asked: str
    ) -> List[Thing]:
        session, collector = self.session, self.session.manager("propertyCollector")
        sets: List[Value] = [Data({"type": kind, "pathSet": list(names)}) for kind in types]
        answer = session.call(
            "RetrievePropertiesEx",
            collector,
            {
                "specSet": Data({"propSet": sets, "objectSet": objects}),
                "options": Data({"maxObjects": _PAGE}),
            },
            asked,
        )
        found: Dict[Moref, Thing] = {}
        for _ in range(_MAX_PAGES):
            for element in answer.iterfind("returnval/objects"):
                thing = _thing(element)
                found[thing.ref] = thing
            token = text(answer, "returnval/token", "")
            if not token:
                return list(found.values())
            answer = session.call(
                "ContinueRetrievePropertiesEx", collector, {"token": token}, asked
            )
        raise GatewayFailed(f"{asked}: the list has no end after {_MAX_PAGES} pages")


def _thing(element: Element) -> Thing:
    values = {}
    for part in element.iterfind("propSet"):
        value = part.find("val")
        if value is not None:
            values[text(part, "name")] = value
    hidden = []
    for missing in element.iterfind("missingSet"):
        reason = missing.find("fault")
        if reason is not None and soap.localized_fault(reason).type == "NoPermission":
            hidden.append(text(missing, "path", ""))
    return Thing(soap.moref(element.find("obj")), values, tuple(hidden))
