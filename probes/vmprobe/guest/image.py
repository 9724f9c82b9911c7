"""Build the suite's own test image: a small Linux that writes to its console what it sees.

It has some 16 MB, boots in seconds, and has no root disk: the initrd is the whole system. ``build``
makes it from the distribution's cloud kernel and a static busybox: as kernel and initrd, as disks
that boot by BIOS or UEFI, and in the formats of the clouds. That needs no root, no loop device and
no mount. The same inputs give the same bytes; times in the image are ``$SOURCE_DATE_EPOCH``, or a
fixed time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Sequence

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import ClientError, DeadlinePassed
from vmprobe.core.text import whole_number
from vmprobe.guest import initramfs, user_data
from vmprobe.host import files, paths

FORMATS = {  # format: the files it consists of
    "kernel": ("kernel", "initrd"),
    "raw": ("vmprobe.raw",),  # boots by BIOS; so do the next four, which are the same disk
    "qcow2": ("vmprobe.qcow2",),
    "vmdk": ("vmprobe.vmdk",),
    "vhd": ("vmprobe.vhd",),
    "ova": ("vmprobe.ova",),
    "uefi": ("vmprobe-uefi.raw",),
}
KERNEL_PACKAGE = "linux-image-cloud-amd64"
_GUEST = os.path.dirname(os.path.abspath(__file__))
_RECIPE = (
    "image.py",
    "initramfs.py",
    "bench.py",
    "bootdisk.py",
    "unified_kernel.py",
    "containers.py",
    "user_data.py",
)
_LARGEST = 2**28  # bytes of one file that goes in
_PATIENCE = 600.0  # seconds to wait for another build in the same directory
_EPOCH = 1577836800  # 2020-01-01; FAT knows none before 1980, VHD none before 2000


class File(NamedTuple):
    """A file of the image: its path, its size in bytes, its SHA-256 sum in hexadecimal."""

    path: str
    size: int
    sha256: str


class Kernel(NamedTuple):
    """A kernel, and the modules that go in, by name."""

    release: str
    image: bytes
    modules: Dict[str, bytes]


def build(
    directory: str,
    formats: Iterable[str] = ("kernel",),
    kernel: str = "",
    modules: str = "",
    busybox: str = "",
    update: bool = False,
) -> Dict[str, File]:
    """Make ``formats`` in ``directory`` and return their files by name.

    A file that is there and still right stays as it is. The kernel is the distribution's, or a
    ``kernel`` file with its folder of ``modules``. The distribution's is kept in ``directory`` once
    it was downloaded; ``update`` asks for a newer one. ClientError, in one line, if something is
    missing or does not fit.
    """
    directory = os.path.abspath(directory)
    formats = list(dict.fromkeys(formats))
    _check(formats)
    with _locked(directory):
        linux = _given(kernel, modules) if kernel or modules else _distributed(directory, update)
        time = epoch()
        entries = initramfs.contents(_GUEST, _busybox(busybox), linux.release, linux.modules)
        system = initramfs.archive(entries, time)

        inputs = hashlib.sha256(
            b"".join((linux.image, system, str(time).encode(), _recipe()))
        ).hexdigest()
        record = _Record(directory, inputs)
        missing = [
            format for format in formats if not all(record.holds(name) for name in FORMATS[format])
        ]
        if missing:
            with tempfile.TemporaryDirectory(prefix=".building-", dir=directory) as work:
                _make(work, missing, linux.image, _compressed(system), time)
                for format in missing:
                    for name in FORMATS[format]:
                        record.add(name, os.path.join(work, name))
        return {name: record.files[name] for format in formats for name in FORMATS[format]}


def directory() -> str:
    """Return where the image is kept unless one says otherwise.

    ``$VMPROBE_IMAGES``; else /var/cache/vmprobe/image where this user can write, or where somebody
    has built the image; else vmprobe/image below ``$XDG_CACHE_HOME``, or below .cache in the home.
    ClientError where there is none of these.
    """
    place = os.environ.get("VMPROBE_IMAGES")
    installed = "/var/cache/vmprobe/image"
    if not place and (
        os.access(installed, os.W_OK) or os.path.exists(os.path.join(installed, "initrd"))
    ):
        place = installed
    cache = paths.user_directory("XDG_CACHE_HOME", ".cache")
    if not place and not cache:
        raise ClientError(
            "there is no place for the test image, because this user has no home; "
            "name a directory in VMPROBE_IMAGES"
        )
    return os.path.abspath(place or os.path.join(cache, "vmprobe", "image"))


def epoch() -> int:
    """The time of all files in the image, in seconds since the epoch."""
    given = os.environ.get("SOURCE_DATE_EPOCH") or str(_EPOCH)
    seconds = whole_number(given, 10)
    if seconds is None:
        raise ClientError(f"SOURCE_DATE_EPOCH is {given[:40]!r}, not a number of seconds")
    return seconds


def _check(formats: Sequence[str]) -> None:
    """ClientError if one of the formats cannot be made here. Checked before the first is made."""
    unknown = [format for format in formats if format not in FORMATS]
    if unknown:
        raise ClientError(f"no image format {unknown[0]!r}: one of {', '.join(FORMATS)}")
    if set(formats) != {"kernel"}:
        from vmprobe.guest import bootdisk

        bootdisk.check_tools(formats)


def _make(work: str, formats: Sequence[str], kernel: bytes, initrd: bytes, time: int) -> None:
    """Make the files of ``formats`` in the folder ``work``. What they were made of stays there."""
    for name, content in zip(FORMATS["kernel"], (kernel, initrd)):
        with open(os.path.join(work, name), "wb") as file:
            file.write(content)
    if set(formats) != {"kernel"}:
        from vmprobe.guest import bootdisk

        bootdisk.make(work, formats, user_data.kernel_command_line(), time)


def _compressed(content: bytes) -> bytes:
    # 16: gzip's format, and without a name and a time, which the gzip module would write.
    packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


# --- inputs ---


def _given(kernel: str, modules: str) -> Kernel:
    if not kernel or not modules:
        raise ClientError(
            "a kernel file and its folder of modules are given together "
            "(--kernel FILE --modules DIR)"
        )
    try:
        image = files.read(kernel, _LARGEST)
        os.listdir(modules)
    except OSError as error:
        raise ClientError(f"{error.filename or kernel}: {error.strerror}") from error
    return _fitting(image, initramfs.select(initramfs.modules_below(modules)))


def _fitting(image: bytes, modules: Dict[str, bytes]) -> Kernel:
    release = initramfs.release_of(image)
    initramfs.check_release(release, modules)
    return Kernel(release, image, modules)


def _distributed(directory: str, update: bool) -> Kernel:
    """The distribution's cloud kernel: the one that was downloaded before, or apt's current one."""
    kept = sorted(
        (file for file in os.listdir(directory) if re.fullmatch(r"linux-image-.+\.deb", file)),
        key=_version,
    )
    if update or not kept:
        newest = _download(directory)
        for old in set(kept) - {newest}:
            os.unlink(os.path.join(directory, old))
            shutil.rmtree(os.path.join(directory, old[: -len(".deb")]), ignore_errors=True)
    else:
        newest = kept[-1]

    unpacked = os.path.join(directory, newest[: -len(".deb")])
    drivers = "\n".join(initramfs.DRIVERS.values()).encode()
    if _read(os.path.join(unpacked, "drivers")) != drivers:
        _unpack(os.path.join(directory, newest), unpacked, drivers)
    return _fitting(
        _read(os.path.join(unpacked, "vmlinuz")),
        initramfs.select(initramfs.modules_below(unpacked)),
    )


def _version(file: str) -> List[int]:
    """The numbers in a file name, as a key to sort by."""
    parts = (whole_number(part) for part in re.split(r"([0-9]+)", file))
    return [-1 if part is None else part for part in parts]


def _read(path: str) -> bytes:
    """The content of a file; b'' if it is not there."""
    try:
        return files.read(path, _LARGEST)
    except FileNotFoundError:
        return b""


def _download(directory: str) -> str:
    """Download what KERNEL_PACKAGE depends on; return the file name of it in ``directory``."""
    depends = _run(
        ["apt-cache", "depends", KERNEL_PACKAGE], "give the kernel by --kernel FILE --modules DIR"
    )
    match = re.search(r"Depends: (linux-image-\S+)", depends)
    if not match:
        raise ClientError(
            f"apt-cache knows no {KERNEL_PACKAGE}: run apt-get update, "
            "or give --kernel FILE --modules DIR"
        )
    with tempfile.TemporaryDirectory(prefix=".download-", dir=directory) as work:
        _run(["apt-get", "-q", "download", match.group(1)], "run apt-get update", work)
        packages = [file for file in os.listdir(work) if file.endswith(".deb")]
        if len(packages) != 1:
            raise ClientError(f"apt-get download {match.group(1)} left {len(packages)} packages")
        files.move(os.path.join(work, packages[0]), os.path.join(directory, packages[0]))
        return packages[0]


def _unpack(package: str, target: str, drivers: bytes) -> None:
    """Unpack what is needed of a kernel package into the folder ``target``: vmlinuz and modules."""
    damaged = ClientError(f"{package} is no kernel package: remove it, and it is downloaded again")
    available: Dict[str, Callable[[], bytes]] = {}
    kernel = b""
    try:
        with (
            subprocess.Popen(
                ["dpkg-deb", "--fsys-tarfile", package],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as process,
            tarfile.open(fileobj=process.stdout, mode="r|") as members,
        ):
            for member in members:
                name = os.path.basename(member.name)
                module = re.fullmatch(r"(.+)\.ko(\.gz|\.xz|\.zst)?", name)
                file = members.extractfile(member) if member.isfile() else None
                if file and name.startswith("vmlinuz-"):
                    kernel = file.read()
                elif file and module:
                    content = file.read()
                    available[module.group(1)] = functools.partial(
                        initramfs.unpacked, name, content
                    )
    except FileNotFoundError:
        raise ClientError(
            "no dpkg-deb here: give the kernel by --kernel FILE --modules DIR"
        ) from None
    except tarfile.TarError as error:
        raise damaged from error
    if process.returncode or not kernel:
        raise damaged

    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    selected = {f"{name}.ko": content for name, content in initramfs.select(available).items()}
    for name, content in {
        "vmlinuz": kernel,
        **selected,
        "drivers": drivers,
    }.items():  # the last one says: all is there
        with open(os.path.join(target, name), "wb") as file:
            file.write(content)


def _busybox(given: str) -> str:
    found = given or shutil.which("busybox", path=os.environ.get("PATH", "") + ":/bin:/usr/bin")
    if not found:
        raise ClientError("no busybox: install the package busybox-static, or give --busybox FILE")
    return found


def _recipe() -> bytes:
    """The code that makes the image: a newer one makes a newer image."""
    return b"".join(_read(os.path.join(_GUEST, name)) for name in _RECIPE)


def _run(command: Sequence[str], advice: str, cwd: str = ".") -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False
        )
    except FileNotFoundError:
        raise ClientError(f"no {command[0]} here: {advice}") from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [
            f"exit code {done.returncode}"
        ]
        raise ClientError(f"{' '.join(command)}: {lines[-1]}: {advice}")
    return done.stdout.decode("utf-8", "replace")


# --- what was made ---


class _Record:
    """image.json: which files are in the directory, and from which inputs they were made.

    A file counts only while its content is the recorded one.
    """

    def __init__(self, directory: str, inputs: str):
        self._directory = directory
        self._path = os.path.join(directory, "image.json")
        self._inputs = inputs
        self.files: Dict[str, File] = {}
        try:
            known = json.loads(files.read(self._path, _LARGEST))
            if known["inputs"] == inputs:
                self.files = {
                    name: File(os.path.join(directory, name), *entry)
                    for name, entry in known["files"].items()
                }
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return  # there is none, or it is not ours: everything is made anew

    def holds(self, name: str) -> bool:
        known = self.files.get(name)
        return known is not None and os.path.isfile(known.path) and _file(known.path) == known

    def add(self, name: str, made: str) -> None:
        target = os.path.join(self._directory, name)
        os.chmod(made, 0o644)  # whatever the umask is: the checks that boot it are another user's
        files.move(made, target)
        self.files[name] = _file(target)
        known = {name: [entry.size, entry.sha256] for name, entry in sorted(self.files.items())}
        files.replace(
            self._path, json.dumps({"inputs": self._inputs, "files": known}, indent=1), 0o644
        )


def _file(path: str) -> File:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return File(path, os.path.getsize(path), digest.hexdigest())


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Allow one build at a time in a directory; a second one waits and finds everything made."""
    try:
        if paths.home() and directory.startswith(paths.home() + os.sep):
            os.makedirs(directory, exist_ok=True)  # how private that is, is its owner's matter
        else:
            files.make_public_directory(directory)
        lock = os.open(
            os.path.join(directory, ".lock"),
            os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
            0o644,
        )
    except OSError as error:
        raise ClientError(f"{error.filename}: {error.strerror}") from error
    try:
        try:
            files.lock(lock, Deadline(_PATIENCE, 0))
        except DeadlinePassed:
            raise ClientError(
                f"{directory}: another build is at work here, "
                f"and did not end within {_PATIENCE:g} s"
            ) from None
        except OSError as error:
            raise ClientError(f"{directory}/.lock: {error.strerror}") from error
        yield
    finally:
        os.close(lock)
