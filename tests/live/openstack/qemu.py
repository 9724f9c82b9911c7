"""Real guests beside the fake hypervisor: libvirt and QEMU under emulation, bridges, DHCP and the metadata service.

libvirt gets directories of its own under its usual names, in the mount namespace of the stack, and never sees the machine's.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from . import bootstrap, services
from .bootstrap import Api
from .conffiles import PASSWORD
from .place import HERE, PORTS, Place
from .processes import Processes

IMAGE = "vmprobe-test"
NETWORK = "guests"
ZONE = "az-qemu"
COMMAND_LINE = "console=ttyS0 quiet panic=-1"

DIRECTORIES = {
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
    "etc": "/etc/libvirt",
    "netns": "/run/netns",
}
SERVICES = [
    "nova-metadata",
    "linuxbridge-agent",
    "dhcp-agent",
    "metadata-agent",
    "nova-compute-qemu",
]


def start(processes: Processes) -> None:
    start_libvirt(processes)
    for name in SERVICES:
        services.start(processes, name)


def start_libvirt(processes: Processes) -> None:
    base = processes.place.run / "libvirt"
    for name, usual in DIRECTORIES.items():
        (base / name).mkdir(parents=True, exist_ok=True)
        Path(usual).mkdir(parents=True, exist_ok=True)
        processes.inside(["/bin/mount", "--bind", str(base / name), usual])
    (base / "run" / "libvirt-sock").unlink(missing_ok=True)
    (base / "etc" / "qemu.conf").write_text(
        'user = "root"\n'
        'group = "root"\n'
        'security_driver = "none"\n'
        'stdio_handler = "file"\n'  # there is no virtlogd
        "namespaces = []\n"
        "cgroup_controllers = []\n"
        "dynamic_ownership = 0\n"
        "remember_owner = 0\n"
    )
    (base / "etc" / "libvirtd.conf").write_text('auth_unix_ro = "none"\nauth_unix_rw = "none"\n')
    processes.start("libvirtd", processes.enter(["libvirtd"]), {"LIBVIRT_LOG_OUTPUTS": "2:stderr"})

    def answers() -> bool:
        processes.check(["libvirtd"])
        return (base / "run" / "libvirt-sock").exists()

    processes.wait_until(answers, 20, "libvirtd does not listen")


def contents(place: Place, admin: Api) -> None:
    """The suite's test image, and a network with DHCP whose gateway is this machine; returns once it is served.

    The network is made when the agents are there, and no guest starts before DHCP does: either would wait for long.
    """
    files = test_image()
    kernel = bootstrap.image(admin, f"{IMAGE}-kernel", files["kernel"], "aki", "aki")
    ramdisk = bootstrap.image(admin, f"{IMAGE}-ramdisk", files["initrd"], "ari", "ari")
    bootstrap.image(
        admin,
        IMAGE,
        bytes(1 << 20),
        kernel_id=kernel,
        ramdisk_id=ramdisk,
        os_command_line=COMMAND_LINE,
    )

    agents = {"neutron-dhcp-agent", "neutron-linuxbridge-agent", "neutron-metadata-agent"}
    admin.wait_until(
        lambda: (
            agents
            <= {
                agent["binary"]
                for agent in admin.get("network", "/v2.0/agents")["agents"]
                if agent["alive"]
            }
        ),
        120,
        f"not all of {', '.join(sorted(agents))} report themselves",
    )
    network = bootstrap.network(admin, NETWORK, f"{place.guests}.0/24", dhcp=True)
    admin.wait_until(
        lambda: [
            port
            for port in admin.get(
                "network", f"/v2.0/ports?network_id={network}&device_owner=network:dhcp"
            )["ports"]
            if port["status"] == "ACTIVE"
        ],
        120,
        f"the DHCP port of network {network} is not ACTIVE",
    )
    subprocess.run(
        ["ip", "address", "add", f"{place.guests}.1/24", "dev", bridge(network)], check=True
    )


def test_image() -> dict[str, bytes]:
    """Kernel and initrd of the suite's own test image, built if they are not yet."""
    probes = str(HERE.parents[2] / "probes")
    if probes not in sys.path:
        sys.path.append(probes)
    from vmprobe.guest import image

    return {
        name: Path(file.path).read_bytes() for name, file in image.build(image.directory()).items()
    }


# Without the mark of ``Processes``: QEMU, because libvirt sets its environment, and bridges.


def guests(place: Place) -> list[int]:
    """The process ids of the guests."""
    return [
        int(path.read_text()) for path in (place.run / "libvirt" / "run" / "qemu").glob("*.pid")
    ]


def bridges(place: Place) -> list[str]:
    """The existing bridges of Neutron's networks, by its database, because bridges have no mark of ours."""
    if not (place.run / "libvirt").exists():
        return []
    ask = [
        "mariadb",
        f"--host={place.address}",
        f"--port={PORTS['mariadb']}",
        "--user=openstack",
        f"--password={PASSWORD}",
        "--batch",
        "--skip-column-names",
        "--execute",
        "SELECT id FROM neutron.networks",
    ]
    networks = subprocess.run(
        ask, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout.split()
    return [name for name in map(bridge, networks) if Path("/sys/class/net", name).exists()]


def bridge(network: str) -> str:
    """The bridge that Neutron's linuxbridge agent makes for a network."""
    return f"brq{network[:11]}"


def remove(bridges: list[str]) -> None:
    """Remove bridges, and the taps that ended guests left in them."""
    for bridge in bridges:
        for link in [path.name for path in Path("/sys/class/net", bridge, "brif").iterdir()] + [
            bridge
        ]:
            subprocess.run(
                ["ip", "link", "delete", link], stderr=subprocess.DEVNULL
            )  # a tap may have gone with its guest
