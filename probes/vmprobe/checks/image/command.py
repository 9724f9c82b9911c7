"""check_vm_image: images exist, are unchanged, and are endorsed by an accepted endorser."""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from typing import List, Optional, Sequence, Tuple

from vmprobe.checks import session
from vmprobe.checks.image import endorsement, provenance
from vmprobe.checks.image.endorsement import Endorsed
from vmprobe.checks.image.provenance import PROBLEMS, Problem
from vmprobe.checks.options import READ_ONLY_TIME, Parser
from vmprobe.checks.session import CheckResult, Finding, Session
from vmprobe.core.clock import Clock
from vmprobe.core.errors import ClientError, NotFound, VmprobeError
from vmprobe.core.model import Capability, Image, Kind, State
from vmprobe.core.text import counted, span
from vmprobe.core.values import http_url
from vmprobe.host import files
from vmprobe.report.verdict import Verdict
from vmprobe.site.site import Site
from vmprobe.transport import dn

DESCRIPTION = """\
Check that the test image exists, is active and unchanged. With --list, check
also that it may be used: a list of endorsed images has it, an accepted endorser
has signed the list, and the endorsement has neither ended nor been revoked.
Alerts when an image is missing, changed, or not endorsed any more (CRITICAL),
when servers run on such an image (WARNING), and by the ranges given. Creates
nothing.
"""
EPILOG = """\
Lists are image lists of HEPiX (S/MIME), a StratusLab Marketplace's metadata of
an image (XML signature), or plain lists (S/MIME).
Ranges are Nagios ranges, in the metric's unit; a range without a metric means
list_expires. Defaults: -w list_expires=604800:; warning for any unverified or
running_bad; critical for any missing, inactive, mismatched, revoked, expired or
unendorsed.
"""
DEFAULTS = {
    **{label: ("", "0") for label in PROBLEMS},
    "unverified": ("0", ""),
    "running_bad": ("0", ""),
    "list_expires": ("604800:", ""),
}
_DEFAULT_CA = "/etc/grid-security/certificates"
_LARGEST = 4 * 2**20  # bytes of a list
_MOST_TIME = 10.0  # seconds for the signature of one list
_MOST_MESSAGES = 3  # in the first line


def parser() -> Parser:
    """The command line."""
    result = Parser("image", DESCRIPTION, EPILOG, timeout=READ_ONLY_TIME)
    result.add_argument(
        "--image", metavar="NAME", help="check this image; default: the site's test image"
    )
    result.add_argument(
        "--checksum",
        metavar="ALGORITHM:HEX",
        type=_checksum,
        action="append",
        default=[],
        help="expected checksum, like sha512:9f86...; can be given several times",
    )
    result.add_argument(
        "--list",
        metavar="LIST",
        type=_list,
        action="append",
        default=[],
        help="a list of endorsed images: a file or a URL; can be given several times",
    )
    result.add_argument(
        "--endorser",
        metavar="DN",
        type=_name,
        action="append",
        default=[],
        help="accepted signer of lists, like '/C=DE/O=Grid/CN=Jane'; can be given several times; "
        "default: everybody with a certificate of the CAs",
    )
    result.add_argument(
        "--ca",
        metavar="PATH",
        help=f"trusted CAs, a file or hashed directory; default: {_DEFAULT_CA}",
    )
    result.add_argument(
        "--every",
        action="store_true",
        help="check that every endorsed image of the lists exists, and that no image exists "
        "whose endorsement is not valid any more",
    )
    result.add_argument(
        "--running",
        action="store_true",
        help="name the servers that run on an image that is revoked or whose endorsement ended",
    )
    return result


def main(arguments: Sequence[str], clock: Optional[Clock] = None) -> CheckResult:
    """Run the check; Printed or ClientError when the command line or the site file is wrong."""
    return session.run(parser(), arguments, lambda site, options: _check(site, options, clock))


def _check(site: Site, options: argparse.Namespace, clock: Optional[Clock]) -> Verdict:
    for option in ("every", "running", "endorser"):
        if getattr(options, option) and not options.list:
            raise ClientError(f"--{option} needs a --list")
    return session.run_read_only("image", site, options, clock, _find, "list_expires", DEFAULTS)


def _find(run: Session, options: argparse.Namespace) -> Finding:
    cloud, timeline, now = run.cloud, run.timeline, run.deadline.clock.utc()
    name = options.image or run.site.test_vm["image"]
    with timeline.stage("lists"):
        endorsed, list_lines = _read_lists(run, options)
    with timeline.stage("auth"):
        cloud.connect()

    checksums = dict(options.checksum)
    with timeline.stage("image"):
        algorithms = {*checksums, *(each for entry in endorsed for each in entry.checksums)}
        wanted = "" if options.every or options.running else name
        try:
            images = _images(run, wanted, name, sorted(algorithms))
        except NotFound:
            timeline.metrics.update(images=0, missing=1)
            raise
    problems: List[Problem] = []
    checked: List[Image] = []
    if options.every:
        checked, problems = _check_every(images, endorsed, now)
    else:
        checked = [image for image in images if name in (image.id, image.name)] or images[:1]
        for image in checked:
            if options.list:
                problems += provenance.endorsed_problems(image, endorsed, now)
            if checksums or not options.list:
                problems += provenance.image_problems(image, checksums)
    servers: List[str] = []
    if options.running:
        with timeline.stage("list"):
            everything = cloud.survey("", [Kind.SERVER])
        servers = provenance.servers_on_lapsed_images(everything, images, endorsed, now)
        timeline.metrics["running_bad"] = len(servers)

    counts = Counter(problem.label for problem in problems)
    timeline.metrics.update({label: counts[label] for label in PROBLEMS}, images=len(checked))
    left = _time_left(checked, endorsed, now)
    if left is not None:
        timeline.metrics["list_expires"] = left
    problems.sort(key=lambda problem: PROBLEMS.index(problem.label))
    messages = [problem.message for problem in problems] + servers
    text = _text(messages, checked, name, options, left)
    return Finding(text, details=tuple(list_lines + messages))


def _read_lists(run: Session, options: argparse.Namespace) -> Tuple[List[Endorsed], List[str]]:
    """(the endorsements of all lists, a line about each list).

    An error begins with the list's file name.
    """
    endorsed: List[Endorsed] = []
    lines: List[str] = []
    for place in options.list:
        try:
            document = _fetch(run, place)
            now = run.deadline.clock.utc()
            signed_list = endorsement.read(
                document,
                _ca(run, options),
                now,
                min(_MOST_TIME, run.deadline.left()),
                options.endorser,
            )
            age_notes = endorsement.check_newest(
                place, signed_list.made_at, now, signed_list.signed_at
            )
        except VmprobeError as error:
            file_name = os.path.basename(place.rstrip("/"))
            raise type(error)(f"{file_name}: {error}", cause=error.cause) from None
        endorsed += signed_list.images
        title = f" {signed_list.title}" if signed_list.title else ""
        count = counted(len(signed_list.images), "image")
        lines.append(
            f"{place}: {signed_list.form}{title}, {count}, signed by {signed_list.endorser}"
        )
        run.timeline.notes += [f"{place}: {note}" for note in (*signed_list.notes, *age_notes)]
    return endorsed, lines


def _fetch(run: Session, place: str) -> bytes:
    """The content of a list, a file or a URL."""
    if re.match(r"https?://", place):
        from vmprobe.transport.http import Http

        http = Http(
            place,
            run.deadline,
            run.evidence,
            timeout=run.site.endpoint["timeout"],
            ca=run.site.endpoint["ca"],
        )
        try:
            return http.get(headers={"Accept": "*/*"}, max_bytes=_LARGEST).body
        finally:
            http.close()
    try:
        with files.open_regular(place, _LARGEST) as file:
            return file.read()
    except OSError as failed:
        raise ClientError(failed.strerror or str(failed)) from None


def _ca(run: Session, options: argparse.Namespace) -> str:
    """The trusted CAs: of --ca, else of the site, else the grid's."""
    for path in (options.ca, run.site.endpoint["ca"], _DEFAULT_CA):
        if path and os.path.exists(path):
            return str(path)
        if path and path != _DEFAULT_CA:
            raise ClientError(f"the CA {path} does not exist")
    raise ClientError("no CA configured; use --ca")


def _images(run: Session, wanted: str, name: str, algorithms: Sequence[str]) -> List[Image]:
    """The manager's images named ``wanted``, '' for all; always with the one named ``name``.

    Of a manager that does not list images, the test image if a VM can be made of it.
    """
    cloud = run.cloud
    if not cloud.can(Capability.IMAGES):
        plan = cloud.resolve({**run.site.test_vm, "image": name})
        return [Image(plan.image, plan.image, State.READY, "usable")]
    images = cloud.images(wanted, algorithms)
    if not wanted and not any(name in (image.id, image.name) for image in images):
        images = images + cloud.images(name, algorithms)
    if not images and wanted:
        raise NotFound(f"no image named {name!r}", cause="image")
    return images


def _check_every(
    images: Sequence[Image], endorsed: Sequence[Endorsed], now: float
) -> Tuple[List[Image], List[Problem]]:
    """(the images on the lists, what is wrong with them and which endorsed images are missing)."""
    checked = [image for image in images if provenance.find(image, endorsed)]
    present = [provenance.find(image, endorsed) for image in checked]
    problems = [
        problem
        for image in checked
        for problem in provenance.endorsed_problems(image, endorsed, now)
    ]
    for entry in endorsed:
        if entry not in present and provenance.lapse(entry, now) is None:
            message = f"image {entry.title or entry.identifier} is endorsed but missing"
            problems.append(Problem("missing", message))
    return checked, problems


def _time_left(
    checked: Sequence[Image], endorsed: Sequence[Endorsed], now: float
) -> Optional[float]:
    """Seconds until the first endorsement of these images ends; None if none ends."""
    endorsements = [provenance.find(image, endorsed) for image in checked]
    left = [each.expires - now for each in endorsements if each and each.expires is not None]
    return max(0.0, min(left)) if left else None


def _text(
    messages: Sequence[str],
    checked: Sequence[Image],
    name: str,
    options: argparse.Namespace,
    left: Optional[float],
) -> str:
    """``image vmprobe-test is there and unchanged, endorsed for 12 d``, or the first messages."""
    if messages:
        more = "; ..." if len(messages) > _MOST_MESSAGES else ""
        return "; ".join(messages[:_MOST_MESSAGES]) + more
    subject, verb = f"image {name}", "is"
    if options.every:
        count, lists = counted(len(checked), "endorsed image"), counted(len(options.list), "list")
        subject, verb = f"{count} of {lists}", "is" if len(checked) == 1 else "are"
    unchanged = " and unchanged" if options.checksum or options.list else ""
    endorsed = ""
    if left is not None:
        endorsed = f", endorsed for {span(left)}"
    elif options.list:
        endorsed = ", endorsed"
    return f"{subject} {verb} there{unchanged}{endorsed}"


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
