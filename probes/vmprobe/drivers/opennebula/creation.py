"""The attributes of a test VM, and the templates that oned is given to create resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional

from vmprobe.drivers.opennebula.readings import MIB, texts
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from vmprobe.drivers.opennebula.plan import OpenNebulaTestVM

DEFAULT_MEMORY = 256 * MIB
_DEFAULT_CPU = 0.1


def attributes(
    test_vm: OpenNebulaTestVM, template: Optional[Element], image: Element, network: str
) -> Dict[str, Any]:
    """The attributes of the VM; None for those that its template decides.

    With a template only what the site file changes is given: oned replaces a list in it as a whole.
    ``network`` is the id of the network, "" for the template's own.
    """
    memory = test_vm["memory"] or (None if template is not None else DEFAULT_MEMORY)
    given: Dict[str, Any] = {
        "CPU": test_vm["cpu"] or (None if template is not None else _DEFAULT_CPU),
        "VCPU": test_vm["vcpu"] or (None if template is not None else 1),
        "MEMORY": memory and memory // MIB,
        "SCHED_REQUIREMENTS": test_vm["requirements"],
        "DEV_PREFIX": test_vm["device prefix"],
    }
    if template is None or not _has_disk(template, image):
        given["DISK"] = {"IMAGE_ID": text(image, "ID")}
    if network:
        given["NIC"] = {"NETWORK_ID": network}
    if template is None or test_vm["reporter"]:
        context = {"NETWORK": "YES"} if template is None else texts(template, "TEMPLATE/CONTEXT")
        script = {"START_SCRIPT_BASE64": "reporter"} if test_vm["reporter"] else {}
        given["CONTEXT"] = {**context, **script}
    return given


def with_nonce(context: Mapping[str, str], nonce: str) -> Mapping[str, str]:
    """The CONTEXT with the reporter's script for this run, where it has a start script.

    one-context waits for the end of the script, so the reporter works in the background. The script
    is in base64 because oned expands every ``$NAME`` in a CONTEXT.
    """
    if not nonce or not context.get("START_SCRIPT_BASE64"):
        return context
    from vmprobe.guest import user_data

    script = user_data.encoded(user_data.reporter(nonce, background=True))
    return {**context, "START_SCRIPT_BASE64": script}


def effective_text(key: str, given: Mapping[str, Any], template: Optional[Element]) -> Any:
    """An attribute of the VM: the site's value, else the template's text; None without both."""
    value = given.get(key)
    if value is not None or template is None:
        return value
    return text(template, f"TEMPLATE/{key}", "")


def effective_list(
    key: str, given: Mapping[str, Any], template: Optional[Element]
) -> List[Dict[str, str]]:
    """The VM's DISKs or NICs: the site's, else all of the template."""
    value = given.get(key)
    if value is not None:
        return [value]
    if template is None:
        return []
    return [texts(element, ".") for element in template.findall(f"TEMPLATE/{key}")]


def to_xml(attributes: Mapping[str, object]) -> str:
    """A template as XML, which oned accepts wherever it accepts its own syntax.

    What is None is left out.
    """
    from xml.etree.ElementTree import Element, SubElement, tostring

    root = Element("TEMPLATE")
    for key, value in attributes.items():
        if isinstance(value, Mapping):
            vector = SubElement(root, key)
            for name, inner in value.items():
                SubElement(vector, name).text = str(inner or "")
        elif value is not None:
            SubElement(root, key).text = str(value)
    return tostring(root, encoding="unicode")


def _has_disk(template: Element, image: Element) -> bool:
    """Whether the template already boots from this image."""
    return any(
        text(disk, "IMAGE_ID", "") == text(image, "ID")
        or text(disk, "IMAGE", "") == text(image, "NAME")
        for disk in template.findall("TEMPLATE/DISK")
    )
