"""What the driver makes of OpenStack's answers, where the live tests' own cloud cannot be made to give them.

The answers are those of the services' API references and of releases other than the one that the live tests run.
"""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from rawserver import Server, reply
from vmprobe.clock import Clock, Deadline
from vmprobe.drivers.openstack import Openstack
from vmprobe.errors import Conflict, GatewayFailed, NotFound, QuotaExceeded
from vmprobe.evidence import Evidence
from vmprobe.model import AddressSpec, Kind, Plan, Ref, SecurityGroupSpec, ServerSpec, State

PROJECT = "a" * 32
SERVERS = [{"id": f"s{number}", "name": f"vmprobe-x-{number}", "status": "ERROR", "fault": {"message": "No valid host was found."}}
           for number in range(1, 6)]


class Services:
    """Keystone, Nova, Neutron, Cinder and Glance behind one port, each at a path that the catalog has without a version."""

    def __init__(self):
        self.answers = {}  # "METHOD /path": what is answered instead of what stands below
        self.asked = []
        self.server = Server(self.answer)

    def answer(self, request):
        """The bytes for one request."""
        parts = urlsplit(request.target)
        self.asked.append(f"{request.method} {request.target}")
        told = self.answers.get(f"{request.method} {parts.path}")
        if told is not None:
            return told(request) if callable(told) else told
        if parts.path == "/v3/auth/tokens":
            catalog = [{"type": kind, "endpoints": [{"interface": "public", "region_id": "one", "url": f"{self.server.url}/{where}"}]}
                       for kind, where in (("compute", "compute"), ("network", "network"), ("image", "image"),
                                           ("block-storage", "volume"))]
            return _json({"token": {"project": {"id": PROJECT, "name": "ops"}, "catalog": catalog}}, 201, X_Subject_Token="the-token")
        if parts.path == "/compute/v2.1":
            return _json({"version": {"id": "v2.1", "version": "2.96"}})
        if parts.path == "/compute/v2.1/servers/detail":
            return self._page(parse_qs(parts.query))
        return _json({"itemNotFound": {"message": "no such thing"}}, 404)

    def _page(self, query, size=2):
        """As Nova does it: so many, and a link with its own idea of its address."""
        after = query.get("marker", [""])[0]
        first = [server["id"] for server in SERVERS].index(after) + 1 if after else 0
        page = {"servers": SERVERS[first:first + size]}
        if first + size < len(SERVERS):
            page["servers_links"] = [{"rel": "next", "href": f"http://nova.internal:8774/v2.1/servers/detail?marker={SERVERS[first + size - 1]['id']}"}]
        return _json(page)


def _json(document, status=200, **headers):
    return reply(status, json.dumps(document), Content_Type="application/json", **headers)


@pytest.fixture
def services():
    found = Services()
    with found.server:
        yield found


@pytest.fixture
def cloud(services):
    """The driver, connected; what was asked until then is forgotten."""
    made = driver(services)
    made.connect()
    services.asked.clear()
    return made


def driver(services, **endpoint):
    keys = {name: key.default for name, key in Openstack.endpoint_keys.items()}
    endpoint = {"manager": "openstack", "timeout": 20.0, "ca": None, **keys, "url": services.server.url, "project": "ops", **endpoint}
    return Openstack(endpoint, {"username": "robot", "password": "s3cret"}, Deadline(60, 0, Clock()), Evidence(keep=True))


# --- the services -------------------------------------------------------------------------------------------------

def test_a_catalog_without_versions_is_understood(cloud, services):
    services.answers = {"GET /network/v2.0/ports": _json({"ports": []}), "GET /image/v2/images": _json({"images": []}),
                        f"GET /volume/v3/{PROJECT}/volumes/detail": _json({"volumes": []})}

    assert len(cloud.list(Kind.SERVER, "vmprobe-")) == 5
    assert cloud.list(Kind.VOLUME, "vmprobe-") == cloud.list(Kind.SNAPSHOT, "vmprobe-") == []
    assert cloud.ports([Ref(Kind.SERVER, "s1")]) == []


def test_a_list_is_followed_over_its_pages_and_asks_for_nothing_else(cloud, services):
    found = cloud.list(Kind.SERVER, "vmprobe-")

    assert [server.ref.id for server in found] == ["s1", "s2", "s3", "s4", "s5"]
    assert found[0].state is State.FAILED and found[0].cause == "scheduler"
    assert services.asked == ["GET /compute/v2.1", "GET /compute/v2.1/servers/detail?name=%5Evmprobe-",
                              "GET /compute/v2.1/servers/detail?marker=s2", "GET /compute/v2.1/servers/detail?marker=s4"]


def test_glances_pages_are_followed_too(cloud, services):
    def page(request):
        last = "marker" in request.target
        image = {"id": "i2" if last else "i1", "name": "vmprobe-x", "status": "active"}
        return _json({"images": [image], **({} if last else {"next": "/v2/images?marker=i1"})})
    services.answers["GET /image/v2/images"] = page

    assert [thing.ref.id for thing in cloud.list(Kind.SNAPSHOT, "vmprobe-")] == ["i1", "i2"]


def test_a_fleets_ports_are_asked_for_by_urls_that_fit(cloud, services):
    def ports(request):
        ids = parse_qs(urlsplit(request.target).query)["device_id"]
        return _json({"ports": [{"id": f"p-{one}", "status": "ACTIVE", "device_id": one} for one in ids]})
    services.answers["GET /network/v2.0/ports"] = ports
    servers = [Ref(Kind.SERVER, f"{number:036}") for number in range(500)]

    found = cloud.ports(servers)

    assert [port.server for port in found] == [server.id for server in servers]
    assert len(services.asked) == 4 and max(map(len, services.asked)) < 8192


def test_a_server_that_failed_names_its_request_if_that_can_be_read(cloud, services):
    services.answers["GET /compute/v2.1/servers/s1"] = _json({"server": SERVERS[0]})
    actions = {"instanceActions": [{"action": "delete", "request_id": "req-2"}, {"action": "create", "request_id": "req-1"}]}

    for answer, request in ((_json(actions), "req-1"), (_json({"forbidden": {"message": "Policy"}}, 403), "")):
        services.answers["GET /compute/v2.1/servers/s1/os-instance-actions"] = answer
        seen = cloud.show(Ref(Kind.SERVER, "s1"))
        assert (seen.fault, seen.cause, seen.request) == ("No valid host was found.", "scheduler", request)


def test_older_microversions_are_spoken_to_older_novas(services):
    services.answers["GET /compute/v2.1"] = _json({"version": {"version": "2.38"}})
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = _json({
        "cpu0_time": 4000000000, "cpu1_time": 2000000000, "vda_read": 10, "vda_write": 20, "vda_errors": -1, "vdb_read": 5, "vdb_write": -1,
        "tap7a_rx": 7, "tap7a_tx": 8, "tap7a_rx_packets": 1, "memory": 131072})
    cloud = driver(services)
    cloud.connect()

    read = {sample.metric: sample.value for sample in cloud.metrics(Ref(Kind.SERVER, "s1"))}

    assert read == {"cpu": 3.0, "disk_read": 15, "disk_write": 20, "net_in": 7, "net_out": 8}
    assert services.server.requests[-1].headers["openstack-api-version"] == "compute 2.38"


def test_what_a_hypervisor_does_not_say_is_not_zero(cloud, services):
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = _json({
        "cpu_details": [{"time": 17300000000, "utilisation": None}], "nic_details": [{"rx_octets": None, "tx_octets": -1}],
        "disk_details": []})

    assert {sample.metric: sample.value for sample in cloud.metrics(Ref(Kind.SERVER, "s1"))} == {"cpu": 17.3}


def test_what_nova_says_of_itself_is_asked_once(cloud, services):
    cloud.describe()
    cloud.list(Kind.SERVER, "vmprobe-")

    assert services.asked.count("GET /compute/v2.1") == 1


# --- to be reached ------------------------------------------------------------------------------------------------

def test_a_vm_that_has_to_be_reached_gets_a_security_group_and_a_floating_ip_under_the_handle(cloud, services):
    services.answers = {
        "POST /network/v2.0/security-groups": _json({"security_group": {"id": "g1"}}, 201),
        "POST /network/v2.0/security-group-rules": _json({"security_group_rule": {"id": "r"}}, 201),
        "GET /network/v2.0/ports": _json({"ports": [{"id": "p1", "status": "ACTIVE", "device_id": "s1"}]}),
        "POST /network/v2.0/floatingips": _json({"floatingip": {"id": "f1"}}, 201),
        "GET /network/v2.0/floatingips": _json({"floatingips": [
            {"id": "f1", "description": "vmprobe-x", "status": "DOWN", "floating_ip_address": "192.0.2.9"}, {
             "id": "f2", "description": "", "status": "ACTIVE", "floating_ip_address": "192.0.2.10"}]}),
        "GET /network/v2.0/security-groups": _json({"security_groups": [{"id": "g0", "name": "default"}, {"id": "g1", "name": "vmprobe-x"}]}),
    }
    group = cloud.create(SecurityGroupSpec("vmprobe-x", 22))
    address = cloud.create(AddressSpec("vmprobe-x", Ref(Kind.SERVER, "s1", "vmprobe-x"), Plan("i", external="e1")))

    assert (group, address) == (Ref(Kind.SECURITY_GROUP, "g1", "vmprobe-x"), Ref(Kind.ADDRESS, "f1", "vmprobe-x"))
    sent = [json.loads(request.body) for request in services.server.requests if request.method == "POST"][1:]
    assert sent == [
        {"security_group": {"name": "vmprobe-x", "description": "lets a test VM be reached"}},
        *({"security_group_rule": {"security_group_id": "g1", "direction": "ingress", "ethertype": family, "protocol": "tcp",
                                   "port_range_min": 22, "port_range_max": 22}} for family in ("IPv4", "IPv6")),
        {"floatingip": {"floating_network_id": "e1", "port_id": "p1", "description": "vmprobe-x"}}]
    assert [(thing.ref, thing.addresses) for kind in (Kind.ADDRESS, Kind.SECURITY_GROUP) for thing in cloud.list(kind, "vmprobe-")] == [
        (address, ("192.0.2.9",)), (group, ())]


def test_a_neutron_without_routers_has_no_floating_ips(cloud, services):
    assert cloud.list(Kind.ADDRESS, "vmprobe-") == []


# --- refusals -----------------------------------------------------------------------------------------------------

REFUSALS = {  # what a service answers to a create, and what that is
    "nova-quota": (403, {"forbidden": {"message": "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"}},
                   QuotaExceeded),
    "neutron-quota": (409, {"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['port']."}}, QuotaExceeded),
    "cinder-quota": (413, {"overLimit": {"message": "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed "
                                                    "gigabytes quota."}}, QuotaExceeded),
    "volume-in-another-state": (400, {"badRequest": {"message": "Invalid volume: Volume status must be available or error, but "
                                                                "current status is: detaching."}}, Conflict),
    "too-many-requests": (429, {"overLimit": {"message": "This request was rate-limited."}}, GatewayFailed),
    "not-there": (404, {"itemNotFound": {"message": "Instance could not be found."}}, NotFound),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_what_the_service_means_whatever_its_status(case, cloud, services):
    status, body, kind = REFUSALS[case]
    services.answers["POST /compute/v2.1/servers"] = _json(body, status)
    details = {"flavor": "f", "network": "n", "image": "i", "availability zone": None, "config drive": False, "security group": None,
               "boot from volume": False}

    with pytest.raises(kind) as raised:
        cloud.create(ServerSpec("vmprobe-x", Plan("i", details=details)))

    assert type(raised.value) is kind
    assert next(iter(body.values()))["message"][:40] in str(raised.value)


def test_a_service_that_cannot_reach_keystone_says_so_first(cloud, services):
    page = ("<html><head><title>503 Service Unavailable</title></head><body><h1>503 Service Unavailable</h1>The server is currently "
            "unavailable. Please try again at a later time.<br /><br />The Keystone service is temporarily unavailable.</body></html>")
    services.answers["GET /compute/v2.1/servers/s1"] = reply(503, page, Content_Type="text/html")

    with pytest.raises(GatewayFailed, match="^show server s1: 503 Keystone is temporarily unavailable$"):
        cloud.show(Ref(Kind.SERVER, "s1"))


# --- where it is --------------------------------------------------------------------------------------------------

def test_debts_belong_to_the_cloud_of_the_environment_and_not_to_any(services, monkeypatch):
    for number in (1, 2):
        monkeypatch.setenv("OS_AUTH_URL", f"https://cloud{number}.example.org:5000")
        monkeypatch.setenv("OS_PROJECT_NAME", "ops")
        keys = {name: key.default for name, key in Openstack.endpoint_keys.items()}
        found = Openstack({"manager": "openstack", "timeout": 9.0, "ca": None, **keys}, {}, Deadline(60, 0, Clock()), Evidence())
        assert found.identity == f"openstack https://cloud{number}.example.org:5000 ops"


# --- hosts --------------------------------------------------------------------------------------------------------

def test_who_is_no_administrator_does_not_ask_placement(cloud, services):
    services.answers = {"GET /compute/v2.1/limits": _json({"limits": {"absolute": {"maxTotalCores": 20, "totalCoresUsed": 3}}}),
                        "GET /volume/v3/" + PROJECT + "/limits": _json({"limits": {"absolute": {}}})}

    limits = {limit.name: (limit.used, limit.total, limit.source) for limit in cloud.capacity()}

    assert limits["vcpus"] == (3, 20, "quota")
    assert not [asked for asked in services.asked if "allocation" in asked]
