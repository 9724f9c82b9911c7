"""How what a run makes carries its handle: tags, the filters that ask for them, and late names."""

from __future__ import annotations

import contextlib
import re
from typing import Any, Dict, List, Optional, Set, Tuple

from vmprobe.core import handle
from vmprobe.core.errors import CloudError
from vmprobe.core.model import Ref, Resource
from vmprobe.drivers.ec2 import answers
from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.drivers.ec2.session import Session
from vmprobe.transport.xml import text


def tag_specification(dialect: Dialect, name: str, *kinds: str, token: str = "") -> Dict[str, Any]:
    """The parameters that tag new things of these kinds, where the request that creates can.

    The second tag, ``vmprobe``, is the one that a site's tagging rules do not rewrite.
    """
    if dialect.tags != "at once":
        return {}
    tags = [{"Key": "Name", "Value": name}, {"Key": "vmprobe", "Value": token or name}]
    return {"TagSpecification": [{"ResourceType": kind, "Tag": tags} for kind in kinds]}


def name_filter(dialect: Dialect, name: str, key: str = "tag:Name") -> Dict[str, Any]:
    """The parameters that ask for what begins with ``name``; {} where the manager cannot filter.

    A member's number is left out, as the members of a fleet share one name.
    """
    is_foreign = key == "client-token" and not name.startswith(handle.PREFIX)
    if not name or not dialect.filters or is_foreign:
        return {}
    return {"Filter": [{"Name": key, "Value": [re.sub(r"-\d*$", "", name) + "*"]}]}


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
            ids: List[str] = self._session.all(
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
            found = self._session.all(
                "DescribeVolumes", {"VolumeId": [volume.id]}, f"show {volume}", answers.volume
            )
            for seen in found:
                if seen.ref.id == volume.id:
                    self._give(seen)

    def shown(self, seen: Resource) -> str:
        """Give a volume that is shown without a name the one that is due.

        The result is why the manager refused; '' where nothing was due, or it was given.
        """
        if seen.ref.name:
            self.forget(seen.ref)
        return self._give(seen) if seen.ref.id in self._due else ""

    def forget(self, volume: Ref) -> None:
        self._due.pop(volume.id, None)

    def _give(self, seen: Resource) -> str:
        """What has a name, is attached or has another size is somebody else's, and gets none."""
        name, size = self._due[seen.ref.id]
        is_held = seen.server or seen.provider_state in ("in-use", *answers.ATTACHING)
        if seen.ref.name or is_held or seen.size not in (0, size):
            self.forget(seen.ref)
            return ""
        try:
            self._session.call(
                "CreateTags",
                {"ResourceId": [seen.ref.id], "Tag": [{"Key": "Name", "Value": name}]},
                asked=f"name of {seen.ref}",
            )
        except CloudError as refusal:
            return str(refusal)
        return ""
