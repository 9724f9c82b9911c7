"""An OCCI endpoint on loopback, and replies to read, for the tests of its driver."""

from requests.structures import CaseInsensitiveDict

from hostile import answer, closing
from rawserver import Server
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.exchanges import Evidence
from vmprobe.core.redact import Redactor
from vmprobe.drivers.occi import answers
from vmprobe.drivers.occi.driver import INFRASTRUCTURE, OcciEndpoint
from vmprobe.drivers.occi.readings import INTERFACE, NETWORK
from vmprobe.transport.http import Reply

OS, FLAVOR = "http://example.org/os#", "http://example.org/flavor#"
QUERY = "".join(
    f'Category: {term}; scheme="{scheme}"; class="{kind}"; {rest}\n'
    for term, scheme, kind, rest in (
        ("compute", INFRASTRUCTURE, "kind", 'location="/compute/"'),
        ("storage", INFRASTRUCTURE, "kind", 'location="/storage/"'),
        ("network", INFRASTRUCTURE, "kind", 'location="/network/"'),
        ("storagelink", INFRASTRUCTURE, "kind", 'location="/link/storage/"'),
        ("networkinterface", INFRASTRUCTURE, "kind", 'location="/link/network/"'),
        ("linux", OS, "mixin", f'title="Linux 1"; rel="{INFRASTRUCTURE}os_tpl"'),
        ("small", FLAVOR, "mixin", f'title="Flavor: tiny"; rel="{INFRASTRUCTURE}resource_tpl"'),
    )
)


OOI = f"""\
Category: compute; scheme="{INFRASTRUCTURE}"; class="kind"; title="compute resource"; location="http://h/occi1.2/compute/"
Category: linux; scheme="{OS}"; class="mixin"; title="Linux 1"
X-OCCI-Attribute: occi.compute.cores=1
X-OCCI-Attribute: occi.compute.state="active"
X-OCCI-Attribute: occi.core.id="67b7"
X-OCCI-Attribute: occi.core.title="vm"
Link: <http://h/occi1.2/compute/67b7?action=start>; rel="http://schemas.ogf.org/occi/infrastructure/compute/action#start"
Link: <http://h/occi1.2/networklink/67b7_10.0.0.2>; rel="{NETWORK}"; self="http://h/occi1.2/networklink/67b7_10.0.0.2"; category="{INTERFACE} \
http://schemas.ogf.org/occi/infrastructure/networkinterface#ipnetworkinterface"; occi.networkinterface.address="10.0.0.2"; \
occi.core.target="http://h/occi1.2/network/e347"
"""


def parsed(reader, body, media="text/plain", **more):
    reply = Reply(
        "show it",
        "GET",
        "http://h/x",
        200,
        "OK",
        CaseInsensitiveDict({"Content-Type": media, **more}),
        body.encode(),
    )
    return reply.parse(lambda: reader(reply))


def entity(body, media="text/plain", **more):
    return parsed(lambda reply: answers.entity(reply, "/compute/1"), body, media, **more)


def said(text, status=200, **more):
    """An answer in text, after which the connection ends, as the client is told."""
    return answer(
        status, {"Content-Type": "text/plain", "Connection": "close", **more}, text.encode()
    )


OURS = {"username": "probe", "password": "s3cret-of-ours"}


class Stage:
    """A server whose answers can be set, and a driver to ask it."""

    def __init__(self):
        self.reply = lambda request: said(QUERY)
        self.server = Server(lambda request: closing(self.reply(request)))

    def driver(self, credentials=OURS, **endpoint):
        known = {
            "url": self.server.url,
            "timeout": 3,
            "ca": None,
            "keystone": None,
            "rendering": "auto",
            **endpoint,
        }
        return OcciEndpoint(
            known, credentials, Deadline(10, 0, Clock()), Evidence(Redactor([]), keep=True)
        )

    def session(self):
        self.reply = lambda request: said(QUERY)
        driver = self.driver()
        driver.connect()
        return driver
