"""The report of a run: lines for people, a JSON document, and JUnit's XML."""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Sequence
from xml.etree import ElementTree

from vmprobe import __version__
from vmprobe.core.text import counted, one_line
from vmprobe.ctl.conform.requirement import Requirement
from vmprobe.ctl.conform.run import FAILED, PASSED, SKIPPED, Outcome
from vmprobe.ctl.conform.world import World

_MARKS = {PASSED: "ok", FAILED: "FAILED", SKIPPED: "skipped"}
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Report(NamedTuple):
    """What a run gave. ``stopped``: why it did not come to its end; ``left``: what was left."""

    world: World
    outcomes: Sequence[Outcome]
    seconds: float
    stopped: str = ""
    left: str = ""

    @property
    def counts(self) -> Dict[str, int]:
        """How many requirements passed, failed and were skipped."""
        results = [outcome.result for outcome in self.outcomes]
        return {result: results.count(result) for result in (PASSED, FAILED, SKIPPED)}

    @property
    def result(self) -> str:
        """``passed``, ``failed``, or ``stopped`` for a run that could not be made to its end."""
        if self.stopped:
            return "stopped"
        return FAILED if self.left or self.counts[FAILED] else PASSED


def line(outcome: Outcome) -> str:
    """One requirement in one line, and what is wrong in more."""
    said = one_line(outcome.message)
    mark, name = _MARKS[outcome.result], outcome.requirement.id
    if outcome.result == FAILED:
        return f"{mark:<8} {name}: {outcome.requirement.sentence}\n{'':9}{said}"
    return f"{mark:<8} {name}{f': {said}' if said else ''}"


def exchange_lines(world: World, outcome: Outcome) -> List[str]:
    """The requests and replies of one requirement, for people."""
    lines = []
    for exchange in _exchanges(world, outcome):
        lines.append(f"{'':9}{exchange['request']} -> {exchange['status']}")
        for word, mark in (("sent", ">"), ("received", "<")):
            lines += [f"{'':9}  {mark} {text}" for text in exchange[word].splitlines()]
    return lines


def summary(report: Report) -> List[str]:
    """The last lines."""
    lines = [f"left behind: {report.left}"] if report.left else []
    if report.stopped:
        lines.append(f"stopped: {report.stopped}")
    words = ", ".join(f"{number} {result}" for result, number in report.counts.items() if number)
    requirements = counted(len(report.outcomes), "requirement")
    requests = counted(report.world.evidence.requests, "request")
    return [*lines, f"{requirements}: {words}; {requests} in {report.seconds:.1f} s"]


def document(report: Report) -> Dict[str, Any]:
    """The report for programs; the exchanges are those of what failed."""
    world = report.world
    return {
        "vmprobe": __version__,
        "site": world.subject.name,
        "system": world.cloud.system,
        "handle": str(world.handle),
        "result": report.result,
        "stopped": report.stopped,
        "left": report.left,
        "counts": report.counts,
        "requests": world.evidence.requests,
        "seconds": round(report.seconds, 3),
        "requirements": [
            {
                "id": outcome.requirement.id,
                "sentence": outcome.requirement.sentence,
                "result": outcome.result,
                "message": outcome.message,
                "seconds": round(outcome.seconds, 3),
                "requests": len(outcome.requests),
                "exchanges": _exchanges(world, outcome) if outcome.result == FAILED else [],
            }
            for outcome in report.outcomes
        ],
    }


def junit(report: Report) -> str:
    """The report in the XML that continuous integration reads."""
    counts = report.counts
    suite = ElementTree.Element(
        "testsuite",
        name=f"vmprobe {report.world.subject.name}",
        tests=str(len(report.outcomes)),
        failures=str(counts[FAILED]),
        skipped=str(counts[SKIPPED]),
        errors=str(int(bool(report.stopped or report.left))),
        time=f"{report.seconds:.3f}",
    )
    for outcome in report.outcomes:
        case = _case(suite, report, outcome.requirement.id, outcome.seconds)
        message = _printable(outcome.message)
        if outcome.result == SKIPPED:
            ElementTree.SubElement(case, "skipped", message=message)
        elif outcome.result == FAILED:
            failure = ElementTree.SubElement(case, "failure", message=message)
            lines = exchange_lines(report.world, outcome)
            failure.text = _printable("\n".join([outcome.requirement.sentence, *lines]))
    trouble = "; ".join(filter(None, (report.stopped, report.left)))
    if trouble:
        case = _case(suite, report, "run", report.seconds)
        ElementTree.SubElement(case, "error", message=_printable(trouble))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _case(
    suite: ElementTree.Element, report: Report, name: str, seconds: float
) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"vmprobe.conform.{report.world.subject.name}",
        name=name,
        time=f"{seconds:.3f}",
    )


def _exchanges(world: World, outcome: Outcome) -> List[Dict[str, Any]]:
    exchanges = world.evidence.exchanges
    return [exchanges[number] for number in outcome.requests if number < len(exchanges)]


def _printable(text: str) -> str:
    """Without the characters that XML does not have."""
    return _NO_XML.sub("?", text)


def page(requirements: Sequence[Requirement]) -> str:
    """The requirements as tables for docs/conformance.md."""
    groups: Dict[str, List[str]] = {}
    for one in requirements:
        needs = ", ".join(capability.value for capability in one.capabilities)
        row = f"| `{one.id}` | {one.sentence} | {needs} |"
        groups.setdefault(one.group, []).append(row)
    return "\n".join(
        f"### {title}\n\n| id | requirement | only with |\n|---|---|---|\n" + "\n".join(rows) + "\n"
        for title, rows in groups.items()
    )
