"""check_vm_image: the images that VMs are made of are there, unchanged, and endorsed by whom they should be."""

from __future__ import annotations

import argparse
import os
import re
from typing import List, Optional, Sequence, Tuple

from vmprobe.checks import session
from vmprobe.checks.image import endorsement, provenance
from vmprobe.checks.image.endorsement import Endorsed
from vmprobe.checks.image.provenance import WRONG, Wrong
from vmprobe.checks.options import Parser
from vmprobe.checks.session import Finding, Session
from vmprobe.core.clock import Clock
from vmprobe.core.errors import ClientError, NotFound, VmprobeError
from vmprobe.core.model import Capability, Image, Kind
from vmprobe.core.text import counted, span
from vmprobe.core.values import http_url
from vmprobe.host import files
from vmprobe.report.verdict import Verdict
from vmprobe.transport import dn

DESCRIPTION = """\
Check that the test image is there, active and unchanged, and by lists of
endorsed images that it may be used: the list's signature is good and of whom it
should be, the endorsement has not ended and is not revoked. Alerts when an
image is missing, changed, or not endorsed any more (CRITICAL), when servers run
on one that is not (WARNING), and by the ranges given. Creates nothing.
"""
EPILOG = """\
Lists are image lists of HEPiX (S/MIME), a StratusLab Marketplace's metadata of
an image (XML signature), or plain lists (S/MIME). Ranges are Nagios ranges; one
without a metric means list_expires. Metrics: images missing inactive mismatched
revoked expired unendorsed unverified running_bad (numbers), list_expires (s
until the first endorsement ends), auth image lists list total (s). Defaults: 0
for each of the numbers but images, critical, and warning for unverified and
running_bad; -w list_expires=604800:.
"""
DEFAULTS = {
    **{word: ("", "0") for word in WRONG},
    "unverified": ("0", ""),
    "running_bad": ("0", ""),
    "list_expires": ("604800:", ""),
}
_GRID = "/etc/grid-security/certificates"
_LARGEST = 4 * 2**20


def parser() -> Parser:
    """The command line."""
    found = Parser("image", DESCRIPTION, EPILOG, timeout=f"{session.LOOK:g} s")
    found.add_argument("--image", metavar="NAME", help="this image; default: the site's test image")
    found.add_argument(
        "--checksum",
        metavar="ALGORITHM:HEX",
        type=_checksum,
        action="append",
        default=[],
        help="what its checksum has to be, like sha512:9f86...; can be given several times",
    )
    found.add_argument(
        "--list",
        metavar="LIST",
        type=_list,
        action="append",
        default=[],
        help="a list of endorsed images: a file or a URL; can be given several times",
    )
    found.add_argument(
        "--endorser",
        metavar="DN",
        type=_name,
        action="append",
        default=[],
        help="who may have signed lists, like '/C=DE/O=Grid/CN=Jane'; can be given several times; default: "
        "whomever the authorities vouch for",
    )
    found.add_argument(
        "--ca",
        metavar="PATH",
        help=f"the authorities, a file or hashed directory; default: {_GRID}",
    )
    found.add_argument(
        "--every",
        action="store_true",
        help="every image of the lists is there, and none that they do not endorse any more",
    )
    found.add_argument(
        "--running",
        action="store_true",
        help="name the servers that run on an image that is revoked or whose endorsement has ended",
    )
    return found


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> Verdict:
    """Run the probe; ClientError before anything is asked when it cannot be."""
    options = parser().parse_args(arguments)
    for word in ("every", "running", "endorser"):
        if getattr(options, word) and not options.list:
            raise ClientError(f"--{word} needs a --list")
    return session.look(
        options, clock, lambda run: _look(run, options), bare="list_expires", defaults=DEFAULTS
    )


def _look(run: Session, options: argparse.Namespace) -> Finding:
    cloud, timeline, now = run.cloud, run.timeline, run.deadline.clock.utc()
    name = options.image or run.site.test_vm["image"]
    with timeline.stage("lists"):
        endorsed, told = _lists(run, options)
    with timeline.stage("auth"):
        cloud.connect()

    wanted = dict(options.checksum)
    with timeline.stage("image"):
        algorithms = sorted({*wanted, *(word for one in endorsed for word in one.checksums)})
        try:
            images = _images(
                run, "" if options.every or options.running else name, name, algorithms
            )
        except NotFound:
            timeline.metrics.update(images=0, missing=1)
            raise
    wrong: List[Wrong] = []
    looked: List[Image] = []
    if options.every:
        looked, wrong = _every(images, endorsed, now)
    else:
        looked = [image for image in images if name in (image.id, image.name)] or images[:1]
        for image in looked:
            wrong += provenance.judge_endorsed(image, endorsed, now) if options.list else []
            wrong += provenance.judge(image, wanted, now) if wanted or not options.list else []
    running: List[str] = []
    if options.running:
        with timeline.stage("list"):
            running = provenance.running(cloud.survey("", [Kind.SERVER]), images, endorsed, now)
        timeline.metrics["running_bad"] = len(running)

    timeline.metrics.update(
        {word: sum(1 for one in wrong if one.what == word) for word in WRONG}, images=len(looked)
    )
    ends = _ends(looked, endorsed, now)
    if ends is not None:
        timeline.metrics["list_expires"] = ends
    said = [one.text for one in sorted(wrong, key=lambda one: WRONG.index(one.what))] + running
    return Finding(_story(said, looked, name, options, ends), details=tuple(told + said))


def _lists(run: Session, options: argparse.Namespace) -> Tuple[List[Endorsed], List[str]]:
    """What all lists together endorse, and a line about each; an error names the list that it is about."""
    endorsed: List[Endorsed] = []
    told: List[str] = []
    for where in options.list:
        try:
            document = _fetched(run, where)
            now = run.deadline.clock.utc()
            found = endorsement.read(
                document,
                _authorities(run, options),
                now,
                min(10.0, run.deadline.left()),
                options.endorser,
            )
            notes = [*found.notes, *endorsement.check_newest(where, found.made, now, found.signed)]
        except VmprobeError as wrong:
            raise type(wrong)(
                f"{os.path.basename(where.rstrip('/'))}: {wrong}", cause=wrong.cause
            ) from None
        endorsed += found.images
        told.append(
            f"{where}: {found.form}{' ' + found.title if found.title else ''}, {counted(len(found.images), 'image')}, "
            f"signed by {found.endorser}"
        )
        run.timeline.notes += [f"{where}: {note}" for note in notes]
    return endorsed, told


def _fetched(run: Session, where: str) -> bytes:
    if re.match(r"https?://", where):
        from vmprobe.transport.http import Http

        http = Http(
            where,
            run.deadline,
            run.evidence,
            timeout=run.site.endpoint["timeout"],
            ca=run.site.endpoint["ca"],
        )
        try:
            return http.get(headers={"Accept": "*/*"}, largest=_LARGEST).body
        finally:
            http.close()
    try:
        with files.open_regular(where, _LARGEST) as file:
            return file.read()
    except OSError as failed:
        raise ClientError(failed.strerror or str(failed)) from None


def _authorities(run: Session, options: argparse.Namespace) -> str:
    for path in (options.ca, run.site.endpoint["ca"], _GRID):
        if path and os.path.exists(path):
            return path
        if path and path != _GRID:
            raise ClientError(f"the authorities {path} are not there")
    raise ClientError("whose signatures count? Name the authorities by --ca")


def _images(run: Session, asked: str, name: str, algorithms: Sequence[str]) -> List[Image]:
    """What the manager says; where it says nothing of images, that the test image can be used has to do."""
    cloud = run.cloud
    if not cloud.can(Capability.IMAGES):
        from vmprobe.core.model import State

        plan = cloud.resolve({**run.site.test_vm, "image": name})
        return [Image(plan.image, plan.image, State.READY, "usable")]
    found = cloud.images(asked, algorithms)
    if not asked and not any(name in (image.id, image.name) for image in found):
        found = found + cloud.images(name, algorithms)
    if not found and asked:
        raise NotFound(f"no image named {name!r}", cause="image")
    return found


def _every(
    images: Sequence[Image], endorsed: Sequence[Endorsed], now: float
) -> Tuple[List[Image], List[Wrong]]:
    """The images that are on the lists, and what is wrong with them, or with what is endorsed and not there."""
    looked = [image for image in images if provenance.of(image, endorsed)]
    there = [provenance.of(image, endorsed) for image in looked]
    wrong = [found for image in looked for found in provenance.judge_endorsed(image, endorsed, now)]
    for one in endorsed:
        if one not in there and provenance.lapse(one, now) is None:
            wrong.append(
                Wrong("missing", f"image {one.title or one.identifier} is endorsed and not there")
            )
    return looked, wrong


def _ends(looked: Sequence[Image], endorsed: Sequence[Endorsed], now: float) -> Optional[float]:
    """Seconds until the first endorsement of these images ends."""
    mine = [provenance.of(image, endorsed) for image in looked]
    left = [one.expires - now for one in mine if one and one.expires is not None]
    return max(0.0, min(left)) if left else None


def _story(
    said: Sequence[str],
    looked: Sequence[Image],
    name: str,
    options: argparse.Namespace,
    ends: Optional[float],
) -> str:
    """``image vmprobe-test is there and active, endorsed for 12 d``."""
    if said:
        return "; ".join(said[:3]) + ("; ..." if len(said) > 3 else "")
    what = (
        f"{counted(len(looked), 'endorsed image')} of {counted(len(options.list), 'list')}"
        if options.every
        else f"image {name}"
    )
    are = "are" if options.every and len(looked) != 1 else "is"
    until = (
        f", endorsed for {span(ends)}" if ends is not None else ", endorsed" if options.list else ""
    )
    unchanged = " and unchanged" if options.checksum or options.list else ""
    return f"{what} {are} there{unchanged}{until}"


def _list(text: str) -> str:
    try:
        if "://" in text:
            http_url(text)
    except ValueError as wrong:
        shown = re.sub(r"//[^/]*@", "//***@", text)
        raise argparse.ArgumentTypeError(f"'{shown}' {wrong}") from None
    return text


def _name(text: str) -> str:
    try:
        dn.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a name like '/C=DE/O=Grid/CN=Jane'"
        ) from None
    return text


def _checksum(text: str) -> Tuple[str, str]:
    algorithm, _, digits = text.partition(":")
    if not re.fullmatch(r"[a-z0-9]+", algorithm) or not re.fullmatch(
        r"[0-9A-Fa-f]{32,128}", digits
    ):
        raise argparse.ArgumentTypeError(f"'{text}' is not a checksum like 'sha512:9f86...'")
    return algorithm, digits.lower()
