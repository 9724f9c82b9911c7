"""PowerShell remoting over WS-Management on loopback, with the simulated Hyper-V behind it.

The protocol of PowerShell is psrpcore's, its half of a server: fragments, CLIXML and states are as Windows has them.
The SOAP around it is written here, by the conversations of pypsrp with real Windows servers.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import uuid
import xml.etree.ElementTree as ElementTree
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, List, Optional, Tuple

import psrpcore
from psrpcore.types import ErrorCategoryInfo, ErrorRecord, NETException, PSInvocationState

from simulators.hyperv import SCRIPTS, HyperV
from simulators.hyperv_errors import PowerShellError

_SPACES = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "a": "http://schemas.xmlsoap.org/ws/2004/08/addressing",
    "w": "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd",
    "t": "http://schemas.xmlsoap.org/ws/2004/09/transfer",
    "rsp": "http://schemas.microsoft.com/wbem/wsman/1/windows/shell",
    "ps": "http://schemas.microsoft.com/powershell",
}
_POWERSHELL = f"{_SPACES['ps']}/Microsoft.PowerShell"
NOTHING_YET, NO_SHELL, ACCESS_DENIED = 2150858793, 2150858843, 5
# Faults of a script that does not run; the others come while its answer is fetched
NOT_RUN = ("session-lost", "503", "redirect", "reset", "killed-before")
MUTUAL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
BASIC = "Basic " + base64.b64encode(b"probe:a-good-password").decode()


class Shell:
    """One session: psrpcore's pool of runspaces, and what waits to be fetched by the client."""

    def __init__(self, world: HyperV):
        self.world, self.pool = world, psrpcore.ServerRunspacePool()
        self.pipelines: Dict[str, Any] = {}
        self._outbox: Dict[str, List[str]] = {}
        self._done: set = set()
        self._news = threading.Condition()

    def feed(self, data: str, command: str = "") -> None:
        self.pool.receive_data(
            psrpcore.PSRPPayload(
                base64.b64decode(data),
                psrpcore.StreamType.default,
                uuid.UUID(command) if command else None,
            )
        )
        while self.pool.next_event() is not None:
            pass
        self._collect()

    def start(self, command: str) -> None:
        threading.Thread(target=self._run, args=(command,), daemon=True).start()

    def script(self, command: str) -> Tuple[str, Dict[str, Any]]:
        (only,) = self.pipelines[command].metadata.commands
        return only.command_text, dict(only.parameters)

    def _run(self, command: str) -> None:
        pipeline = self.pipelines[command]
        pipeline.start()
        try:
            output = self.world.run(*self.script(command))
        except PowerShellError as error:
            if "uncaught" in self.world.faults:  # the pipeline fails, as Windows lets it
                record = ErrorRecord(
                    Exception=NETException(Message=str(error)),
                    CategoryInfo=ErrorCategoryInfo(),
                    FullyQualifiedErrorId=error.id,
                )
                pipeline._change_state(PSInvocationState.Failed, record)
                return self._collect(command)
            output = {"error_id": error.id, "error": str(error)}
        pipeline.write_output(output if isinstance(output, str) else json.dumps(output))
        pipeline.complete()
        self._collect(command)

    def _collect(self, done: str = "") -> None:
        with self._news:
            while payload := self.pool.data_to_send(32000):
                key = str(payload.pipeline_id).upper() if payload.pipeline_id else ""
                text = base64.b64encode(payload.data).decode()
                self._outbox.setdefault(key, []).append(text)
            self._done |= {done}
            self._news.notify_all()

    def fetch(self, command: str) -> Tuple[List[str], bool]:
        """(what waits for the client, whether the command is done), after up to a second."""
        with self._news:
            self._news.wait_for(lambda: self._outbox.get(command) or command in self._done, 1)
            return self._outbox.pop(command, []), bool(command) and command in self._done


class Endpoint(BaseHTTPRequestHandler):
    """``server.plot``: what goes wrong, by the name of a script, once or (in ``always``) each time."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = self.authenticated(body)
        if body is None:
            return
        envelope = ElementTree.fromstring(body)
        self.action = envelope.findtext(".//a:Action", "", _SPACES)
        self.relates = envelope.findtext(".//a:MessageID", "", _SPACES)
        verb = self.action.rpartition("/")[2].lower()
        number = envelope.findtext('.//w:Selector[@Name="ShellId"]', "", _SPACES).upper()
        shell = self.server.shells.get(number)
        if verb != "create" and shell is None:
            return self.fault(NO_SHELL, "The request contained invalid selectors for the resource.")
        getattr(self, f"_{verb}")(envelope, shell)

    def do_GET(self) -> None:
        """WinRM takes POST only."""
        self.reply(b"", 405, [("Allow", "POST")])

    def authenticated(self, body: bytes) -> Optional[bytes]:
        given = self.headers.get("Authorization")
        if given == BASIC and not self.server.mutual or given == MUTUAL and self.server.mutual:
            return body
        self.reply(b"", 401, [("WWW-Authenticate", 'Basic realm="WSMAN"')])
        return None

    def _create(self, envelope: Any, _: Any) -> None:
        if "denied" in self.server.always:
            return self.fault(ACCESS_DENIED, "Access is denied.")
        asked = envelope.find(".//rsp:Shell", _SPACES)
        self.server.idle = asked.findtext("rsp:IdleTimeOut", "", _SPACES)
        number = asked.get("ShellId", str(uuid.uuid4())).upper()
        shell = self.server.shells[number] = Shell(self.server.world)
        shell.feed(asked.findtext("ps:creationXml", "", _SPACES))
        self.say(
            f"<t:ResourceCreated><a:Address>x</a:Address><a:ReferenceParameters><w:ResourceURI>{_POWERSHELL}"
            f'</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">{number}</w:Selector></w:SelectorSet>'
            "</a:ReferenceParameters></t:ResourceCreated>"
            f"<rsp:Shell><rsp:ShellId>{number}</rsp:ShellId><rsp:State>Connected</rsp:State></rsp:Shell>"
        )

    def _command(self, envelope: Any, shell: Shell) -> None:
        line = envelope.find(".//rsp:CommandLine", _SPACES)
        number = line.get("CommandId").upper()
        shell.pipelines[number] = psrpcore.ServerPipeline(shell.pool, uuid.UUID(number))
        shell.feed(line.findtext("rsp:Arguments", "", _SPACES), number)
        name = SCRIPTS.get(shell.script(number)[0], "")
        fault = self.server.spoiled[number] = self.server.plot.pop(name, "")
        if fault == "session-lost":
            self.server.shells.clear()
            return self.fault(NO_SHELL, "The request contained invalid selectors.")
        if fault == "503":
            page = b"<html><title>Service Unavailable</title></html>"
            return self.reply(page, 503, kind="text/html")
        if fault == "redirect":
            return self.reply(b"", 307, [("Location", "https://elsewhere.example.org/wsman")])
        if fault == "reset":
            self.close_connection = True
            return
        if fault == "killed-before":
            self.server.killer()
        if fault not in NOT_RUN:
            shell.start(number)
        self.say(
            f"<rsp:CommandResponse><rsp:CommandId>{number}</rsp:CommandId></rsp:CommandResponse>"
        )

    def _receive(self, envelope: Any, shell: Shell) -> None:
        number = (envelope.find(".//rsp:DesiredStream", _SPACES).get("CommandId") or "").upper()
        streams, done = shell.fetch(number)
        fault = self.server.spoiled.get(number, "")
        if fault == "killed-after":
            self.server.killer()
        if fault == "reply-lost":
            self.close_connection = True
            return
        if fault == "silent":
            self.server.speaks.wait(60)
            self.close_connection = True
            return
        if fault == "malformed":
            return self.reply(b"<s:Envelope>", 200)
        if fault == "huge":
            return self.huge()
        if not streams and not done:
            return self.fault(NOTHING_YET, "The operation did not complete within the time.")
        mark = f' CommandId="{number}"' if number else ""
        body = "".join(
            f'<rsp:Stream Name="stdout"{mark}>{stream}</rsp:Stream>' for stream in streams
        )
        if number:
            state = "Done" if done else "Running"
            body += f'<rsp:CommandState{mark} State="{_SPACES["rsp"]}/CommandState/{state}"/>'
        self.say(f"<rsp:ReceiveResponse>{body}</rsp:ReceiveResponse>")

    def _send(self, envelope: Any, shell: Shell) -> None:
        stream = envelope.find(".//rsp:Stream", _SPACES)
        shell.feed(stream.text, stream.get("CommandId") or "")
        self.say("<rsp:SendResponse/>")

    def _signal(self, envelope: Any, shell: Shell) -> None:
        self.say("<rsp:SignalResponse/>")

    def _delete(self, envelope: Any, shell: Shell) -> None:
        self.server.shells = {
            number: each for number, each in self.server.shells.items() if each is not shell
        }
        self.say("")

    def huge(self) -> None:
        """Many megabytes, without an end that the client knows of."""
        self.send_response(200)
        self.send_header("Content-Type", "application/soap+xml;charset=UTF-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for _ in range(4096):
                self.wfile.write(b" " * 2**16)
        except OSError:
            pass

    def fault(self, code: int, text: str) -> None:
        self.say(
            "<s:Fault><s:Code><s:Value>s:Receiver</s:Value></s:Code><s:Reason>"
            f'<s:Text xml:lang="en-US">{text}</s:Text></s:Reason><s:Detail>'
            f'<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{code}" '
            f'Machine="HV1"><f:Message>{text}</f:Message></f:WSManFault></s:Detail></s:Fault>',
            500,
        )

    def say(self, body: str, status: int = 200) -> None:
        names = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in _SPACES.items())
        text = (
            f"<s:Envelope {names}><s:Header><a:Action>{self.action}Response</a:Action>"
            f"<a:MessageID>uuid:{uuid.uuid4()}</a:MessageID><a:RelatesTo>{self.relates}</a:RelatesTo></s:Header>"
            f"<s:Body>{body}</s:Body></s:Envelope>"
        )
        self.reply(text.encode(), status)

    def reply(
        self,
        body: bytes,
        status: int,
        headers: Any = (),
        kind: str = "application/soap+xml;charset=UTF-8",
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Write nothing to the console of the tests."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def served(
    world: Optional[HyperV] = None, handler: Any = Endpoint, tls: Optional[ssl.SSLContext] = None
):
    """(server, its URL) on loopback, during a ``with`` block; ``server.world`` is the Hyper-V."""
    server: Any = _Server(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.world, server.shells = world or HyperV(), {}
    server.idle = ""  # how long the newest session may be idle
    server.plot, server.always, server.spoiled = {}, set(), {}
    server.mutual = tls is not None and tls.verify_mode is ssl.CERT_REQUIRED
    server.speaks, server.killer = threading.Event(), lambda: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        scheme = "https" if tls is not None else "http"
        yield server, f"{scheme}://127.0.0.1:{server.server_port}/wsman"
    finally:
        server.speaks.set()
        server.shutdown()
        thread.join()
        server.server_close()
