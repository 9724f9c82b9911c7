#!/usr/bin/env python3
"""A real OpenStack on loopback: installed from Debian's packages, started, stopped, and thrown away.

    stack.py up [--qemu] | down | status    [--state DIRECTORY]

The first start creates the databases, fills the cloud and keeps a snapshot of it; each later start begins with a copy of
that snapshot. What a running stack holds is gone when it ends.

Above 400 lines: all parts of its class (the start, faults, the snapshot) act on one set of processes.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "openstack"

from . import bootstrap, conffiles, qemu, services  # noqa: E402
from .bootstrap import ADMIN, MEMBER, OTHER, Account, Api  # noqa: E402
from .packages import Unavailable, apt_install, installed_versions, missing_packages  # noqa: E402
from .place import HERE, Place  # noqa: E402
from .processes import Broken, Processes  # noqa: E402


@dataclass(frozen=True)
class Cloud:
    """What a test needs to know of the running cloud."""

    auth_url: str
    region: str = "RegionOne"
    member: Account = MEMBER  # of the project "probe", without any other right
    other: Account = OTHER  # the same in the project "other"
    admin: Account = ADMIN
    image: str = "blank"  # 1 MB of nothing: all that Nova's fake hypervisor needs
    flavor: str = "nano"  # 128 MB, 1 CPU, 1 GB; "tiny" and "small" are larger
    network: str = "private"  # without DHCP
    zone: str = "az-fake"
    volume_type: str = "nfs"
    guest_image: str = qemu.IMAGE  # the suite's own; this and the next two with QEMU only
    # with DHCP and metadata; its gateway is this machine, which can reach the guests
    guest_network: str = qemu.NETWORK
    guest_zone: str = qemu.ZONE


class Stack:
    """One stack in one state directory; leaving the ``with`` block ends it.

    Above 250 lines: all its parts (the start, faults, the snapshot) act on one set of processes.
    """

    def __init__(self, state: os.PathLike | str | None = None, say=lambda line: None) -> None:
        self.place = Place(state)
        self.processes = Processes(self.place)
        self.say = say
        self.lock = None

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_) -> None:
        self.down()

    def up(self, qemu: bool = False, reuse: bool = False) -> Cloud:
        """Install what is missing, start everything, and return once servers can be created.

        ``qemu``: also with real guests. ``reuse``: use a stack that already runs and works. Raises
        ``Unavailable`` where this machine cannot run it, and ``Broken`` if it does not start.
        """
        self.hold()
        began = time.monotonic()
        if not (reuse and self.is_well()):
            self.clear()
            self.install("packages.txt")
            self.prepare()
            try:
                if self.snapshot().exists():
                    self.start()
                else:
                    self.build()
            except BaseException:
                self.stop_everything()  # the logs stay
                raise
        if qemu:
            self.add_qemu()
        self.say(f"ready after {time.monotonic() - began:.1f} s, {self.processes.memory()} MB")
        return self.cloud()

    def down(self) -> None:
        """End everything that was started, whoever started it, and delete its state."""
        self.clear()
        if self.lock:
            self.lock.close()
            self.lock = None

    def clear(self) -> None:
        self.stop_everything()
        shutil.rmtree(self.place.run, ignore_errors=True)

    def stop_everything(self) -> None:
        bridges = qemu.bridges(self.place)
        self.processes.stop_all(qemu.guests(self.place))
        qemu.remove(bridges)

    def add_qemu(self) -> None:
        """Give the running cloud a zone with real guests, unless it has one."""
        if self.processes.pid("nova-compute-qemu"):
            return
        began = datetime.now(timezone.utc)
        self.install("packages-qemu.txt")
        try:
            qemu.start(self.processes)
            qemu.contents(self.place, self.api())
            self.wait_reports({"nova-compute-qemu"}, began)
            services.discover_hosts(self.processes)
            bootstrap.zone(self.api(), conffiles.QEMU_HOST, qemu.ZONE)
        except BaseException:
            self.stop_everything()
            raise

    def add_computes(self) -> None:
        """Give the zone of the fake hypervisor three more hosts: a fleet then takes a quarter of the time."""
        if all(map(self.processes.pid, services.FLEET_PROGRAMS)):
            return
        began = datetime.now(timezone.utc)
        for name in services.FLEET_PROGRAMS:
            services.start(self.processes, name)
        self.wait_reports(set(services.FLEET_PROGRAMS), began)
        services.discover_hosts(self.processes)
        for host in conffiles.FLEET_HOSTS:
            bootstrap.zone(self.api(), host, "az-fake")

    def cloud(self) -> Cloud:
        return Cloud(auth_url=f"{self.place.url('keystone')}/v3")

    def api(self, account: Account = ADMIN) -> Api:
        """Authenticated access, to prepare a test and to check its result."""
        return Api(self.cloud().auth_url, account)

    def client(self, *arguments: str, account: Account = MEMBER) -> subprocess.CompletedProcess:
        """Run OpenStack's own client (python-openstackclient of Debian) as ``account``; output as text."""
        return subprocess.run(
            ["/usr/bin/openstack", *arguments],
            env=self.processes.environment(self.variables(account)),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def variables(self, account: Account) -> dict[str, str]:
        """The ``OS_*`` environment of an account."""
        return {
            "OS_AUTH_URL": self.cloud().auth_url,
            "OS_IDENTITY_API_VERSION": "3",
            "OS_REGION_NAME": self.cloud().region,
            "OS_USERNAME": account.user,
            "OS_PASSWORD": account.password,
            "OS_PROJECT_NAME": account.project,
            "OS_USER_DOMAIN_NAME": account.domain,
            "OS_PROJECT_DOMAIN_NAME": account.domain,
        }

    # Faults.

    def stop(self, service: str) -> None:
        """Kill a service as a crash would: nova-compute, cinder-volume, keystone, ... (``services.PROGRAMS``)."""
        self.processes.stop(service)

    def start_again(self, service: str) -> None:
        """Start a service that was stopped, and return once it works."""
        began = datetime.now(timezone.utc)
        services.start(self.processes, service)
        self.wait_ports([service])
        self.wait_reports(
            {service} & {*services.REPORTING, *services.COMPUTE_HOSTS.values()}, began
        )

    @contextlib.contextmanager
    def without(self, service: str):
        """In a ``with`` block: a cloud whose ``service`` has crashed."""
        self.stop(service)
        try:
            yield
        finally:
            self.start_again(service)

    @contextlib.contextmanager
    def diagnostics_for_administrators_only(self):
        """In a ``with`` block: Nova's default policy for diagnostics, under which a member gets 403."""
        conffiles.diagnostics_policy(self.place, owners=False)
        try:
            yield
        finally:
            conffiles.diagnostics_policy(self.place, owners=True)

    # Coming up.

    def hold(self) -> None:
        """Keep other runs away from this state directory for as long as we use it."""
        if self.lock:
            return
        self.place.state.mkdir(parents=True, exist_ok=True)
        lock = (self.place.state / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another process uses the stack in {self.place.state}") from None
        self.lock = lock

    def install(self, packages: str) -> None:
        missing = missing_packages(HERE / packages)
        if not missing:
            return
        if os.geteuid() != 0:
            raise Unavailable(f"needs root, to install {' '.join(missing)}")
        began = time.monotonic()
        apt_install(missing)
        self.say(f"installed {len(missing)} packages in {time.monotonic() - began:.0f} s")

    def prepare(self) -> None:
        """Make a fresh directory to run in, with the snapshot's databases and the configuration files."""
        if os.geteuid() != 0:
            raise Unavailable("needs root, to mount and to make network devices")
        place = self.place
        for directory in (
            place.etc,
            place.log,
            *(
                place.run / name
                for name in (
                    "pid",
                    "exit",
                    "home",
                    "lock",
                    "share",
                    "rabbitmq",
                    "nova/instances",
                    "nova-mounts",
                    "cinder-mounts",
                )
            ),
        ):
            directory.mkdir(parents=True)
        if self.snapshot().exists():
            copy(self.snapshot(), place.keep)
        place.keep.mkdir(exist_ok=True)
        conffiles.write(place)

    def start(self) -> None:
        """Start everything on databases that are there already."""
        began = datetime.now(timezone.utc)
        for name in (
            "mariadb",
            "rabbitmq",
            "keystone",
            "placement",
            "glance",
            "neutron",
            "nova-api",
            "cinder-api",
            "cinder-scheduler",
            "cinder-volume",
        ):
            services.start(self.processes, name)
        self.start_nova()
        self.wait_reports(services.REPORTING, began)

    def build(self) -> None:
        """Make the databases, fill the cloud, and keep a snapshot of it."""
        began = datetime.now(timezone.utc)
        services.install_mariadb(self.processes)
        services.start(self.processes, "mariadb")
        services.start(self.processes, "rabbitmq")
        self.wait_ports(["mariadb"])
        services.fill_databases(self.processes)
        self.say("schemas")

        services.start(self.processes, "keystone")
        self.wait_ports(["keystone"])
        bootstrap.identity(self.place, self.api())
        self.say("identity")
        for name in (
            "placement",
            "glance",
            "neutron",
            "nova-api",
            "cinder-api",
            "cinder-scheduler",
            "cinder-volume",
        ):
            services.start(self.processes, name)
        self.start_nova()
        bootstrap.contents(self.api())
        self.wait_reports(services.REPORTING, began)
        services.discover_hosts(self.processes)
        bootstrap.zone(self.api(), conffiles.FAKE_HOST, "az-fake")
        self.say("contents")

        self.keep_snapshot()

    def start_nova(self) -> None:
        """Start Nova after Keystone and Placement: its services give up if these do not answer."""
        self.wait_ports(["keystone", "placement"])
        for name in ("nova-conductor", "nova-scheduler", "nova-compute"):
            services.start(self.processes, name)
        self.wait_ports(list(services.PORT))

    def wait_ports(self, names: list[str]) -> None:
        for name in names:
            if name in services.PORT:
                self.processes.wait_port(name, services.PORT[name])

    def wait_reports(self, names: set[str], since: datetime) -> None:
        """Return once those services of Nova and Cinder have reported themselves alive after ``since``."""
        if not names:
            return
        admin = self.api()

        def reported() -> bool:
            self.processes.check(names)
            try:
                listed = (
                    admin.get("compute", "/os-services")["services"]
                    + admin.get("volumev3", "/os-services")["services"]
                )
            except bootstrap.Refused:  # on a busy machine an API can answer 500 while it starts
                return False
            return has_room() and names <= {
                services.COMPUTE_HOSTS.get(service["host"], service["binary"])
                for service in listed
                if is_after(service["updated_at"], since)
            }

        def has_room() -> bool:
            # cinder-volume's report of its space is lost if cinder-scheduler does not listen yet
            return "cinder-volume" not in names or bool(
                admin.get("volumev3", "/scheduler-stats/get_pools")["pools"]
            )

        self.processes.wait_until(
            reported, 120, f"not all of {', '.join(sorted(names))} report themselves", every=0.3
        )

    def is_well(self) -> bool:
        """Whether what was started still runs and answers."""
        if not self.snapshot().exists() or not all(map(self.processes.pid, services.PROGRAMS)):
            return False
        try:
            self.wait_reports(
                services.REPORTING, datetime.fromtimestamp(time.time() - 60, timezone.utc)
            )
        except (Broken, bootstrap.Refused, OSError):
            return False
        return True

    # The snapshot.

    def snapshot(self) -> Path:
        """The place of the snapshot that fits this code, these packages and this directory."""
        recipe = hashlib.sha256(str(self.place.state).encode())
        for source in ("bootstrap.py", "conffiles.py", "place.py", "services.py", "stack.py"):
            recipe.update((HERE / source).read_bytes())
        recipe.update(installed_versions(HERE / "packages.txt").encode())
        return self.place.snapshots / recipe.hexdigest()[:16]

    def keep_snapshot(self) -> None:
        """Stop the database, copy what was built, and drop the snapshots of older code."""
        mariadb = self.processes.children["mariadb"]
        mariadb.terminate()
        mariadb.wait()
        shutil.rmtree(self.place.snapshots, ignore_errors=True)
        half = self.place.snapshots / "half"
        copy(self.place.keep, half)
        half.rename(self.snapshot())
        services.start(self.processes, "mariadb")
        self.wait_ports(["mariadb"])
        self.say("snapshot")


def is_after(reported: str | None, moment: datetime) -> bool:
    return (
        bool(reported)
        and datetime.fromisoformat(reported[:19]).replace(tzinfo=timezone.utc) > moment
    )


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["cp", "--archive", "--sparse=always", "--reflink=auto", source, target], check=True
    )


# By hand.


def main() -> int:
    parser = argparse.ArgumentParser(description="A real OpenStack on loopback, for the tests.")
    parser.add_argument("action", choices=["up", "down", "status"])
    parser.add_argument(
        "--qemu", action="store_true", help="also real guests, by libvirt and QEMU under emulation"
    )
    parser.add_argument(
        "--reuse", action="store_true", help="leave a stack alone that runs already and is well"
    )
    parser.add_argument(
        "--state",
        type=Path,
        help="state directory (default: $VMPROBE_LIVE/openstack, or in ~/.cache)",
    )
    arguments = parser.parse_args()

    began = time.monotonic()
    stack = Stack(
        arguments.state,
        say=lambda line: print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True),
    )
    try:
        if arguments.action == "up":
            cloud = stack.up(qemu=arguments.qemu, reuse=arguments.reuse)
            for name, account in (
                ("admin", cloud.admin),
                ("member", cloud.member),
                ("other", cloud.other),
            ):
                print(
                    f"{name}:",
                    *(f"{key}={value}" for key, value in stack.variables(account).items()),
                )
        elif arguments.action == "down":
            stack.down()
        else:
            running = {name: stack.processes.pid(name) for name in stack.processes.names()}
            for name, pid in running.items():
                print(f"{name:20} {pid or 'ended'}")
            print(
                f"{stack.processes.memory()} MB in {len(stack.processes.pids())} processes, {stack.place.address}"
            )
            return 0 if stack.is_well() else 1
    except (Unavailable, Broken, bootstrap.Refused, OSError) as reason:
        print(f"{arguments.action}: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
