"""What libvirt's answers mean: the states of domains, their addresses and counters.

Source: libvirt's domain API, 9.0; the numbers are those of its enumerations.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Dict, List, Mapping, Optional, Tuple
from xml.etree import ElementTree

from vmprobe.core.errors import NotFound
from vmprobe.core.model import Kind, Limit, Ref, Resource, Sample, State
from vmprobe.transport import xml

DOMAIN = {  # virDomainState: libvirt's own word, ours
    0: ("no state", State.PENDING),
    1: ("running", State.READY),
    2: ("idle", State.READY),
    3: ("paused", State.PENDING),
    4: ("in shutdown", State.PENDING),
    5: ("shut off", State.FAILED),
    6: ("crashed", State.FAILED),
    7: ("pmsuspended", State.PENDING),
}
REASON = {  # why a domain is in a state that it does not leave, by state and virDomain...Reason
    (3, 5): "I/O error",
    (3, 10): "crashed",
    (5, 1): "shutdown",
    (5, 2): "destroyed",
    (5, 3): "crashed",
    (5, 4): "migrated",
    (5, 5): "saved",
    (5, 6): "failed",
    (6, 1): "panicked",
}
FAULTS = ("crashed", "failed", "I/O error", "panicked")  # reasons that nobody asked for
_AT_REST = ("shut off", "paused", "pmsuspended")
_DISK_ERROR = {1: "unspecified error", 2: "no space"}
LEASE, AGENT, ARP = range(3)  # virDomainInterfaceAddressesSource


def server(domain: Any) -> Resource:
    """What libvirt says of a domain, without its addresses."""
    number, code = domain.state()
    provider_state, state = DOMAIN.get(number, (f"state {number}", State.PENDING))
    fault, cause = REASON.get((number, code), ""), ""
    if fault:
        state = State.FAILED
    if fault == "I/O error":
        cause = "storage"
        disks = ", ".join(
            f"{disk}: {_DISK_ERROR.get(error, error)}"
            for disk, error in domain.diskErrors().items()
        )
        fault = f"{fault} on {disks}" if disks else fault
    _, memory, _, vcpus, _ = domain.info()
    return Resource(
        Ref(Kind.SERVER, domain.name(), domain.name()),
        state,
        provider_state,
        fault=fault,
        cause=cause,
        vcpus=vcpus,
        memory=memory * 2**10,
    )


def is_at_rest(server: Resource) -> bool:
    """Whether somebody has stopped this server on purpose."""
    return server.provider_state in _AT_REST and not server.fault.startswith(FAULTS)


def address_sources(tree: ElementTree.Element) -> List[int]:
    """Who may know a domain's addresses, best first: DHCP leases, ARP table, guest agent."""
    types = {interface.get("type") for interface in tree.iterfind("devices/interface")}
    sources = [LEASE] if "network" in types else []
    sources += [ARP] if types != {"user"} else []
    if tree.find("devices/channel/target[@state='connected']") is not None:
        sources.append(AGENT)
    return sources


def addresses(interfaces: Optional[Mapping[str, Any]]) -> Tuple[str, ...]:
    """Parse the answer of interfaceAddresses: the addresses that can be reached from elsewhere."""
    found = set()
    for interface in (interfaces or {}).values():
        for entry in interface["addrs"] or ():
            address = ipaddress.ip_address(entry["addr"])
            if not address.is_loopback and not address.is_link_local:
                found.add(str(address))
    return tuple(sorted(found))


def nonce_of(tree: ElementTree.Element) -> str:
    """The nonce that a test VM was given; '' if none."""
    text = ElementTree.tostring(tree, encoding="unicode")
    match = re.search(r"vmprobe\.nonce=([A-Za-z0-9-]+)", text)
    return match[1] if match else ""


def samples(stats: Mapping[str, Any], now: float) -> List[Sample]:
    """The counters of a domain; what libvirt does not count is left out.

    ``cpu`` includes QEMU's own work for the guest. Network traffic is counted as the guest sees it:
    ``rx`` is what it received.
    """
    found = []
    if "cpu.time" in stats:
        found.append(Sample("cpu", stats["cpu.time"] / 1e9 / stats.get("vcpu.current", 1), now))
    for metric, device, counter in (
        ("disk_read", "block", "rd.bytes"),
        ("disk_write", "block", "wr.bytes"),
        ("net_in", "net", "rx.bytes"),
        ("net_out", "net", "tx.bytes"),
    ):
        pattern = re.compile(rf"^{device}\.\d+\.{re.escape(counter)}$")
        counts = [value for key, value in stats.items() if pattern.match(key)]
        if counts:
            found.append(Sample(metric, sum(counts), now))
    waits = of_vcpus(stats, "delay")
    if waits:
        found.append(Sample("ready", sum(waits) / 1e9 / len(waits), now))
    if "balloon.rss" in stats:
        found.append(Sample("memory", stats["balloon.rss"] * 2**10, now, counter=False))
    return found


def of_vcpus(stats: Mapping[str, Any], counter: str) -> List[int]:
    """A counter of each vCPU in ns: ``time`` that it ran, ``delay`` that it waited for a CPU."""
    pattern = re.compile(rf"^vcpu\.\d+\.{counter}$")
    return [value for key, value in stats.items() if pattern.match(key)]


def available_memory(host: Any, library: Any) -> int:
    """Bytes of a host's memory that a VM can have: what is free or only caches files."""
    try:
        stats = host.getMemoryStats(library.VIR_NODE_MEMORY_STATS_ALL_CELLS)  # in KiB
    except library.libvirtError:  # not every hypervisor has them
        return int(host.getFreeMemory())
    return sum(int(stats.get(name, 0)) for name in ("free", "buffers", "cached")) * 1024


def tree_of(domain: Any) -> ElementTree.Element:
    """A domain's definition."""
    return parsed(domain.XMLDesc())


def parsed(description: str) -> ElementTree.Element:
    """The root of a description in XML, without namespaces; GatewayFailed where it is none."""
    return xml.parse(description.encode(), subject="libvirt's description")


def source_of(disk: ElementTree.Element) -> str:
    """The path of a disk; '' if it has none."""
    source = disk.find("source")
    return "" if source is None else source.get("file") or source.get("dev") or ""


def version(number: int) -> str:
    """libvirt's version numbers as text: 9000000 is ``9.0.0``."""
    return f"{number // 10**6}.{number // 10**3 % 1000}.{number % 1000}"


def guest_types(host: Any) -> List[str]:
    """The types of domains that a host offers for x86_64, such as ``qemu`` and ``kvm``."""
    capabilities = parsed(host.getCapabilities())
    domains = capabilities.iterfind("guest/arch[@name='x86_64']/domain")
    return [domain.get("type", "") for domain in domains]


def active_network(host: Any, name: str) -> str:
    """The bridge of a network. NotFound if the network is not active."""
    network = host.networkLookupByName(name)
    if not network.isActive():
        raise NotFound(f"network {name!r} is not active", cause="network")
    return str(network.bridgeName())


def gateway(host: Any, library: Any) -> Dict[str, Any]:
    """What a host says of itself."""
    guests = parsed(host.getCapabilities()).findall("guest/arch")
    return {
        "version": version(host.getLibVersion()),
        "binding": version(library.getVersion()),
        "hypervisor": f"{host.getType()} {version(host.getVersion())}",
        "host": host.getHostname(),
        "uri": host.getURI(),
        "guests": sorted(
            f"{arch.get('name')} {domain.get('type')}"
            for arch in guests
            for domain in arch.findall("domain")
        ),
    }


def limits(host: Any, library: Any) -> List[Limit]:
    """All that runs on a host, its memory, and how long vCPUs waited for a CPU."""
    name, memory = host.getHostname(), host.getInfo()[1] * 2**20
    running = host.getAllDomainStats(
        library.VIR_DOMAIN_STATS_VCPU, library.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
    )
    vcpus = sum(stats.get("vcpu.current", 0) for _, stats in running)
    waited = sum(sum(of_vcpus(stats, "delay")) for _, stats in running) / 1e9
    ran = sum(sum(of_vcpus(stats, "time")) for _, stats in running) / 1e9
    return [
        Limit("servers", len(running), None, name),
        Limit("vcpus", vcpus, None, name),
        Limit("memory", max(0, memory - available_memory(host, library)), memory, name),
        *([Limit("ready", waited, ran + waited, name)] if waited else []),
    ]
