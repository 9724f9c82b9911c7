"""Live progress on stderr, for a person at a terminal; a scheduler gets nothing."""

from __future__ import annotations

import sys
from typing import Callable, Set

from vmprobe.core.text import one_line, seconds
from vmprobe.core.timeline import Stage


def listener(redact: Callable[[str], str]) -> Callable[[Stage], None]:
    """A function that a timeline calls as each stage begins and ends; ``redact`` replaces secrets
    in a text.
    """
    if not sys.stderr.isatty():
        return lambda stage: None
    begun: Set[int] = set()

    def show(stage: Stage) -> None:
        try:
            write(stage)
        except (OSError, ValueError):  # the terminal is gone or closed: the run goes on without it
            return

    def write(stage: Stage) -> None:
        if id(stage) not in begun:
            begun.add(id(stage))
            sys.stderr.write(f"  {stage.name:<9} ...")
        elif stage.error is not None:
            sys.stderr.write(f"\r  {stage.name:<9} {one_line(redact(str(stage.error)), 60)}\n")
        elif stage.duration is not None:
            sys.stderr.write(f"\r  {stage.name:<9} {seconds(stage.duration):>6} s\n")
        sys.stderr.flush()

    return show
