"""What the scripts answer, in the suite's types."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional

from vmprobe.core.errors import NotFound, NotMeasured
from vmprobe.core.model import Image, Kind, Limit, Ref, Resource, Sample, State
from vmprobe.transport.json import field, items, short_text

# VMState of the Hyper-V module. A state that is not here is PENDING. "...Critical": the host lost
# the server's storage.
STATE = {
    "Running": State.READY,
    "RunningCritical": State.FAILED,
    "OffCritical": State.FAILED,
    "PausedCritical": State.FAILED,
    "SavedCritical": State.FAILED,
    "StoppingCritical": State.FAILED,
    "SavingCritical": State.FAILED,
    "PausingCritical": State.FAILED,
    "ResumingCritical": State.FAILED,
    "StartingCritical": State.FAILED,
    "ResetCritical": State.FAILED,
    "FastSavedCritical": State.FAILED,
    "FastSavingCritical": State.FAILED,
}
AT_REST = ("Off", "Saved", "FastSaved", "Paused", "Hibernated")
_MB = 2.0**20  # what Hyper-V calls a megabyte


def servers(reply: Mapping[str, Any]) -> List[Resource]:
    """The VMs in the reply of a script."""
    now = field(reply, "now", float)
    return [_server(item, now) for item in items(reply, "servers")]


def _server(item: Mapping[str, Any], now: float) -> Resource:
    word = short_text(item, "state")
    state = STATE.get(word, State.PENDING)
    uptime = field(item, "uptime", float, default=0.0)
    status = field(item, "status", str, default="")
    return Resource(
        Ref(Kind.SERVER, short_text(item, "id").lower(), short_text(item, "name")),
        state,
        word,
        fault=status if state is State.FAILED else "",
        cause="storage" if state is State.FAILED else "",
        addresses=tuple(_usable(field(item, "addresses", list, default=[]))),
        created=field(item, "created", float, default=None),
        launched=now - uptime if state is State.READY and uptime else None,
        vcpus=field(item, "processors", int, default=None),
        memory=field(item, "memory", int, default=None),
    )


def _usable(addresses: List[Any]) -> List[str]:
    """Addresses without those that a guest gives itself when nobody gave it one."""
    texts = [text for text in addresses if isinstance(text, str)]
    return [text for text in texts if not text.lower().startswith(("169.254.", "fe80:"))]


def volumes(reply: Mapping[str, Any]) -> List[Resource]:
    """The virtual disks in the reply of a script."""
    found = []
    for item in items(reply, "volumes"):
        server = field(item, "server", str, default="").lower()
        found.append(
            Resource(
                Ref(Kind.VOLUME, short_text(item, "path"), short_text(item, "name")),
                State.READY,
                "attached" if server else "free",
                server=server,
                size=field(item, "size", int, default=None),
            )
        )
    return found


def snapshots(reply: Mapping[str, Any]) -> List[Resource]:
    """The checkpoints in the reply of a script."""
    return [
        Resource(
            Ref(Kind.SNAPSHOT, short_text(item, "id").lower(), short_text(item, "name")),
            State.READY,
            short_text(item, "kind"),
            server=field(item, "server", str, default="").lower(),
            created=field(item, "created", float, default=None),
        )
        for item in items(reply, "snapshots")
    ]


def only(ref: Ref, found: List[Resource]) -> Resource:
    """The one that was asked for; NotFound where there is none."""
    for resource in found:
        if resource.ref.id.lower() == ref.id.lower():
            return resource._replace(ref=resource.ref._replace(id=ref.id))
    raise NotFound(f"the host has no {ref}")


def samples(ref: Ref, reply: Mapping[str, Any]) -> List[Sample]:
    """What Measure-VM counted since the metering of this server began."""
    if not field(reply, "server", bool):
        raise NotFound(f"the host has no {ref}")
    measured = field(reply, "measured", dict, default={})
    if not measured:
        raise NotMeasured(f"resource metering is off for {ref}")
    at = field(reply, "now", float) / 1000
    found = []
    cpu = _cpu_seconds(measured)
    if cpu is not None:
        found.append(Sample("cpu", cpu, at))
    for metric, key in (("disk_read", "read_megabytes"), ("disk_write", "written_megabytes")):
        megabytes = field(measured, key, float, default=None)
        if megabytes is not None:
            found.append(Sample(metric, megabytes * _MB, at))
    traffic = items(measured, "traffic", default=[])
    for metric, direction in (("net_in", "inbound"), ("net_out", "outbound")):
        counts = [
            field(item, "megabytes", float, default=0.0)
            for item in traffic
            if short_text(item, "direction").lower() == direction
        ]
        if counts:
            found.append(Sample(metric, sum(counts) * _MB, at))
    memory = field(measured, "memory", float, default=None)
    if memory:
        found.append(Sample("memory", memory, at, counter=False))
    if not found:
        raise NotMeasured(f"Measure-VM has no figures of {ref} yet")
    return found


def _cpu_seconds(measured: Mapping[str, Any]) -> Optional[float]:
    """Seconds of CPU time per vCPU: the average MHz over the duration, by the processor's MHz."""
    duration = field(measured, "duration", float, default=None)
    megahertz = field(measured, "megahertz", float, default=None)
    per_processor = field(measured, "processor_megahertz", float, default=0.0)
    processors = field(measured, "processors", int, default=0)
    if duration is None or megahertz is None or per_processor <= 0 or processors <= 0:
        return None
    return float(megahertz * duration / per_processor / processors)


def images(reply: Mapping[str, Any], name: str) -> List[Image]:
    """``name`` is how the image was asked for: by its path, or by the name of its file."""
    return [_image(item, name) for item in items(reply, "images")]


def _image(item: Mapping[str, Any], name: str) -> Image:
    path, form = short_text(item, "path"), field(item, "format", str, default="")
    checksums = {
        short_text(each, "algorithm").lower(): short_text(each, "digest").lower()
        for each in items(item, "checksums", default=[])
    }
    return Image(
        path,
        name or path.rpartition("\\")[2],
        State.READY if form else State.FAILED,
        form or "not a virtual disk",
        checksums,
    )


def limits(reply: Mapping[str, Any], folder: str) -> List[Limit]:
    """What the host has, and how much of it is used; memory and storage in bytes."""
    host = short_text(reply, "host")
    memory, storage = field(reply, "memory", float), field(reply, "storage", float)
    return [
        Limit("servers", field(reply, "servers", float), None, host),
        Limit("vcpus", field(reply, "processors", float), None, host),
        Limit("memory", max(0.0, memory - field(reply, "memory_free", float)), memory, host),
        Limit(
            "storage",
            max(0.0, storage - field(reply, "storage_free", float)),
            storage,
            f"folder {folder}" if folder else f"the folder for virtual disks of {host}",
        ),
    ]
