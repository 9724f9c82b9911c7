"""The simulated Azure on a socket: the Resource Manager, the login, the metadata service and the

Above 400 lines: the routes of all services, one function each.
blobs. Every exchange is kept, in the form in which the published definitions can judge it.
"""

from __future__ import annotations

import base64
import json
import re
import socketserver
import threading
import time
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import parse_qs, unquote, urlsplit

from simulators import azure as world
from simulators.azure import (
    DISK,
    NIC,
    REGION,
    SIZES,
    SNAPSHOT,
    SUBSCRIPTION,
    URN,
    VM,
    Azure,
    Refused,
)

TENANT, CLIENT, SECRET = (
    "11111111-1111-1111-1111-111111111111",
    "22222222-2222-2222-2222-222222222222",
    "a-Good~secret.of.40_characters",
)
FEDERATED = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwcm9iZSJ9.c2lnbmF0dXJl"
Answer = Tuple[int, Any, Dict[str, str]]


class Services:
    """What the addresses answer. ``tokens`` are valid until a time of the monotonic clock.

    Above 250 lines: one method for each route.
    """

    def __init__(self, azure: Azure):
        self.azure = azure
        self.tokens: Dict[str, float] = {}
        self.exchanges: List[Dict[str, Any]] = []
        self.certificate: Any = None  # whose signature a login by certificate has to bear
        self.base = ""
        self.lock = threading.RLock()

    # --- login ----------------------------------------------------------------------------------

    def login(self, form: Dict[str, str], tenant: str, form_is_v1: bool) -> Answer:
        def refused(status: int, error: str, code: str, words: str) -> Answer:
            text = f"AADSTS{code}: {words} Trace ID: {uuid.uuid4()} Correlation ID: {uuid.uuid4()}"
            return (
                status,
                {"error": error, "error_description": text, "error_codes": [int(code)]},
                {},
            )

        if tenant != TENANT and not form_is_v1:
            return refused(400, "invalid_request", "90002", f"Tenant '{tenant}' not found.")
        scope = "resource" if form_is_v1 else "scope"
        if form.get("grant_type") != "client_credentials" or not form.get(scope):
            return refused(
                400, "invalid_request", "900144", f"The request body must contain '{scope}'."
            )
        if form.get("client_id") != CLIENT:
            return refused(
                400,
                "unauthorized_client",
                "700016",
                f"Application with identifier '{form.get('client_id')}' was not found in the directory.",
            )
        if "secret-expired" in self.azure.faults:
            return refused(
                401, "invalid_client", "7000222", "The provided client secret keys are expired."
            )
        proof = form.get("client_assertion", "")
        if proof and proof != FEDERATED and not self._signed(proof, tenant):
            return refused(401, "invalid_client", "700027", "The certificate was not accepted.")
        if not proof and form.get("client_secret") != SECRET:
            return refused(401, "invalid_client", "7000215", "Invalid client secret provided.")
        return 200, self.token(), {}

    def _signed(self, assertion: str, tenant: str) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        if self.certificate is None:
            return False
        head, claims, signature = (
            base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in assertion.split(".")
        )
        known = json.loads(head)
        thumb = base64.urlsafe_b64encode(self.certificate.fingerprint(hashes.SHA1()))
        read = json.loads(claims)
        try:
            self.certificate.public_key().verify(
                signature, assertion.rpartition(".")[0].encode(), PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            return False
        return (
            known["x5t"] == thumb.rstrip(b"=").decode()
            and read["iss"] == read["sub"] == CLIENT
            and read["aud"] == f"{self.base}/{tenant}/oauth2/v2.0/token"
            and read["nbf"] <= time.time() < read["exp"]
        )

    def token(self) -> Dict[str, Any]:
        text, seconds = f"token.{uuid.uuid4().hex}.end", 3599
        self.tokens[text] = time.monotonic() + seconds
        return {"token_type": "Bearer", "expires_in": seconds, "access_token": text}

    # --- answers --------------------------------------------------------------------------------

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> Answer:
        parts = urlsplit(url)
        path = unquote(parts.path).strip("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if path == "metadata/endpoints":
            return (
                200,
                {
                    "galleryEndpoint": "",
                    "graphEndpoint": "",
                    "authentication": {"loginEndpoint": self.base, "audiences": [self.base]},
                },
                {},
            )
        if path == "metadata/identity/oauth2/token":
            if headers.get("Metadata") != "true":
                return (
                    400,
                    {"error": "invalid_request", "error_description": "no header Metadata"},
                    {},
                )
            if query.get("client_id", CLIENT) != CLIENT:
                return (
                    400,
                    {"error": "invalid_request", "error_description": "Identity not found"},
                    {},
                )
            return 200, {**self.token(), "expires_in": "3599", "resource": query["resource"]}, {}
        login = re.fullmatch(r"([^/]+)/oauth2/(v2\.0/)?token", path)
        if login:
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            return self.login(form, login[1], not login[2])
        if path.startswith("blobs/"):
            return self.blob(path, query, headers)
        try:
            self.allow(headers, query)
            self.azure.settle()
            return self.arm(method, path, query, json.loads(body) if body else {})
        except Refused as refused:
            error = {"error": {"code": refused.code, "message": refused.message}}
            return refused.status, error, dict(refused.headers)

    def allow(self, headers: Any, query: Dict[str, str]) -> None:
        token = (headers.get("Authorization") or "").partition(" ")[2]
        if self.tokens.get(token, 0) < time.monotonic() or "token-ends" in self.azure.faults:
            self.azure.faults.discard("token-ends")
            raise Refused(
                401,
                "ExpiredAuthenticationToken"
                if token in self.tokens
                else "InvalidAuthenticationToken",
                "The access token is invalid or has expired.",
            )
        if not re.fullmatch(r"20\d\d-\d\d-\d\d", query.get("api-version", "")):
            raise Refused(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )

    def blob(self, path: str, query: Dict[str, str], headers: Any) -> Answer:
        if query.get("sig") != "c2VjcmV0c2lnbmF0dXJl" or headers.get("Authorization"):
            return 403, {"error": {"code": "AuthenticationFailed", "message": "Signature"}}, {}
        name = path.rpartition("/")[2]
        started = self.azure.started.get(name)
        if started is None or "no-console" in self.azure.faults:
            return 404, {"error": {"code": "BlobNotFound", "message": "no blob"}}, {}
        script = base64.b64decode(self.azure.nonces.get(name, "")).decode()
        nonce = re.search(r"(?m)^VMPROBE_NONCE=(\S+)$", script)
        age = time.monotonic() - started
        facts = [
            "boot kernel=0 memory=134217728 cpus=1",
            "network interface=eth0 address=10.0.0.4 gateway=10.0.0.1 answers=yes",
        ]
        if any(
            disk.get("managedBy", "").lower().endswith(f"/{name}")
            and "osType" not in disk["properties"]
            for disk in self.azure.of(DISK)
        ):
            facts.append("disk device=sdc size=1073741824 verified=262144")
        return 200, "".join(f"vmprobe {nonce[1]} {age:.2f} {fact}\n" for fact in facts if nonce), {}

    def arm(self, method: str, path: str, query: Dict[str, str], body: Dict[str, Any]) -> Answer:
        azure, words = self.azure, path.split("/")
        if words[0].lower() != "subscriptions" or words[1] != SUBSCRIPTION:
            raise Refused(
                404, "SubscriptionNotFound", f"The subscription '{words[1]}' could not be found."
            )
        rest = words[2:]
        if not rest:
            return (
                200,
                {"subscriptionId": SUBSCRIPTION, "displayName": "Tests", "state": "Enabled"},
                {},
            )
        if rest[0].lower() == "operationresults":
            operation = azure.operations[rest[1]]
            return (
                (200 if operation.done else 202),
                None,
                {} if operation.done else self.located(rest[1]),
            )
        if rest[0].lower() == "resourcegroups":
            return self.in_group(method, rest[1:], query, body)
        provider, rest = rest[1], rest[2:]
        if rest[0] == "locations" and len(rest) > 2 and "operation" in rest[2].lower():
            return self.operation(rest[3], query)
        if rest[0] == "locations":
            return self.location(provider, rest[1], rest[2:])
        if rest == ["skus"]:
            return self.pages(path, query, self.skus())
        return self.pages(path, query, azure.of(f"{provider}/{rest[0]}".lower()))

    def in_group(
        self, method: str, rest: List[str], query: Dict[str, str], body: Dict[str, Any]
    ) -> Answer:
        azure = self.azure
        if not rest:
            return self.pages(
                "subscriptions/" + SUBSCRIPTION + "/resourcegroups",
                query,
                list(azure.groups.values()),
            )
        group = rest[0]
        where = f"subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"
        if len(rest) == 1:
            if method == "PUT":
                return (*azure.put_group(group, body), {})
            if method == "DELETE":
                return 202, None, self.located(azure.delete_group(group))
            return 200, azure.group(group), {}
        azure.group(group)
        if rest[1] == "resources":
            there = [one for (_, of, _), one in azure.things.items() if of == group.lower()]
            listed = [
                {key: one[key] for key in ("id", "name", "type", "location", "tags")}
                for one in there
            ]
            return self.pages(f"{where}/resources", query, [] if "lag" in azure.faults else listed)
        kind = f"{rest[2]}/{rest[3]}".lower()
        if len(rest) == 4:
            return self.pages(
                f"{where}/providers/{rest[2]}/{rest[3]}", query, azure.of(kind, group)
            )
        name = rest[4]
        if len(rest) > 5:
            return self.action(azure.get(kind, group, name), rest[5:])
        if method == "GET":
            found = azure.get(kind, group, name)
            if kind == VM and query.get("$expand") == "instanceView":
                found = {
                    **found,
                    "properties": {**found["properties"], "instanceView": azure.view(found)},
                }
            return 200, found, {}
        if method == "DELETE":
            try:
                identity = azure.delete(kind, group, name)
            except Refused as refused:
                if refused.code == "ResourceNotFound":
                    return 204, None, {}
                raise
            return 202, None, self.both(kind, identity)
        if method == "PATCH" and kind == VM:
            status, made, identity = azure.patch_vm(group, name, body)
        elif kind == VM:
            status, made, identity = azure.put_vm(group, name, body)
        elif kind == NIC:
            status, made, identity = azure.put_nic(group, name, body)
        elif kind in (DISK, SNAPSHOT):
            status, made, identity = azure.put_disk(kind, group, name, body)
            return status, made, self.both(kind, identity)
        else:
            status, made, identity = azure.put_net(group, name, body)
        return (
            status,
            made,
            {"Azure-AsyncOperation": self.both(kind, identity)["Azure-AsyncOperation"]},
        )

    def action(self, thing: Dict[str, Any], rest: List[str]) -> Answer:
        if rest[0] == "subnets":
            for subnet in thing["properties"]["subnets"]:
                if subnet["name"] == rest[1]:
                    return 200, subnet, {}
            raise Refused(404, "NotFound", f"Subnet {rest[1]} was not found.")
        if rest[0] == "retrieveBootDiagnosticsData":
            if "no-diagnostics" in self.azure.faults:
                raise Refused(
                    409,
                    "OperationNotAllowed",
                    "Boot diagnostics is not enabled on this Virtual Machine.",
                )
            address = f"{self.base}/blobs/bootdiagnostics/{thing['name'].lower()}?sv=2020&sig=c2VjcmV0c2lnbmF0dXJl"
            return (
                200,
                {"serialConsoleLogBlobUri": address, "consoleScreenshotBlobUri": address},
                {},
            )
        return 200, self.metrics(thing), {}

    def metrics(self, vm: Dict[str, Any]) -> Dict[str, Any]:
        if "no-metrics" in self.azure.faults:
            raise self.azure._forbidden("Microsoft.Insights/metrics/read", vm["name"])
        age = time.monotonic() - self.azure.started.get(vm["name"].lower(), float("inf"))
        minute = int(time.time() // 60) * 60
        found = []
        for name, unit, value in (
            ("Percentage CPU", "Percent", {"average": 12.5}),
            ("Disk Read Bytes", "Bytes", {"total": 6000.0}),
            ("Disk Write Bytes", "Bytes", {"total": 12000.0}),
            ("Network In Total", "Bytes", {"total": 600.0}),
            ("Network Out Total", "Bytes", {"total": 1200.0}),
        ):
            data: List[Dict[str, Any]] = [
                {"timeStamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(minute - back * 60))}
                for back in (2, 1, 0)
            ]
            if age >= self.azure.metrics_after:
                data[1].update(value)
            found.append(
                {
                    "id": f"{vm['id']}/providers/Microsoft.Insights/metrics/{name}",
                    "type": "Microsoft.Insights/metrics",
                    "name": {"value": name, "localizedValue": name},
                    "unit": unit,
                    "timeseries": [{"metadatavalues": [], "data": data}],
                }
            )
        return {"cost": 0, "timespan": "2020/2021", "interval": "PT1M", "value": found}

    def operation(self, identity: str, query: Dict[str, str]) -> Answer:
        operation = self.azure.operations[identity]
        if query.get("monitor"):
            return (200 if operation.done else 202), None, {}
        found: Dict[str, Any] = {"startTime": world.stamp(), "name": identity}
        found["status"] = "InProgress" if not operation.done else "Succeeded"
        if operation.error:
            code, message = operation.error
            found.update(status="Failed", error={"code": code, "message": message})
        wait = {"Retry-After": "30"} if "slow-operations" in self.azure.faults else {}
        return 200, found, wait

    def location(self, provider: str, region: str, rest: List[str]) -> Answer:
        if rest == ["vmSizes"]:
            sizes = [
                {"name": name, "numberOfCores": cores, "memoryInMB": int(memory * 1024), "osDiskSizeInMB": 1047552,
                 "resourceDiskSizeInMB": 4096, "maxDataDiskCount": 2}
                for name, (_, cores, memory, _, _) in SIZES.items()
            ]  # fmt: skip
            return 200, {"value": sizes}, {}
        if rest == ["usages"]:
            return 200, {"value": self.usages(provider.lower())}, {}
        wanted = [word.lower() for word in (rest[1], rest[5], rest[7])]
        if wanted != [word.lower() for word in URN[:3]] or (len(rest) > 9 and rest[9] != URN[3]):
            raise Refused(404, "NotFound", f"Artifact: VMImage was not found: {'/'.join(rest)}.")
        version = {
            "location": region,
            "name": URN[3],
            "id": f"/Subscriptions/{SUBSCRIPTION}/{'/'.join(rest)}",
        }
        if len(rest) == 9:
            return 200, [version], {}
        version["properties"] = {
            "hyperVGeneration": "V2",
            "osDiskImage": {"operatingSystem": "Linux"},
            "dataDiskImages": [],
        }
        return 200, version, {}

    def usages(self, provider: str) -> List[Dict[str, Any]]:
        azure = self.azure
        machines = len(azure.of(VM))
        counted: List[Tuple[str, int, int]] = [
            ("virtualMachines", machines, 25000),
            ("cores", machines, azure.cores),
            ("standardBSFamily", machines, azure.cores),
            ("StandardDiskCount", len(azure.of(DISK)), 50000),
        ]
        if provider == "microsoft.network":
            counted = [
                ("NetworkInterfaces", len(azure.of(NIC)), 65536),
                ("PublicIpPrefixes", 0, 2147483647),
            ]
        return [
            {
                "name": {"value": name, "localizedValue": name},
                "unit": "Count",
                "currentValue": used,
                "limit": limit,
            }
            for name, used, limit in counted
        ]

    def skus(self) -> List[Dict[str, Any]]:
        found: List[Dict[str, Any]] = [{"resourceType": "disks", "name": "Standard_LRS"}]
        for name, (family, cores, memory, generations, why) in SIZES.items():
            able = {
                "vCPUs": cores,
                "MemoryGB": memory,
                "HyperVGenerations": generations,
                "CpuArchitectureType": "Arm64" if "ps_" in name else "x64",
            }
            restriction = {
                "type": "Location",
                "values": [REGION],
                "restrictionInfo": {"locations": [REGION]},
                "reasonCode": why,
            }
            found.append(
                {
                    "resourceType": "virtualMachines",
                    "name": name,
                    "family": family,
                    "locations": [REGION],
                    "capabilities": [
                        {"name": word, "value": str(value)} for word, value in able.items()
                    ],
                    "restrictions": [restriction] if why else [],
                }
            )
        return found

    def pages(self, path: str, query: Dict[str, str], records: List[Dict[str, Any]]) -> Answer:
        start = int(query.get("$skiptoken", "0"))
        answer: Dict[str, Any] = {"value": records[start : start + self.azure.page]}
        if start + self.azure.page < len(records):
            version = query["api-version"]
            following = start + self.azure.page
            answer["nextLink"] = f"{self.base}/{path}?api-version={version}&$skiptoken={following}"
        return 200, answer, {}

    def located(self, identity: str) -> Dict[str, str]:
        where = f"{self.base}/subscriptions/{SUBSCRIPTION}/operationresults/{identity}"
        return {"Location": f"{where}?api-version=2020-06-01"}

    def both(self, kind: str, identity: str) -> Dict[str, str]:
        provider = "Microsoft.Network" if "network" in kind else "Microsoft.Compute"
        word = "DiskOperations" if kind in (DISK, SNAPSHOT) else "operations"
        where = f"{self.base}/subscriptions/{SUBSCRIPTION}/providers/{provider}/locations/{REGION}/{word}/{identity}"
        return {
            "Azure-AsyncOperation": f"{where}?api-version=2020-12-01",
            "Location": f"{where}?monitor=true&api-version=2020-12-01",
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def _serve(self) -> None:
        services: Services = self.server.services
        azure = services.azure
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with services.lock:
            label = f"{self.command} {self.kind()}"
            azure.calls.append(label)
            fault = azure.plot.pop(len(azure.calls), "") or azure.plot.pop(label, "")
            if fault == "killed-before":
                azure.killer()
            if fault in ("reset", "killed-before"):
                self.close_connection = True
                return
            if fault == "503":
                return self._answer(
                    503, b"<html><title>Service Unavailable</title></html>", {}, "text/html"
                )
            if fault == "429":
                text = b'{"error":{"code":"TooManyRequests","message":"The request is being throttled."}}'
                return self._answer(429, text, {"Retry-After": "1"})
            status, found, headers = services.answer(self.command, self.path, self.headers, body)
            services.exchanges.append(
                {
                    "request": {
                        "method": self.command,
                        "url": f"https://management.azure.com{self.path}",
                        "headers": {
                            "content-type": self.headers.get("Content-Type", "application/json")
                        },
                        "body": _json(body),
                    },
                    "response": {
                        "status": status,
                        "headers": {
                            "content-type": "application/json; charset=utf-8",
                            **{name.lower(): value for name, value in headers.items()},
                        },
                        "body": json.loads(json.dumps(found)),
                    },
                }
            )
            if fault == "killed-after":
                azure.killer()
            if fault in ("reply-lost", "killed-after"):
                self.close_connection = True
                return
            content = (
                found.encode()
                if isinstance(found, str)
                else b""
                if found is None
                else json.dumps(found).encode()
            )
            if fault == "malformed":
                content = content[: len(content) // 2]
        self._answer(status, content, {"x-ms-request-id": str(uuid.uuid4()), **headers})

    def kind(self) -> str:
        """The type of resource in the path, or its first word."""
        path = unquote(urlsplit(self.path).path).lower()
        if "/oauth2/" in path:
            return "login"
        found = re.search(r"/providers/microsoft\.\w+/(\w+)(?:/[^/]+/(\w+))?", path)
        if found:
            return found[2] if found[2] and found[1] not in ("locations",) else found[1]
        return "group" if "/resourcegroups/" in path else path.strip("/").split("/")[0]

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _serve

    def _answer(
        self, status: int, body: bytes, headers: Dict[str, str], kind: str = "application/json"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Write nothing to the console of the tests."""


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = daemon_threads = True
    services: Services


@contextmanager
def served(azure: Optional[Azure] = None, handler: Any = Handler):
    """(services, their URL) on loopback, during a ``with`` block."""
    with _Server(("127.0.0.1", 0), handler) as server:
        server.services = Services(azure or Azure())
        server.services.base = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.services, server.services.base
        finally:
            server.shutdown()
            thread.join()
