"""The session with one region: where its services are, the signed connections, and its lists."""

from __future__ import annotations

from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Iterable,
    List,
    Mapping,
    Optional,
    TypeVar,
)
from urllib.parse import urlsplit

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import AuthRejected, ClientError
from vmprobe.core.exchanges import Evidence
from vmprobe.drivers.ec2 import faults, lists, regions
from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.drivers.ec2.keys import Finder
from vmprobe.drivers.ec2.query import Parameters, Query, rows
from vmprobe.drivers.ec2.quotas import Quotas
from vmprobe.drivers.ec2.signature import Keys
from vmprobe.transport.http import Http, Reply
from vmprobe.transport.xml import text

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

T = TypeVar("T")

_CLOUDWATCH_VERSION = "2010-08-01"
_QUOTAS_TIMEOUT = 5.0  # seconds: Service Quotas may be out of reach, and are an extra
_SETS = {  # the element that has the items of each list
    "DescribeAvailabilityZones": "availabilityZoneInfo",
    "DescribeImages": "imagesSet",
    "DescribeInstances": "reservationSet",
    "DescribeInstanceTypeOfferings": "instanceTypeOfferingSet",
    "DescribeInstanceTypes": "instanceTypeSet",
    "DescribeNetworkInterfaces": "networkInterfaceSet",
    "DescribeSecurityGroups": "securityGroupInfo",
    "DescribeSnapshots": "snapshotSet",
    "DescribeSubnets": "subnetSet",
    "DescribeVolumes": "volumeSet",
}
# Lists that can be too long for one answer.
_PAGED = {"DescribeInstances", "DescribeVolumes", "DescribeSnapshots", "DescribeImages"}


class Session:
    """Signed connections to EC2, and to CloudWatch and Service Quotas where they are known."""

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
        dialect: Dialect,
        offers_metrics: bool,
    ):
        self._endpoint, self._deadline, self._evidence = endpoint, deadline, evidence
        self._offers_metrics = offers_metrics
        self.dialect = dialect
        # Only an instance of Amazon's own cloud may have keys in its metadata.
        has_metadata = regions.is_amazon(endpoint["url"])
        self._finder = Finder(endpoint, credentials, deadline, evidence, has_metadata)
        self._connections: List[Http] = []
        self._ec2: Optional[Query] = None
        self._keys: Optional[Keys] = None
        self._cloudwatch: Optional[Query] = None
        self.quotas: Optional[Quotas] = None
        self.zones: List[str] = []  # where a test VM can be

    def open(self) -> None:
        """Find the keys anew, so that those of a role are fresh, and prove them by a first call."""
        self.close()
        keys = self._finder.find(self.region())
        signature = int(self._endpoint["signature"] or self.dialect.signature)
        ec2 = self._query(keys, self.url(), "ec2", self.dialect.version, signature)
        zones = ec2("DescribeAvailabilityZones", asked="authentication")
        self.zones = [
            text(zone, "zoneName")
            for zone in rows(zones.xml(), _SETS["DescribeAvailabilityZones"])
            if _holds_test_vms(zone)
        ]
        self._ec2, self._keys = ec2, keys
        if self.metrics_url():
            self._cloudwatch = self._query(
                keys, self.metrics_url(), "monitoring", _CLOUDWATCH_VERSION
            )
        if self.quotas_url():
            self.quotas = Quotas(
                self._connection(
                    self.quotas_url(), min(_QUOTAS_TIMEOUT, self._endpoint["timeout"])
                ),
                keys,
                region=self.region(),
                classify=partial(faults.classify, self.dialect),
            )

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections = []

    def _query(self, keys: Keys, url: str, service: str, version: str, signature: int = 4) -> Query:
        return Query(
            self._connection(url, self._endpoint["timeout"]),
            keys,
            service=service,
            region=self.region(),
            version=version,
            signature=signature,
            classify=partial(faults.classify, self.dialect),
        )

    def _connection(self, url: str, timeout: float) -> Http:
        http = Http(url, self._deadline, self._evidence, timeout=timeout, ca=self._endpoint["ca"])
        self._connections.append(http)
        return http

    # --- calls --------------------------------------------------------------------------------

    def call(self, action: str, parameters: Optional[Parameters] = None, asked: str = "") -> Reply:
        """EC2's answer to one action; AuthRejected before ``open``."""
        if self._ec2 is None:
            raise AuthRejected("no session")
        return self._ec2(action, parameters, asked)

    def cloudwatch(self, action: str, parameters: Parameters, asked: str) -> Reply:
        """CloudWatch's answer to one action; AuthRejected before ``open``."""
        if self._cloudwatch is None:
            raise AuthRejected("no session")
        return self._cloudwatch(action, parameters, asked)

    def all(
        self, action: str, parameters: Parameters, asked: str, parse: Callable[[Element], T]
    ) -> List[T]:
        """``parse`` of each item of a list, from all its pages; Incomplete if some are missing."""
        return self.each(action, parameters, asked, lambda item: [parse(item)])

    def elements(
        self,
        action: str,
        parameters: Parameters,
        asked: str,
        matches: Callable[[Element], bool],
    ) -> List[Element]:
        """The matching items of a list themselves; for lists that are short."""
        return self.each(
            action,
            parameters,
            asked,
            lambda item: [item] if matches(item) else [],
            limit=lists.WHOLE,
        )

    def instances(
        self, parameters: Parameters, asked: str, parse: Callable[[Element], Iterable[T]]
    ) -> List[T]:
        """All that ``parse`` makes of each instance of the reservations."""
        return self.each(
            "DescribeInstances",
            parameters,
            asked,
            lambda reservation: [
                made for instance in rows(reservation, "instancesSet") for made in parse(instance)
            ],
        )

    def each(
        self,
        action: str,
        parameters: Parameters,
        asked: str,
        parse: Callable[[Element], Iterable[T]],
        limit: int = lists.LIMIT,
        items_in: str = "",
    ) -> List[T]:
        """All that ``parse`` makes of each item of a list; Incomplete if some are missing.

        ``limit``: bytes of all pages together. ``items_in``: the element that has the items, where
        the dialect has one of its own.
        """
        # EC2 does not page a list of resources that were asked for by their ids.
        ids = sum(
            len(value)
            for name, value in parameters.items()
            if name.endswith("Id") and isinstance(value, list)
        )
        page = self.dialect.page if action in _PAGED and not ids else 0
        return lists.read(
            lambda paging: self.call(action, {**parameters, **paging}, asked),
            items_in or _SETS[action],
            parse,
            page=page,
            limit=limit,
            ids=ids,
        )

    # --- what it is ---------------------------------------------------------------------------

    @property
    def keys(self) -> Keys:
        """The keys of this session; AuthRejected before ``open``."""
        if self._keys is None:
            raise AuthRejected("no session")
        return self._keys

    @property
    def expires(self) -> Optional[float]:
        """When the keys expire, in seconds since the epoch; None where it is not known."""
        return self._keys.expires if self._keys else None

    def region(self) -> str:
        """The region: the site's, the URL's, the dialect's, the environment's or the profile's."""
        return (
            self._endpoint["region"]
            or regions.region_in(self._endpoint["url"])
            or self.dialect.region
            or self._finder.region()
            or ("us-east-1" if self._endpoint["url"] else "")
        )

    def url(self) -> str:
        """EC2's URL: the site's, else Amazon's in this region; ClientError if neither is known."""
        url: str = self._endpoint["url"] or ""
        if url:
            return url if urlsplit(url).path.strip("/") else url + self.dialect.path
        if not self.region():
            raise ClientError("[endpoint] has neither url nor region: one of them is needed")
        return regions.service_url("ec2", self.region())

    def metrics_url(self) -> str:
        """CloudWatch's URL: the site's, else Amazon's own; '' where it is not known."""
        named: str = self._endpoint.get("cloudwatch url") or ""
        if named or not self._offers_metrics:
            return named
        try:
            return regions.neighbour_url("monitoring", self.url())
        except ClientError:
            return ""

    def quotas_url(self) -> str:
        """Service Quotas' URL: the site's, else Amazon's own; '' where it is not known."""
        named: str = self._endpoint.get("service quotas url") or ""
        return named or regions.neighbour_url("servicequotas", self.url())


def _holds_test_vms(zone: Element) -> bool:
    """Whether a zone is available; a local zone has few types, and no default subnet."""
    is_up = not text(zone, "zoneState", "").lower().startswith(("unavailable", "impaired"))
    return is_up and text(zone, "zoneType", "") in ("", "availability-zone")
