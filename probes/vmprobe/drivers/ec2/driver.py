"""Amazon EC2 and what speaks its API: EC2's and CloudWatch's Query interfaces (API references of both, docs.aws.amazon.com).

Its words: instance is our server, AMI our image, instance type our flavor, subnet our network, network interface our port.
What a run makes carries its handle as the tag ``Name``, and a server as its ClientToken too, by which a repeated
submission is the same instance. In a fleet, which is one request, both are the same for all members, so the token also
says how many there are, and the launch index which one it is. Managers of this family differ by their ``Dialect``.
"""

from __future__ import annotations

import base64
import contextlib
import fnmatch
import re
import time
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    TypeVar,
)
from urllib.parse import urlsplit

from vmprobe.core import handle
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    Conflict,
    Ended,
    GatewayFailed,
    NotFound,
    NotPermitted,
    NotYet,
    QuotaExceeded,
    RateLimited,
    Transient,
    VmprobeError,
)
from vmprobe.core.model import Capability, Image, Kind, Limit, Plan, Ref, Resource, Sample, State
from vmprobe.core.text import cut
from vmprobe.core.values import duration, http_url, one_of, yes_or_no
from vmprobe.drivers.ec2 import lists
from vmprobe.drivers.ec2.keys import CREDENTIALS, Finder, domain
from vmprobe.drivers.ec2.query import Query, Refusal, refused, rows
from vmprobe.drivers.ec2.quotas import Quotas
from vmprobe.transport.http import Http, Reply
from vmprobe.transport.json import moment
from vmprobe.transport.xml import number, text

SERVER = {
    "running": State.READY,
    "stopped": State.FAILED,
    "error": State.FAILED,
}  # the last is ec2-api's own
PORT = {"attached": State.READY, "error": State.FAILED}
MOVING = {"attaching", "detaching", "busy"}  # an attachment
VOLUME = {"available": State.READY, "in-use": State.READY, "error": State.FAILED}
IMAGE = {
    "available": State.READY,
    "completed": State.READY,
    "failed": State.FAILED,
    "error": State.FAILED,
    "invalid": State.FAILED,
}
RESTS = {"stopped", "stopping", "paused", "suspended"}
GONE = {"terminated", "deleted", "deregistered"}  # still shown, and gone all the same
CHECKS = {"ok": State.READY, "not-applicable": State.READY, "impaired": State.FAILED}

ERRORS: Sequence[
    Tuple[str, Any, str]
] = (  # codes as patterns, the first that fits: what they are, whose matter it is
    (
        r"AuthFailure|.*SignatureDoesNotMatch|.*ClientTokenId|UnrecognizedClientException|.*ExpiredToken(Exception)?|RequestExpired"
        r"|InvalidAccessKeyId|MissingAuthenticationToken|IncompleteSignature|InvalidSecurity",
        AuthRejected,
        "",
    ),
    (
        r"UnauthorizedOperation|AccessDenied(Exception)?|OperationNotPermitted|OptInRequired|Blocked|PendingVerification",
        NotPermitted,
        "",
    ),
    (
        r"(RequestLimit|Throttling|SlowDown|EC2Throttled|Bandwidth).*|.*(Throttled|TooManyRequests)(Exception)?|.*RateExceeded",
        RateLimited,
        "",
    ),
    (r"Request.*", GatewayFailed, ""),
    (
        r"Insufficient(Instance|Host|Reserved\w*)?Capacity|NotEnoughResources\w*|Unsupported",
        CloudError,
        "scheduler",
    ),
    (r"InsufficientVolumeCapacity", CloudError, "storage"),
    (r"InsufficientFreeAddressesInSubnet|InsufficientAddressCapacity", CloudError, "network"),
    (
        r".*(Limit|Quota|Count)Exceeded\w*|.*Limit|TooManyInstances|AddressLimit\w*",
        QuotaExceeded,
        "",
    ),
    (r"InvalidAMIID\..*", NotFound, "image"),
    (r"InvalidAMI.*", CloudError, "image"),
    (
        r"Invalid(Subnet|VpcID|Group|SecurityGroup)\w*\.(NotFound|Malformed|Unavailable)",
        NotFound,
        "network",
    ),
    (
        r"Invalid\w+\.(NotFound|Malformed|Unknown)",
        NotFound,
        "",
    ),  # what cannot be an id names nothing either
    (r"InvalidInstanceType", NotFound, "image"),
    (
        r"VPCIdNotSpecified|MissingInput",
        CloudError,
        "client",
    ),  # there is no default VPC or subnet, and the site names none
    (
        r"Incorrect\w*State|InvalidState|VolumeInUse|ResourceInUse|DependencyViolation|Invalid\w+\.InUse",
        Conflict,
        "",
    ),
    (r"InvalidVolume\.ZoneMismatch", CloudError, "storage"),
    (r"Internal(Error|Failure)|Unavailable|ServiceUnavailable", GatewayFailed, ""),
    (r"OverLimit", QuotaExceeded, ""),
    (r"Forbidden", NotPermitted, ""),  # from here on OpenStack's, which ec2-api lets through
    (r"NotFound", NotFound, ""),
    (r"Conflict", Conflict, ""),
    (r"NoSuchResourceException", NotFound, ""),  # Service Quotas'
)
_NOT_NOW = re.compile(
    r"currently in use|is in use|not in a (?:valid|correct) state", re.I
)  # under codes that say less
_LONGEST = 255  # characters of an id
T = TypeVar("T")
REASONS = (  # codes of a server's StateReason: whose matter it is
    (r"LimitExceeded|Quota", "quota"),
    (r"Volume|Snapshot|Ebs", "storage"),
    (r"Image|AMI", "image"),
    (r"Network|Address", "network"),
)
METRICS = {  # CloudWatch's name of each, and what of its period is asked for: an average in percent, or a sum of bytes
    "cpu": (("CPUUtilization",), "Average"),
    "disk_read": (("EBSReadBytes", "DiskReadBytes"), "Sum"),
    "disk_write": (("EBSWriteBytes", "DiskWriteBytes"), "Sum"),
    "net_in": (("NetworkIn",), "Sum"),
    "net_out": (("NetworkOut",), "Sum"),
}
QUOTAS = {  # of Service Quotas: service, code, and how much one is
    "vcpus": ("ec2", "L-1216C47A", 1),  # of running on-demand instances of the standard families
    "storage": ("ebs", "L-7A658B76", 2**40),  # of gp3 volumes
    "addresses": ("ec2", "L-0263D0A3", 1),
}  # elastic ones
STANDARD = re.compile(
    r"(?!inf|hpc|dl|trn|mac)[acdhimrtz]"
)  # how names of instance types of these families begin

_YOUNG = 60.0  # seconds for which a thing that was asked for may not be known everywhere: EC2 is eventually consistent
_MISSED = 2  # times in a row after which it is believed that a thing of ours is not there, once it is not young any more
_AT_ONCE = 100  # things that one request names
_EXTRA = 5.0  # seconds that Service Quotas, which may be out of reach, get to answer
_BY_US = ("Client.UserInitiatedShutdown",)  # the reason of a removal that was asked for
_GIB, _MIB = 2**30, 2**20
_PAGED = {
    "DescribeInstances",
    "DescribeVolumes",
    "DescribeSnapshots",
    "DescribeImages",
}  # whole, they can be too much to be held
_AMAZONS = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".api.amazonwebservices.com.cn",
    ".c2s.ic.gov",
    ".sc2s.sgov.gov",
)
_MEMORIES = (512, 1024, 2048, 4096, 8192)  # MiB: what the smallest type that fits may have


class Dialect(NamedTuple):
    """What differs among those who speak EC2's API."""

    version: str = "2016-11-15"
    signature: int = 4
    path: str = ""  # of the service, where the site's URL has none
    region: str = ""  # that signatures name, unless the site says another
    owner: str = "self"  # whose images are meant, unless the site says so; '' is anybody's
    tags: str = "at once"  # "after": not with the request that creates, but by CreateTags; "never"
    filters: bool = True  # whether lists can be asked for in part
    types: str = (
        "offered"  # "all": DescribeInstanceTypes without filters and offerings; "": there is none
    )
    max_instances: bool = True  # whether the account's attribute of this name is a limit
    latest: bool = False  # whether a console can be asked for as it is now
    conflicts: FrozenSet[str] = frozenset()  # codes that mean "not in this state", beside EC2's own
    page: int = 0  # things of a list in one answer, where that can be asked for


def _period(word: str) -> float:
    if duration(word) not in (60, 300):
        raise ValueError("is neither '300 s' nor '60 s', which is detailed monitoring")
    return duration(word)


class Ec2(Driver):
    """The verbs, as calls of the API in one region."""

    system = "Amazon EC2"
    proved_against = "moto's server, behind a gateway that verifies signatures; AWS's published examples of these"
    capabilities = frozenset(Capability)
    kinds: Sequence[Kind] = (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    metrics_offered: Sequence[str] = tuple(METRICS)
    metrics_period = 300.0
    endpoint_keys: Mapping[str, Key] = {
        "url": Key(http_url),
        "region": Key(),
        "profile": Key(),
        "cloudwatch url": Key(http_url),
        "service quotas url": Key(http_url),
        "metrics period": Key(_period, 300.0),
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

    def __init__(self, *words: Any):
        super().__init__(*words)
        amazons = is_amazons(self.endpoint["url"])  # whose instances have metadata with keys for it
        self._finder = Finder(
            self.endpoint, self.credentials, self.deadline, self.evidence, amazons
        )
        self._ec2: Optional[Query] = None
        self._cloudwatch: Optional[Query] = None
        self._quotas: Optional[Quotas] = None
        self._https: List[Http] = []
        self._zones: List[str] = []
        self._asked: Dict[
            str, float
        ] = {}  # by id: what this session asked for and has not asked to remove, and when
        self._missed: Dict[str, int] = {}  # of these: how often in a row it was not known
        self._unnamed: Dict[
            str, Tuple[str, int]
        ] = {}  # by id: name and bytes of volumes whose name was not given yet
        self._before: Optional[Set[str]] = (
            None  # volumes that no answer to a request of ours can mean: they were there before
        )
        self._fleet: Dict[str, None] = {}  # ids of servers that this session asked for
        self._came: Dict[
            str, List[Ref]
        ] = {}  # by id of a server: what belongs to it, and was not asked for yet
        self._unnameable: Optional[NotPermitted] = (
            None  # why names of what came with servers cannot be had
        )
        self._parts: Dict[
            str, List[str]
        ] = {}  # by id of an image of ours: the snapshots that it is made of, and are left
        self.metrics_period = self.endpoint.get("metrics period", 300.0)
        if not self._metrics_url():
            self.capabilities = self.capabilities - {Capability.METRICS}

    def connect(self) -> None:
        """Keys are looked for anew, so that those of an instance or a role are fresh; a first call proves them."""
        self.close()
        keys, region = self._finder.find(self._region()), self._region()

        def at(url: str, timeout: float = self.endpoint["timeout"]) -> Http:
            http = Http(url, self.deadline, self.evidence, timeout=timeout, ca=self.endpoint["ca"])
            self._https.append(http)
            return http

        def query(url: str, service: str, version: str, signature: int) -> Query:
            return Query(
                at(url),
                keys,
                service=service,
                region=region,
                version=version,
                signature=signature,
                classify=self._classify,
            )

        ec2 = query(
            self._url(),
            "ec2",
            self.dialect.version,
            int(self.endpoint["signature"] or self.dialect.signature),
        )
        zones = ec2("DescribeAvailabilityZones", asked="authentication")
        self._zones = [
            text(zone, "zoneName")
            for zone in rows(zones.xml(), "availabilityZoneInfo")
            if text(zone, "zoneType", "")
            in ("", "availability-zone")  # a local zone has few types, and no default subnet
            and not text(zone, "zoneState", "").lower().startswith(("unavailable", "impaired"))
        ]
        self._ec2, self._keys = ec2, keys
        if Capability.METRICS in self.capabilities:
            self._cloudwatch = query(self._metrics_url(), "monitoring", "2010-08-01", 4)
        if self._quotas_url():
            self._quotas = Quotas(
                at(self._quotas_url(), min(_EXTRA, self.endpoint["timeout"])),
                keys,
                region=region,
                classify=self._classify,
            )

    def resolve(self, test_vm: Mapping[str, Any]) -> Plan:
        """The AMI by id, or the newest of its owner and name; the type by name, or the smallest that fits; the subnet."""
        image = self._image(test_vm["image"])
        subnet = self._subnet(test_vm["network"]) if test_vm["network"] else None
        zone = test_vm.get("availability zone") or (
            text(subnet, "availabilityZone", "") if subnet is not None else ""
        )
        flavor, vcpus, memory, offered = self._type(test_vm["flavor"], image, zone)
        first = next((one for one in self._zones if one in offered or not offered), "")
        volume_zone = test_vm.get("volume zone") or zone or first
        if not zone and subnet is None and not test_vm.get("volume zone"):
            zone = volume_zone  # a volume can be attached within its zone only
        details = {
            "image": text(image, "imageId"),
            "flavor": flavor,
            "vcpus": vcpus,
            "memory": memory,
            "subnet": text(subnet, "subnetId") if subnet is not None else None,
            "zone": zone or None,
            "group": self._group(test_vm.get("security group"), subnet),
            "kept": _kept(image),
            "volume zone": volume_zone,
            "volume type": test_vm.get("volume type"),
            "depth": test_vm["depth"],
            "gp3 of image": _gp3(image),
        }
        return Plan(
            text(image, "name", "") or details["image"], flavor, details["subnet"] or "", details
        )

    def create(self, spec: Any) -> Ref:
        plan, now = spec.plan.details, self.deadline.clock.now()
        if spec.kind is Kind.VOLUME:
            self._note_volumes()
            reply = self._call(
                "CreateVolume",
                {
                    "Size": -(-spec.size // _GIB),
                    "AvailabilityZone": plan["volume zone"] or None,
                    "VolumeType": plan["volume type"],
                    **self._tagged(spec.name, "volume"),
                },
                asked="create volume",
            )
            made = Ref(
                Kind.VOLUME, reply.understood(lambda: _identity(reply.xml(), "volumeId")), spec.name
            )
            self._asked[made.id] = now
            if self._before is not None and made.id not in self._before:
                self._before.add(made.id)
                self._unnamed[made.id] = spec.name, -(-spec.size // _GIB) * _GIB
                with contextlib.suppress(CloudError):  # ``show`` tries again
                    found = self._shown(made)
                    if found is not None:
                        self._name(found)
            return made

        token = spec.name if spec.count == 1 else f"{spec.name}/{spec.count}"
        reply = self._call(
            "RunInstances",
            {
                "ImageId": plan["image"],
                "InstanceType": plan["flavor"] or None,
                "ClientToken": token,
                "MinCount": spec.count,
                "MaxCount": spec.count,
                "UserData": _user_data(spec),
                "Placement": {"AvailabilityZone": plan["zone"]},
                "SubnetId": plan["subnet"],
                **plan["group"],
                **self._tagged(spec.name, "instance", token),
                "BlockDeviceMapping": [
                    {
                        "DeviceName": device,
                        "Ebs": {"SnapshotId": snapshot, "DeleteOnTermination": True},
                    }
                    for device, snapshot in plan["kept"]
                ],
                "Monitoring": {"Enabled": True} if self.metrics_period < 300 else None,
            },
            asked="create server",
        )
        ids = reply.understood(
            lambda: [_identity(one, "instanceId") for one in rows(reply.xml(), "instancesSet")]
        )
        if len(ids) < spec.count:
            raise reply.failed(f"{len(ids)} instances in the answer, not {spec.count}")
        self._asked.update(dict.fromkeys(ids, now))
        self._fleet.update(dict.fromkeys(ids))
        return Ref(Kind.SERVER, ids[0], spec.name)

    def show(self, ref: Ref) -> Resource:
        try:
            found = self._shown(ref)
        except NotFound:
            self._check_young(ref)
            raise
        if found is None or _is_gone(found):
            if found is None:
                self._check_young(ref)
                raise NotFound(f"{ref} is not there")
            raise (Ended if ref.id in self._asked else NotFound)(
                f"{ref} is {found.provider_state}" + (f": {found.fault}" if found.fault else "")
            )
        self._missed.pop(ref.id, None)
        if found.ref.name:
            self._unnamed.pop(ref.id, None)
        elif ref.id in self._unnamed:
            refusal = self._name(found)
            if refusal:
                raise Conflict(f"{ref} has no name yet: {refusal}")
        return found

    def list(self, kind: Kind, name: str) -> List[Resource]:
        if kind is Kind.SERVER:
            found = self._servers(
                self._filter(name, "client-token" if self.dialect.tags != "at once" else "tag:Name")
            )
        elif kind is Kind.VOLUME:
            found = self._all(
                "DescribeVolumes", "volumeSet", self._filter(name), "list volumes", _volume
            )
        elif kind is Kind.SNAPSHOT:
            found = self._snapshots(name)
        else:
            return []
        return [one for one in found if one.ref.name.startswith(name) and not _is_gone(one)]

    def delete(self, ref: Ref) -> None:
        """An image goes with the snapshots that it is made of, which EC2 would keep."""
        try:
            if ref.kind is Kind.SNAPSHOT:
                self._delete_image(ref)
            elif ref.kind is Kind.VOLUME:
                self._call("DeleteVolume", {"VolumeId": ref.id}, asked=f"delete {ref}")
            elif ref.kind is Kind.PORT:
                self._call(
                    "DeleteNetworkInterface", {"NetworkInterfaceId": ref.id}, asked=f"delete {ref}"
                )
            else:
                self._call("TerminateInstances", {"InstanceId": [ref.id]}, asked=f"delete {ref}")
        except NotFound:
            self._check_young(ref)
        for known in (self._asked, self._missed, self._unnamed, self._fleet):
            known.pop(ref.id, None)

    def belongings(self, server: Ref) -> List[Ref]:
        """The volumes and network interfaces that came with the instance, each with the name that it has.

        Those that were attached later are whoever's made them: these do not go with the instance, unless somebody says so.
        Of a fleet that this session made, all members are asked about at once. NotPermitted, with what is ``known``, where
        policy forbids to ask for their names.
        """
        if server.id not in self._came:
            self._came.update(self._came_with(server))
        if server.id not in self._came:
            raise NotFound(f"{server} is not there")
        if self._unnameable is not None:
            self._unnameable.partial = self._came.pop(server.id)
            raise self._unnameable
        return self._came.pop(server.id)

    def _came_with(self, server: Ref) -> Dict[str, List[Ref]]:
        """By id of those that are there: what belongs to this server and its fellows."""
        fellows = [one for one in self._fleet if one != server.id and one not in self._came]
        try:
            there = self._equipment([server.id, *fellows][:_AT_ONCE], server)
        except NotFound:
            if fellows:  # one of whom is not known
                self._fleet.clear()
                return self._came_with(server)
            self._check_young(server)
            raise
        volumes, ports = ([one for both in there.values() for one in both[kind]] for kind in (0, 1))
        named = self._named(server, volumes, ports) if volumes or ports else []
        return {
            identity: [
                one.ref
                for one in named
                if one.ref.id in (*both[0], *both[1]) and one.server in ("", identity)
            ]
            for identity, both in there.items()
        }

    def _equipment(self, servers: List[str], server: Ref) -> Dict[str, Tuple[List[str], List[str]]]:
        """By id: the volumes and interfaces of these servers, of those that are there."""
        found = self._instances(
            {"InstanceId": servers},
            f"belongings of {server}",
            lambda one: (
                [(_identity(one, "instanceId"), _equipped(one))]
                if text(one, "instanceState/name", "") not in GONE
                else []
            ),
        )
        there = {identity: both for identity, both in found if identity in servers}
        if found and not there:
            raise GatewayFailed(f"belongings of {server}: the answer is about {found[0][0]}")
        return there

    def _named(self, server: Ref, volumes: List[str], ports: List[str]) -> List[Resource]:
        """These with their names; Conflict when one is not known, which does not say that its server is gone."""
        found: List[Resource] = []
        for ids, action, where, word, asked, made in (
            (volumes, "DescribeVolumes", "volumeSet", "VolumeId", "volumes", _volume),
            (
                ports,
                "DescribeNetworkInterfaces",
                "networkInterfaceSet",
                "NetworkInterfaceId",
                "interfaces",
                _interface,
            ),
        ):
            try:
                shown = (
                    self._all(action, where, {word: ids}, f"{asked} of {server}", made)
                    if ids
                    else []
                )
            except NotFound as unknown:
                raise Conflict(str(unknown)) from None
            except (
                NotPermitted
            ) as refusal:  # what cannot be shown cannot pass the gate later, either
                self._unnameable = refusal
                continue
            there = {one.ref.id for one in shown}
            if there - set(ids) and set(ids) - there:
                raise GatewayFailed(
                    f"{asked} of {server}: the answer is about {min(there - set(ids))}"
                )
            found += shown
        return found

    def describe(self) -> Dict[str, Any]:
        """The version of the API is the one that is spoken; the zones are as ``connect`` was told."""
        if self._ec2 is None:
            raise AuthRejected("no session")
        return {
            "version": f"API {self.dialect.version}",
            "region": self._region(),
            "keys": self._keys.source,
            "zones": sorted(self._zones),
        }

    def close(self) -> None:
        for http in self._https:
            http.close()
        self._https = []

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in RESTS

    def endpoints(self) -> List[str]:
        try:
            return [url for url in (self._url(), self._metrics_url()) if url]
        except ClientError:
            return []

    def credential_expiry(self) -> Optional[float]:
        return self._keys.expires if self._ec2 else None

    # --- by capability ----------------------------------------------------------------------------------------

    def ports(self, servers: Sequence[Ref]) -> List[Resource]:
        """The network interfaces of all these by one request; with ``status checks`` a server has passed these, too."""
        found: List[Resource] = []
        words = {"InstanceId": [server.id for server in servers]}
        with self._young(*servers):
            found += self._instances(words, "list servers", self._ports_of)
            if self.endpoint.get("status checks"):
                reply = self._call(
                    "DescribeInstanceStatus",
                    {**words, "IncludeAllInstances": True},
                    asked="status checks",
                )
                found += reply.understood(
                    lambda: [_check(one, found) for one in rows(reply.xml(), "instanceStatusSet")]
                )
        return found

    def _ports_of(self, item: Any) -> List[Resource]:
        server = self._server(item)
        return [_port(nic, server) for nic in rows(item, "networkInterfaceSet")] or [
            Resource(
                Ref(Kind.PORT, server.ref.id, ""),
                State.READY if server.addresses else State.PENDING,
                "address" if server.addresses else "no address",
                addresses=server.addresses,
                server=server.ref.id,
            )
        ]

    def attach(self, server: Ref, volume: Ref) -> None:
        with self._young(server, volume):
            self._call(
                "AttachVolume",
                {"VolumeId": volume.id, "InstanceId": server.id, "Device": self.endpoint["device"]},
                asked=f"attach {volume} to {server}",
            )

    def detach(self, server: Ref, volume: Ref) -> None:
        """That a volume is not attached is told by the same codes as that it cannot be detached just now, or is not known."""
        try:
            with self._young(server, volume):
                self._call(
                    "DetachVolume",
                    {"VolumeId": volume.id, "InstanceId": server.id},
                    asked=f"detach {volume} from {server}",
                )
        except (NotFound, Conflict):
            if self._may_be_attached(volume):
                raise

    def _may_be_attached(self, volume: Ref) -> bool:
        try:
            seen = self._shown(volume)
        except NotFound:
            self._check_young(volume)
            return False
        return seen is not None and (bool(seen.server) or seen.state is not State.READY)

    def console(self, server: Ref) -> str:
        """As it is now where the instance's hypervisor can say that, else as it was when EC2 looked last."""
        try:
            reply = self._console(server, self.dialect.latest)
        except CloudError as failed:
            if not self.dialect.latest or "UnsupportedOperation" not in str(failed):
                raise
            reply = self._console(server, False)
        said = text(reply.xml(), "output", "")
        try:
            return base64.b64decode(said).decode("utf-8", "replace")
        except ValueError:
            raise reply.failed("the output in the answer is not base64") from None

    def _console(self, server: Ref, latest: bool) -> Reply:
        with self._young(server):
            return self._call(
                "GetConsoleOutput",
                {"InstanceId": server.id, "Latest": latest or None},
                asked=f"console of {server}",
            )

    def metrics(self, server: Ref) -> List[Sample]:
        """CloudWatch's newest figures of this instance; a young one has none yet."""
        period, now = int(self.metrics_period), self.deadline.clock.utc()
        this = {"member": [{"Name": "InstanceId", "Value": server.id}]}
        queries = [
            {
                "Id": name.lower(),
                "MetricStat": {
                    "Period": period,
                    "Stat": statistic,
                    "Metric": {"Namespace": "AWS/EC2", "MetricName": name, "Dimensions": this},
                },
            }
            for names, statistic in METRICS.values()
            for name in names
        ]
        if self._cloudwatch is None:
            raise AuthRejected("no session")
        reply = self._cloudwatch(
            "GetMetricData",
            {
                "MetricDataQueries": {"member": queries},
                "StartTime": _stamp(now - 4 * period),
                "EndTime": _stamp(now),
                "ScanBy": "TimestampDescending",
            },
            asked=f"metrics of {server}",
        )
        return reply.understood(lambda: _samples(reply.xml(), period))

    def snapshot(self, server: Ref, name: str) -> Ref:
        """An AMI of the running instance, which goes on; what it is made of carries the handle as well."""
        tags = self._tagged(name, "image")
        if tags:
            tags["TagSpecification"] += self._tagged(name, "snapshot")["TagSpecification"]
        try:
            with self._young(server):
                reply = self._call(
                    "CreateImage",
                    {"InstanceId": server.id, "Name": name, "NoReboot": True, **tags},
                    asked=f"snapshot of {server}",
                )
        except Conflict as unknown:  # so that nothing was made, and the same may be asked for again
            raise NotYet(str(unknown), wait=2.0) from None
        made = Ref(Kind.SNAPSHOT, reply.understood(lambda: _identity(reply.xml(), "imageId")), name)
        self._asked[made.id] = self.deadline.clock.now()
        return made

    def capacity(self) -> List[Limit]:
        """What is used, with the limits among the account's attributes and, where they can be read, Service Quotas'.

        With these, storage is that of gp3 volumes: each type of volume has a quota of its own.
        """
        reply = self._call("DescribeAccountAttributes", asked="account attributes")
        stated = {
            text(one, "attributeName", ""): text(one, ".//attributeValue", "")
            for one in rows(reply.xml(), "accountAttributeSet")
        }
        totals: Dict[str, Optional[float]] = {
            "servers": _whole(stated.get("max-instances", ""))
            if self.dialect.max_instances
            else None,
            "addresses": _whole(
                stated.get("vpc-max-elastic-ips") or stated.get("max-elastic-ips") or ""
            ),
        }
        instances = self._instances({}, "list servers", _counted)
        volumes = self._all(
            "DescribeVolumes",
            "volumeSet",
            {},
            "list volumes",
            lambda one: (text(one, "volumeType", ""), number(one, "size", 0) * _GIB),
        )
        used: Dict[str, float] = {
            "servers": len(instances),
            "volumes": len(volumes),
            "storage": sum(size for _, size in volumes),
        }

        unread: Dict[str, str] = {}
        if self._quotas is not None:
            quotas, unread = self._all_quotas(self._quotas)
            totals.update(quotas)
            used["vcpus"] = self._standard_vcpus(instances)
            used["storage"] = sum(size for kind, size in volumes if kind == "gp3")
        if totals["addresses"] is not None:
            used["addresses"] = len(
                rows(self._call("DescribeAddresses", asked="list addresses").xml(), "addressesSet")
            )
        return [
            *(
                Limit(
                    name,
                    count,
                    totals.get(name),
                    unknown=unread.get(name, "") if totals.get(name) is None else "",
                )
                for name, count in used.items()
            ),
            *self._subnets(),
        ]

    def needs(self, plan: Plan, test_vm: Mapping[str, Any]) -> Mapping[Tuple[str, str], float]:
        """Where Service Quotas count standard instances and gp3 volumes alone, others do not meet these limits."""
        found = dict(super().needs(plan, test_vm))
        if self._quotas is not None and not STANDARD.match(plan.flavor):
            found.pop(("vcpus", ""), None)
        if self._quotas is not None:
            whole = (
                -(-test_vm["volume"] // _GIB) * _GIB
                if test_vm["volume"] and plan.details.get("volume type") == "gp3"
                else 0
            )
            found["storage", ""] = float(whole + plan.details["gp3 of image"])
        subnet = plan.details["subnet"] or self._default_subnet(plan.details["zone"])
        return {**found, **({("leases", f"subnet {subnet}"): 1.0} if subnet else {})}

    def _subnets(self) -> List[Limit]:
        """The addresses of each subnet; nothing where these cannot be listed, as a create does not need that."""
        try:
            found = self._all("DescribeSubnets", "subnetSet", {}, "list subnets", _addresses_of)
        except AuthRejected:
            raise
        except CloudError:
            return []
        return [limit for limit in found if limit is not None]

    def _default_subnet(self, zone: Optional[str]) -> str:
        """The subnet that a server gets in a zone when it asks for none; '' where there is no such thing."""
        try:
            found = self._elements(
                "DescribeSubnets",
                "subnetSet",
                {"Filter": [{"Name": "default-for-az", "Value": ["true"]}]},
                "default subnets",
                lambda one: (
                    text(one, "defaultForAz", "") == "true"
                    and text(one, "availabilityZone", "") == zone
                ),
            )
        except AuthRejected:
            raise
        except CloudError:
            return ""
        return text(found[0], "subnetId", "") if found else ""

    def _all_quotas(self, quotas: Quotas) -> Tuple[Dict[str, float], Dict[str, str]]:
        """(those that can be read, why the others cannot). Who does not answer once is not asked again: they are an extra."""
        found: Dict[str, float] = {}
        unread: Dict[str, str] = {}
        for name, (service, code, unit) in QUOTAS.items():
            try:
                found[name] = max(0.0, quotas(service, code)) * unit
            except Transient as silent:
                return found, {**dict.fromkeys(QUOTAS, str(silent)), **unread}
            except CloudError as refusal:
                unread[name] = str(refusal)
        return found, unread

    def _standard_vcpus(self, instances: Sequence["Counted"]) -> int:
        """The vCPUs of all that count as running on-demand standard instances, by what their types have."""
        counted = [
            one.flavor
            for one in instances
            if one.state in ("pending", "running")
            and one.lifecycle != "spot"
            and STANDARD.match(one.flavor)
        ]
        names, vcpus = sorted(set(counted)), {}
        for first in range(0, len(names), _AT_ONCE):
            words = {"InstanceType": names[first : first + _AT_ONCE]}
            found = self._all(
                "DescribeInstanceTypes", "instanceTypeSet", words, "flavors in use", _flavor
            )
            vcpus.update({name: cores for name, cores, _ in found})
        return sum(vcpus.get(one, 0) for one in counted)

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """EC2 knows no checksums."""
        try:
            return self._images(name, _image)
        except NotFound:
            return []

    # --- calls ------------------------------------------------------------------------------------------------

    def _call(
        self, action: str, words: Optional[Mapping[str, Any]] = None, asked: str = ""
    ) -> Reply:
        if self._ec2 is None:
            raise AuthRejected("no session")
        return self._ec2(action, words, asked)

    def _all(
        self,
        action: str,
        where: str,
        words: Mapping[str, Any],
        asked: str,
        made: Callable[[Any], T],
    ) -> List[T]:
        """What is ``made`` of each thing in a list, all pages of it; Incomplete when it is not whole."""
        return self._each(action, where, words, asked, lambda one: [made(one)])

    def _elements(
        self,
        action: str,
        where: str,
        words: Mapping[str, Any],
        asked: str,
        wanted: Callable[[Any], bool],
    ) -> List[Any]:
        """The elements themselves of what is wanted in a list, which is no long one."""
        return self._each(
            action, where, words, asked, lambda one: [one] if wanted(one) else [], lists.WHOLE
        )

    def _each(
        self,
        action: str,
        where: str,
        words: Mapping[str, Any],
        asked: str,
        keep: Callable[[Any], List[T]],
        *most: int,
    ) -> List[T]:
        ids = sum(
            len(asked_for) for word, asked_for in words.items() if word.endswith("Id")
        )  # which go with no limit
        page = self.dialect.page if action in _PAGED and not ids else 0
        return lists.read(
            lambda more: self._call(action, {**words, **more}, asked),
            where,
            keep,
            page,
            *most,
            ids=ids,
        )

    def _classify(self, reply: Reply, said: Refusal) -> Optional[VmprobeError]:
        """The error of a code; EC2 answers 500 where it has no room, and 400 for nearly everything else."""
        if said.code in self.dialect.conflicts:
            return refused(Conflict, reply, said)
        if said.code == "InvalidParameterValue" and re.search(r"Expected: [a-z]+-", said.message):
            return refused(
                NotFound, reply, said
            )  # ec2-api's way to say that what cannot be an id names nothing
        if said.code in (
            "InvalidParameterValue",
            "InvalidRequest",
            "InvalidParameterCombination",
        ) and _NOT_NOW.search(said.message):
            return refused(Conflict, reply, said)
        kind, cause = next(
            ((kind, cause) for pattern, kind, cause in ERRORS if re.fullmatch(pattern, said.code)),
            (None, ""),
        )
        if kind in (NotPermitted, None) and re.search(
            r"quota (?:was |is )?exceeded|exceed\w* (?:the |your )?quota", said.message, re.I
        ):
            kind = QuotaExceeded
        if kind is None:
            return refused(
                CloudError if reply.status < 500 else GatewayFailed,
                reply,
                said,
                wait=reply.wait if reply.status >= 500 else None,
            )
        wait = (
            reply.wait or 5.0
            if kind is RateLimited or kind is GatewayFailed and reply.status != 500
            else None
        )
        return refused(kind, reply, said, cause, wait)

    def _filter(self, name: str, key: str = "tag:Name") -> Dict[str, Any]:
        """What begins with ``name``, as far as the manager can tell; a member's number is not in what a fleet shares."""
        if (
            not name
            or not self.dialect.filters
            or key == "client-token"
            and not name.startswith(handle.PREFIX)
        ):
            return {}
        return {"Filter": [{"Name": key, "Value": [re.sub(r"-\d*$", "", name) + "*"]}]}

    def _tagged(self, name: str, kind: str, token: str = "") -> Dict[str, Any]:
        if self.dialect.tags != "at once":
            return {}
        tags = [{"Key": "Name", "Value": name}, {"Key": "vmprobe", "Value": token or name}]
        return {"TagSpecification": [{"ResourceType": kind, "Tag": tags}]}

    def _note_volumes(self) -> None:
        """What is there before the first volume is asked for, where a volume is ours only by the name that we give it."""
        if self.dialect.tags == "after" and self._before is None:
            self._before = set(
                self._all(
                    "DescribeVolumes",
                    "volumeSet",
                    {},
                    "list volumes",
                    lambda one: text(one, "volumeId", ""),
                )
            )

    def _name(self, seen: Resource) -> str:
        """Give a volume its name, where that cannot be at once; why it was refused, '' if it was not. ``show`` asks again.

        The id is what a reply said, and a name makes it ours: what has one, is attached or has another size is not.
        """
        name, size = self._unnamed[seen.ref.id]
        if (
            seen.ref.name
            or seen.server
            or seen.provider_state in ("in-use", *MOVING)
            or seen.size not in (0, size)
        ):
            del self._unnamed[seen.ref.id]
            return ""
        try:
            self._call(
                "CreateTags",
                {"ResourceId": [seen.ref.id], "Tag": [{"Key": "Name", "Value": name}]},
                asked=f"name of {seen.ref}",
            )
        except CloudError as refusal:
            return str(refusal)
        return ""

    def _check_young(self, ref: Ref, said: str = "") -> None:
        """Conflict for a thing of ours that is not known, as long as that need not say that it is not there.

        ``said``: what the manager answered. It may have been asked for just now, or this answer alone be by somebody who is behind.
        """
        asked = self._asked.get(ref.id)
        if asked is None:
            return
        self._missed[ref.id] = self._missed.get(ref.id, 0) + 1
        if self.deadline.clock.now() - asked < _YOUNG:
            raise Conflict(f"{said}{ref} was asked for just now and is not shown yet") from None
        if self._missed[ref.id] < _MISSED:
            raise Conflict(f"{said}{ref} was there, and is not shown just now") from None

    @contextlib.contextmanager
    def _young(self, *refs: Ref) -> Iterator[None]:
        """Whoever does not know one of these things may only not know it yet: Conflict, "not now"."""
        try:
            yield
        except NotFound as unknown:
            for ref in refs:
                self._check_young(ref, f"{unknown}; ")
            raise
        for ref in refs:
            self._missed.pop(ref.id, None)

    # --- things -----------------------------------------------------------------------------------------------

    def _shown(self, ref: Ref) -> Optional[Resource]:
        """None where nothing is in the answer; GatewayFailed when something else is."""
        found = self._answer(ref)
        this = next((one for one in found if one.ref.id == ref.id), None)
        if this is None and found:
            raise GatewayFailed(f"show {ref}: the answer is about {found[0].ref}")
        return this

    def _answer(self, ref: Ref) -> List[Resource]:
        """What the answer to a question by this id has in it."""
        asked = f"show {ref}"
        if ref.kind is Kind.SERVER:
            return self._servers({"InstanceId": [ref.id]}, asked)
        if ref.kind is Kind.VOLUME:
            return self._all("DescribeVolumes", "volumeSet", {"VolumeId": [ref.id]}, asked, _volume)
        if ref.kind is Kind.PORT:
            return self._all(
                "DescribeNetworkInterfaces",
                "networkInterfaceSet",
                {"NetworkInterfaceId": [ref.id]},
                asked,
                _interface,
            )
        if ref.id.startswith("snap-"):
            return self._all(
                "DescribeSnapshots", "snapshotSet", {"SnapshotId": [ref.id]}, asked, _snapshot
            )
        return self._all("DescribeImages", "imagesSet", {"ImageId": [ref.id]}, asked, _ami)

    def _instances(
        self, words: Mapping[str, Any], asked: str, keep: Callable[[Any], List[T]]
    ) -> List[T]:
        return self._each(
            "DescribeInstances",
            "reservationSet",
            words,
            asked,
            lambda one: [made for item in rows(one, "instancesSet") for made in keep(item)],
        )

    def _servers(self, words: Mapping[str, Any], asked: str = "list servers") -> List[Resource]:
        return self._instances(words, asked, lambda item: [self._server(item)])

    def _server(self, said: Any) -> Resource:
        """One that ended by itself has failed, as long as the run that asked for it has not removed it."""
        identity, native = _identity(said, "instanceId"), text(said, "instanceState/name")
        code, fault = text(said, "stateReason/code", ""), text(said, "stateReason/message", "")
        state = SERVER.get(native, State.PENDING)
        if (
            native in ("shutting-down", "terminated")
            and identity in self._asked
            and code not in (*_BY_US, "")
        ):
            state = State.FAILED
        failed = state is State.FAILED
        ended = failed or identity in self._asked and native in ("shutting-down", "terminated")
        cause = (
            next((cause for pattern, cause in REASONS if re.search(pattern, code)), "")
            if failed
            else ""
        )
        cores, threads = (
            number(said, f"cpuOptions/{word}", 0) for word in ("coreCount", "threadsPerCore")
        )
        addresses = [
            text(said, word, "") for word in ("ipAddress", "privateIpAddress", "ipv6Address")
        ]
        addresses += [
            address for nic in rows(said, "networkInterfaceSet") for address in _addresses(nic)
        ]
        return Resource(
            Ref(Kind.SERVER, identity, _server_name(said)),
            state,
            native,
            fault if ended else "",
            cause,
            addresses=tuple(dict.fromkeys(address for address in addresses if address)),
            created=moment(text(said, "launchTime", "")),
            state_since=_since(said),
            vcpus=cores * threads or None,
            image=text(said, "imageId", ""),
        )

    def _snapshots(self, name: str) -> List[Resource]:
        """Our images by their name, and what was left of images that are gone."""
        words: Dict[str, Any] = {"Owner": ["self"]}
        if name and self.dialect.filters:
            words["Filter"] = [{"Name": "name", "Value": [f"{name}*"]}]
        images = self._all(
            "DescribeImages",
            "imagesSet",
            words,
            "list images",
            lambda one: (_ami(one), _parts(one)),
        )
        found = [image for image, _ in images]
        if name and self.dialect.tags == "at once":
            parts = {part for _, those in images for part in those}
            words = {"Owner": ["self"], **self._filter(name)}
            others = self._all(
                "DescribeSnapshots", "snapshotSet", words, "list snapshots", _snapshot
            )
            found += [one for one in others if one.ref.id not in parts]
        return found

    def _delete_image(self, ref: Ref) -> None:
        """Also the second time, when the image is gone and some of its snapshots are not."""
        parts = self._parts.setdefault(ref.id, [])
        if ref.id.startswith("snap-"):
            parts[:] = [ref.id]
        else:
            try:
                images = self._elements(
                    "DescribeImages",
                    "imagesSet",
                    {"ImageId": [ref.id]},
                    f"show {ref}",
                    lambda one: text(one, "imageId", "") == ref.id,
                )
                parts += [
                    part
                    for image in images
                    for part in _parts(image)
                    if part not in parts and self._is_part(part, ref)
                ]
                if not images and not parts:
                    raise NotFound(f"{ref} is not there")
                if images:
                    self._call("DeregisterImage", {"ImageId": ref.id}, asked=f"delete {ref}")
            except NotFound:
                if not parts:
                    raise
        while parts:
            with contextlib.suppress(NotFound):  # it is gone
                self._call(
                    "DeleteSnapshot", {"SnapshotId": parts[0]}, asked=f"delete snapshot {parts[0]}"
                )
            del parts[0]

    def _is_part(self, snapshot: str, image: Ref) -> bool:
        """Whether a snapshot was made for our image, by its name or its description: an image may name somebody else's, too.

        Where names are not given at once neither may be there, and the image alone says it.
        """
        if self.dialect.tags != "at once":
            return True
        try:
            found = self._all(
                "DescribeSnapshots",
                "snapshotSet",
                {"SnapshotId": [snapshot]},
                f"show snapshot {snapshot}",
                lambda one: (
                    text(one, "snapshotId"),
                    _tags(one).get("Name"),
                    text(one, "description", ""),
                ),
            )
        except NotFound:
            return False
        return any(
            identity == snapshot and (name == image.name or image.id in said)
            for identity, name, said in found
        )

    # --- what a test VM is made of ----------------------------------------------------------------------------

    def _images(self, wanted: str, made: Callable[[Any], T]) -> List[T]:
        """What is ``made`` of each image of this id or name; a name may have ``*`` in it, as EC2 takes it."""

        def fits(one: Any) -> List[T]:
            names = ("imageId", "name", "imageLocation")
            return (
                [made(one)]
                if not wanted
                or any(fnmatch.fnmatchcase(text(one, word, ""), wanted) for word in names)
                else []
            )

        words: Dict[str, Any] = {}
        if self.dialect.filters and re.match(r"[ae]mi-", wanted):
            words = {"ImageId": [wanted]}
        elif self.dialect.filters:
            owner = self.endpoint.get("image owner") or self.dialect.owner
            words["Owner"] = [owner] if owner not in ("", "anybody") else None
            if wanted:
                words["Filter"] = [{"Name": "name", "Value": [wanted]}]
        return self._each(
            "DescribeImages", "imagesSet", words, f"image {wanted}".strip(), fits, lists.WHOLE
        )

    def _image(self, wanted: str) -> Any:
        """By id, or the newest of this owner and name."""
        found = self._images(wanted, lambda one: one)
        ready = [
            one
            for one in found
            if IMAGE.get(text(one, "imageState", "available").lower()) is State.READY
        ]
        if not found:
            owner = self.endpoint.get("image owner") or self.dialect.owner
            raise NotFound(
                f"no image {wanted!r}" + (f" of owner {owner}" if owner else ""), cause="image"
            )
        if not ready:
            raise NotFound(f"image {wanted!r} is {text(found[0], 'imageState', '')}", cause="image")
        return max(ready, key=lambda one: text(one, "creationDate", ""))

    def _type(self, wanted: str, image: Any, zone: str) -> Tuple[str, int, int, Sequence[str]]:
        """(name, vCPUs, bytes of memory, the zones that offer it where that is known)."""
        if not self.dialect.types:
            return wanted, 0, 0, ()  # the manager's own default, if none is wanted
        words: Dict[str, Any] = {"InstanceType": [wanted]} if wanted else {}
        if not wanted and self.dialect.types == "offered":
            root = "ebs" if text(image, "rootDeviceType", "ebs") == "ebs" else "instance-store"
            about = {
                "current-generation": "true",
                "bare-metal": "false",
                "supported-root-device-type": root,
                "processor-info.supported-architecture": text(image, "architecture", "")
                or "x86_64",
                "supported-virtualization-type": text(image, "virtualizationType", "") or "hvm",
            }
            words["Filter"] = [
                *({"Name": name, "Value": [value]} for name, value in about.items()),
                {"Name": "memory-info.size-in-mib", "Value": list(_MEMORIES)},
            ]
        where = "instanceTypeSet" if self.dialect.types == "offered" else "instanceTypeDetails"
        flavors = self._all(
            "DescribeInstanceTypes", where, words, f"flavor {wanted}".strip(), _flavor
        )
        found = [one for one in flavors if wanted in ("", one[0])]
        offered: Dict[str, List[str]] = {}
        if self.dialect.types == "offered":
            offered = self._offered(wanted, zone)
            found = [one for one in found if one[0] in offered]
        if not found:
            where = f" in {zone}" if zone else ""
            raise NotFound(
                f"no flavor {wanted!r}{where}" if wanted else f"no flavor holds the image{where}",
                cause="image",
            )
        name, vcpus, memory = min(found, key=lambda one: (one[2], one[1], one[0]))
        return name, vcpus, memory * _MIB, offered.get(name, ())

    def _offered(self, wanted: str, zone: str) -> Dict[str, List[str]]:
        """The zones that offer each type."""
        filters = [{"Name": "location", "Value": [zone]}] if zone else []
        filters += [{"Name": "instance-type", "Value": [wanted]}] if wanted else []
        found: Dict[str, List[str]] = {}
        for flavor, where in self._all(
            "DescribeInstanceTypeOfferings",
            "instanceTypeOfferingSet",
            {"LocationType": "availability-zone", "Filter": filters},
            "flavors on offer",
            lambda one: (text(one, "instanceType"), text(one, "location")),
        ):
            found.setdefault(flavor, []).append(where)
        return found

    def _subnet(self, wanted: str) -> Any:
        """By id or by its tag Name."""
        by_name = {"Filter": [{"Name": "tag:Name", "Value": [wanted]}]}
        words = {"SubnetId": [wanted]} if wanted.startswith("subnet-") else by_name
        found = self._elements(
            "DescribeSubnets",
            "subnetSet",
            words,
            f"network {wanted}",
            lambda one: wanted in (text(one, "subnetId", ""), _tags(one).get("Name")),
        )
        if not found:
            raise NotFound(f"no subnet {wanted!r}", cause="network")
        if len(found) > 1:
            ids = cut(", ".join(text(one, "subnetId") for one in found), 200)
            raise ClientError(f"[test vm] network: there are {ids}: name one by its id")
        return found[0]

    def _group(self, wanted: Optional[str], subnet: Any) -> Dict[str, Any]:
        """The security group as RunInstances takes it: by its id, which a name is looked up for in the subnet's VPC."""
        if not wanted:
            return {}
        words: Dict[str, Any] = {"GroupId": [wanted]}
        if not wanted.startswith("sg-"):
            words = {"Filter": [{"Name": "group-name", "Value": [wanted]}]}
            if subnet is not None:
                words["Filter"].append({"Name": "vpc-id", "Value": [text(subnet, "vpcId")]})
        found = self._elements(
            "DescribeSecurityGroups",
            "securityGroupInfo",
            words,
            f"security group {wanted}",
            lambda one: wanted in (text(one, "groupId", ""), text(one, "groupName", wanted)),
        )
        if not found:
            raise NotFound(f"no security group {wanted!r}", cause="network")
        identity = (
            text(found[0], "groupId", "") if len(found) == 1 else ""
        )  # several VPCs: by its name in the default one
        return {"SecurityGroupId": [identity]} if identity else {"SecurityGroup": [wanted]}

    # --- where it is ------------------------------------------------------------------------------------------

    def _region(self) -> str:
        """By the site, by the URL of one of Amazon's, by the dialect, by the environment or the profile."""
        host = urlsplit(self.endpoint["url"] or "").hostname or ""
        by_url = re.search(r"(?:^|\.)ec2(?:-fips)?[.-]([a-z]{2,4}-[a-z-]+-\d)\.", host)
        found = self.endpoint["region"] or (by_url[1] if by_url else "") or self.dialect.region
        return found or self._finder.region() or ("us-east-1" if self.endpoint["url"] else "")

    def _url(self) -> str:
        url = self.endpoint["url"]
        if url:
            return url if urlsplit(url).path.strip("/") else url + self.dialect.path
        if not self._region():
            raise ClientError(
                "[endpoint] region: is missing, and there is no url: where is the cloud?"
            )
        return f"https://ec2.{self._region()}.{domain(self._region())}"

    def _metrics_url(self) -> str:
        """CloudWatch's URL: Amazon's own follows from EC2's; another cloud's is only known if the site says so."""
        if self.endpoint.get("cloudwatch url") or Capability.METRICS not in type(self).capabilities:
            return self.endpoint.get("cloudwatch url") or ""
        try:
            url = self._url()
        except ClientError:
            return ""
        return _amazons("monitoring", url)

    def _quotas_url(self) -> str:
        """Service Quotas' URL, in the same way."""
        return self.endpoint.get("service quotas url") or _amazons("servicequotas", self._url())


def is_amazons(url: Optional[str]) -> bool:
    """Whether an endpoint is Amazon's own, as it is where a site names none; what else is in the URL does not tell.

    >>> [is_amazons(url) for url in (None, "https://ec2.eu-west-1.api.aws", "https://ec2.cn-north-1.amazonaws.com.cn/", "https://h/amazonaws.com")]
    [True, True, True, False]
    """
    host = f".{urlsplit(url or '').hostname or ''}"
    return not url or host.endswith(_AMAZONS)


def _amazons(service: str, ec2: str) -> str:
    """Where a service of Amazon's is, by where its EC2 is; '' for what is not Amazon's."""
    own = re.fullmatch(
        r"https://ec2[.-]([a-z0-9-]+)\.(?:api\.aws|amazonaws\.com(?:\.cn)?|amazonaws\.eu)/?", ec2
    )
    return f"https://{service}.{own[1]}.{domain(own[1])}" if own else ""


def keys_without(*names: str) -> Dict[str, Key]:
    """The keys of [endpoint] for a dialect that has no use for these; where it is has to be said."""
    return {
        name: key
        for name, key in {**Ec2.endpoint_keys, "url": Key(http_url, required=True)}.items()
        if name not in names
    }


# --- what the service says ----------------------------------------------------------------------------------------


def _tags(said: Any) -> Dict[str, str]:
    return {text(one, "key", ""): text(one, "value", "")[:_LONGEST] for one in rows(said, "tagSet")}


def _is_gone(thing: Resource) -> bool:
    return thing.provider_state in GONE and thing.state is not State.FAILED


def _server_name(said: Any) -> str:
    """A run's own by the token of its submission, as the tag or as EC2 repeats it; a stranger's by its tag ``Name``."""
    tags = _tags(said)
    token = tags.get("vmprobe") or text(said, "clientToken", "")
    name, _, count = token.partition("/")
    if not name.startswith(handle.PREFIX):
        return tags.get("Name", "")
    return f"{name}-{number(said, 'amiLaunchIndex', 0) + 1}" if count else name


def _tagged_name(said: Any) -> str:
    """A run's own by its second tag, which no site's tagging rules rewrite as they may ``Name``."""
    tags = _tags(said)
    return (
        tags["vmprobe"]
        if tags.get("vmprobe", "").startswith(handle.PREFIX)
        else tags.get("Name", "")
    )


def _identity(said: Any, where: str) -> str:
    """An id; GatewayFailed when it is none that could be written down."""
    found = text(said, where)
    if len(found) > _LONGEST or not found.isprintable():
        raise GatewayFailed(f"{where} in the answer is no short, printable text")
    return found


def _since(said: Any) -> Optional[float]:
    """When an instance last changed its state, as far as the reason for it says that."""
    when = re.search(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)", text(said, "reason", ""))
    return moment(when[1]) if when else None


def _addresses(nic: Any) -> List[str]:
    """A network interface's own addresses, of both versions of IP."""
    found = [
        text(one, "privateIpAddress", "") for one in (*rows(nic, "privateIpAddressesSet"), nic)
    ]
    found += [text(one, "ipv6Address", "") for one in (*rows(nic, "ipv6AddressesSet"), nic)]
    return [address for address in dict.fromkeys(found) if address]


def _equipped(instance: Any) -> Tuple[List[str], List[str]]:
    """Ids of the volumes and of the network interfaces that were made with an instance, or are to go with it."""
    root = text(instance, "rootDeviceName", "")
    volumes = [
        text(one, "ebs/volumeId", "")
        for one in rows(instance, "blockDeviceMapping")
        if root
        and text(one, "deviceName", "") == root
        or text(one, "ebs/deleteOnTermination", "") == "true"
    ]
    ports = [
        text(one, "networkInterfaceId", "")
        for one in rows(instance, "networkInterfaceSet")
        if text(one, "attachment/deviceIndex", "0") in ("", "0")
        or text(one, "attachment/deleteOnTermination", "") == "true"
    ]
    return [one for one in volumes if one], [one for one in ports if one]


def _port(said: Any, server: Resource) -> Resource:
    native = text(said, "attachment/status", "") or text(said, "status", "")
    return Resource(
        Ref(Kind.PORT, text(said, "networkInterfaceId"), ""),
        PORT.get(native, State.PENDING),
        native,
        addresses=tuple(_addresses(said)),
        server=server.ref.id,
    )


def _interface(said: Any) -> Resource:
    """A network interface by itself."""
    native = text(said, "status", "")
    return Resource(
        Ref(Kind.PORT, text(said, "networkInterfaceId"), _tags(said).get("Name", "")),
        State.READY if native in ("available", "in-use") else State.PENDING,
        native,
        addresses=tuple(_addresses(said)),
        server=text(said, "attachment/instanceId", ""),
    )


class Counted(NamedTuple):
    """What of an instance counts for a quota."""

    flavor: str
    state: str
    lifecycle: str


def _counted(said: Any) -> List[Counted]:
    found = Counted(
        text(said, "instanceType", ""),
        text(said, "instanceState/name"),
        text(said, "instanceLifecycle", ""),
    )
    return [] if found.state in GONE else [found]


def _check(said: Any, ports: Sequence[Resource]) -> Resource:
    """EC2's checks of the host (system) and of what the instance answers, as one more port of the server."""
    server = text(said, "instanceId")
    both = [(text(said, f"{word}/status", ""), word) for word in ("systemStatus", "instanceStatus")]
    states = [CHECKS.get(status, State.PENDING) for status, _ in both]
    worst = next((state for state in (State.FAILED, State.PENDING) if state in states), State.READY)
    native = ", ".join(f"{word} {status or 'unknown'}" for status, word in both)
    addresses = next((port.addresses for port in ports if port.server == server), ())
    return Resource(
        Ref(Kind.PORT, server, ""),
        worst,
        native,
        cause="network",
        addresses=addresses,
        server=server,
    )


def _volume(said: Any) -> Resource:
    """Attached is what EC2 calls so; ``in-use`` already begins, and does not end, with the attachment itself."""
    native = text(said, "status")
    attachments = rows(said, "attachmentSet")
    held = [
        text(one, "instanceId", "") for one in attachments if text(one, "status", "") == "attached"
    ]
    moving = [word for word in (text(one, "status", "") for one in attachments) if word in MOVING]
    state = (
        State.PENDING
        if moving or native == "in-use" and not held
        else VOLUME.get(native, State.PENDING)
    )
    return Resource(
        Ref(Kind.VOLUME, text(said, "volumeId"), _tagged_name(said)),
        state,
        (moving or [native])[0],
        server=held[0] if held and not moving else "",
        created=moment(text(said, "createTime", "")),
        size=number(said, "size", 0) * _GIB,
    )


def _ami(said: Any) -> Resource:
    native = text(said, "imageState", "")
    return Resource(
        Ref(Kind.SNAPSHOT, text(said, "imageId"), text(said, "name", "")),
        IMAGE.get(native, State.PENDING),
        native,
        text(said, "stateReason/message", ""),
        created=moment(text(said, "creationDate", "")),
    )


def _image(said: Any) -> Image:
    native = text(said, "imageState", "")
    properties = {child.tag: (child.text or "").strip() for child in said}
    return Image(
        text(said, "imageId"),
        text(said, "name", ""),
        IMAGE.get(native, State.PENDING),
        native,
        {},
        {word: value for word, value in properties.items() if value},
    )


def _snapshot(said: Any) -> Resource:
    native = text(said, "status", "")
    return Resource(
        Ref(Kind.SNAPSHOT, text(said, "snapshotId"), _tagged_name(said)),
        IMAGE.get(native, State.PENDING),
        native,
        text(said, "statusMessage", ""),
        created=moment(text(said, "startTime", "")),
        size=number(said, "volumeSize", 0) * _GIB,
    )


def _kept(image: Any) -> List[Tuple[str, str]]:
    """(device, snapshot) of volumes that would outlive a server of this image, if it were not asked for otherwise."""
    return [
        (text(one, "deviceName"), text(one, "ebs/snapshotId", ""))
        for one in rows(image, "blockDeviceMapping")
        if text(one, "ebs/deleteOnTermination", "true") == "false"
    ]


def _gp3(image: Any) -> int:
    """The bytes of gp3 volumes that a server of this image gets."""
    return sum(
        number(one, "ebs/volumeSize", 0) * _GIB
        for one in rows(image, "blockDeviceMapping")
        if text(one, "ebs/volumeType", "") == "gp3"
    )


def _addresses_of(subnet: Any) -> Optional[Limit]:
    """How many of a subnet's addresses are taken; None where it has none of IPv4. EC2 keeps five of each for itself."""
    prefix = re.fullmatch(r"[0-9.]{7,15}/([0-9]|[12][0-9]|3[0-2])", text(subnet, "cidrBlock", ""))
    if not prefix or text(subnet, "ipv6Native", "") == "true":
        return None
    identity, free = text(subnet, "subnetId", ""), number(subnet, "availableIpAddressCount", 0)
    total = max(free, 2 ** (32 - int(prefix[1])) - 5)
    return Limit(
        "leases", total - free, total, f"subnet {identity}", of=f"subnet {identity}", binding=True
    )


def _parts(image: Any) -> List[str]:
    """The snapshots that an image is made of."""
    return [
        part
        for part in (text(one, "ebs/snapshotId", "") for one in rows(image, "blockDeviceMapping"))
        if part
    ]


def _flavor(said: Any) -> Tuple[str, int, int]:
    """(name, vCPUs, MiB of memory), in EC2's words or in Eucalyptus'."""
    if said.find("instanceType") is None:
        return text(said, "name"), number(said, "cpu", 0), number(said, "memory", 0)
    return (
        text(said, "instanceType"),
        number(said, "vCpuInfo/defaultVCpus", 0),
        number(said, "memoryInfo/sizeInMiB", 0),
    )


def _samples(document: Any, period: int) -> List[Sample]:
    """The newest value of each metric; sums of bytes over a period become bytes per second."""
    newest: Dict[str, Tuple[float, float]] = {}
    for one in rows(document, "GetMetricDataResult/MetricDataResults"):
        stamps, values = (
            [text(member, ".") for member in rows(one, word)] for word in ("Timestamps", "Values")
        )
        pairs = [
            (at, float(value))
            for at, value in zip(map(moment, stamps), values)
            if at is not None
            and re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", value)
        ]
        if pairs:
            newest[text(one, "Id")] = max(pairs)
    found = []
    for metric, (names, statistic) in METRICS.items():
        there = [newest[name.lower()] for name in names if name.lower() in newest]
        if there:
            value = sum(value for _, value in there) / (period if statistic == "Sum" else 1)
            found.append(Sample(metric, value, max(at for at, _ in there), counter=False))
    return found


def _user_data(spec: Any) -> Optional[str]:
    """What the site's own spec carries, or the reporter for a cloud-init image, which the suite's own takes the nonce from."""
    said = spec.user_data
    if not said and spec.plan.details.get("depth") == "console" and spec.nonce:
        from vmprobe.guest.image import reporter

        said = reporter(spec.nonce)
    return base64.b64encode(said.encode("ascii")).decode("ascii") if said else None


def _whole(digits: str) -> Optional[int]:
    return int(digits) if re.fullmatch(r"[0-9]{1,9}", digits) else None


def _stamp(utc: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(utc))
