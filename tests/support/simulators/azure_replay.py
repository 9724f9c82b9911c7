"""Recorded answers of the real Azure, served again in their order.

Each request gets the next recorded answer of its kind: the method and the type of resource, so names
and subscriptions need not match. The last answer of a kind is repeated. The recordings are not part
of this project: they lie beside it, in ``shared/data/azure``.
"""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict, deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Deque, Dict, List, Tuple
from urllib.parse import unquote, urlsplit

import pytest

from running import CHECKOUT

DATA = CHECKOUT.parent / "shared" / "data" / "azure"
_REAL = "https://management.azure.com/"


def recording(name: str) -> List[Dict[str, Any]]:
    """The calls of a recording; skips the test where the recordings are not there."""
    path = DATA / "recordings" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"the recordings of the real Azure are not beside the checkout, in {DATA}")
    return json.loads(path.read_text())


def kind(method: str, url: str) -> Tuple[str, str]:
    """What a request is about."""
    path = unquote(urlsplit(url).path).lower().strip("/")
    if "/oauth2/" in path:
        return method, "login"
    if "operationresults" in path:
        return method, "operationresults"
    poll = re.search(r"/locations/[^/]+/(\w*operations)/", path)
    if poll:
        return method, poll[1]
    *_, last = path.split("/providers/")
    if last == path:
        return method, "group" if re.search(r"/resourcegroups/[^/]+$", path) else path.split("/")[
            -1
        ]
    provider, *rest = last.split("/")
    types = "/".join([provider, *rest[::2]])
    return method, types + ("/{name}" if rest and len(rest) % 2 == 0 else "")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        what = kind(self.command, self.path)
        self.server.asked.append((*what, json.loads(body) if body[:1] == b"{" else None))
        queue: Deque[Any] = self.server.answers[what]
        if what[1] == "login":
            found = {
                "status": 200,
                "headers": {},
                "body": {"access_token": "t.t.t", "expires_in": 3599},
            }
        elif queue:
            found = queue[0] if len(queue) == 1 else queue.popleft()
        else:
            error = {"code": "NotRecorded", "message": " ".join(what)}
            found = {"status": 404, "headers": {}, "body": {"error": error}}
        text = b"" if found["body"] is None else self._here(json.dumps(found["body"])).encode()
        self.send_response(found["status"])
        for name, value in found["headers"].items():
            if name in ("azure-asyncoperation", "location", "retry-after", "x-ms-request-id"):
                self.send_header(name, self._here(value))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _here(self, text: str) -> str:
        return text.replace(_REAL, f"http://127.0.0.1:{self.server.server_port}/")

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve

    def log_message(self, *words: Any) -> None:
        """Write nothing to the console of the tests."""


@contextmanager
def replayed(*names: str):
    """(what was asked, the URL) of recordings, during a ``with`` block."""
    calls = [call for name in names for call in recording(name)]
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.asked = []
        server.answers = defaultdict(deque)
        for call in calls:
            request = call["request"]
            server.answers[kind(request["method"], request["url"])].append(call["response"])
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.asked, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
