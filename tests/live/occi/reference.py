"""pyssf's OCCI server with a small cloud behind it, in a process of its own.

pyssf is the protocol; the cloud is ours: a compute is made ``inactive``, an action starts it, and everything takes a moment.
It listens on a free port of 127.0.0.1 and says its URL in its first line. Its faults are one option's choices.
"""

import argparse
import base64
import io
import ssl
import sys
import time
import types
from wsgiref.simple_server import WSGIRequestHandler, make_server

options = argparse.ArgumentParser(description="pyssf's OCCI, on loopback.")
options.add_argument("site", help="where pyssf is installed")
options.add_argument("--user", help="USER:PASSWORD that is wanted")
options.add_argument(
    "--tls",
    nargs=2,
    metavar=("PEM", "CA"),
    help="serve https, to those with a certificate of this authority",
)
options.add_argument(
    "--fault",
    action="append",
    default=[],
    choices=[
        "quota",  # no compute is granted
        "breaks",  # a compute becomes an error
        "undying",  # a compute cannot be removed
        "forgotten",  # a compute is not found, and listed all the same
        "no-address",  # a networkinterface has none
        "never-online",  # a storage stays offline
        "never-linked",  # a storagelink stays inactive
    ],
)
options = options.parse_args()

sys.path.insert(0, options.site)
sys.modules["StringIO"] = types.ModuleType("StringIO")  # pyssf was written for Python 2
sys.modules["StringIO"].StringIO = lambda body: io.StringIO(body.decode("utf-8"))

from occi.backend import ActionBackend, KindBackend, MixinBackend  # noqa: E402
from occi.core_model import Mixin, Resource  # noqa: E402
from occi.exceptions import HTTPError  # noqa: E402
from occi.extensions.infrastructure import (  # noqa: E402
    COMPUTE,
    NETWORK,
    NETWORKINTERFACE,
    OS_TEMPLATE,
    RESOURCE_TEMPLATE,  # noqa: E402
    RESTART,
    START,
    STOP,
    STORAGE,
    STORAGELINK,
    SUSPEND,
)
from occi.wsgi import Application  # noqa: E402

MOMENT = 0.3  # seconds that anything takes
FAULTS = set(options.fault)


class Compute(KindBackend, ActionBackend):
    def create(self, entity, extras):
        if "quota" in FAULTS:
            raise HTTPError(403, "Quota exceeded: limit of 0 reached for compute")
        entity.attributes.update(
            {
                "occi.compute.state": "inactive",
                "occi.compute.cores": "1",
                "occi.compute.memory": "0.5",
            }
        )
        entity.actions, entity.ready = [START], None

    def action(self, entity, action, attributes, extras):
        if action not in entity.actions:
            raise AttributeError("This action is currently not applicable.")
        entity.ready = time.monotonic() + MOMENT if action == START else None
        entity.actions = [STOP, RESTART, SUSPEND] if action == START else [START]
        entity.attributes["occi.compute.state"] = "suspended" if action == SUSPEND else "inactive"

    def delete(self, entity, extras):
        if "undying" in FAULTS:
            raise AttributeError("the manager does not remove it")

    def retrieve(self, entity, extras):
        if "forgotten" in FAULTS:
            raise HTTPError(404, "the flavor is not found")
        if entity.ready and time.monotonic() >= entity.ready:
            entity.attributes["occi.compute.state"] = "active"
            if "breaks" in FAULTS:
                entity.attributes.update(
                    {
                        "occi.compute.state": "error",
                        "occi.compute.state.message": "no host has room",
                    }
                )


class Storage(KindBackend):
    def create(self, entity, extras):
        entity.attributes["occi.storage.state"], entity.ready, entity.held = (
            "offline",
            time.monotonic() + MOMENT,
            False,
        )

    def retrieve(self, entity, extras):
        if time.monotonic() >= entity.ready and "never-online" not in FAULTS:
            entity.attributes["occi.storage.state"] = "online"

    def delete(self, entity, extras):
        if entity.held:
            raise AttributeError(f"storage {entity.identifier} is attached")


class StorageLink(KindBackend):
    def create(self, entity, extras):
        if entity.target.attributes["occi.storage.state"] != "online":
            raise AttributeError(f"storage {entity.target.identifier}: its status must be online")
        entity.target.held, entity.ready = True, time.monotonic() + MOMENT
        entity.attributes.update(
            {"occi.storagelink.deviceid": "vdb", "occi.storagelink.state": "inactive"}
        )

    def retrieve(self, entity, extras):
        if time.monotonic() >= entity.ready and "never-linked" not in FAULTS:
            entity.attributes["occi.storagelink.state"] = "active"

    def delete(self, entity, extras):
        entity.target.held = False


class NetworkInterface(KindBackend):
    number = 1

    def create(self, entity, extras):
        NetworkInterface.number += 1
        entity.attributes.update(
            {
                "occi.networkinterface.mac": "aa:bb:cc:dd:ee:ff",
                "occi.networkinterface.interface": "eth0",
                "occi.networkinterface.state": "inactive",
            }
        )
        if "no-address" not in FAULTS:
            entity.attributes["occi.networkinterface.address"] = (
                f"127.2.0.{NetworkInterface.number % 250}"
            )

    def retrieve(self, entity, extras):
        if entity.source.attributes["occi.compute.state"] == "active":
            entity.attributes["occi.networkinterface.state"] = "active"


def application():
    occi = Application()
    compute = Compute()
    for category in (COMPUTE, START, STOP, RESTART, SUSPEND):
        occi.register_backend(category, compute)
    for kind, backend in (
        (STORAGE, Storage()),
        (NETWORK, KindBackend()),
        (NETWORKINTERFACE, NetworkInterface()),
        (STORAGELINK, StorageLink()),
    ):
        occi.register_backend(kind, backend)
    templates = [OS_TEMPLATE, RESOURCE_TEMPLATE]
    images = {"vmprobe_test": "vmprobe-test", "other": "twin", "another": "twin"}
    for scheme, root, terms in (
        ("http://example.org/occi/os#", OS_TEMPLATE, images),
        ("http://example.org/occi/flavor#", RESOURCE_TEMPLATE, {"small": "Small, with 1 CPU"}),
    ):
        templates += [
            Mixin(scheme, term, [root], title=title, location=f"/{term}/")
            for term, title in terms.items()
        ]
    for template in templates:
        occi.register_backend(template, MixinBackend())
    network = Resource("/network/private", NETWORK, [])
    network.attributes = {"occi.core.title": "private", "occi.network.state": "active"}
    occi.registry.add_resource(network.identifier, network, None)
    return occi


def guarded(occi):
    """Refuse everybody but the user, if there is one; turn text into bytes for Python 3."""
    right = "Basic " + base64.b64encode((options.user or "").encode()).decode()

    def answer(environ, start):
        if options.user and environ.get("HTTP_AUTHORIZATION") != right:
            start(
                "401 Unauthorized",
                [("WWW-Authenticate", 'Basic realm="occi"'), ("Content-Type", "text/plain")],
            )
            return [b"who are you?"]
        return [part.encode() for part in occi(environ, start)]

    return answer


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


server = make_server("127.0.0.1", 0, guarded(application()), handler_class=Quiet)
if options.tls:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=options.tls[1])
    tls.load_cert_chain(options.tls[0])
    tls.verify_mode = ssl.CERT_REQUIRED
    server.socket = tls.wrap_socket(server.socket, server_side=True)
print(f"{'https' if options.tls else 'http'}://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
