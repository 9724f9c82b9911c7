"""The endpoint with NTLM and WinRM's message encryption; both are pyspnego's, as an acceptor."""

from __future__ import annotations

import base64
from typing import Any, Optional

import spnego
from pypsrp.encryption import WinRMEncryption

from simulators.hyperv_server import Endpoint

BOUNDARY = "Encrypted Boundary"


class Encrypted(Endpoint):
    """Authenticates each connection by NTLM; then each message is sealed.

    ``server.offers`` is Negotiate or NTLM. ``server.sealed`` counts the sealed requests, ``server.plain`` those that were not.
    """

    context: Any = None
    encryption: Any = None

    def authenticated(self, body: bytes) -> Optional[bytes]:
        word, _, token = self.headers.get("Authorization", "").partition(" ")
        if token:
            data = base64.b64decode(token)
            if self.context is None or self.context.complete:
                self.context = spnego.server(
                    protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm
                )
            try:
                answer = self.context.step(data)
            except spnego.exceptions.SpnegoError:
                self.context = None
                self.reply(b"", 401, [("WWW-Authenticate", self.server.offers)])
                return None
            if not self.context.complete:
                more = f"{word} {base64.b64encode(answer or b'').decode()}"
                self.reply(b"", 401, [("WWW-Authenticate", more)])
                return None
            self.encryption = WinRMEncryption(self.context, WinRMEncryption.SPNEGO)
        if self.encryption is None:
            self.reply(b"", 401, [("WWW-Authenticate", self.server.offers)])
            return None
        if not body:
            self.reply(b"", 200)
            return None
        if not self.headers.get("Content-Type", "").startswith("multipart/encrypted"):
            self.server.plain += 1
            self.reply(b"", 401)
            return None
        self.server.sealed += 1
        return bytes(self.encryption.unwrap_message(body, BOUNDARY))

    def reply(self, body: bytes, status: int, headers: Any = (), kind: str = "") -> None:
        if not body or self.encryption is None:
            return super().reply(body, status, headers)
        sealed_kind, sealed = self.encryption.wrap_message(body)
        self.send_response(status)
        self.send_header(
            "Content-Type",
            f'{sealed_kind};protocol="{WinRMEncryption.SPNEGO}";boundary="{BOUNDARY}"',
        )
        self.send_header("Content-Length", str(len(sealed)))
        self.end_headers()
        self.wfile.write(sealed)
