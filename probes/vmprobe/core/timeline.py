"""Measure a run: its stages, how long each took, what was sampled. ``checks.judge`` judges it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, Optional

from vmprobe.core.clock import Clock
from vmprobe.core.errors import VmprobeError

STAGES = (
    "auth",
    "image",
    "submit",
    "active",
    "network",
    "storage",
    "sample",
    "snapshot",
    "detach",
    "delete",
    "gone",
    "total",
)
SINCE_SUBMISSION = ("active", "network", "storage")  # "how long from the request to ...?"


class Stage:
    """One stage of a run; ``duration`` in seconds, None unless it succeeded."""

    def __init__(self, name: str, began: float):
        self.name, self.began = name, began
        self.duration: Optional[float] = None
        self.lasted = 0.0  # seconds, also if it failed
        self.error: Optional[BaseException] = None
        self.notes: List[str] = []
        self.servers: Dict[str, float] = {}  # of a fleet: seconds by the server's name


class Timeline:
    """Collect measurements during the run, so that every exit can report what was reached."""

    def __init__(self, clock: Clock, listener: Callable[[Stage], None] = lambda stage: None):
        self.clock, self._listener = clock, listener
        self.began, self.began_utc = clock.now(), clock.utc()
        self.stages: List[Stage] = []
        self.submitted: Optional[float] = None  # when the request for the servers left
        self.deleting: Optional[float] = None  # when the first request for removal left
        self.metrics: Dict[str, float] = {}  # perfdata label -> value
        self.notes: List[str] = []  # for -v: what could not be measured, and the like

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Measure a stage. An error is noted in the stage and passed on."""
        began = self.clock.now()
        if name in SINCE_SUBMISSION and self.submitted is not None:
            began = self.submitted
        if name == "gone" and self.deleting is not None:
            began = self.deleting
        stage = Stage(name, began)
        self.stages.append(stage)
        self._listener(stage)
        try:
            yield stage
        except BaseException as error:
            stage.error = error
            raise
        else:
            if stage.duration is None:
                stage.duration = self.clock.now() - stage.began
        finally:
            stage.lasted = self.clock.now() - stage.began
            self._listener(stage)

    def total(self) -> float:
        """Seconds since the run began."""
        return self.clock.now() - self.began

    def durations(self) -> Dict[str, float]:
        """Seconds by the name of each stage that succeeded; of a fleet also min, avg and max."""
        durations: Dict[str, float] = {}
        for stage in self.stages:
            if stage.duration is None:
                continue
            durations[stage.name] = stage.duration
            if len(stage.servers) > 1:
                own = list(stage.servers.values())
                durations.update(
                    {
                        f"{stage.name}_min": min(own),
                        f"{stage.name}_avg": sum(own) / len(own),
                        f"{stage.name}_max": max(own),
                    }
                )
        return durations

    def failed(self) -> Optional[Stage]:
        """The first stage that failed."""
        return next((stage for stage in self.stages if stage.error is not None), None)

    def document(self) -> Dict[str, object]:
        """All of it, as plain values for JSON."""
        return {
            "began": self.began_utc,
            "total": round(self.total(), 3),
            "stages": [_stage_document(stage, self.began) for stage in self.stages],
            "metrics": {label: round(value, 3) for label, value in sorted(self.metrics.items())},
            "notes": self.notes,
        }


def _stage_document(stage: Stage, origin: float) -> Dict[str, object]:
    document: Dict[str, object] = {
        "stage": stage.name,
        "from": round(stage.began - origin, 3),
        "seconds": None if stage.duration is None else round(stage.duration, 3),
    }
    if stage.error is not None:
        document["error"] = str(stage.error)
        document["cause"] = (
            getattr(stage.error, "cause", "") if isinstance(stage.error, VmprobeError) else ""
        )
    if stage.notes:
        document["notes"] = stage.notes
    if stage.servers:
        document["servers"] = {name: round(value, 3) for name, value in stage.servers.items()}
    return document
