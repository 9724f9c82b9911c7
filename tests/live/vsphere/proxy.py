"""A proxy in front of the simulator, which shows what a vCenter does and the simulator does not.

A vCenter cuts lists into pages, and its tasks are queued and running before they succeed. The proxy does both, plays
the guest's VMware Tools, refuses or fails what a test names, and keeps a record of the calls.
"""

from __future__ import annotations

import base64
import re
import threading
import time
import urllib.error
import urllib.request
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
    "<soapenv:Body>%s</soapenv:Body></soapenv:Envelope>"
)
METHOD = re.compile(r"<soapenv:Body><(\w+)")
OBJECTS = re.compile(r"<objects>.*?</objects>", re.S)
TASK = re.compile(r'<objects><obj type="Task">([^<]+)</obj>')
OBJECT_SET = re.compile(r'<objectSet><obj type="Task">([^<]+)</obj></objectSet>')
ADDRESS = "192.0.2.17"  # what the guest's tools report


class Proxy:
    """``page``: objects in one answer, 0 for all. ``busy``: seconds for which a task says that it is running.

    Above 250 lines: one method for each fault and each habit of a vCenter.

    ``refused`` and ``failed``: by method, the fault (type, message) of the call, or of the task that it starts.
    ``tools``: whether guests report an address. ``changed``: a function that may replace an answer.
    """

    def __init__(self, behind: str):
        self.behind = behind
        self.heal()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.startswith("/sdk"):
                    self._answer(*proxy.served(body.decode(), self.headers))
                else:
                    self._answer(*proxy.passed(self.command, self.path, body, self.headers))

            def do_GET(self):
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length) if length else None
                proxy.calls.append(f"{self.command} {self.path}")
                self._answer(*proxy.passed(self.command, self.path, body, self.headers))

            do_PUT = do_DELETE = do_HEAD = do_GET

            def _answer(self, status, headers, body):
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *words):
        self._server.shutdown()
        self._server.server_close()

    def heal(self) -> None:
        """Forget all faults, calls and tasks."""
        self.page, self.busy, self.tools = 3, 0.15, True
        self.refused: dict[str, tuple[str, ...]] = {}
        self.failed: dict[str, tuple[str, str]] = {}
        self.stuck: set[str] = set()  # methods whose tasks never end
        self.expire_after = ""  # a method after which the session has ended, once
        self.calls: list[str] = []
        self.bodies: list[str] = []
        self.changed = lambda method, body: body
        self._pages: dict[str, list[str]] = {}
        self._seen: dict[str, float] = {}  # by task: when it was first asked for
        self._stuck: set[str] = set()  # tasks
        self._nonces: dict[str, str] = {}  # by file of a console
        self._fakes: dict[str, tuple[str, str]] = {}  # tasks that failed

    # --- what is answered ---------------------------------------------------------------------------------------------

    def served(self, body: str, headers):
        method = METHOD.search(body)[1]
        self.calls.append(method)
        self.bodies.append(body)
        if method in self.refused:
            return self._fault(*self.refused[method])
        if method in self.failed:
            task = f"task-failed-{len(self._fakes)}"
            self._fakes[task] = self.failed[method]
            return self._xml(
                f'<{method}Response xmlns="urn:vim25"><returnval type="Task">{task}</returnval></{method}Response>'
            )
        if self.expire_after and self.calls.count(self.expire_after) and method != "Login":
            if method not in ("RetrieveServiceContent", self.expire_after):
                return self._fault("NotAuthenticated", "The session is not authenticated.")
        if method == "Login":
            self.expire_after = self.expire_after if not self.calls.count(self.expire_after) else ""
        if method == "CancelTask":
            self._stuck.discard(re.search(r'<_this type="Task">([^<]+)', body)[1])
        if method == "ContinueRetrievePropertiesEx":
            return self._next_page(method, re.search(r"<token>([^<]+)", body)[1])
        if method == "WaitForUpdatesEx":
            self._wait_for_tasks()
        fakes = []
        if method == "RetrievePropertiesEx":
            body, fakes = self._without_fakes(body)
            if fakes and "<objectSet>" not in body:
                return self._xml(
                    f'<{method}Response xmlns="urn:vim25"><returnval>{"".join(fakes)}</returnval></{method}Response>'
                )
        status, answered, raw = self.passed("POST", "/sdk", body.encode(), headers)
        text = self.changed(method, raw.decode())
        if method in self.stuck and status == 200:
            self._stuck.add(re.search(r'type="Task">([^<]+)', text)[1])
        if method == "RetrievePropertiesEx" and status == 200:
            text = OBJECTS.sub(self._held_back, text)
            text = text.replace("</returnval>", "".join(fakes) + "</returnval>", 1)
            text = self._first_page(text)
        if method in ("CloneVM_Task", "CreateVM_Task"):
            self._note_nonce(body)
        if method in ("PowerOnVM_Task", "ReconfigVM_Task") and status == 200:
            self._write_console(
                method, re.search(r'<_this type="VirtualMachine">([^<]+)', body)[1], headers
            )
        if method == "PowerOnVM_Task" and status == 200 and self.tools:
            self._report_address(
                re.search(r'<_this type="VirtualMachine">([^<]+)', body)[1], headers
            )
        return status, answered, text.encode()

    def passed(self, command: str, path: str, body, headers):
        """The simulator's own answer."""
        kept = {
            name: headers[name]
            for name in ("Cookie", "SOAPAction", "Content-Type")
            if name in headers
        }
        request = urllib.request.Request(self.behind + path, body, kept, method=command)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, dict(refusal.headers), refusal.read()

    def _fault(self, kind: str, message: str, detail: str = ""):
        return self._xml(
            "<soapenv:Fault><faultcode>ServerFaultCode</faultcode>"
            f"<faultstring>{escape(message)}</faultstring>"
            f'<detail><{kind}Fault xmlns="urn:vim25" xsi:type="{kind}">{detail}</{kind}Fault></detail></soapenv:Fault>',
            500,
        )

    def _xml(self, content: str, status: int = 200):
        return status, {"Content-Type": "text/xml; charset=utf-8"}, (ENVELOPE % content).encode()

    # --- pages ----------------------------------------------------------------------------------------------------

    def _first_page(self, text: str) -> str:
        objects = OBJECTS.findall(text)
        if not self.page or len(objects) <= self.page:
            return text
        token = f"token-{len(self._pages)}"
        self._pages[token] = objects[self.page :]
        inside = f"<token>{token}</token>" + "".join(objects[: self.page])
        return re.sub(
            r"<returnval>.*</returnval>",
            lambda _: f"<returnval>{inside}</returnval>",
            text,
            flags=re.S,
        )

    def _next_page(self, method: str, token: str):
        rest = self._pages.pop(token)
        inside = ""
        if len(rest) > self.page:
            again = f"{token}-{len(rest)}"
            self._pages[again] = rest[self.page :]
            inside = f"<token>{again}</token>"
        inside += "".join(rest[: self.page])
        return self._xml(
            f'<{method}Response xmlns="urn:vim25"><returnval>{inside}</returnval></{method}Response>'
        )

    # --- tasks ----------------------------------------------------------------------------------------------------

    def _held_back(self, match) -> str:
        """A task says that it is queued, then that it is running, for a while; only then how it ended."""
        task = TASK.match(match[0])
        if task is None:
            return match[0]
        first = self._seen.setdefault(task[1], time.monotonic())
        elapsed = time.monotonic() - first
        if elapsed >= self.busy and task[1] not in self._stuck:
            return match[0]
        held = re.sub(
            r"<propSet><name>info\.(result|error|completeTime)</name>.*?</propSet>",
            "",
            match[0],
            flags=re.S,
        )
        return re.sub(
            r">(success|error)<", ">queued<" if elapsed < self.busy / 2 else ">running<", held
        )

    def _wait_for_tasks(self) -> None:
        end = max([began + self.busy for began in self._seen.values()], default=0)
        time.sleep(max(0.0, min(end - time.monotonic(), 5)))

    def _without_fakes(self, body: str):
        fakes = []

        def take(match):
            if match[1] not in self._fakes:
                return match[0]
            kind, message = self._fakes[match[1]]
            fakes.append(
                f'<objects><obj type="Task">{match[1]}</obj>'
                '<propSet><name>info.state</name><val xsi:type="TaskInfoState">error</val></propSet>'
                '<propSet><name>info.error</name><val xsi:type="LocalizedMethodFault">'
                f'<fault xsi:type="{kind}"></fault><localizedMessage>{escape(message)}</localizedMessage>'
                "</val></propSet></objects>"
            )
            return ""

        return OBJECT_SET.sub(take, body), fakes

    def _report_address(self, machine: str, headers) -> None:
        body = (
            f'<ReconfigVM_Task xmlns="urn:vim25"><_this type="VirtualMachine">{machine}</_this><spec><extraConfig>'
            f'<key>SET.guest.ipAddress</key><value xsi:type="xsd:string">{ADDRESS}</value>'
            "</extraConfig></spec></ReconfigVM_Task>"
        )
        self.passed("POST", "/sdk", (ENVELOPE % body).encode(), headers)

    # --- the guest ------------------------------------------------------------------------------------------------

    def _note_nonce(self, body: str) -> None:
        file = re.search(r"<fileName>(\[[^<]+-console\.txt)</fileName>", body)
        data = re.search(r"<key>guestinfo\.userdata</key><value [^>]*>([^<]+)<", body)
        if file and data:
            script = base64.b64decode(data[1]).decode()
            self._nonces[file[1]] = re.search(r"(?m)^VMPROBE_NONCE=(.*)$", script)[1]

    def _write_console(self, method: str, machine: str, headers) -> None:
        """The guest writes what the reporter would write, into the file of its serial port."""
        body = (
            '<RetrievePropertiesEx xmlns="urn:vim25"><_this type="PropertyCollector">propertyCollector</_this><specSet>'
            "<propSet><type>VirtualMachine</type><pathSet>config.hardware.device</pathSet></propSet>"
            f'<objectSet><obj type="VirtualMachine">{machine}</obj></objectSet></specSet><options/></RetrievePropertiesEx>'
        )
        answer = self.passed("POST", "/sdk", (ENVELOPE % body).encode(), headers)[2].decode()
        for file, nonce in self._nonces.items():
            if f"<fileName>{file}</fileName>" not in answer:
                continue
            facts = [
                f"vmprobe {nonce} 4.2 network interface=eth0 address={ADDRESS} gateway=192.0.2.1 answers=yes"
            ]
            if method == "ReconfigVM_Task":
                facts.append(f"vmprobe {nonce} 7.9 disk name=sdb bytes=1073741824 verified=262144")
            datastore, name = re.fullmatch(r"\[(.+)\] (.+)", file).groups()
            self.passed(
                "PUT",
                f"/folder/{name}?dcPath=DC0&dsName={datastore}",
                "".join(f"{fact}\r\n" for fact in facts).encode(),
                headers,
            )
