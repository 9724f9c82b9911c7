"""A gateway that verifies every signature by botocore, and speaks a dialect of EC2's API.

Requests are forms, signed by version 2 or 4, or JSON, signed by version 4. As the real managers do,
the gateway refuses actions that a dialect does not know, and ignores parameters that it does not
use. Subclasses say what is behind the gateway.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
import time
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

from botocore.auth import SigV2Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

HOST = "127.0.37.2"
NIMBUS = {
    "RunInstances",
    "DescribeInstances",
    "TerminateInstances",
    "RebootInstances",
    "DescribeImages",
    "DescribeAvailabilityZones",
    "DescribeKeyPairs",
    "CreateKeyPair",
    "ImportKeyPair",
    "DeleteKeyPair",
    "DescribeSecurityGroups",
    "DescribeRegions",
}
HEEDED = ("ImageId", "MinCount", "MaxCount", "KeyName", "UserData", "InstanceType", "ClientToken")
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=(\w+)"
)


class Verifying:
    """Serves at ``url`` inside ``with``; ``calls`` are (action, form). Subclasses have ``served``."""

    def __init__(
        self,
        keys: Credentials,
        path: str = "/",
        signature: int = 4,
        region: str = "us-east-1",
        dialect: str = "aws",
        types=((b"m1.large", 2, 1024), (b"m1.small", 1, 256), (b"t1.micro", 1, 512)),
    ):
        self.keys, self.path, self.signature, self.region, self.dialect = (
            keys,
            path,
            signature,
            region,
            dialect,
        )
        self.types = types  # of Eucalyptus: (name, CPUs, MiB)
        self.calls: list[tuple[str, dict[str, str]]] = []
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

            def log_message(self, *arguments):
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

    def served(self, action: str, form: dict[str, str], service: str) -> tuple[int, str, bytes]:
        """The answer (status, content type, body) to a request with a right signature."""
        raise NotImplementedError

    def answer(self, path: str, headers, body: str) -> tuple[int, str, bytes]:
        """The answer (status, content type, body) to any request."""
        if urlsplit(path).path != self.path:
            return 404, "text/html", b"<!DOCTYPE html><html><title>404 Not Found</title></html>"
        target = headers.get("X-Amz-Target", "")
        form = json.loads(body) if target else dict(parse_qsl(body, keep_blank_values=True))
        action = target.rpartition(".")[2] or form.get("Action", "")
        refusal, service = self._verify(path, headers, body, form)
        if refusal:
            return error(401, *refusal)
        self.calls.append((action, form))
        refusal = self._refused(action, form)
        if refusal:
            return error(400, *refusal)
        if self.dialect == "eucalyptus" and action == "DescribeInstanceTypes":
            return 200, "text/xml", eucalyptus_types(self.types)
        if self.dialect == "nimbus":  # it ignores all other parameters
            heeded = {"RunInstances": HEEDED, "DescribeImages": ()}.get(action)
            form = {
                key: value
                for key, value in form.items()
                if heeded is None or key in ("Action", "Version", *heeded)
            }
        return self.served(action, form, service)

    def _refused(self, action: str, form: dict[str, str]):
        """(code, message) for a request that the dialect does not know, else None."""
        if self.dialect != "aws" and any(key.startswith("TagSpecification") for key in form):
            return "UnknownParameter", "The parameter TagSpecification is not recognized"
        if self.dialect == "nimbus" and (
            action not in NIMBUS or any(key.startswith("Filter") for key in form)
        ):
            return "UnsupportedOperation", f"{action} is not supported"
        return None

    # --- signatures -----------------------------------------------------------------------------------------------

    def _verify(self, path: str, headers, body: str, form: dict[str, str]):
        """((code, message) of a wrong signature, or (); the service that was signed for)."""
        if self.signature == 2:
            return self._verify_2(form), "ec2"
        match = _SIGNED.fullmatch(headers.get("Authorization", ""))
        if not match:
            return ("MissingAuthenticationToken", "Request is missing Authentication Token"), ""
        access, _, region, service, names, signature = match.groups()
        if access != self.keys.access_key:
            return (
                "AuthFailure",
                "AWS was not able to validate the provided access credentials",
            ), ""
        if region != self.region:
            return (
                "SignatureDoesNotMatch",
                f"Credential should be scoped to a valid region, not '{region}'.",
            ), ""
        if not {"host", "x-amz-date", "content-type"} <= set(names.split(";")):
            return ("SignatureDoesNotMatch", "headers that have to be signed are not"), ""
        request = AWSRequest(
            "POST",
            f"http://{headers['Host']}{path}",
            {name: headers[name] for name in names.split(";")},
            body.encode(),
        )
        request.context["timestamp"] = headers["X-Amz-Date"]
        judge = SigV4Auth(self.keys, service, region)
        expected = judge.signature(
            judge.string_to_sign(request, judge.canonical_request(request)), request
        )
        age = time.time() - datetime.strptime(headers["X-Amz-Date"], "%Y%m%dT%H%M%S%z").timestamp()
        return self._judged(signature, expected, age), service

    def _verify_2(self, form: dict[str, str]):
        if (
            form.get("SignatureVersion") != "2"
            or form.get("AWSAccessKeyId") != self.keys.access_key
        ):
            return "AuthFailure", "AWS was not able to validate the provided access credentials"
        given = form.pop("Signature", "")
        _, expected = SigV2Auth(self.keys).calc_signature(
            AWSRequest("POST", f"{self.url}{self.path}", data=form), dict(form)
        )
        age = time.time() - datetime.strptime(form["Timestamp"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
        for name in ("SignatureVersion", "SignatureMethod", "Timestamp", "AWSAccessKeyId"):
            del form[name]
        return self._judged(given, expected, age)

    def _judged(self, given: str, expected: str, age: float):
        if not hmac.compare_digest(given, expected):
            return (
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        return ("RequestExpired", "Request has expired.") if abs(age) > 900 else ()


def eucalyptus_types(types) -> bytes:
    """Instance types in Eucalyptus' own elements."""
    rows = b"".join(
        b"<item><name>%s</name><cpu>%d</cpu><disk>10</disk><memory>%d</memory></item>" % row
        for row in types
    )
    return (
        b"<DescribeInstanceTypesResponse><instanceTypeDetails>"
        + rows
        + b"</instanceTypeDetails></DescribeInstanceTypesResponse>"
    )


def error(status: int, code: str, message: str) -> tuple[int, str, bytes]:
    """A refusal as EC2 writes it."""
    return (
        status,
        "text/xml",
        (
            f'<?xml version="1.0"?><Response><Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>'
            f"</Errors><RequestID>4f2c0d1e-0000-4000-8000-a1b2c3d4e5f6</RequestID></Response>"
        ).encode(),
    )


def json_error(status: int, code: str, message: str) -> tuple[int, str, bytes]:
    """A refusal as services with JSON write it."""
    return (
        status,
        "application/x-amz-json-1.1",
        json.dumps({"__type": code, "Message": message}).encode(),
    )
