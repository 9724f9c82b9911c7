"""Real libvirt daemons for the tests, each in namespaces or a home of its own; nothing else on this machine is touched.

``session()`` is a user with a home and ``qemu:///session``; libvirt starts its daemon by itself. ``system()`` is a
host with its own mounts, network and processes: libvirtd as the packages configure it, QEMU under another user, a
libvirt network with DHCP, a bridge with a DHCP server that libvirt does not know, and a bridge without DHCP.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence

import pytest

from running import CHECKOUT
from vmprobe.guest import image
from waiting import soon

from .host import Host, processes

USER = "nobody"


# --- a user's session ---------------------------------------------------------------------------------------------


class Session(Host):
    """A user with a home. For root it is another user with an own installation, who may not be able to read root's files."""

    @property
    def probes(self) -> Path:
        return self.base / "probes" if os.geteuid() == 0 else super().probes

    def daemon(self) -> int:
        return int((self.base / ".cache" / "libvirt" / "libvirtd.pid").read_text())


@contextlib.contextmanager
def session(binding: bool = True) -> Iterator[Session]:
    """``binding``: whether the test needs libvirt's Python library."""
    _needs("libvirtd", "virsh", "qemu-system-x86_64", "setpriv")
    base = Path(
        tempfile.mkdtemp(prefix="vms", dir="/tmp")
    )  # short, because the names of the sockets below it are long
    try:
        before, python = [], [sys.executable]
        if os.geteuid() == 0:
            before = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups"]
            python = ["/usr/bin/python3"]  # the Python of the package python3-libvirt
            _install(base)
        _images(base / "images")
        _give(base, USER)
        host = Session(
            base,
            "qemu:///session",
            before,
            python,
            {
                "HOME": str(base),
                "PYTHONPATH": str(base / "python"),
                "VMPROBE_IMAGES": str(base / "images"),
            },
        )
        if binding:
            _needs_binding(host)
        host.virsh("version")
        try:
            yield host
        finally:
            _end([pid for pid, _ in processes() if _environment(pid).get("HOME") == str(base)])
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _install(base: Path) -> None:
    import nagiosplugin

    shutil.copytree(
        CHECKOUT / "probes", base / "probes", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(Path(nagiosplugin.__file__).parent, base / "python" / "nagiosplugin")


def _give(base: Path, user: str) -> None:
    if os.geteuid() == 0:
        for path in [base, *base.rglob("*")]:
            shutil.chown(path, user)


# --- a host's system ----------------------------------------------------------------------------------------------


_MOUNTS = r"""
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"  # only in this namespace; it ends with us
for place in etc var; do
    mkdir "$1/$place" "$1/$place.work"
    mount -t overlay -o "lowerdir=/$place,upperdir=$1/$place,workdir=$1/$place.work" overlay "/$place"
done
mount -t tmpfs -o mode=755 tmpfs /run
mount -t sysfs sysfs /sys
ip link set lo up
for bridge in served:10.77.0.1 silent:10.77.1.1; do
    ip link add "${bridge%:*}" type bridge
    ip addr add "${bridge#*:}/24" dev "${bridge%:*}"
    ip link set "${bridge%:*}" up
done
rm -rf /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt  # only in this namespace: the files below the overlay stay
mkdir -p /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
grep -q ^libvirt-qemu: /etc/passwd || echo "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin" >>/etc/passwd
grep -q ^libvirt-qemu: /etc/group || echo "libvirt-qemu:x:64055:" >>/etc/group
grep -q ^kvm: /etc/group || echo "kvm:x:64056:" >>/etc/group
echo 'cgroup_controllers = [ ]' >/etc/libvirt/qemu.conf
printf 'auth_unix_rw = "none"\n' >/etc/libvirt/libvirtd.conf
cat >"$1/udhcpd.conf" <<END
start 10.77.0.50
end 10.77.0.99
interface served
lease_file $1/leases
opt subnet 255.255.255.0
opt router 10.77.0.1
END
touch "$1/leases"
echo ready
while :; do sleep 1000 & wait $!; done  # process 1 reaps ended processes
"""
_NETWORK = """<network><name>default</name><forward mode='open'/><bridge name='virbr0'/>
<ip address='10.77.2.1' netmask='255.255.255.0'><dhcp><range start='10.77.2.50' end='10.77.2.99'/></dhcp></ip></network>"""


class System(Host):
    """A host with libvirtd. We see its processes; its files are below the root of its first process."""

    first: int = 0

    def boot(self) -> None:
        """Start the daemons, as an init system would."""
        self._background("busybox", "udhcpd", "-f", f"{self.base}/disk/udhcpd.conf")
        self._background("virtlogd")
        self.start_libvirtd()
        (self.base / "network.xml").write_text(_NETWORK)
        self.virsh("net-create", f"{self.base}/network.xml")

    def start_libvirtd(self) -> None:
        self.libvirtd = self._background("libvirtd")
        soon(self._answers)

    def _answers(self) -> bool:
        asked = subprocess.run(
            [*self._before, "virsh", "-q", "-c", self.url, "uri"],
            env=self._env,
            check=False,
            capture_output=True,
        )
        return asked.returncode == 0

    def daemon(self) -> int:
        return next(
            pid
            for pid, command in processes()
            if command.split("\0")[0] == "libvirtd" and _mounts(pid) == _mounts(self.first)
        )

    def _background(self, *command: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*self._before, *command],
            env=self._env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def written(self) -> List[str]:
        return [
            f"/proc/{self.first}/root{path}" for path in (str(self.base), "/run")
        ]  # the first has /etc and /var


@contextlib.contextmanager
def system() -> Iterator[System]:
    _needs(
        "libvirtd", "virsh", "qemu-system-x86_64", "busybox", "dnsmasq", "nsenter", "unshare", "ip"
    )
    if os.geteuid() != 0:
        pytest.skip("namespaces with a network and mounts of their own need root")
    base = Path(tempfile.mkdtemp(prefix="vmh", dir="/tmp"))
    base.joinpath("disk").mkdir()
    holder = subprocess.Popen(
        [
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            _MOUNTS,
            "sh",
            str(base / "disk"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        line = holder.stdout.readline()
        if line != "ready\n":
            pytest.skip(f"no namespaces here: {line.strip()}")
        first = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text())
        host = System(
            base,
            "qemu:///system",
            ["nsenter", f"--target={first}", "--mount", "--net", "--pid", "--"],
            [sys.executable],
            {"HOME": os.path.expanduser("~"), "VMPROBE_IMAGES": image.directory()},
        )
        host.first = first
        _images(Path(image.directory()))
        host.boot()
        _needs_binding(host)
        yield host
    finally:
        holder.kill()  # this also ends the first process, and so all others
        holder.wait()
        holder.stdout.close()
        shutil.rmtree(base, ignore_errors=True)


# --- both ---------------------------------------------------------------------------------------------------------


def _needs(*programs: str) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [program for program in programs if not shutil.which(program, path=path)]
    if missing:
        pytest.skip(f"not installed here: {', '.join(missing)}")


def _needs_binding(host: Host) -> None:
    try:
        host.python("import libvirt")
    except AssertionError as failed:
        pytest.skip(
            f"no Python binding of libvirt for this host's Python: {str(failed).strip().splitlines()[-1]}"
        )


def _images(directory: Path) -> None:
    """Build the test image, and put its kernel and initrd into ``directory``."""
    made = image.build(image.directory())
    if str(directory) != image.directory():
        directory.mkdir()
        for file in made.values():
            shutil.copy(file.path, directory)


def _environment(pid: int) -> Dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in text.split("\0") if "=" in pair)


def _mounts(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


def _end(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


# --- for the conformance suite ------------------------------------------------------------------------------------


@contextlib.contextmanager
def harness() -> Iterator[Any]:
    """The driver in this process, over the daemon of a user's session."""
    from conformance.harnesses import of_site
    from vmprobe.core.clock import Clock

    pytest.importorskip(
        "libvirt", reason="libvirt's Python binding is not installed: tests/link_libvirt.py"
    )
    with session() as host:
        images = host.base / ".local" / "share" / "libvirt" / "images" / "vmprobe"
        host.virsh("pool-create-as", "vmprobe", "dir", "--target", str(images), "--build")
        socket = host.base / ".cache" / "libvirt" / "libvirt-sock"
        path = host.site(
            endpoint={"url": f"qemu+unix:///session?socket={socket}", "pool": "vmprobe"}
        )
        harness = of_site(str(path), Clock())
        harness.impossible = {"flavor": 64 * 2**40}  # bytes
        yield harness
        assert host.remains() == {}
