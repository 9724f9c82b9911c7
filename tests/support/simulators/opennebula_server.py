"""The simulated oned on a socket, and the ways in which its answers can fail."""

from __future__ import annotations

import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any, Optional
from xmlrpc.client import Fault, dumps, loads

from simulators.opennebula import Oned


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        self._call(self.rfile.read(int(self.headers["Content-Length"])))

    def _call(self, body: bytes) -> None:
        """Answer a call, or fail as ``plot`` says."""
        oned = self.server.oned
        if not body:  # the client is gone
            self.close_connection = True
            return
        words, procedure = loads(body)
        fault = oned.plot.pop(len(oned.calls) + 1, "") or oned.plot.pop(procedure, "")
        if fault == "goes-away":
            oned.faults.add("away")
        if "away" in oned.faults:
            fault = "reset"
        if fault == "silent":
            oned.speaks.wait(60)
            fault = "reset"
        if fault == "killed-before":
            oned.killer()
        if fault == "reset":
            oned.calls.append("reset")
            self.close_connection = True
            return
        if fault == "503":
            oned.calls.append("503")
            return self._answer(
                503, b"<html><title>Service Unavailable</title></html>", "text/html"
            )
        try:
            said = dumps((oned.call(procedure, words),), methodresponse=True)
        except Fault as failed:
            said = dumps(failed, methodresponse=True)
        if fault == "killed-after":
            oned.killer()
        if fault == "reply-lost":
            self.close_connection = True
            return
        self._answer(200, b"<methodResponse><params>" if fault == "malformed" else said.encode())

    def do_GET(self) -> None:
        self._answer(405, b"<HTML><HEAD><TITLE>Error 405</TITLE></HEAD></HTML>", "text/html")

    def _answer(self, status: int, body: bytes, kind: str = "text/xml") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Write nothing to the console of the tests."""


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = daemon_threads = True
    oned: Oned


@contextmanager
def served(oned: Optional[Oned] = None, handler: Any = Handler, tls: Any = None):
    """(oned, its URL) on loopback, during a ``with`` block."""
    with _Server(("127.0.0.1", 0), handler) as server:
        server.oned = oned or Oned()
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield (
                server.oned,
                f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/RPC2",
            )
        finally:
            server.shutdown()
            thread.join()
