"""A gateway before moto: it verifies every signature by botocore, and is what moto is not.

moto takes any signature, knows no time between ``pending`` and ``running``, makes two of what a ClientToken asks for twice,
has no metrics but those put into it, cannot look for a ClientToken, and can tag an image's snapshots only afterwards. Here
that is put right, the dialects of others are understood, and faults are made that moto cannot make: with EC2's documented
codes and words.
"""
from __future__ import annotations

import hmac
import http.client
import re
import threading
import time
from datetime import datetime, timezone
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from botocore.auth import SigV2Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ACCESS, SECRET = "AKIDPROBE", "probe/secret+key"
HOST = "127.0.37.2"
_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=(\w+)")

FAULTS = {  # by action: status, code and words, as EC2's reference has them
    "quota": ("RunInstances", 400, "InstanceLimitExceeded",
              "You have requested more instances (1) than your current instance limit "
              "of 0 allows for the specified instance type."),
    "vcpus": ("RunInstances", 400, "VcpuLimitExceeded",
              "You have requested more vCPU capacity than your current vCPU limit of 0 allows "
              "for the instance bucket that the specified instance type belongs to."),
    "no-room": ("RunInstances", 500, "InsufficientInstanceCapacity",
                "We currently do not have sufficient t2.nano capacity in the "
                "Availability Zone you requested (us-east-1a)."),
    "volumes": ("CreateVolume", 400, "VolumeLimitExceeded",
                "You have exceeded your maximum gp2 storage limit of 20 TiB in this region."),
    "forbidden": ("RunInstances", 403, "UnauthorizedOperation", "You are not authorized to perform this operation."),
    "throttled": ("DescribeInstances", 503, "RequestLimitExceeded", "Request limit exceeded."),
    "failing": ("DescribeInstances", 500, "InternalError", "An internal error has occurred"),
    "kept": ("TerminateInstances", 400, "OperationNotPermitted", "The instance may not be terminated."),
    "no-metrics": ("GetMetricData", 403, "AccessDenied", "User is not authorized to perform: cloudwatch:GetMetricData"),
    "no-checks": ("DescribeInstanceStatus", 400, "InvalidAction",
                  "The action DescribeInstanceStatus is not valid for this web service."),
}
STATES = {"boots-slowly", "dies", "lags", "attaches-for-ever", "impaired"}


class Gateway:
    """Serves at ``url`` from ``with`` to its end. ``faults`` are names of FAULTS or STATES; ``calls`` has the actions that came."""

    def __init__(self, behind: str, path: str = "/", signature: int = 4, region: str = "us-east-1",
                 dialect: str = "aws"):
        self.behind, self.path, self.signature, self.region, self.dialect = urlsplit(behind), path, signature, region, dialect
        self.faults: set[str] = set()
        self.boot, self.metered = 0.3, True
        self.calls: list[tuple[str, dict[str, str]]] = []
        self._born: dict[str, float] = {}
        self._tokens: dict[str, tuple[dict[str, str], bytes]] = {}
        self._lock = threading.Lock()
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                status, kind, answer = gateway.answer(self.path, self.headers, body)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self):
                self.do_POST()

            def log_message(self, *words):
                """Nothing."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{HOST}:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def heal(self) -> None:
        """From now on without faults, and nothing of what came is remembered."""
        self.faults.clear()
        self.calls.clear()
        self._born.clear()
        self._tokens.clear()
        self.boot, self.metered = 0.3, True

    # --- what is answered -----------------------------------------------------------------------------------------

    def answer(self, path: str, headers, body: str):
        if urlsplit(path).path != self.path:
            return 404, "text/html", b"<!DOCTYPE html><html><title>404 Not Found</title></html>"
        form = dict(parse_qsl(body, keep_blank_values=True))
        action = form.get("Action", "")
        refusal, service = self._verify(path, headers, body, form)
        if refusal:
            return error(401, *refusal)
        self.calls.append((action, form))
        for name, (of, *words) in FAULTS.items():
            if name in self.faults and of == action:
                return error(*words)
        refusal = self._dialect(action, form)
        if refusal:
            return error(400, *refusal)
        if self.dialect == "eucalyptus" and action == "DescribeInstanceTypes":
            return 200, "text/xml", EUCALYPTUS_TYPES
        if self.dialect == "nimbus":  # which does not look at the rest
            heeded = {"RunInstances": HEEDED, "DescribeImages": ()}.get(action)
            form = {key: value for key, value in form.items() if heeded is None or key in ("Action", "Version", *heeded)}
        with self._lock:
            return self._served(action, form, service)

    def _served(self, action: str, form: dict[str, str], service: str):
        if action == "TerminateInstances" and "deaf" in self.faults:
            return 200, "text/xml", b"<TerminateInstancesResponse/>"
        token = form.get("ClientToken", "") if action == "RunInstances" else ""
        if token in self._tokens:
            before, answer = self._tokens[token]
            if form != before:
                return error(400, "IdempotentParameterMismatch",
                             "Arguments on this idempotent request are inconsistent with arguments "
                             "used in previous request(s).")
            return 200, "text/xml", answer
        if "lags" in self.faults and action == "DescribeInstances":
            young = [one for key, one in form.items() if key.startswith("InstanceId.") and self._age(one) < 3]
            if young:
                return error(400, "InvalidInstanceID.NotFound", f"The instance ID '{young[0]}' does not exist")
        parts = [key for key in form if key.startswith("TagSpecification.2.")] if action == "CreateImage" else []
        token_filter = next((key[:-len("Name")] for key, value in form.items() if value == "client-token"), "none")
        status, kind, answer = self.ask(service, {key: value for key, value in form.items() if key not in parts
                                                  and not key.startswith(token_filter)})
        if status != 200:
            return status, kind, answer
        if action == "RunInstances":
            for one in re.findall(rb"<instanceId>(i-\w+)", answer):
                self._born[one.decode()] = time.monotonic()
                self._meter(one.decode())
            self._tokens.update({token: (form, answer)} if token else {})
        if parts:
            self._tag_snapshots(answer, form)
        if action in ("DescribeInstances", "DescribeVolumes", "DescribeInstanceStatus"):
            answer = self._changed(answer, form.get(f"{token_filter}Value.1", "*"))
        return status, kind, answer

    def ask(self, service: str, form: dict[str, str]):
        """moto's answer."""
        connection = http.client.HTTPConnection(self.behind.hostname, self.behind.port, timeout=60)
        try:
            connection.request("POST", "/", urlencode(form), {
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Authorization":
                f"AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=none"})
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        finally:
            connection.close()

    def _age(self, instance: str) -> float:
        return time.monotonic() - self._born.get(instance, 0.0)

    def _changed(self, answer: bytes, tokens: str) -> bytes:
        """moto's answer as it would be with the time that things take, and with the faults that are set."""
        root = ElementTree.fromstring(re.sub(rb' xmlns="[^"]+"', b"", answer, 1))
        for instances in root.iter("instancesSet"):
            for item in list(instances):
                identity = item.findtext("instanceId")
                if "lags" in self.faults and self._age(identity) < 3 or not fnmatch(item.findtext("clientToken") or "",
                                                                                    tokens):
                    instances.remove(item)
                elif self._age(identity) < self.boot or "boots-slowly" in self.faults and item.findtext("instanceState/name") == "running":
                    item.find("instanceState/name").text = "pending"
                if self.dialect == "nimbus":
                    item.find("amiLaunchIndex").text = "0"
                if "dies" in self.faults:
                    item.find("instanceState/name").text = "terminated"
                    item.find("stateReason/code").text = "Server.InternalError"
                    item.find("stateReason/message").text = "Server.InternalError: Internal error on launch"
        for status in root.iterfind(".//attachmentSet/item/status"):
            if "attaches-for-ever" in self.faults and status.text == "attached":
                status.text = "attaching"
        for status in root.iterfind(".//instanceStatus/status"):
            if "impaired" in self.faults:
                status.text = "impaired"
        return ElementTree.tostring(root)

    def _meter(self, instance: str) -> None:
        """What the hypervisor of a real EC2 would report after a while."""
        if not self.metered:
            return
        form = {"Action": "PutMetricData", "Version": "2010-08-01", "Namespace": "AWS/EC2"}
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        values = {"CPUUtilization": 12.5, "EBSReadBytes": 3000, "EBSWriteBytes": 6000, "NetworkIn": 30000,
                  "NetworkOut": 60000}
        for number, (name, value) in enumerate(values.items(), 1):
            member = f"MetricData.member.{number}"
            form.update({f"{member}.MetricName": name, f"{member}.Value": str(value), f"{member}.Timestamp": now,
                         f"{member}.Dimensions.member.1.Name": "InstanceId",
                         f"{member}.Dimensions.member.1.Value": instance})
        self.ask("monitoring", form)

    def _tag_snapshots(self, answer: bytes, form: dict[str, str]) -> None:
        image = re.search(rb"<imageId>(ami-\w+)", answer)[1].decode()
        version = {"Version": form["Version"]}
        _, _, shown = self.ask("ec2", {"Action": "DescribeImages", "ImageId.1": image, **version})
        for snapshot in re.findall(rb"<snapshotId>(snap-\w+)", shown):
            tags = {key.replace("TagSpecification.2.", ""): value for key, value in form.items()
                    if key.startswith("TagSpecification.2.Tag.")}
            self.ask("ec2", {"Action": "CreateTags", "ResourceId.1": snapshot.decode(), **tags, **version})

    def _dialect(self, action: str, form: dict[str, str]):
        """What a manager of the family does not know, it refuses."""
        if self.dialect != "aws" and any(key.startswith("TagSpecification") for key in form):
            return "UnknownParameter", "The parameter TagSpecification is not recognized"
        if self.dialect == "nimbus" and (action not in NIMBUS or any(key.startswith("Filter") for key in form)):
            return "UnsupportedOperation", f"{action} is not supported"
        return None

    # --- signatures -----------------------------------------------------------------------------------------------

    def _verify(self, path: str, headers, body: str, form: dict[str, str]):
        """((code, words) of a request that is not signed as it should be, or (); the service that it is for)."""
        if self.signature == 2:
            return self._verify_2(form), "ec2"
        match = _SIGNED.fullmatch(headers.get("Authorization", ""))
        if not match:
            return ("MissingAuthenticationToken", "Request is missing Authentication Token"), ""
        access, _, region, service, names, signature = match.groups()
        if access != ACCESS:
            return ("AuthFailure", "AWS was not able to validate the provided access credentials"), ""
        if region != self.region:
            return ("SignatureDoesNotMatch", f"Credential should be scoped to a valid region, not '{region}'."), ""
        if not {"host", "x-amz-date", "content-type"} <= set(names.split(";")):
            return ("SignatureDoesNotMatch", "headers that have to be signed are not"), ""
        request = AWSRequest("POST", f"http://{headers['Host']}{path}",
                             {name: headers[name] for name in names.split(";")}, body.encode())
        request.context["timestamp"] = headers["X-Amz-Date"]
        judge = SigV4Auth(Credentials(ACCESS, SECRET), service, region)
        wanted = judge.signature(judge.string_to_sign(request, judge.canonical_request(request)), request)
        age = time.time() - datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%S%z").timestamp()
        return self._judged(signature, wanted, age), service

    def _verify_2(self, form: dict[str, str]):
        if form.get("SignatureVersion") != "2" or form.get("AWSAccessKeyId") != ACCESS:
            return "AuthFailure", "AWS was not able to validate the provided access credentials"
        given = form.pop("Signature", "")
        _, wanted = SigV2Auth(Credentials(ACCESS, SECRET)).calc_signature(AWSRequest("POST", f"{self.url}{self.path}",
                                                                                     data=form), dict(form))
        age = time.time() - datetime.strptime(form["Timestamp"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
        for name in ("SignatureVersion", "SignatureMethod", "Timestamp", "AWSAccessKeyId"):
            del form[name]
        return self._judged(given, wanted, age)

    def _judged(self, given: str, wanted: str, age: float):
        if not hmac.compare_digest(given, wanted):
            return "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."
        return ("RequestExpired", "Request has expired.") if abs(age) > 900 else ()


EUCALYPTUS_TYPES = b"<DescribeInstanceTypesResponse><instanceTypeDetails>" + b"".join(
    b"<item><name>%s</name><cpu>%d</cpu><disk>10</disk><memory>%d</memory></item>" % row
    for row in ((b"m1.large", 2, 1024), (b"m1.small", 1, 256),
                (b"t1.micro", 1, 512))) + b"</instanceTypeDetails></DescribeInstanceTypesResponse>"
NIMBUS = {"RunInstances", "DescribeInstances", "TerminateInstances", "RebootInstances", "DescribeImages",
          "DescribeAvailabilityZones",
          "DescribeKeyPairs", "CreateKeyPair", "ImportKeyPair", "DeleteKeyPair", "DescribeSecurityGroups",
          "DescribeRegions"}
HEEDED = ("ImageId", "MinCount", "MaxCount", "KeyName", "UserData", "InstanceType", "ClientToken")


def error(status: int, code: str, words: str):
    return status, "text/xml", (f"<?xml version=\"1.0\"?><Response><Errors><Error><Code>{code}</Code><Message>{escape(words)}</Message></Error>"
                                f"</Errors><RequestID>4f2c0d1e-0000-4000-8000-a1b2c3d4e5f6</RequestID></Response>").encode()
