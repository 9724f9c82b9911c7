"""What runs, and what prepares the databases: each with its program and its command line."""

from __future__ import annotations

from .conffiles import FAKE_HOST, FLEET_HOSTS, PASSWORD, QEMU_HOST, rabbitmq_environment
from .place import PORTS, Place
from .processes import Processes

# name: program, configuration files
PROGRAMS = {
    "keystone": ("wsgi:keystone", []),
    "placement": ("wsgi:placement", []),
    "glance": ("glance.cmd.api:main", ["glance"]),
    "neutron": ("neutron.cmd.eventlet.server:main", ["neutron", "neutron-ml2"]),
    "cinder-api": ("cinder.cmd.api:main", ["cinder"]),
    "cinder-scheduler": ("cinder.cmd.scheduler:main", ["cinder"]),
    "cinder-volume": ("cinder.cmd.volume:main", ["cinder"]),
    "nova-api": ("nova.cmd.api_os_compute:main", ["nova", "nova-database"]),
    "nova-conductor": ("nova.cmd.conductor:main", ["nova", "nova-database"]),
    "nova-scheduler": ("nova.cmd.scheduler:main", ["nova", "nova-database"]),
    "nova-compute": ("nova.cmd.compute:main", ["nova", "nova-fake"]),
}
QEMU_PROGRAMS = {
    "nova-metadata": ("nova.cmd.api_metadata:main", ["nova", "nova-database"]),
    "linuxbridge-agent": (
        "neutron.cmd.eventlet.plugins.linuxbridge_neutron_agent:main",
        ["neutron", "neutron-ml2", "neutron-linuxbridge"],
    ),
    "dhcp-agent": ("neutron.cmd.eventlet.agents.dhcp:main", ["neutron", "neutron-dhcp"]),
    "metadata-agent": (
        "neutron.cmd.eventlet.agents.metadata:main",
        ["neutron", "neutron-metadata"],
    ),
    "nova-compute-qemu": ("nova.cmd.compute:main", ["nova", "nova-qemu"]),
}
FLEET_PROGRAMS = {
    f"nova-compute-{host}": ("nova.cmd.compute:main", ["nova", f"nova-{host}"])
    for host in FLEET_HOSTS
}
PORT = {
    name: PORTS[name]
    for name in ("mariadb", "rabbitmq", "keystone", "placement", "glance", "neutron")
}
PORT.update({"nova-api": PORTS["nova"], "cinder-api": PORTS["cinder"]})
REPORTING = {
    "nova-conductor",
    "nova-scheduler",
    "nova-compute",
    "cinder-scheduler",
    "cinder-volume",
}
COMPUTE_HOSTS = {
    FAKE_HOST: "nova-compute",
    QEMU_HOST: "nova-compute-qemu",
    **{host: f"nova-compute-{host}" for host in FLEET_HOSTS},
}


def start(processes: Processes, name: str) -> None:
    """Start the service called ``name``; it may not be ready when this returns."""
    place = processes.place
    if name == "mariadb":
        processes.start(name, ["mariadbd", f"--defaults-file={place.etc / 'mariadb.cnf'}"])
    elif name == "rabbitmq":
        environment = rabbitmq_environment(place)
        processes.start(
            "epmd", ["epmd", "-address", place.address, "-port", str(place.epmd)], environment
        )
        processes.start(name, ["/usr/lib/rabbitmq/bin/rabbitmq-server"], environment)
    elif name in ("keystone", "placement"):
        processes.fork(name, PROGRAMS[name][0], [place.address, str(PORT[name])])
    else:
        program, files = {**PROGRAMS, **QEMU_PROGRAMS, **FLEET_PROGRAMS}[name]
        processes.fork(
            name, program, [*options(place, files), "--log-file", str(place.log / f"{name}.log")]
        )


def install_mariadb(processes: Processes) -> None:
    processes.start(
        "mariadb-install-db",
        [
            "mariadb-install-db",
            f"--defaults-file={processes.place.etc / 'mariadb.cnf'}",
            "--user=root",
            "--auth-root-authentication-method=socket",
            "--skip-test-db",
        ],
    )
    if processes.children["mariadb-install-db"].wait() != 0:
        processes.check(["mariadb-install-db"])


def fill_databases(processes: Processes) -> None:
    """Make the tables of all services, and Keystone's administrator; in parallel, because none needs another's."""
    url = f"{processes.place.url('keystone')}/v3"
    administrator = [
        "bootstrap",
        "--bootstrap-password",
        PASSWORD,
        "--bootstrap-region-id",
        "RegionOne",
        "--bootstrap-public-url",
        url,
        "--bootstrap-internal-url",
        url,
    ]
    jobs = {
        "neutron-schema": (
            "neutron.db.migration.cli:main",
            ["neutron", "neutron-ml2"],
            [["upgrade", "heads"]],
        ),
        "nova-schema": (
            "nova.cmd.manage:main",
            ["nova", "nova-database"],
            [
                ["api_db", "sync"],
                ["cell_v2", "map_cell0"],
                ["cell_v2", "create_cell", "--name", "cell1"],
                ["db", "sync"],
            ],
        ),
        "keystone-schema": ("keystone.cmd.manage:main", ["keystone"], [["db_sync"], administrator]),
        "cinder-schema": ("cinder.cmd.manage:main", ["cinder"], [["db", "sync"]]),
        "glance-schema": ("glance.cmd.manage:main", ["glance"], [["db_sync"]]),
        "placement-schema": ("placement.cmd.manage:main", ["placement"], [["db", "sync"]]),
    }
    for name, (program, files, lines) in jobs.items():
        processes.fork(
            name, program, *([*options(processes.place, files), *line] for line in lines)
        )
    for name in jobs:
        processes.wait_success(name, 300)


def discover_hosts(processes: Processes) -> None:
    """Put the compute services that have reported themselves into Nova's cell; they get no work before."""
    processes.fork(
        "nova-discover",
        "nova.cmd.manage:main",
        [*options(processes.place, ["nova", "nova-database"]), "cell_v2", "discover_hosts"],
    )
    processes.wait_success("nova-discover", 60)


def options(place: Place, files: list[str]) -> list[str]:
    return [word for name in files for word in ("--config-file", str(place.etc / f"{name}.conf"))]
