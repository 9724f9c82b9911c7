"""What is measured: one table of all metrics, for help texts, pages, thresholds and perfdata.

A metric is a perfdata label; its unit is one of the plug-in guidelines'. Counts and rates have
none.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterator, List, NamedTuple, Tuple

from vmprobe.core.model import BURDENS, METRICS, RESOURCES

# The stages that take each server of a fleet its own time.
_BY_SERVER = ("active", "network", "storage", "snapshot", "detach")
_RATES = METRICS[1:]  # bytes per second; the first is cpu
_LIMITED = [  # resources: of the quota, of all hosts, of a pool; only hosts have burdens
    (f"{where}{name}", name)
    for where in ("", "host_", "pool_")
    for name in RESOURCES
    if where == "host_" or name not in BURDENS
]


def _each(names: Tuple[str, ...], *ends: str) -> str:
    return " ".join(f"{name}_{end}" for end in ends for name in names)


def _resources(unit: str, *ends: str) -> str:
    """The labels of all resources that have this unit; a busy host's burdens are never free."""
    return " ".join(
        f"{label}_{end}"
        for label, name in _LIMITED
        for end in ends
        if RESOURCES[name] == unit and not (end == "free" and name in BURDENS)
    )


class Row(NamedTuple):
    """Metrics that are described together."""

    checks: str  # which measure them
    labels: str
    unit: str
    meaning: str
    shown: str = ""  # instead of the labels, where there are many


ROWS = (
    Row("gateway", "tcp tls http", "s", "duration of the step; one that failed has none"),
    Row(
        "gateway",
        "auth version services list image",
        "s",
        "duration of the step; one that failed has none",
    ),
    Row("lifecycle", "auth image submit", "s", "duration of the stage; one that failed has none"),
    Row("lifecycle", "active network storage", "s", "the time from the request for the VM"),
    Row("lifecycle", "sample snapshot detach delete gone", "s", "duration of the stage"),
    Row(
        "lifecycle",
        _each(_BY_SERVER, "min", "avg", "max"),
        "s",
        "minimum, average, maximum over the servers of a fleet",
        "STAGE_min _avg _max",
    ),
    Row("lifecycle", "cpu_avg cpu_peak", "%", "of the VM's vCPUs, according to the manager"),
    Row(
        "lifecycle", _each(_RATES, "avg", "peak"), "", "bytes per second, according to the manager"
    ),
    Row("lifecycle", "memory_avg memory_peak", "B", "memory of its host that the VM uses"),
    Row(
        "lifecycle", "ready_avg ready_peak", "%", "of the time, a vCPU waited for a CPU of the host"
    ),
    Row(
        "lifecycle",
        "leftovers",
        "",
        "resources that could not be removed, now or by an earlier run; where the cloud could not "
        "be asked, the resources that the ledgers of earlier runs have",
    ),
    Row(
        "lifecycle",
        "steal_avg",
        "%",
        "at depth console: share of the time in which the VM waited for a CPU",
    ),
    Row(
        "lifecycle",
        "work_cpu work_disk work_net",
        "s",
        "at depth console: duration of a small fixed piece of work in the VM",
    ),
    Row(
        "lifecycle",
        "metering",
        "",
        "the factor by which the VM's own measurements and the manager's differ; 1: they agree",
    ),
    Row(
        "gateway",
        "tls_expires",
        "s",
        "until the first certificate of any chain expires, 0 if one has expired; also when the "
        "chain is not accepted",
    ),
    Row("gateway", "cred_expires", "s", "until the credential expires, where it says when"),
    Row(
        "gateway",
        "skew",
        "s",
        "difference between the server's clock and this host's, in whole seconds",
    ),
    Row("state", "servers", "", "servers that match the options"),
    Row("state", "running stopped pending failed", "", "servers by state; the sum is servers"),
    Row("state", "stuck", "", "pending for longer than --stuck"),
    Row("state", "aged", "", "older than --max-age, and not failed or stuck"),
    Row("state", "age_max", "s", "age of the oldest server whose age is known"),
    Row(
        "activity", "cpu_avg cpu_peak", "%", "of a server's vCPUs: mean of all, highest of any one"
    ),
    Row("activity", _each(_RATES, "avg"), "", "bytes per second, mean of the servers"),
    Row("activity", _each(_RATES, "peak"), "", "bytes per second, highest of any one server"),
    Row("activity", _each(_RATES, "total"), "", "bytes per second of all servers together"),
    Row(
        "activity",
        "memory_avg memory_peak memory_total",
        "B",
        "memory of their hosts that the servers use, where the manager says it",
    ),
    Row(
        "activity",
        "ready_avg ready_peak",
        "%",
        "share of the time in which a vCPU could have run and had to wait for a CPU of its host, "
        "where the manager says it",
    ),
    Row("activity", "servers", "", "running servers that match the options"),
    Row("activity", "interval", "s", "the time that the averages cover"),
    Row("activity", "metrics", "s", "duration of the stage"),
    Row(
        "capacity",
        _resources("", "used"),
        "",
        "how many servers, vcpus, cpus, volumes, addresses, ports and leases are used, of the "
        "quota; the quota is the maximum. host_NAME_used: of all hosts together; "
        "pool_NAME_used: of the datastore or network with the most free space",
        "NAME_used",
    ),
    Row(
        "capacity",
        _resources("", "free"),
        "",
        "how many of these are free, where there is a limit",
        "NAME_free",
    ),
    Row(
        "capacity",
        _resources("B", "used", "free"),
        "B",
        "the same for memory, disk and storage",
        "NAME_used NAME_free",
    ),
    Row(
        "capacity",
        " ".join(f"{label}_full" for label, _ in _LIMITED),
        "%",
        "how much of the limit is used, for each of these",
        "NAME_full",
    ),
    Row(
        "capacity",
        _resources("s", "used"),
        "s",
        "how long the vCPUs on the hosts waited for a CPU; host_ready_full is its share of the "
        "time in which they could have run, host_load_used the hosts' load average",
        "host_ready_used",
    ),
    Row("capacity", "fits", "", "with --need or --flavor: how many more servers would fit"),
    Row("capacity", "auth capacity image", "s", "duration of the stage"),
    Row("image", "images", "", "images that were checked"),
    Row(
        "image",
        "missing inactive mismatched revoked expired unendorsed unverified",
        "",
        "images with this problem",
    ),
    Row(
        "image",
        "running_bad",
        "",
        "with --running: servers on an image that is revoked or expired",
    ),
    Row("image", "list_expires", "s", "until the first endorsement of these images expires"),
    Row("image", "image lists", "s", "duration of the stage"),
    Row("leftovers", "leftovers", "", "resources past their lease"),
    Row("leftovers", "oldest_age", "s", "time since the oldest lease ended"),
    Row("leftovers", "vcpus", "", "vCPUs that they use"),
    Row("leftovers", "memory volume_bytes", "B", "memory and storage that they use"),
    Row("state activity image", "auth list", "s", "duration of the stage"),
    Row(
        "lifecycle leftovers gateway state activity capacity image",
        "total",
        "s",
        "duration of the whole run",
    ),
)
UNITS: Dict[str, str] = {label: row.unit for row in ROWS for label in row.labels.split()}


def unit(label: str) -> str:
    """The unit that a label's perfdata carries; counts and rates have none."""
    return UNITS.get(label, "")


def measured_by(check: str) -> FrozenSet[str]:
    """All labels that the perfdata of this check can have."""
    return frozenset(label for row in _rows(check) for label in row.labels.split())


def help_text(check: str) -> str:
    """The metrics of a check for its help, at most 79 columns wide."""
    import textwrap  # only for people

    lines: List[str] = ["Metrics:"]
    for row in _rows(check):
        names = row.shown or row.labels
        about = f"{row.unit + ', ' if row.unit else ''}{row.meaning}"
        wrapped = textwrap.wrap(about, 79 - 26)
        if len(names) > 22:
            lines += textwrap.wrap(names, 77, initial_indent="  ", subsequent_indent="  ")
            lines += [f"{'':26}{line}" for line in wrapped]
        else:
            lines.append(f"  {names:<24}{wrapped[0]}")
            lines += [f"{'':26}{line}" for line in wrapped[1:]]
    return "\n".join(lines) + "\n"


def page_table(check: str) -> str:
    """The metrics of a check for its page, as a table in Markdown."""
    lines = ["| name | unit | meaning |", "|---|---|---|"]
    for row in _rows(check):
        names = " ".join(f"`{name}`" for name in (row.shown or row.labels).split())
        lines.append(f"| {names} | {row.unit} | {row.meaning} |")
    return "\n".join(lines) + "\n"


def _rows(check: str) -> Iterator[Row]:
    return (row for row in ROWS if check in row.checks.split())
