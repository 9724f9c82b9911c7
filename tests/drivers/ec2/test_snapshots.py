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
    content = {
        "snap-1": f"<tagSet><item><key>Name</key><value>{HANDLE}</value></item></tagSet>",
        "snap-2": "<description>Created by CreateImage(i-1) for ami-1</description>",
        "snap-3": "<description>golden</description>",
    }[identity]
    return reply(
        200,
        f"<AResponse><snapshotSet><item><snapshotId>{identity}</snapshotId>{content}</item></snapshotSet></AResponse>".encode(),
    )


def test_an_image_is_removed_with_the_snapshots_that_were_made_for_it_and_no_others(connected):
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
    ec2 = connected(answers)
    with pytest.raises(Conflict):
        ec2.delete(AMI)
    answers["DescribeImages"] = refusal("InvalidAMIID.Unavailable")
    ec2.delete(AMI)

    assert removed == ["snap-1", "snap-1", "snap-2"]


def test_the_answer_about_another_image_removes_nothing(connected):
    removed = []
    ec2 = connected(
        {
            "DescribeImages": _images("ami-2", "snap-1"),
            "DescribeSnapshots": _snapshot_of,
            "DeregisterImage": lambda request: removed.append("image"),
            "DeleteSnapshot": lambda request: removed.append("snapshot"),
        }
    )

    ec2.delete(AMI)

    assert removed == []
