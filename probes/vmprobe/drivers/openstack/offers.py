"""What the gateway says of itself beyond its version, as far as this credential may see it."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List

from vmprobe.core.errors import CloudError, NotPermitted
from vmprobe.drivers.openstack.services import Services


def offers(services: Services) -> Dict[str, Any]:
    """The services' versions, Neutron's extensions, the hypervisors and Gnocchi's metrics.

    Where one of them cannot be had, the reason stands in its place.
    """
    questions: Dict[str, Callable[[Services], object]] = {"identity": Services.keystone_version}
    if services.has_cinder():
        questions["block storage"] = _cinder_version
    questions["network extensions"] = _extensions
    questions["hypervisors"] = _hypervisors
    if services.has_gnocchi():
        questions["metrics by Gnocchi"] = _gnocchi_metrics
    return {subject: _answer(question, services) for subject, question in questions.items()}


def _answer(question: Callable[[Services], object], services: Services) -> object:
    try:
        return question(services)
    except NotPermitted:
        return "not permitted"
    except CloudError as failed:
        return str(failed)


def _cinder_version(services: Services) -> str:
    cinder = services.cinder()
    root = re.sub(r"(/v3)(?:/.*)?$", r"\1/", cinder.url)
    return cinder.get(root, asked="Cinder's version").short_text("versions", 0, "version")


def _extensions(services: Services) -> List[str]:
    reply = services.neutron().get("extensions", asked="Neutron's extensions")
    return sorted(str(extension.get("alias")) for extension in reply.items("extensions"))


def _hypervisors(services: Services) -> List[str]:
    reply = services.nova().get("os-hypervisors/detail", asked="hypervisors")
    types = [hypervisor.get("hypervisor_type") for hypervisor in reply.items("hypervisors")]
    return sorted({str(kind) for kind in types if kind})


def _gnocchi_metrics(services: Services) -> Dict[str, str]:
    """How often Gnocchi keeps which metric of this project's servers."""
    from vmprobe.drivers.openstack import gnocchi

    periods = gnocchi.periods(services.gnocchi())
    return {metric: f"every {seconds:g} s" for metric, seconds in periods.items()}
