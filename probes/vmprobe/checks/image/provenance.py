"""What is wrong with a cloud's images, by their endorsements and expected checksums."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from vmprobe.checks.image.endorsement import Endorsed
from vmprobe.core.model import Image, Resource, State
from vmprobe.core.text import span

PROBLEMS = (  # perfdata labels, worst first
    "missing",
    "inactive",
    "mismatched",
    "revoked",
    "expired",
    "unendorsed",
    "unverified",
)


class Problem(NamedTuple):
    """One problem of one image."""

    label: str  # one of PROBLEMS
    message: str


def endorsed_problems(image: Image, endorsed: Sequence[Endorsed], now: float) -> List[Problem]:
    """What is wrong with an image that exists, by its endorsement.

    ``now`` in seconds since the epoch.
    """
    endorsement = find(image, endorsed)
    if endorsement is None:
        return [Problem("unendorsed", f"image {image.name or image.id} is on no list")]
    lapsed = lapse(endorsement, now)
    problems = [lapsed] if lapsed else []
    problems += image_problems(image, endorsement.checksums)
    if not endorsement.checksums:
        message = (
            f"image {image.name or image.id}: its endorsement has no checksum that can be compared"
        )
        problems.append(Problem("unverified", message))
    return problems


def image_problems(image: Image, checksums: Mapping[str, str]) -> List[Problem]:
    """What is wrong with an image that exists: its state, and each checksum that differs.

    ``checksums`` are hexadecimal, by algorithm; without any only the state counts.
    """
    name, problems = image.name or image.id, []
    if image.state is not State.READY:
        problems.append(Problem("inactive", f"image {name} is {image.provider_state}"))
    comparable = [algorithm for algorithm in checksums if algorithm in image.checksums]
    if checksums and not comparable:
        algorithms = " or ".join(sorted(checksums))
        message = f"image {name}: the manager has no {algorithms} checksum"
        problems.append(Problem("unverified", message))
    for algorithm in comparable:
        actual, expected = image.checksums[algorithm], checksums[algorithm]
        if actual != expected.lower():
            message = (
                f"image {name}: its {algorithm} begins with {actual[:12]}, not {expected[:12]}"
            )
            problems.append(Problem("mismatched", message))
    return problems


def find(image: Image, endorsed: Sequence[Endorsed]) -> Optional[Endorsed]:
    """The endorsement of an image: by identifier, else by checksum, else by title.

    Of several the revoked ones come first. None if the image is not endorsed.
    """

    def has_same_id(entry: Endorsed) -> bool:
        names = (image.id, image.name)
        return entry.identifier in names or entry.identifier in image.properties.values()

    def has_same_checksum(entry: Endorsed) -> bool:
        return any(
            image.checksums.get(algorithm) == digits
            for algorithm, digits in entry.checksums.items()
        )

    def has_same_title(entry: Endorsed) -> bool:
        return bool(entry.title) and entry.title == image.name

    for is_same in (has_same_id, has_same_checksum, has_same_title):
        matches = sorted(filter(is_same, endorsed), key=lambda entry: not entry.revoked)
        if matches:
            return matches[0]
    return None


def lapse(endorsement: Endorsed, now: float) -> Optional[Problem]:
    """Why an endorsement is not valid any more; None if it is valid."""
    name = endorsement.title or endorsement.identifier
    if endorsement.revoked:
        return Problem("revoked", f"image {name} is revoked: {endorsement.revoked}")
    if endorsement.expires is not None and endorsement.expires <= now:
        ago = span(now - endorsement.expires)
        return Problem("expired", f"image {name}: its endorsement ended {ago} ago")
    return None


def servers_on_lapsed_images(
    servers: Sequence[Resource], images: Sequence[Image], endorsed: Sequence[Endorsed], now: float
) -> List[str]:
    """One message for each server whose image has an endorsement that is not valid any more.

    The image itself may be gone.
    """
    by_name: Dict[str, Image] = {}
    for image in images:
        by_name.setdefault(image.name, image)
    by_name.update({image.id: image for image in images})
    messages = []
    for server in servers:
        image = by_name.get(server.image) or Image(server.image, "", State.PENDING)
        endorsement = find(image, endorsed) if server.image else None
        lapsed = lapse(endorsement, now) if endorsement else None
        if lapsed:
            owner = f" of {server.owner}" if server.owner else ""
            messages.append(f"{server.ref} ({server.ref.name}){owner}: {lapsed.message}")
    return messages
