"""Images and their snapshots."""

import pytest

from rawserver import reply
from simulators.scripted_ec2 import HANDLE, form_of, refusal
from vmprobe.core.errors import (
    Conflict,
)
from vmprobe.core.model import Kind, Ref

AMI = Ref(Kind.SNAPSHOT, "ami-1", HANDLE)


def _images(identity, *parts):
    mapping = "".join(f"<item><ebs><snapshotId>{part}</snapshotId></ebs></item>" for part in parts)
    return (
        f"<AResponse><imagesSet><item><imageId>{identity}</imageId><name>{HANDLE}</name><blockDeviceMapping>{mapping}</blockDeviceMapping>"
        "</item></imagesSet></AResponse>"
    ).encode()


def _snapshot_of(request):
    identity = form_of(request)["SnapshotId.1"]
    said = {
        "snap-1": f"<tagSet><item><key>Name</key><value>{HANDLE}</value></item></tagSet>",
        "snap-2": "<description>Created by CreateImage(i-1) for ami-1</description>",
        "snap-3": "<description>golden</description>",
    }[identity]
    return reply(
        200,
        f"<AResponse><snapshotSet><item><snapshotId>{identity}</snapshotId>{said}</item></snapshotSet></AResponse>".encode(),
    )


def test_an_image_is_removed_with_the_snapshots_that_were_made_for_it_and_no_others(cloud):
    removed = []

    def delete(request):
        removed.append(form_of(request)["SnapshotId"])
        return (
            refusal("InvalidSnapshot.InUse") if len(removed) == 1 else reply(200, b"<AResponse/>")
        )

    answers = {
        "DescribeImages": _images("ami-1", "snap-1", "snap-2", "snap-3"),
        "DescribeSnapshots": _snapshot_of,
        "DeleteSnapshot": delete,
    }
    made = cloud(answers)
    with pytest.raises(Conflict):
        made.delete(AMI)
    answers["DescribeImages"] = refusal("InvalidAMIID.Unavailable")
    made.delete(AMI)

    assert removed == ["snap-1", "snap-1", "snap-2"]


def test_the_answer_about_another_image_removes_nothing(cloud):
    removed = []
    made = cloud(
        {
            "DescribeImages": _images("ami-2", "snap-1"),
            "DescribeSnapshots": _snapshot_of,
            "DeregisterImage": lambda request: removed.append("image"),
            "DeleteSnapshot": lambda request: removed.append("snapshot"),
        }
    )

    made.delete(AMI)

    assert removed == []
