"""Tasks: vSphere answers a create with a task, which then goes on by itself.

The id of a server is its ``instanceUuid``, which the driver chooses from the name; so a server has
its id and name from the request on, and what its tasks say is part of its state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Iterable, List, NamedTuple, Optional, Tuple

from vmprobe.core.errors import GatewayFailed, NotFound
from vmprobe.core.model import Ref
from vmprobe.drivers.vsphere import faults, soap
from vmprobe.drivers.vsphere.properties import Collector, Thing
from vmprobe.drivers.vsphere.soap import Data, Fault, Moref
from vmprobe.transport.json import parse_time
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from vmprobe.drivers.vsphere.session import Session

_FIELDS = (
    "info.state",
    "info.error",
    "info.progress",
    "info.result",
    "info.queueTime",
    "info.completeTime",
)
_LONGEST_WAIT = 20  # seconds for which the server holds one answer
CREATE, POWER_ON, POWER_OFF, REMOVE = "create", "power on", "power off", "remove"
ATTACH = "attach"


class Info(NamedTuple):
    """What a task says of itself. A state that is not known counts as running."""

    state: str
    fault: Optional[Fault] = None
    progress: str = ""
    result: Optional[Element] = None
    queued: Optional[float] = None  # by the server's clock, seconds since the epoch
    completed: Optional[float] = None

    @property
    def is_over(self) -> bool:
        """Whether the task has succeeded or failed."""
        return self.state in ("success", "error")

    @property
    def words(self) -> str:
        """The state, with the progress where it has one."""
        return f"{self.state} {self.progress} %" if self.progress else self.state


class Job:
    """A task of this session about one resource."""

    def __init__(self, verb: str, ref: Ref, task: Moref):
        self.verb, self.ref, self.task = verb, ref, task
        self.info = Info("queued")


class Tasks:
    """The tasks that this session has started, by resource; only the newest of each is kept."""

    def __init__(self, session: Session, collector: Collector):
        self.session, self.collector = session, collector
        self._jobs: Dict[Tuple[str, str], Job] = {}  # by id of the resource, and verb

    def started(self, verb: str, ref: Ref, task: Moref) -> Job:
        """Remember a task."""
        job = self._jobs[ref.id, verb] = Job(verb, ref, task)
        return job

    def job(self, ref: Ref, verb: str) -> Optional[Job]:
        """The newest task for this; None where this session started none."""
        return self._jobs.get((ref.id, verb))

    def forget(self, ref: Ref, *verbs: str) -> None:
        """Drop what is known of a resource's tasks: all of them, or those of these verbs."""
        for key in [key for key in self._jobs if key[0] == ref.id]:
            if not verbs or key[1] in verbs:
                del self._jobs[key]

    def creations(self) -> List[Job]:
        """The tasks that create something, and of which the result is not known."""
        return [
            job
            for (_, verb), job in self._jobs.items()
            if verb == CREATE and job.info.state != "success"
        ]

    def refresh(self, jobs: Iterable[Job], asked: str) -> None:
        """Read the tasks that are not over, by one request.

        A task that the server has dropped is over: what came of it has to be looked for.
        """
        waiting = [job for job in jobs if not job.info.is_over]
        if not waiting:
            return
        try:
            things = self.collector.get_all([job.task for job in waiting], _FIELDS, asked)
        except NotFound:
            if len(waiting) > 1:
                for job in waiting:
                    self.refresh([job], asked)
            else:
                waiting[0].info = Info("success")
            return
        infos = {thing.ref: _info(thing) for thing in things}
        for job in waiting:
            job.info = infos.get(job.task, job.info)

    def result(self, task: Moref, asked: str) -> Optional[Element]:
        """The result of a task that only reads, such as a search in a datastore.

        The server holds its answer until the task is over, and not longer than a request may take.
        """
        info = _info(self.collector.get(task, _FIELDS, asked))
        if not info.is_over:
            self._hold_until_over(task, asked)
            info = _info(self.collector.get(task, _FIELDS, asked))
        if info.fault is not None:
            raise faults.error(asked, info.fault)
        if not info.is_over:
            raise GatewayFailed(f"{asked}: the task is still {info.words}", cause="storage")
        return info.result

    def _hold_until_over(self, task: Moref, asked: str) -> None:
        """Ask for the task's changes, so that the answer comes when it is over."""
        session = self.session
        collector = session.manager("propertyCollector")
        properties = Data({"type": task.type, "pathSet": ["info.state"]})
        spec = Data({"propSet": properties, "objectSet": Data({"obj": task})})
        changes = session.returned(
            "CreateFilter", collector, {"spec": spec, "partialUpdates": False}, asked
        )
        try:
            version = ""
            ends = session.deadline.clock.now() + min(
                _LONGEST_WAIT, session.http.timeout / 2, session.deadline.left()
            )
            while True:
                seconds = int(ends - session.deadline.clock.now())
                if seconds < 1:
                    return
                answer = session.call(
                    "WaitForUpdatesEx",
                    collector,
                    {"version": version, "options": Data({"maxWaitSeconds": seconds})},
                    asked,
                )
                version = text(answer, "returnval/version", "")
                states = [(value.text or "") for value in answer.iterfind(".//changeSet/val")]
                if not version or {"success", "error"} & set(states):
                    return
        finally:
            session.call("DestroyPropertyFilter", changes, {}, asked)


def _info(thing: Thing) -> Info:
    error = thing.values.get("info.error")
    state = thing.text("info.state")
    fault = None
    if state == "error":
        fault = Fault("", "") if error is None else soap.localized_fault(error)
    return Info(
        state or "running",
        fault,
        thing.text("info.progress"),
        thing.values.get("info.result"),
        parse_time(thing.text("info.queueTime")),
        parse_time(thing.text("info.completeTime")),
    )
