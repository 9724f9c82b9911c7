"""The command lines of everything that runs, and of what prepares the databases."""
from __future__ import annotations

from conffiles import PASSWORD, rabbitmq_environment
from place import PORTS, STANDINS, Place
from processes import Processes

PYTHON = "/usr/bin/python3"  # Debian's, for which the services are packaged; not the one that runs the tests

# name: module, configuration files
PROGRAMS = {
    "glance": ("glance.cmd.api", ["glance"]),
    "neutron": ("neutron.cmd.eventlet.server", ["neutron", "neutron-ml2"]),
    "cinder-api": ("cinder.cmd.api", ["cinder"]),
    "cinder-scheduler": ("cinder.cmd.scheduler", ["cinder"]),
    "cinder-volume": ("cinder.cmd.volume", ["cinder"]),
    "nova-api": ("nova.cmd.api_os_compute", ["nova", "nova-database"]),
    "nova-conductor": ("nova.cmd.conductor", ["nova", "nova-database"]),
    "nova-scheduler": ("nova.cmd.scheduler", ["nova", "nova-database"]),
    "nova-compute": ("nova.cmd.compute", ["nova", "nova-fake"]),
}
WSGI = {
    "keystone": "/usr/bin/keystone-wsgi-public",
    "placement": "/usr/bin/placement-api",
}
PORT = {name: PORTS[name] for name in ("mariadb", "rabbitmq", "keystone", "placement", "glance", "neutron")}
PORT.update({"nova-api": PORTS["nova"], "cinder-api": PORTS["cinder"]})
REPORTING = {"nova-conductor", "nova-scheduler", "nova-compute", "cinder-scheduler", "cinder-volume"}


def start(processes: Processes, name: str) -> None:
    """Start the service called ``name``; it may not be ready when this returns."""
    place = processes.place
    if name == "mariadb":
        processes.start(name, ["mariadbd", f"--defaults-file={place.etc / 'mariadb.cnf'}"])
    elif name == "rabbitmq":
        environment = rabbitmq_environment(place)
        processes.start("epmd", ["epmd", "-address", place.address, "-port", str(place.epmd)], environment)
        processes.start(name, ["/usr/lib/rabbitmq/bin/rabbitmq-server"], environment)
    elif name in WSGI:
        processes.start(name, wsgi(place, name, WSGI[name]), {
            "OS_KEYSTONE_CONFIG_FILES": str(place.etc / "keystone.conf"),
            "OS_PLACEMENT_CONFIG_DIR": str(place.etc),
        })
    elif name == "cinder-volume":  # its mounts are its own, and end with it
        processes.start(name, ["unshare", "--mount", "--propagation", "private", *program(place, name)])
    else:
        processes.start(name, program(place, name))


def program(place: Place, name: str) -> list[str]:
    module, files = PROGRAMS[name]
    return [PYTHON, str(STANDINS / "launch.py"), name, module, *options(place, files),
            "--log-file", str(place.log / f"{name}.log")]


def wsgi(place: Place, name: str, script: str) -> list[str]:
    """One process of some threads. It closes each connection and says so: else clients meet connections closed behind them."""
    return ["uwsgi", "--plugins", "python3", "--http-socket", f"{place.address}:{PORTS[name]}", "--wsgi-file", script,
            "--threads", "4", "--need-app", "--die-on-term", "--buffer-size", "65535", "--disable-logging",
            "--add-header", "Connection: close"]


def install_mariadb(processes: Processes) -> None:
    processes.run("mariadb-install-db", [
        "mariadb-install-db", f"--defaults-file={processes.place.etc / 'mariadb.cnf'}", "--user=root",
        "--auth-root-authentication-method=socket", "--skip-test-db"])


def schemas(place: Place) -> dict[str, list[str]]:
    """The commands that fill the empty databases, by name; none needs another, so they run side by side."""
    url = f"{place.url('keystone')}/v3"
    region = ["--bootstrap-password", PASSWORD, "--bootstrap-region-id", "RegionOne"]
    for interface in ("admin", "internal", "public"):
        region += [f"--bootstrap-{interface}-url", url]

    return {
        "neutron-schema": manage(place, "neutron.db.migration.cli", ["neutron", "neutron-ml2"], ["upgrade", "heads"]),
        "nova-schema": manage(
            place, "nova.cmd.manage", ["nova", "nova-database"],
            ["api_db", "sync"], ["cell_v2", "map_cell0"], ["cell_v2", "create_cell", "--name", "cell1"], ["db", "sync"]),
        "keystone-schema": manage(
            place, "keystone.cmd.manage", ["keystone"], ["db_sync"], ["bootstrap", *region]),
        "cinder-schema": manage(place, "cinder.cmd.manage", ["cinder"], ["db", "sync"]),
        "glance-schema": manage(place, "glance.cmd.manage", ["glance"], ["db_sync"]),
        "placement-schema": manage(place, "placement.cmd.manage", ["placement"], ["db", "sync"]),
    }


def manage(place: Place, module: str, files: list[str], *commands: list[str]) -> list[str]:
    words = []
    for command in commands:
        words += ["+", *options(place, files), *command]
    return [PYTHON, str(STANDINS / "launch.py"), module.partition(".")[0], module, *words[1:]]


def options(place: Place, files: list[str]) -> list[str]:
    return [word for name in files for word in ("--config-file", str(place.etc / f"{name}.conf"))]
