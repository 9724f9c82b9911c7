"""Snapshots of servers: AMIs, and the EC2 snapshots of volumes that they are made of.

When an AMI is removed, EC2 keeps its snapshots. So the driver removes them as well.
"""

from __future__ import annotations

import contextlib
from typing import Dict, List

from vmprobe.core.errors import NotFound
from vmprobe.core.model import Kind, Ref, Resource
from vmprobe.drivers.ec2 import answers
from vmprobe.drivers.ec2.names import name_filter, tag_specification
from vmprobe.drivers.ec2.query import Value
from vmprobe.drivers.ec2.session import Session
from vmprobe.transport.xml import text


class Snapshots:
    """The AMIs that runs make of servers."""

    def __init__(self, session: Session):
        self._session = session
        # By id of an AMI: its snapshots that have to be removed yet.
        self._to_remove: Dict[str, List[str]] = {}

    def create(self, server: Ref, name: str) -> Ref:
        """Ask for an AMI of the running server, without a reboot; its snapshots get its name."""
        reply = self._session.call(
            "CreateImage",
            {
                "InstanceId": server.id,
                "Name": name,
                "NoReboot": True,
                **tag_specification(self._session.dialect, name, "image", "snapshot"),
            },
            asked=f"snapshot of {server}",
        )
        image_id = reply.parse(lambda: answers.identity(reply.xml(), "imageId"))
        return Ref(Kind.SNAPSHOT, image_id, name)

    def show(self, ref: Ref, asked: str) -> List[Resource]:
        """What the answer about this id holds."""
        if _is_ec2_snapshot(ref.id):
            return self._session.all(
                "DescribeSnapshots", {"SnapshotId": [ref.id]}, asked, answers.snapshot
            )
        return self._session.all("DescribeImages", {"ImageId": [ref.id]}, asked, answers.ami)

    def list(self, name: str) -> List[Resource]:
        """Our AMIs by their name, and snapshots whose AMI is gone."""
        dialect = self._session.dialect
        parameters: Dict[str, Value] = {"Owner": ["self"]}
        if name and dialect.filters:
            parameters["Filter"] = [{"Name": "name", "Value": [f"{name}*"]}]
        images = self._session.all(
            "DescribeImages",
            parameters,
            "list images",
            lambda element: (answers.ami(element), answers.snapshots_of(element)),
        )
        found = [image for image, _ in images]
        if name and dialect.tags == "at once":
            used = {snapshot for _, snapshots in images for snapshot in snapshots}
            snapshots = self._session.all(
                "DescribeSnapshots",
                {"Owner": ["self"], **name_filter(dialect, name)},
                "list snapshots",
                answers.snapshot,
            )
            found += [snapshot for snapshot in snapshots if snapshot.ref.id not in used]
        return found

    def delete(self, ref: Ref) -> None:
        """Remove an AMI, then its snapshots. May be repeated when some of these are left."""
        to_remove = self._to_remove.setdefault(ref.id, [])
        if _is_ec2_snapshot(ref.id):
            to_remove[:] = [ref.id]
        else:
            try:
                self._deregister(ref, to_remove)
            except NotFound:
                if not to_remove:
                    raise
        while to_remove:
            with contextlib.suppress(NotFound):
                self._session.call(
                    "DeleteSnapshot",
                    {"SnapshotId": to_remove[0]},
                    asked=f"delete snapshot {to_remove[0]}",
                )
            del to_remove[0]

    def _deregister(self, ref: Ref, to_remove: List[str]) -> None:
        """Remove the AMI alone; its own snapshots are added to ``to_remove`` before."""
        images = self._session.elements(
            "DescribeImages",
            {"ImageId": [ref.id]},
            f"show {ref}",
            lambda element: text(element, "imageId", "") == ref.id,
        )
        to_remove += [
            snapshot
            for image in images
            for snapshot in answers.snapshots_of(image)
            if snapshot not in to_remove and self._was_made_for(snapshot, ref)
        ]
        if images:
            self._session.call("DeregisterImage", {"ImageId": ref.id}, asked=f"delete {ref}")
        elif not to_remove:
            raise NotFound(f"{ref} is not there")

    def _was_made_for(self, snapshot: str, image: Ref) -> bool:
        """Whether a snapshot was made for this AMI, by its name or description.

        An AMI may also name somebody else's snapshot. In a dialect that does not tag at once, name
        and description do not tell, so the AMI is believed.
        """
        if self._session.dialect.tags != "at once":
            return True
        try:
            shown = self._session.all(
                "DescribeSnapshots",
                {"SnapshotId": [snapshot]},
                f"show snapshot {snapshot}",
                lambda element: (
                    text(element, "snapshotId"),
                    answers.tags(element).get("Name"),
                    text(element, "description", ""),
                ),
            )
        except NotFound:
            return False
        return any(
            identity == snapshot and (name == image.name or image.id in description)
            for identity, name, description in shown
        )


def _is_ec2_snapshot(identity: str) -> bool:
    return identity.startswith("snap-")
