"""Amazon EC2 and what speaks its API.

It uses EC2's and CloudWatch's Query interfaces, and Service Quotas (their API references are at
docs.aws.amazon.com). An instance is our server, an AMI our image, an instance type our flavor, a
subnet our network, and a network interface our port.

What a run makes has its handle in the tag ``Name``. A server has it as its ClientToken too, so that
a repeated request returns the same instance. A fleet is one request, and its members share both:
so the token also has their number, and the launch index tells them apart.

Managers of this family differ by their ``Dialect``.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, cast

from vmprobe.core.clock import Deadline
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import (
    ClientError,
    Conflict,
    Ended,
    NotFound,
    NotYet,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import (
    Capability,
    Image,
    Kind,
    Limit,
    Plan,
    Ref,
    Resource,
    Sample,
    Spec,
    TestVM,
)
from vmprobe.core.values import duration, http_url, one_of, yes_or_no
from vmprobe.drivers.ec2 import answers, capacity, cloudwatch, plan, servers, volumes
from vmprobe.drivers.ec2.belongings import Belongings
from vmprobe.drivers.ec2.consistency import Requested
from vmprobe.drivers.ec2.dialect import Dialect
from vmprobe.drivers.ec2.keys import CREDENTIALS
from vmprobe.drivers.ec2.names import name_filter
from vmprobe.drivers.ec2.servers import ports as server_ports
from vmprobe.drivers.ec2.session import Session
from vmprobe.drivers.ec2.snapshots import Snapshots
from vmprobe.drivers.ec2.volumes import LateNames

_BASIC, _DETAILED = 300.0, 60.0  # seconds between two readings of CloudWatch
_CONFLICT_WAIT = 2.0  # seconds before a refused snapshot is asked for again


def _period(value: str) -> float:
    seconds = duration(value)
    if seconds not in (_DETAILED, _BASIC):
        raise ValueError("is neither '300 s' nor '60 s', which is detailed monitoring")
    return seconds


class Ec2(Driver):
    """The verbs, as calls of the API in one region."""

    system = "Amazon EC2"
    proved_against = (
        "moto's server, behind a gateway that verifies signatures; "
        "AWS's published examples of these"
    )
    capabilities = frozenset(Capability)
    kinds: Sequence[Kind] = (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    metrics_offered: Sequence[str] = tuple(cloudwatch.METRICS)
    metrics_period = _BASIC
    endpoint_keys: Mapping[str, Key] = {
        "url": Key(http_url),
        "region": Key(),
        "profile": Key(),
        "cloudwatch url": Key(http_url),
        "service quotas url": Key(http_url),
        "metrics period": Key(_period, _BASIC),
        "image owner": Key(),
        "status checks": Key(yes_or_no, False),
        "device": Key(default="/dev/sdf"),
        "signature": Key(one_of("2", "4")),
    }
    test_vm_keys: Mapping[str, Key] = {
        "availability zone": Key(),
        "volume zone": Key(),
        "security group": Key(),
        "volume type": Key(),
    }
    credential_keys = CREDENTIALS
    dialect = Dialect(max_instances=False, latest=True, page=200)

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ):
        super().__init__(endpoint, credentials, deadline, evidence)
        has_metrics = Capability.METRICS in self.capabilities
        self.session = Session(endpoint, credentials, deadline, evidence, self.dialect, has_metrics)
        self._requested = Requested(deadline.clock)
        self._late_names = LateNames(self.session)
        self._belongings = Belongings(self.session, self._requested)
        self._snapshots = Snapshots(self.session)
        self.metrics_period = endpoint.get("metrics period", _BASIC)
        if not self.session.metrics_url():
            self.capabilities = self.capabilities - {Capability.METRICS}

    def connect(self) -> None:
        """Find fresh keys, and prove them by a first call."""
        self.session.open()

    def resolve(self, test_vm: TestVM) -> Plan:
        """Look up the image (the newest of its name), flavor (the smallest that fits), subnet."""
        return plan.resolve(self.session, cast("plan.Ec2TestVM", test_vm), self._image_owner())

    def create(self, spec: Spec) -> Ref:
        if spec.kind is Kind.VOLUME:
            self._late_names.before_create()
            volume = volumes.create(self.session, spec)
            self._requested.add([volume.id])
            self._late_names.created(volume, volumes.size_of(spec))
            return volume
        assert spec.kind is Kind.SERVER
        ids = servers.create(self.session, spec, self.metrics_period < _BASIC)
        self._requested.add(ids)
        self._belongings.add(ids)
        return Ref(Kind.SERVER, ids[0], spec.name)

    def show(self, ref: Ref) -> Resource:
        try:
            shown = self._shown(ref)
        except NotFound:
            self._requested.missed(ref)
            raise
        if shown is None:
            self._requested.missed(ref)
            raise NotFound(f"{ref} is not there")
        if answers.is_gone(shown):
            fault = f": {shown.fault}" if shown.fault else ""
            kind = Ended if ref.id in self._requested else NotFound
            raise kind(f"{ref} is {shown.provider_state}{fault}")
        self._requested.found(ref)
        refusal = self._late_names.shown(shown)
        if refusal:
            raise Conflict(f"{ref} has no name yet: {refusal}")
        return shown

    def _shown(self, ref: Ref) -> Optional[Resource]:
        """The resource of this id; None if the answer is empty."""
        asked = f"show {ref}"
        if ref.kind is Kind.SERVER:
            found = servers.shown(self.session, self._requested, {"InstanceId": [ref.id]}, asked)
        elif ref.kind is Kind.VOLUME:
            found = volumes.show(self.session, ref, asked)
        elif ref.kind is Kind.PORT:
            found = self.session.all(
                "DescribeNetworkInterfaces",
                {"NetworkInterfaceId": [ref.id]},
                asked,
                answers.interface,
            )
        else:
            found = self._snapshots.show(ref, asked)
        return answers.only(ref, found)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        found: List[Resource] = []
        if kind is Kind.SERVER:
            key = "tag:Name" if self.dialect.tags == "at once" else "client-token"
            parameters = name_filter(self.dialect, name, key)
            found = servers.shown(self.session, self._requested, parameters, "list servers")
        elif kind is Kind.VOLUME:
            parameters = name_filter(self.dialect, name)
            found = self.session.all("DescribeVolumes", parameters, "list volumes", answers.volume)
        elif kind is Kind.SNAPSHOT:
            found = self._snapshots.list(name)
        return [one for one in found if one.ref.name.startswith(name) and not answers.is_gone(one)]

    def delete(self, ref: Ref) -> None:
        """Ask for removal. An image goes with its snapshots, which EC2 would keep."""
        asked = f"delete {ref}"
        try:
            if ref.kind is Kind.SNAPSHOT:
                self._snapshots.delete(ref)
            elif ref.kind is Kind.VOLUME:
                self.session.call("DeleteVolume", {"VolumeId": ref.id}, asked)
            elif ref.kind is Kind.PORT:
                self.session.call("DeleteNetworkInterface", {"NetworkInterfaceId": ref.id}, asked)
            else:
                self.session.call("TerminateInstances", {"InstanceId": [ref.id]}, asked)
        except NotFound:
            self._requested.missed(ref)
        self._requested.forget(ref.id)
        self._late_names.forget(ref)
        self._belongings.forget(ref.id)

    def belongings(self, server: Ref) -> List[Ref]:
        """The volumes and interfaces that EC2 made with the instance, with their names.

        NotPermitted, with those that are known as ``partial``, where policy hides the others.
        """
        return self._belongings.of(server)

    def describe(self) -> Dict[str, object]:
        """The version is the one that the driver speaks; the zones are those at ``connect``."""
        keys = self.session.keys
        return {
            "version": f"API {self.dialect.version}",
            "region": self.session.region(),
            "keys": keys.source,
            "zones": sorted(self.session.zones),
        }

    def close(self) -> None:
        self.session.close()

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in answers.AT_REST

    def endpoints(self) -> List[str]:
        try:
            return [url for url in (self.session.url(), self.session.metrics_url()) if url]
        except ClientError:
            return []

    def credential_expiry(self, certificate_expiry: Callable[[str], float]) -> Optional[float]:
        return self.session.expires

    # --- by capability --------------------------------------------------------------------------

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        """All their network interfaces, by one request.

        With ``status checks`` these are ports, too: READY when the server has passed them.
        """
        with_checks = bool(self.endpoint.get("status checks"))
        with self._requested.expecting(*servers):
            return server_ports(self.session, self._requested, servers, with_checks)

    def attach(self, server: Ref, volume: Ref) -> None:
        device = self.endpoint["device"]
        with self._requested.expecting(server, volume):
            self.session.call(
                "AttachVolume",
                {"VolumeId": volume.id, "InstanceId": server.id, "Device": device},
                asked=f"attach {volume} to {server}",
            )

    def detach(self, server: Ref, volume: Ref) -> None:
        volumes.detach(self.session, self._requested, server, volume)

    def console(self, server: Ref) -> str:
        with self._requested.expecting(server):
            return servers.console(self.session, server)

    def metrics(self, server: Ref) -> List[Sample]:
        """CloudWatch's newest readings; a young server has none yet."""
        period = int(self.metrics_period)
        reply = self.session.cloudwatch(
            "GetMetricData",
            cloudwatch.parameters(server, period, self.deadline.clock.utc()),
            asked=f"metrics of {server}",
        )
        samples: List[Sample] = reply.parse(lambda: cloudwatch.samples(reply.xml(), period))
        return samples

    def snapshot(self, server: Ref, name: str) -> Ref:
        """Ask for an AMI of the running server, which goes on; its snapshots have the name too."""
        try:
            with self._requested.expecting(server):
                image = self._snapshots.create(server, name)
        except Conflict as refusal:  # nothing was made: the same may be asked for again
            raise NotYet(str(refusal), wait=_CONFLICT_WAIT) from None
        self._requested.add([image.id])
        return image

    def capacity(self) -> List[Limit]:
        """What is used, and the limits by account attributes, Service Quotas and subnets."""
        return capacity.limits(self.session)

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        return capacity.needs(self.session, plan, test_vm, super().needs(plan, test_vm))

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """The images of this name or id; EC2 knows no checksums."""
        try:
            return plan.images(self.session, name, self._image_owner(), answers.image)
        except NotFound:
            return []

    def _image_owner(self) -> str:
        owner: str = self.endpoint.get("image owner") or self.dialect.owner
        return owner


def keys_without(*names: str) -> Dict[str, Key]:
    """The keys of [endpoint] for a dialect that has no use for these; it needs a URL."""
    keys = {**Ec2.endpoint_keys, "url": Key(http_url, required=True)}
    return {name: key for name, key in keys.items() if name not in names}
