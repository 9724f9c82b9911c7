"""Volumes: how they are made and detached, and the names that some dialects give them later."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Dict, List, Optional, Set, Tuple, cast

from vmprobe.core.errors import CloudError, Conflict, NotFound
from vmprobe.core.model import Kind, Ref, Resource, State, VolumeSpec
from vmprobe.drivers.ec2 import answers
from vmprobe.drivers.ec2.answers import GIB
from vmprobe.drivers.ec2.consistency import Requested
from vmprobe.drivers.ec2.names import tag_specification
from vmprobe.drivers.ec2.session import Session
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from vmprobe.drivers.ec2.plan import Ec2Details


def create(session: Session, spec: VolumeSpec) -> Ref:
    """Ask for a volume of whole GiB."""
    details = cast("Ec2Details", spec.plan.details)
    reply = session.call(
        "CreateVolume",
        {
            "Size": size_of(spec) // GIB,
            "AvailabilityZone": details["volume zone"] or None,
            "VolumeType": details["volume type"],
            **tag_specification(session.dialect, spec.name, "volume"),
        },
        asked="create volume",
    )
    volume_id = reply.parse(lambda: answers.identity(reply.xml(), "volumeId"))
    return Ref(Kind.VOLUME, volume_id, spec.name)


def size_of(spec: VolumeSpec) -> int:
    """The bytes of the volume that EC2 makes: whole GiB."""
    return -(-spec.size // GIB) * GIB


def show(session: Session, volume: Ref, asked: str) -> List[Resource]:
    """What the answer about this id holds."""
    return session.all("DescribeVolumes", {"VolumeId": [volume.id]}, asked, answers.volume)


def detach(session: Session, requested: Requested, server: Ref, volume: Ref) -> None:
    """Ask for detachment; after a refusal, look whether the volume is attached at all.

    The same codes say "is not attached", "cannot be detached now" and "is not known".
    """
    try:
        with requested.expecting(server, volume):
            session.call(
                "DetachVolume",
                {"VolumeId": volume.id, "InstanceId": server.id},
                asked=f"detach {volume} from {server}",
            )
    except (NotFound, Conflict):
        if _may_be_attached(session, requested, volume):
            raise


def _may_be_attached(session: Session, requested: Requested, volume: Ref) -> bool:
    try:
        shown = answers.only(volume, show(session, volume, f"show {volume}"))
    except NotFound:
        requested.missed(volume)
        return False
    return shown is not None and (bool(shown.server) or shown.state is not State.READY)


class LateNames:
    """Names of volumes, in dialects that give them by CreateTags after the volume was made.

    There, the name is what makes a volume ours, and its id is only what a reply said. So a volume
    gets our name only if it was not there before this session's first volume.
    """

    def __init__(self, session: Session):
        self._session = session
        self._before: Optional[Set[str]] = None  # ids of the volumes that were there before
        self._due: Dict[str, Tuple[str, int]] = {}  # by id: the name to give, and the bytes

    def before_create(self) -> None:
        """Note the volumes that are there before the first one is asked for."""
        if self._session.dialect.tags == "after" and self._before is None:
            ids = self._session.all(
                "DescribeVolumes", {}, "list volumes", lambda item: text(item, "volumeId", "")
            )
            self._before = set(ids)

    def created(self, volume: Ref, size: int) -> None:
        """Give a new volume of ``size`` bytes its name, or leave that to ``shown``."""
        if self._before is None or volume.id in self._before:
            return
        self._before.add(volume.id)
        self._due[volume.id] = volume.name, size
        with contextlib.suppress(CloudError):
            for resource in show(self._session, volume, f"show {volume}"):
                if resource.ref.id == volume.id:
                    self._give(resource)

    def shown(self, volume: Resource) -> str:
        """Give a volume that is shown without a name the one that is due.

        The result is why the manager refused; '' where nothing was due, or it was given.
        """
        if volume.ref.name:
            self.forget(volume.ref)
        return self._give(volume) if volume.ref.id in self._due else ""

    def forget(self, volume: Ref) -> None:
        """No name is due any more."""
        self._due.pop(volume.id, None)

    def _give(self, volume: Resource) -> str:
        """What has a name, is attached or has another size is somebody else's, and gets none."""
        name, size = self._due[volume.ref.id]
        is_held = volume.server or volume.provider_state in ("in-use", *answers.ATTACHING)
        if volume.ref.name or is_held or volume.size not in (0, size):
            self.forget(volume.ref)
            return ""
        try:
            self._session.call(
                "CreateTags",
                {"ResourceId": [volume.ref.id], "Tag": [{"Key": "Name", "Value": name}]},
                asked=f"name of {volume.ref}",
            )
        except CloudError as refusal:
            return str(refusal)
        return ""
