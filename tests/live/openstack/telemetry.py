"""A real Gnocchi beside the running cloud, in its catalog, with the resources and measures that Ceilometer would send.

It is not one of the stack's services: it starts when a test needs it, and leaves the catalog when that test ends.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from datetime import datetime, timezone

from . import conffiles
from .place import PORTS, STANDINS
from .processes import PYTHON

GRANULE = 300  # seconds; Ceilometer's own archive policy
_TEXT, _ID = {"type": "string", "required": True}, {"type": "uuid", "required": True}
TYPES = {
    "instance": {"display_name": _TEXT},
    "instance_disk": {"name": _TEXT, "instance_id": _ID},
    "instance_network_interface": {"name": _TEXT, "instance_id": _ID},
}


@contextmanager
def telemetry(stack):
    """In a ``with`` block: the cloud of ``stack`` has Gnocchi; yields a ``Ceilometer``.

    ``Unavailable`` where it cannot be installed.
    """
    stack.install("packages-gnocchi.txt")
    admin, place, processes = stack.api(), stack.place, stack.processes
    where = place.run / "gnocchi"
    where.mkdir()
    _database(stack, "CREATE")
    conffiles.ini(
        place.etc / "gnocchi.conf",
        {
            "indexer": {"url": conffiles.database(place, "gnocchi")["connection"]},
            "storage": {"driver": "file", "file_basepath": where},
            "incoming": {"driver": "file", "file_basepath": where},
            "api": {"auth_mode": "keystone", "operation_timeout": 120},
            "keystone_authtoken": conffiles.authtoken(place, "nova", "metric"),
        },
    )
    processes.start(
        "gnocchi",
        [
            PYTHON,
            str(STANDINS / "metric.py"),
            str(place.etc / "gnocchi.conf"),
            place.address,
            str(PORTS["gnocchi"]),
        ],
        {"HOME": str(place.etc)},
    )  # where its keystonemiddleware looks for gnocchi.conf by itself
    service = None
    try:
        processes.wait_port("gnocchi", PORTS["gnocchi"])
        service = admin.post(
            "identity", "/services", {"service": {"name": "gnocchi", "type": "metric"}}
        )["service"]["id"]
        admin.post(
            "identity",
            "/endpoints",
            {
                "endpoint": {
                    "service_id": service,
                    "interface": "public",
                    "region_id": "RegionOne",
                    "url": place.url("gnocchi"),
                }
            },
        )
        yield Ceilometer(stack)
    finally:
        if service:
            admin("DELETE", "identity", f"/services/{service}")
        processes.stop("gnocchi")
        _database(stack, "DROP")
        shutil.rmtree(where)


class Ceilometer:
    """What Ceilometer does, by hand: its archive policy, its resource types, and the measures that its pollsters send."""

    def __init__(self, stack):
        self.admin = stack.api()
        self.admin.post(
            "metric",
            "/v1/archive_policy",
            {
                "name": "ceilometer-low-rate",
                "aggregation_methods": ["mean", "rate:mean"],
                "back_window": 0,
                "definition": [{"granularity": f"{GRANULE} seconds", "timespan": "30 days"}],
            },
        )
        for name, attributes in TYPES.items():
            self.admin.post("metric", "/v1/resource_type", {"name": name, "attributes": attributes})

    @contextmanager
    def having_polled(self, server: dict, readings: dict[str, dict[str, list[float]]]):
        """In a ``with`` block: Gnocchi has these ``readings`` of a server: by resource ("" is the server, "vda" a disk,
        "tap..." an interface) and meter, the counters of the last granules, the newest last. None: a metric without measures."""
        for name, meters in readings.items():
            kind = (
                "instance"
                if not name
                else "instance_network_interface"
                if name.startswith("tap")
                else "instance_disk"
            )
            identity = {"instance": server["id"], "instance_disk": f"{server['id']}-{name}"}.get(
                kind, f"instance-00000001-{server['id']}-{name}"
            )
            about = (
                {"display_name": server["name"]}
                if not name
                else {"name": name, "instance_id": server["id"]}
            )
            made = self.admin.post(
                "metric",
                f"/v1/resource/{kind}",
                {
                    "id": identity,
                    "project_id": server["tenant_id"],
                    "user_id": server["user_id"],
                    **about,
                    "metrics": {
                        meter: {"archive_policy_name": "ceilometer-low-rate"} for meter in meters
                    },
                },
            )
            for meter, counted in meters.items():
                self._keep(made["metrics"][meter], counted)
        try:
            yield
        finally:
            self.admin(
                "DELETE",
                "metric",
                "/v1/resource/generic",
                json={"like": {"original_resource_id": f"%{server['id']}%"}},
            )

    def _keep(self, metric: str, counted: list[float]) -> None:
        """Send measures, and let Gnocchi process them (``refresh``, which does what gnocchi-metricd does)."""
        newest = datetime.now(timezone.utc).timestamp() // GRANULE * GRANULE
        first = newest - GRANULE * (len(counted) - 1)
        self.admin(
            "POST",
            "metric",
            f"/v1/metric/{metric}/measures",
            json=[
                {"timestamp": first + GRANULE * number, "value": value}
                for number, value in enumerate(counted)
            ],
        )
        self.admin("GET", "metric", f"/v1/metric/{metric}/measures?refresh=true")


def _database(stack, verb: str) -> None:
    """MariaDB's own client, as the services' account."""
    stack.processes.inside(
        [
            "mariadb",
            f"--host={stack.place.address}",
            f"--port={PORTS['mariadb']}",
            "--user=openstack",
            f"--password={conffiles.PASSWORD}",
            "--execute",
            f"{verb} DATABASE gnocchi",
        ]
    )
