"""The storage pool: volumes, images, and the files that a server has there. All functions of
``Pool`` are requests.

Source: libvirt's storage API and storage XML format, 9.0.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Tuple
from xml.sax.saxutils import escape, quoteattr

from vmprobe.core.errors import ClientError, GatewayFailed, ResourceFailed
from vmprobe.core.handle import PREFIX
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.drivers.libvirt.connection import Connection, session_home
from vmprobe.drivers.libvirt.readings import parsed, source_of, tree_of
from vmprobe.host import paths

if TYPE_CHECKING:
    from vmprobe.drivers.libvirt.plan import LibvirtDetails

OWN_IMAGE = "vmprobe-test"
DEFAULT = "vmprobe"  # the pool where the site names none
_FILES = ("kernel", "initrd", "console", "disk")  # what a server has in the pool, named after it
_CONSOLE = 4 * 2**20  # bytes that are read of a console
_PART = 16 * 2**20  # bytes of a volume that are read by one request


class Pool:
    """The storage pool of a site. Without a name in the site file it is one of the suite's own."""

    def __init__(self, connection: Connection, name: str, user: str, is_session: bool):
        self._connection, self._ask = connection, connection.ask
        self._is_own, self.name = not name, name or DEFAULT
        self._user, self._is_session = user, is_session

    # --- within a request: ``host`` is libvirt's connection ---------------------------------------

    def open(self, host: Any, name: str = "") -> Any:
        """The pool in libvirt's library; the suite's own is created when it is not there.

        ResourceFailed if there is no such pool. Not NotFound: that would mean that no volume
        exists.
        """
        name = name or self.name
        pool = self._named(host, name)
        if pool is None and name == DEFAULT and self._is_own:
            pool = self._create(host)
        if pool is None:
            raise ResourceFailed(f"no storage pool named {name!r}", cause="storage")
        if not pool.isActive():
            raise ResourceFailed(f"storage pool {name!r} is not active", cause="storage")
        return pool

    def find(self, host: Any, ref: Ref) -> Any:
        """The volume with this id, in the pool in which it was created."""
        pool, _, name = ref.id.rpartition("/")
        return self.open(host, pool).storageVolLookupByName(name)

    def volumes(self, host: Any, name: str) -> List[Resource]:
        """The volumes whose name starts with ``name``.

        A server's files are among them once the server is gone, so that no file can be overlooked.
        """
        volumes = [
            each for each in self.open(host).listAllVolumes() if each.name().startswith(name)
        ]
        if not volumes:
            return []
        servers = {domain.name() for domain in host.listAllDomains()}
        holders = self.holders(host)
        return [
            self.volume(each, holders) for each in volumes if owner_of(each.name()) not in servers
        ]

    def volume(self, volume: Any, holders: Mapping[str, str]) -> Resource:
        """A volume as a resource. libvirt has no states of volumes: one that exists can be used."""
        name, holder = volume.name(), holders.get(volume.path(), "")
        pool = volume.storagePoolLookupByVolume().name()
        return Resource(
            Ref(Kind.VOLUME, f"{pool}/{name}", name),
            State.READY,
            "in use" if holder else "free",
            server=holder,
            size=volume.info()[1],
        )

    def holders(self, host: Any) -> Dict[str, str]:
        """The test VMs that have a volume as a disk, by the volume's path."""
        holders = {}
        for domain in host.listAllDomains():
            if domain.name().startswith(PREFIX):
                tree = self._tree(domain)
                for disk in tree.iterfind("devices/disk") if tree is not None else ():
                    holders[source_of(disk)] = domain.name()
        return holders

    def delete_files(self, host: Any, server: str) -> None:
        """Delete the files that a server has in the pool."""
        for volume in self.open(host).listAllVolumes():
            if owner_of(volume.name()) == server:
                self._connection.leniently(volume.delete, 0, "VIR_ERR_NO_STORAGE_VOL")

    def image(self, host: Any, image: str) -> "LibvirtDetails":
        """What an overlay has to know of the volume below it."""
        if image.startswith("/"):
            volume = host.storageVolLookupByPath(image)
        else:
            volume = self.open(host).storageVolLookupByName(image)
        form = parsed(volume.XMLDesc()).find("target/format")
        return {
            "base": volume.path(),
            "format": "raw" if form is None else form.get("type", "raw"),
            "size": volume.info()[1],
        }

    def images(self, host: Any, name: str) -> List[Any]:
        """The volume of this name or path; without a name all that no test VM has created."""
        if name.startswith("/"):
            return [host.storageVolLookupByPath(name)]
        if name:
            return [self.open(host).storageVolLookupByName(name)]
        volumes = self.open(host).listAllVolumes()
        return [volume for volume in volumes if not volume.name().startswith(PREFIX)]

    def console(self, host: Any, server: str) -> str:
        """What a server has written on its console, at most 4 MiB."""
        volume = self.open(host).storageVolLookupByName(f"{server}-console")
        stream = host.newStream()
        parts: List[bytes] = []
        volume.download(stream, 0, _CONSOLE)
        stream.recvAll(_collect, parts)
        stream.finish()
        return b"".join(parts).decode("utf-8", "replace")

    def _tree(self, domain: Any) -> Optional[ElementTree.Element]:
        """A domain's definition; None if the domain is gone."""
        return self._connection.leniently(lambda: tree_of(domain), None, "VIR_ERR_NO_DOMAIN")

    def _named(self, host: Any, name: str) -> Any:
        return self._connection.leniently(
            lambda: host.storagePoolLookupByName(name), None, "VIR_ERR_NO_STORAGE_POOL"
        )

    def _create(self, host: Any) -> Any:
        """Create the suite's own pool over a directory.

        It is transient: it ends with the daemon.
        """
        path = os.path.join(self._data_directory(), "libvirt", "images", DEFAULT)
        text = (
            f"<pool type='dir'><name>{DEFAULT}</name>"
            f"<target><path>{escape(path)}</path></target></pool>"
        )
        library = self._connection.library
        try:
            return host.storagePoolCreateXML(text, library.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
        except library.libvirtError as failed:
            pool = self._named(host, DEFAULT)  # another run may have created it meanwhile
            if pool is None:
                message = f"storage pool {DEFAULT!r}: {failed}"
                raise ResourceFailed(message, cause="storage") from None
            return pool

    def _data_directory(self) -> str:
        if self._user:
            return os.path.join(session_home(self._user), ".local", "share")
        if not self._is_session:
            return "/var/lib"
        data = paths.user_directory("XDG_DATA_HOME", ".local", "share")
        if not data:
            raise ClientError(
                "[endpoint] pool: this user has no home for a pool of the suite's own; name one"
            )
        return data

    # --- requests of their own --------------------------------------------------------------------

    def create_volume(self, name: str, size: int, base: Optional["LibvirtDetails"] = None) -> str:
        """Create a volume of ``size`` bytes that takes no space yet; return its path.

        It is raw, or with ``base`` an overlay over that volume.
        """
        overlay = ""
        if base is not None:
            overlay = (
                "<target><format type='qcow2'/></target>"
                f"<backingStore><path>{escape(base['base'])}</path>"
                f"<format type={quoteattr(base['format'])}/></backingStore>"
            )
        text = (
            f"<volume><name>{escape(name)}</name><capacity>{size}</capacity>"
            f"<allocation>0</allocation>{overlay}</volume>"
        )
        path: str = self._ask(
            f"create volume {name}",
            lambda host: self.open(host).createXML(text).path(),
            text,
            failed=ResourceFailed,
            cause="storage",
        )
        return path

    def upload(self, name: str, path: str) -> str:
        """Copy a file of this host into a new volume; return its path there."""

        def send(host: Any) -> None:
            stream = host.newStream()
            with open(path, "rb") as file:
                self.open(host).storageVolLookupByName(name).upload(stream, 0, 0)
                stream.sendAll(lambda stream, length, file: file.read(length), file)
            stream.finish()

        created = self.create_volume(name, os.path.getsize(path))
        self._ask(f"upload {path}", send, failed=ResourceFailed, cause="storage")
        return created

    def blocks(self, path: str) -> Iterator[bytes]:
        """The content of a volume's file, read part by part, each part by a request of its own."""
        begin, length = 0, 1
        while begin < length:
            length, parts = self._read(path, begin)
            if begin < length and not any(parts):
                raise GatewayFailed(f"{path} has {length} bytes, and can be read to {begin} only")
            for data in parts:
                begin += len(data)
                yield data

    def _read(self, path: str, begin: int) -> Tuple[int, List[bytes]]:
        """Read a part of a file, from ``begin``; return the file's length and what was read."""
        parts: List[bytes] = []

        def act(host: Any) -> int:
            volume, stream = host.storageVolLookupByPath(path), host.newStream()
            length: int = volume.infoFlags(self._connection.library.VIR_STORAGE_VOL_GET_PHYSICAL)[2]
            if begin < length:
                volume.download(stream, begin, min(_PART, length - begin))
                stream.recvAll(_collect, parts)
                stream.finish()
            return length

        return self._ask(f"read {path} from {begin}", act), parts


def own_image() -> "LibvirtDetails":
    """The files of the suite's test image on this host. ClientError if it is not built."""
    from vmprobe.guest.image import FORMATS, directory

    files = {name: os.path.join(directory(), name) for name in FORMATS["kernel"]}
    for path in files.values():
        if not os.path.isfile(path):
            raise ClientError(
                f"the test image is not built, {path} is not there: vmprobectl image build"
            )
    return {"kernel": files["kernel"], "initrd": files["initrd"]}


def owner_of(file: str) -> str:
    """The server to which a volume of this name belongs; '' if it belongs to none."""
    server, _, part = file.rpartition("-")
    return server if part in _FILES else ""


def is_block(volume: Any) -> bool:
    """Whether a volume is a block device (virStorageVolType)."""
    return bool(volume.info()[0] == 1)


def _collect(stream: Any, data: bytes, parts: List[bytes]) -> int:
    parts.append(data)
    return len(data)
