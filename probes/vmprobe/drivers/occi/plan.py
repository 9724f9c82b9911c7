"""Choose what a test VM is made of: templates, the network, user data and an SSH key."""

from __future__ import annotations

import base64
import os
from typing import Dict, List, NamedTuple, Optional, TypedDict

from vmprobe.core.errors import ClientError, NotFound
from vmprobe.core.model import Plan
from vmprobe.core.text import cut
from vmprobe.drivers.occi.entities import Category, Entity
from vmprobe.drivers.occi.protocol import Occi
from vmprobe.drivers.occi.readings import NETWORK
from vmprobe.host import files

# For each mixin that may carry it, the attribute; the first mixin that an endpoint has is used
_USER_DATA = {  # in base64
    "http://schemas.openstack.org/compute/instance#user_data": "org.openstack.compute.user_data",
    "http://schemas.ogf.org/occi/infrastructure/compute#user_data": "occi.compute.userdata",
}
_SSH_KEY = {
    "http://schemas.openstack.org/instance/credentials#public_key": (
        "org.openstack.credentials.publickey.data"
    ),
    "http://schemas.ogf.org/occi/infrastructure/credentials#ssh_key": (
        "occi.credentials.ssh.publickey"
    ),
}
_MAX_FILE = 65536  # bytes of a file that a VM is given

OcciTestVM = TypedDict(
    "OcciTestVM",
    {
        "image": str,
        "flavor": str,
        "network": str,
        "start": bool,
        "user data": Optional[str],  # path of a file
        "ssh key": Optional[str],  # path of a file
    },
)


class OcciDetails(TypedDict):
    """What a Plan keeps for the creation of a server."""

    mixins: List[str]
    attributes: Dict[str, str]
    network: str  # location; '' for none


class _Extra(NamedTuple):
    """User data or a key, as the endpoint takes it."""

    mixin: str
    attribute: str
    value: str


def plan(occi: Occi, test_vm: OcciTestVM) -> Plan:
    """What a server is made of; NotFound or ClientError where the endpoint does not have it."""
    image = _template(occi, "os_tpl", test_vm["image"])
    flavor = _template(occi, "resource_tpl", test_vm["flavor"]) if test_vm["flavor"] else None
    network = _network(occi, test_vm["network"]) if test_vm["network"] else None
    extras = _extras(occi, test_vm)
    templates = [image.id] + ([flavor.id] if flavor else [])
    details: OcciDetails = {
        "mixins": templates + [extra.mixin for extra in extras],
        "attributes": {extra.attribute: extra.value for extra in extras},
        "network": network.location if network else "",
    }
    return Plan(
        image.title or image.term,
        (flavor.title or flavor.term) if flavor else "",
        network.title if network else "",
        details,
    )


def _template(occi: Occi, root: str, name: str) -> Category:
    """The one template with this term, identifier, or title.

    ``Flavor: `` may be left out of a title.
    """
    occi.check_session()
    templates = occi.templates(root)
    named = [template for template in templates if name in (template.term, template.id)] or [
        template
        for template in templates
        if name in (template.title, template.title.rpartition(": ")[2])
    ]
    if not named:
        known = cut(", ".join(sorted(each.title or each.term for each in templates)), 100)
        raise NotFound(f"no {root} {name!r} among {known or 'none'}", cause="image")
    if len(named) > 1:
        key = "image" if root == "os_tpl" else "flavor"
        terms = cut(", ".join(template.term for template in named), 150)
        raise ClientError(f"[test vm] {key}: {name!r} are {terms}: name one")
    return named[0]


def _network(occi: Occi, name: str) -> Entity:
    """The one network with this title, id or location."""
    named = []
    for network in occi.collection(NETWORK, "list networks"):
        identity = occi.id_of(NETWORK, network)
        location = occi.location(NETWORK, identity)
        if name in (identity, location, network.location):
            return Entity(NETWORK, title=network.title or identity, location=location)
        title = network.title or occi.get(location, f"show network {identity}").title
        if name == title:
            named.append(Entity(NETWORK, title=title, location=location))
    if not named:
        raise NotFound(f"no network {name!r}", cause="network")
    if len(named) > 1:
        raise ClientError(
            f"[test vm] network: {len(named)} are called {name!r}: name one by its id"
        )
    return named[0]


def _extras(occi: Occi, test_vm: OcciTestVM) -> List[_Extra]:
    """The user data and the SSH key that a VM is given."""
    extras = []
    for key, path, attributes in (
        ("user data", test_vm.get("user data"), _USER_DATA),
        ("ssh key", test_vm.get("ssh key"), _SSH_KEY),
    ):
        if not path:
            continue
        mixin = next((mixin for mixin in attributes if mixin in occi.categories), None)
        if not mixin:
            raise ClientError(f"[test vm] {key}: the endpoint has no mixin for it")
        content = _content(path, key)
        value = (
            base64.b64encode(content).decode() if key == "user data" else content.decode().strip()
        )
        if not value or not value.isprintable():
            problem = "is not one line" if value else "is not there: it is empty"
            raise ClientError(f"[test vm] {key}: {path}: {problem}")
        extras.append(_Extra(mixin, attributes[mixin], value))
    return extras


def _content(path: str, key: str) -> bytes:
    """A file of the administrator's, in ASCII."""
    try:
        content = files.read(os.path.expanduser(path), _MAX_FILE)
        content.decode("ascii")
    except OSError as error:
        raise ClientError(f"[test vm] {key}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"[test vm] {key}: {path}: is not plain text") from None
    return content
