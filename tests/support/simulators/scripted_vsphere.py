"""A vCenter whose answers a test writes itself, and a driver before it."""

import re

from rawserver import Server, reply
from virtual import VirtualClock
from vmprobe.core.clock import Deadline
from vmprobe.core.exchanges import Evidence
from vmprobe.core.redact import Redactor
from vmprobe.drivers import load

HANDLE = "vmprobe-mon-20261123t000000z-6-abcdefgh"
COOKIE = 'vmware_soap_session="5220f274-secret"'
ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
    "<soapenv:Body>%s</soapenv:Body></soapenv:Envelope>"
)
CONTENT = (
    '<returnval><rootFolder type="Folder">group-d1</rootFolder>'
    '<propertyCollector type="PropertyCollector">propertyCollector</propertyCollector>'
    '<viewManager type="ViewManager">ViewManager</viewManager>'
    "<about><name>VMware vCenter Server</name><version>8.0.3</version><build>1</build>"
    "<apiType>VirtualCenter</apiType><apiVersion>8.0.2.0</apiVersion></about>"
    '<sessionManager type="SessionManager">SessionManager</sessionManager>'
    '<perfManager type="PerformanceManager">PerfMgr</perfManager>'
    '<searchIndex type="SearchIndex">SearchIndex</searchIndex>'
    '<fileManager type="FileManager">FileManager</fileManager>'
    '<virtualDiskManager type="VirtualDiskManager">virtualDiskManager</virtualDiskManager></returnval>'
)
LOGIN = "<returnval><key>52-key-of-the-session</key><userName>probe</userName></returnval>"
VIEW = '<returnval type="ContainerView">view-1</returnval>'
TASK = '<returnval type="Task">task-1</returnval>'


def answer(method, content, **headers):
    """A whole response to ``method``."""
    body = ENVELOPE % f'<{method}Response xmlns="urn:vim25">{content}</{method}Response>'
    return reply(200, body, Content_Type="text/xml; charset=utf-8", **headers)


def fault(kind, message="Words.", detail=""):
    """A refusal: HTTP 500 with a fault in the body, as every vCenter sends it."""
    return reply(
        500,
        ENVELOPE % "<soapenv:Fault><faultcode>ServerFaultCode</faultcode>"
        f"<faultstring>{message}</faultstring><detail>"
        f'<{kind}Fault xmlns="urn:vim25" xsi:type="{kind}">{detail}</{kind}Fault></detail></soapenv:Fault>',
    )


def objects(*things):
    """What RetrievePropertiesEx returns: each thing is (type, id, {property: its XML, or text})."""
    return f"<returnval>{''.join(thing(*one) for one in things)}</returnval>"


def thing(kind, identity, values):
    properties = "".join(
        f"<propSet><name>{name}</name>{value if value.startswith('<val') else f'<val>{value}</val>'}</propSet>"
        for name, value in values.items()
    )
    return f'<objects><obj type="{kind}">{identity}</obj>{properties}</objects>'


def task(state, identity="task-1", more=""):
    values = {"info.state": f'<val xsi:type="TaskInfoState">{state}</val>'}
    return objects(("Task", identity, values)).replace("</objects>", f"{more}</objects>")


class Scripted(Server):
    """``answers`` by method: the content of the response, whole bytes, or a function of the call's body.

    A list is used up from its front; its last answer stays.
    """

    def __init__(self, answers):
        self.calls, self.bodies, self.cookies = [], [], []
        self.answers = {
            "RetrieveServiceContent": CONTENT,
            "Login": answer("Login", LOGIN, Set_Cookie=f"{COOKIE}; Path=/; HttpOnly; Secure;"),
            "Logout": "",
            "CreateContainerView": VIEW,
            **answers,
        }
        super().__init__(self._respond)

    def _respond(self, request):
        body = request.body.decode()
        found = re.search(r"<soapenv:Body><(\w+)", body)
        method = found[1] if found else request.method
        self.calls.append(method)
        self.bodies.append(body)
        self.cookies.append(request.headers.get("cookie", ""))
        given = self.answers[method]
        if isinstance(given, list):
            given = given.pop(0) if len(given) > 1 else given[0]
        if callable(given):
            given = given(body)
        return given if isinstance(given, bytes) else answer(method, given)


def driver(url, clock=None, deadline=None, **endpoint):
    kind = load("vsphere")
    defaults = {name: key.default for name, key in kind.endpoint_keys.items()}
    credentials = {"username": "probe", "password": "s3cret & <more>"}
    return kind(
        {**defaults, "timeout": 5.0, "ca": None, "manager": "vsphere", "url": url, **endpoint},
        credentials,
        deadline or Deadline(600, 60, clock or VirtualClock()),
        Evidence(Redactor([credentials["password"]]), keep=True),
    )
