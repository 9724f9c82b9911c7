"""What a cloud's images are by what is endorsed, and what is wrong with them."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence

from vmprobe.checks.image.endorsement import Endorsed
from vmprobe.core.model import Image, Resource, State
from vmprobe.core.text import span

WRONG = (
    "missing",
    "inactive",
    "mismatched",
    "revoked",
    "expired",
    "unendorsed",
    "unverified",
)  # perfdata labels, worst first


class Wrong(NamedTuple):
    """One thing that is wrong with one image: ``what`` is one of WRONG."""

    what: str
    text: str


def of(image: Image, endorsed: Sequence[Endorsed]) -> Optional[Endorsed]:
    """Which endorsement is this image's: by its identifier, by a checksum, or by its title; revoked ones first."""

    def by_id(one: Endorsed) -> bool:
        return (
            one.identifier in (image.id, image.name) or one.identifier in image.properties.values()
        )

    def by_sum(one: Endorsed) -> bool:
        return any(
            image.checksums.get(algorithm) == digits for algorithm, digits in one.checksums.items()
        )

    def by_title(one: Endorsed) -> bool:
        return bool(one.title) and one.title == image.name

    for same in (by_id, by_sum, by_title):
        found = sorted((one for one in endorsed if same(one)), key=lambda one: not one.revoked)
        if found:
            return found[0]
    return None


def judge(image: Image, wanted: Mapping[str, str], now: float) -> List[Wrong]:
    """What is wrong with an image that is there. ``wanted``: checksums by algorithm, none of which is asked for if empty."""
    found = []
    if image.state is not State.READY:
        found.append(Wrong("inactive", f"image {image.name or image.id} is {image.provider_state}"))
    both = [algorithm for algorithm in wanted if algorithm in image.checksums]
    if wanted and not both:
        found.append(
            Wrong(
                "unverified",
                f"image {image.name or image.id}: its manager knows no checksum by "
                f"{' or '.join(sorted(wanted))}",
            )
        )
    for algorithm in both:
        if image.checksums[algorithm] != wanted[algorithm].lower():
            found.append(
                Wrong(
                    "mismatched",
                    f"image {image.name or image.id}: its {algorithm} begins with "
                    f"{image.checksums[algorithm][:12]}, not {wanted[algorithm][:12]}",
                )
            )
    return found


def judge_endorsed(image: Image, endorsed: Sequence[Endorsed], now: float) -> List[Wrong]:
    """What is wrong with an image that is there, by what is endorsed."""
    one = of(image, endorsed)
    if one is None:
        return [Wrong("unendorsed", f"image {image.name or image.id} is on no list")]
    ended = lapse(one, now)
    found = ([ended] if ended else []) + judge(image, one.checksums, now)
    if not one.checksums:
        found.append(
            Wrong(
                "unverified",
                f"image {image.name or image.id}: its endorsement states no checksum that is known here",
            )
        )
    return found


def lapse(one: Endorsed, now: float) -> Optional[Wrong]:
    """Why an endorsement does not hold any more, None if it does."""
    name = one.title or one.identifier
    if one.revoked:
        return Wrong("revoked", f"image {name} is revoked: {one.revoked}")
    if one.expires is not None and one.expires <= now:
        return Wrong(
            "expired", f"image {name}: its endorsement ended {span(now - one.expires)} ago"
        )
    return None


def running(
    servers: Sequence[Resource], images: Sequence[Image], endorsed: Sequence[Endorsed], now: float
) -> List[str]:
    """The servers that run on an image whose endorsement does not hold, each in words; also of an image that is gone."""
    known: Dict[str, Image] = {}
    for image in images:
        known.setdefault(image.name, image)
    known.update({image.id: image for image in images})
    found = []
    for server in servers:
        image = known.get(server.image) or Image(server.image, "", State.PENDING)
        one = of(image, endorsed) if server.image else None
        ended = lapse(one, now) if one else None
        if ended:
            owner = f" of {server.owner}" if server.owner else ""
            found.append(f"{server.ref} ({server.ref.name}){owner}: {ended.text}")
    return found
