"""What a result means."""

from __future__ import annotations

from vmprobe.core.redact import current
from vmprobe.core.text import one_line
from vmprobe.report.verdict import UNKNOWN, Verdict


def unforeseen(error: BaseException, with_traceback: bool) -> Verdict:
    """The result of an error that nobody expected: one clean line; below it the traceback, if that is asked for."""
    trace = ""
    if with_traceback:
        import traceback

        lines = traceback.format_exception(type(error), error, error.__traceback__)
        trace = current().redact("".join(lines))
    text = f"unforeseen: {one_line(f'{type(error).__name__}: {error}')}"
    return Verdict(UNKNOWN, text, details=tuple(trace.splitlines()))
