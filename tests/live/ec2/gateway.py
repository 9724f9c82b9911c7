"""A gateway in front of moto, which adds what moto lacks.

moto accepts any signature, starts instances at once, creates two instances for one ClientToken, has
only the metrics that were put into it, cannot filter by ClientToken, and cannot tag an image's
snapshots in the request. The gateway corrects this, speaks the dialects of other managers, and
makes faults that moto cannot make, with EC2's documented codes and messages.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatch
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

from botocore.credentials import Credentials

from .verifying import Verifying, error, json_error

ACCESS, SECRET = "AKIDPROBE", "probe/secret+key"

FAULTS = {  # by name: action, status, code and message, as in EC2's reference
    "quota": (
        "RunInstances",
        400,
        "InstanceLimitExceeded",
        "You have requested more instances (1) than your current instance limit "
        "of 0 allows for the specified instance type.",
    ),
    "vcpus": (
        "RunInstances",
        400,
        "VcpuLimitExceeded",
        "You have requested more vCPU capacity than your current vCPU limit of 0 allows "
        "for the instance bucket that the specified instance type belongs to.",
    ),
    "no-room": (
        "RunInstances",
        500,
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient t2.nano capacity in the "
        "Availability Zone you requested (us-east-1a).",
    ),
    "volumes": (
        "CreateVolume",
        400,
        "VolumeLimitExceeded",
        "You have exceeded your maximum gp2 storage limit of 20 TiB in this region.",
    ),
    "forbidden": (
        "RunInstances",
        403,
        "UnauthorizedOperation",
        "You are not authorized to perform this operation.",
    ),
    "throttled": ("DescribeInstances", 503, "RequestLimitExceeded", "Request limit exceeded."),
    "failing": ("DescribeInstances", 500, "InternalError", "An internal error has occurred"),
    "kept": (
        "TerminateInstances",
        400,
        "OperationNotPermitted",
        "The instance may not be terminated.",
    ),
    "no-metrics": (
        "GetMetricData",
        403,
        "AccessDenied",
        "User is not authorized to perform: cloudwatch:GetMetricData",
    ),
    "no-quotas": (
        "GetServiceQuota",
        400,
        "AccessDeniedException",
        "User: arn:aws:iam::123456789012:user/probe is not authorized to perform: servicequotas:GetServiceQuota",
    ),
    "no-checks": (
        "DescribeInstanceStatus",
        400,
        "InvalidAction",
        "The action DescribeInstanceStatus is not valid for this web service.",
    ),
}
QUOTAS = {  # the account's own and the defaults; moto itself has only the quotas of VPCs
    "GetServiceQuota": {"L-1216C47A": 32.0, "L-0263D0A3": 8.0},
    "GetAWSDefaultServiceQuota": {"L-1216C47A": 5.0, "L-0263D0A3": 5.0, "L-7A658B76": 50.0},
}
VPCS = {"ServiceCode": "vpc", "QuotaCode": "L-F678F1CE"}
STATES = {"boots-slowly", "dies", "lags", "attaches-for-ever", "impaired"}


class Gateway(Verifying):
    """``faults`` are names of FAULTS or STATES; they hold until ``heal``."""

    def __init__(self, behind: str, *arguments):
        super().__init__(Credentials(ACCESS, SECRET), *arguments)
        self.behind = urlsplit(behind)
        self.faults: set[str] = set()
        self.times: dict[str, int] = {}  # by fault: how often it still happens; other faults last
        self.boot, self.metered = 0.3, True
        self._born: dict[str, float] = {}
        self._tokens: dict[str, tuple[dict[str, str], bytes]] = {}
        self._lock = threading.Lock()

    def heal(self) -> None:
        """Remove all faults, and forget all earlier requests."""
        self.faults.clear()
        self.times.clear()
        self.calls.clear()
        self._born.clear()
        self._tokens.clear()
        self.boot, self.metered = 0.3, True

    # --- what is answered -----------------------------------------------------------------------------------------

    def served(self, action: str, form: dict[str, str], service: str):
        for name, (of, *words) in FAULTS.items():
            if name in self.faults and of == action and self.times.get(name, 1):
                if name in self.times:
                    self.times[name] -= 1
                return (json_error if service == "servicequotas" else error)(*words)
        if service == "servicequotas":
            return self._quota(action, form)
        with self._lock:
            return self._served(action, form, service)

    def _served(self, action: str, form: dict[str, str], service: str):
        if action == "TerminateInstances" and "deaf" in self.faults:
            return 200, "text/xml", b"<TerminateInstancesResponse/>"
        token = form.get("ClientToken", "") if action == "RunInstances" else ""
        if token in self._tokens:
            before, answer = self._tokens[token]
            if form != before:
                return error(
                    400,
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments "
                    "used in previous request(s).",
                )
            return 200, "text/xml", answer
        if "lags" in self.faults and action == "DescribeInstances":
            young = [
                identity
                for key, identity in form.items()
                if key.startswith("InstanceId.") and self._age(identity) < 3
            ]
            if young:
                return error(
                    400,
                    "InvalidInstanceID.NotFound",
                    f"The instance ID '{young[0]}' does not exist",
                )
        parts = (
            [key for key in form if key.startswith("TagSpecification.2.")]
            if action == "CreateImage"
            else []
        )
        token_filter = next(
            (key[: -len("Name")] for key, value in form.items() if value == "client-token"), "none"
        )
        status, kind, answer = self.ask(
            service,
            {
                key: value
                for key, value in form.items()
                if key not in parts and not key.startswith(token_filter)
            },
        )
        if status != 200:
            return status, kind, answer
        if action == "RunInstances":
            for identity in re.findall(rb"<instanceId>(i-\w+)", answer):
                self._born[identity.decode()] = time.monotonic()
                self._meter(identity.decode())
            self._tokens.update({token: (form, answer)} if token else {})
        if parts:
            self._tag_snapshots(answer, form)
        if action in ("DescribeInstances", "DescribeVolumes", "DescribeInstanceStatus"):
            answer = self._changed(answer, form.get(f"{token_filter}Value.1", "*"))
        return status, kind, answer

    def _quota(self, action: str, form: dict[str, str]):
        """A quota of moto's own; for one that it lacks, its answer for another with the values replaced."""
        value = QUOTAS[action].get(form["QuotaCode"])
        status, kind, answer = self.ask(
            "servicequotas",
            VPCS if value is not None else form,
            "ServiceQuotasV20190624.GetServiceQuota",
        )
        if value is not None:
            quota = {
                **json.loads(answer)["Quota"],
                **form,
                "QuotaName": form["QuotaCode"],
                "Value": value,
            }
            answer = json.dumps({"Quota": quota}).encode()
        return status, kind, answer

    def ask(self, service: str, form: dict[str, str], target: str = ""):
        """moto's answer to a form, or to JSON where there is a ``target``."""
        connection = http.client.HTTPConnection(self.behind.hostname, self.behind.port, timeout=60)
        try:
            connection.request(
                "POST",
                "/",
                json.dumps(form) if target else urlencode(form),
                {
                    **(
                        {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}
                        if target
                        else {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
                    ),
                    "Authorization": f"AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=none",
                },
            )
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        finally:
            connection.close()

    def _age(self, instance: str) -> float:
        return time.monotonic() - self._born.get(instance, 0.0)

    def _changed(self, answer: bytes, tokens: str) -> bytes:
        """moto's answer with the delays of a real EC2, and with the current faults."""
        root = ElementTree.fromstring(re.sub(rb' xmlns="[^"]+"', b"", answer, count=1))
        for instances in root.iter("instancesSet"):
            for item in list(instances):
                identity = item.findtext("instanceId")
                if (
                    "lags" in self.faults
                    and self._age(identity) < 3
                    or not fnmatch(item.findtext("clientToken") or "", tokens)
                ):
                    instances.remove(item)
                elif (
                    self._age(identity) < self.boot
                    or "boots-slowly" in self.faults
                    and item.findtext("instanceState/name") == "running"
                ):
                    item.find("instanceState/name").text = "pending"
                if self.dialect == "nimbus":
                    item.find("amiLaunchIndex").text = "0"
                if "dies" in self.faults:
                    item.find("instanceState/name").text = "terminated"
                    item.find("stateReason/code").text = "Server.InternalError"
                    item.find(
                        "stateReason/message"
                    ).text = "Server.InternalError: Internal error on launch"
        for status in root.iterfind(".//attachmentSet/item/status"):
            if "attaches-for-ever" in self.faults and status.text == "attached":
                status.text = "attaching"
        for status in root.iterfind(".//instanceStatus/status"):
            if "impaired" in self.faults:
                status.text = "impaired"
        return ElementTree.tostring(root)

    def _meter(self, instance: str) -> None:
        """Put in the metrics that the hypervisor of a real EC2 would report after a while."""
        if not self.metered:
            return
        form = {"Action": "PutMetricData", "Version": "2010-08-01", "Namespace": "AWS/EC2"}
        began = (datetime.now(timezone.utc) - timedelta(minutes=1)).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )  # CloudWatch names a period by its start
        values = {
            "CPUUtilization": 12.5,
            "EBSReadBytes": 3000,
            "EBSWriteBytes": 6000,
            "NetworkIn": 30000,
            "NetworkOut": 60000,
        }
        for number, (name, value) in enumerate(values.items(), 1):
            member = f"MetricData.member.{number}"
            form.update(
                {
                    f"{member}.MetricName": name,
                    f"{member}.Value": str(value),
                    f"{member}.Timestamp": began,
                    f"{member}.Dimensions.member.1.Name": "InstanceId",
                    f"{member}.Dimensions.member.1.Value": instance,
                }
            )
        self.ask("monitoring", form)

    def _tag_snapshots(self, answer: bytes, form: dict[str, str]) -> None:
        image = re.search(rb"<imageId>(ami-\w+)", answer)[1].decode()
        version = {"Version": form["Version"]}
        _, _, shown = self.ask("ec2", {"Action": "DescribeImages", "ImageId.1": image, **version})
        for snapshot in re.findall(rb"<snapshotId>(snap-\w+)", shown):
            tags = {
                key.replace("TagSpecification.2.", ""): value
                for key, value in form.items()
                if key.startswith("TagSpecification.2.Tag.")
            }
            self.ask(
                "ec2",
                {"Action": "CreateTags", "ResourceId.1": snapshot.decode(), **tags, **version},
            )
