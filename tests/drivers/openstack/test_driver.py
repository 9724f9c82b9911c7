"""What the driver makes of OpenStack's answers, where the live tests' own cloud cannot be made to give them.

The answers are those of the services' API references and of releases other than the one that the live tests run.
"""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from rawserver import reply
from simulators.openstack import PROJECT, SERVERS, driver
from simulators.openstack import answer as _json
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.cloud import Cloud
from vmprobe.core.errors import (
    ClientError,
    CloudError,
    Conflict,
    GatewayFailed,
    NotFound,
    NotMeasured,
    NotPermitted,
    QuotaExceeded,
    RateLimited,
    Transient,
)
from vmprobe.core.exchanges import Evidence
from vmprobe.core.handle import new
from vmprobe.core.model import (
    AddressSpec,
    Kind,
    Plan,
    Ref,
    SecurityGroupSpec,
    ServerSpec,
    State,
    VolumeSpec,
)
from vmprobe.core.timeline import Timeline
from vmprobe.drivers.openstack.driver import Openstack
from vmprobe.lease.lease import Lease
from vmprobe.lease.ledger import Ledger

# --- the services -------------------------------------------------------------------------------------------------


def test_a_catalog_without_versions_is_understood(cloud, services):
    services.answers = {
        "GET /network/v2.0/ports": _json({"ports": []}),
        "GET /image/v2/images": _json({"images": []}),
        f"GET /volume/v3/{PROJECT}/volumes/detail": _json({"volumes": []}),
    }

    assert len(cloud.list(Kind.SERVER, "vmprobe-")) == 5
    assert cloud.list(Kind.VOLUME, "vmprobe-") == cloud.list(Kind.SNAPSHOT, "vmprobe-") == []
    assert cloud.ports([Ref(Kind.SERVER, "s1")]) == []


def test_novas_version_is_asked_where_every_release_has_it_below_no_project(services):
    for where in ("compute", "compute/v2.1", f"compute/v2.1/{PROJECT}", "compute/v2.1/"):
        services.where["compute"] = where
        services.answers[f"GET /compute/v2.1/{PROJECT}/servers/detail"] = services.answers[
            "GET /compute/v2.1/servers/detail"
        ] = _json({"servers": []})
        cloud = driver(services)
        cloud.connect()
        services.asked.clear()

        assert cloud.list(Kind.SERVER, "vmprobe-") == []
        assert services.asked[0] == "GET /compute/v2.1/"
        assert services.server.requests[-1].headers["openstack-api-version"] == "compute 2.72"


def test_cinders_project_is_added_where_the_catalog_leaves_it_out(services):
    for where in ("volume", "volume/v3", "volume/v3/", f"volume/v3/{PROJECT}"):
        services.where["block-storage"] = where
        services.answers[f"GET /volume/v3/{PROJECT}/volumes/detail"] = _json({"volumes": []})
        cloud = driver(services)
        cloud.connect()

        assert cloud.list(Kind.VOLUME, "vmprobe-") == []


def test_what_has_no_name_or_an_odd_one_keeps_nobody_from_seeing_ours(cloud, services):
    odd = ["", None, "two\nlines", "caf\u00e9 \u200d", "x" * 300]
    ours = {"id": "ours", "name": "vmprobe-x", "status": "available"}
    services.answers[f"GET /volume/v3/{PROJECT}/volumes/detail"] = _json(
        {
            "volumes": [
                *(
                    {"id": f"v{number}", "name": name, "status": "in-use"}
                    for number, name in enumerate(odd)
                ),
                ours,
            ]
        }
    )
    services.answers["GET /compute/v2.1/servers/detail"] = _json(
        {
            "servers": [
                *(
                    {"id": f"s{number}", "name": name, "status": "ACTIVE"}
                    for number, name in enumerate(odd)
                ),
                {**ours, "status": "ACTIVE"},
            ]
        }
    )

    for kind in (Kind.VOLUME, Kind.SERVER):
        assert [thing.ref.id for thing in cloud.list(kind, "vmprobe-")] == ["ours"]
        assert len(cloud.list(kind, "")) == 6


def test_a_cloud_without_cinder_has_no_volumes_and_wants_none(services):
    del services.where["block-storage"]
    cloud = driver(services)
    cloud.connect()

    services.answers["GET /image/v2/images"] = _json({"images": [IMAGE]})
    assert cloud.list(Kind.VOLUME, "vmprobe-") == []
    with pytest.raises(
        ClientError,
        match="^.test vm. volume: the catalog has no block-storage service; set it to 'none'$",
    ):
        cloud.resolve(TEST_VM)


def test_each_list_is_asked_for_by_pages_that_can_be_read(cloud, services):
    services.answers["GET /image/v2/images"] = _json({"images": []})

    cloud.list(Kind.SNAPSHOT, "vmprobe-"), cloud.images()

    assert [parse_qs(urlsplit(asked).query)["limit"] for asked in services.asked] == [
        ["200"],
        ["200"],
    ]


def test_a_list_is_followed_over_its_pages(cloud, services):
    found = cloud.list(Kind.SERVER, "vmprobe-")

    assert [server.ref.id for server in found] == ["s1", "s2", "s3", "s4", "s5"]
    assert found[0].state is State.FAILED and found[0].cause == "scheduler"
    assert services.asked == [
        "GET /compute/v2.1/",
        "GET /compute/v2.1/servers/detail?name=%5Evmprobe-&limit=200",
        "GET /compute/v2.1/servers/detail?name=%5Evmprobe-&marker=s2&limit=200",
        "GET /compute/v2.1/servers/detail?name=%5Evmprobe-&marker=s4&limit=200",
        "GET /compute/v2.1/servers",
    ]


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
        return _json(
            {"ports": [{"id": f"p-{one}", "status": "ACTIVE", "device_id": one} for one in ids]}
        )

    services.answers["GET /network/v2.0/ports"] = ports
    servers = [Ref(Kind.SERVER, f"{number:036}") for number in range(500)]

    found = cloud.ports(servers)

    assert [port.server for port in found] == [server.id for server in servers]
    assert len(services.asked) == 4 and max(map(len, services.asked)) < 8192


def test_a_server_that_failed_names_its_request_if_that_can_be_read(cloud, services):
    services.answers["GET /compute/v2.1/servers/s1"] = _json({"server": SERVERS[0]})
    actions = {
        "instanceActions": [
            {"action": "delete", "request_id": "req-2"},
            {"action": "create", "request_id": "req-1"},
        ]
    }

    for answer, request in (
        (_json(actions), "req-1"),
        (_json({"forbidden": {"message": "Policy"}}, 403), ""),
    ):
        services.answers["GET /compute/v2.1/servers/s1/os-instance-actions"] = answer
        seen = cloud.show(Ref(Kind.SERVER, "s1"))
        assert (seen.fault, seen.cause, seen.request) == (
            "No valid host was found.",
            "scheduler",
            request,
        )


def test_older_microversions_are_spoken_to_older_novas(services):
    services.answers["GET /compute/v2.1/"] = _json({"version": {"version": "2.38"}})
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = _json(
        {
            "cpu0_time": 4000000000,
            "cpu1_time": 2000000000,
            "vda_read": 10,
            "vda_write": 20,
            "vda_errors": -1,
            "vdb_read": 5,
            "vdb_write": -1,
            "tap7a_rx": 7,
            "tap7a_tx": 8,
            "tap7a_rx_packets": 1,
            "memory": 131072,
        }
    )
    cloud = driver(services)
    cloud.connect()

    read = {sample.metric: sample.value for sample in cloud.metrics(Ref(Kind.SERVER, "s1"))}

    assert read == {"cpu": 3.0, "disk_read": 15, "disk_write": 20, "net_in": 7, "net_out": 8}
    assert services.server.requests[-1].headers["openstack-api-version"] == "compute 2.38"


def test_what_a_hypervisor_does_not_say_is_not_zero(cloud, services):
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = _json(
        {
            "cpu_details": [{"time": 17300000000, "utilisation": None}],
            "nic_details": [{"rx_octets": None, "tx_octets": -1}],
            "disk_details": [],
        }
    )

    assert {sample.metric: sample.value for sample in cloud.metrics(Ref(Kind.SERVER, "s1"))} == {
        "cpu": 17.3
    }


def test_what_nova_says_of_itself_is_asked_once(cloud, services):
    cloud.describe()
    cloud.list(Kind.SERVER, "vmprobe-")

    assert services.asked.count("GET /compute/v2.1/") == 1


@pytest.mark.parametrize(
    "slash, plain, spoken",
    [
        (
            _json({"message": "Api does not exist"}, 404),
            _json({"version": {"version": "2.60"}}),
            "compute 2.60",
        ),
        (
            reply(404, "<html><title>404 Not Found</title></html>", Content_Type="text/html"),
            _json({"version": {"version": "2.60"}}),
            "compute 2.60",
        ),
        (
            _json({"message": "Api does not exist"}, 404),
            _json({"message": "Api does not exist"}, 404),
            "compute 2.1",
        ),
    ],
    ids=["json", "a-page", "neither"],
)
def test_a_gateway_may_know_novas_version_without_the_slash_only_or_not_at_all(
    slash, plain, spoken, services
):
    services.answers.update({"GET /compute/v2.1/": slash, "GET /compute/v2.1": plain})
    cloud = driver(services)
    cloud.connect()

    assert len(cloud.list(Kind.SERVER, "vmprobe-")) == 5
    assert services.server.requests[-1].headers["openstack-api-version"] == spoken


@pytest.mark.parametrize(
    "status, body",
    [
        (
            409,
            {
                "conflictingRequest": {
                    "message": "Cannot 'get_diagnostics' instance s1 while it is in power state: SHUTDOWN"
                }
            },
        ),
        (
            500,
            {"computeFault": {"message": "Unexpected API Error. <class 'libvirt.libvirtError'>"}},
        ),
    ],
    ids=["409", "500"],
)
def test_a_server_whose_diagnostics_fail_is_not_measured_and_says_why(
    status, body, cloud, services
):
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = _json(body, status)

    with pytest.raises(NotMeasured, match=f"^diagnostics of server s1: {status} "):
        cloud.metrics(Ref(Kind.SERVER, "s1"))


def test_diagnostics_that_a_proxy_could_not_fetch_are_its_failure(cloud, services):
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = reply(
        500, "<html><title>500 Internal Server Error</title></html>"
    )

    with pytest.raises(GatewayFailed):
        cloud.metrics(Ref(Kind.SERVER, "s1"))


def test_a_server_says_since_when_it_is_in_its_state(cloud, services):
    services.answers["GET /compute/v2.1/servers/s1"] = _json(
        {
            "server": {
                "id": "s1",
                "name": "db",
                "status": "RESIZE",
                "created": "2026-01-01T00:00:00Z",
                "updated": "2026-03-01T00:00:00Z",
            }
        }
    )

    seen = cloud.show(Ref(Kind.SERVER, "s1"))

    assert (seen.created, seen.state_since) == (1767225600.0, 1772323200.0)


# --- what more it offers ------------------------------------------------------------------------------------------


def test_what_only_a_reader_wants_is_asked_only_for_him(cloud, services):
    assert cloud.describe() == {
        "version": "Nova 2.96",
        "services": ["block-storage", "compute", "image", "network"],
        "project": PROJECT,
    }
    assert services.asked == ["GET /compute/v2.1/"]


def test_what_may_not_be_known_or_is_broken_keeps_nothing_else_from_being_told(cloud, services):
    services.answers = {
        "GET /v3": _json({"version": {"id": "v3.14"}}),
        "GET /volume/v3/": _json({"versions": [{"version": "3.70"}]}),
        "GET /network/v2.0/extensions": _json(
            {"extensions": [{"alias": "router"}, {"alias": "dns"}]}
        ),
        "GET /compute/v2.1/os-hypervisors/detail": _json({"forbidden": {"message": "Policy"}}, 403),
    }

    assert cloud.offers() == {
        "identity": "v3.14",
        "block storage": "3.70",
        "network extensions": ["dns", "router"],
        "hypervisors": "not permitted",
    }
    services.answers["GET /compute/v2.1/os-hypervisors/detail"] = _json(
        {
            "hypervisors": [
                {"hypervisor_type": None, "cpu_info": None},
                {"hypervisor_type": "QEMU"},
                {},
            ]
        }
    )
    assert cloud.offers()["hypervisors"] == ["QEMU"]
    services.answers["GET /volume/v3/"] = _json({"versions": []})
    assert (
        cloud.offers()["block storage"] == "Cinder's version: the answer has no versions.0.version"
    )


# --- what a test VM is made of ------------------------------------------------------------------------------------

TEST_VM = {
    "image": "vmprobe-test",
    "flavor": "",
    "network": "",
    "volume": 2**30,
    "depth": "api",
    "external network": None,
    "availability zone": None,
    "security group": None,
    "volume type": None,
    "boot from volume": False,
    "config drive": False,
}
IMAGE = {
    "id": "i1",
    "name": "vmprobe-test",
    "status": "active",
    "min_disk": 1,
    "min_ram": 64,
    "size": 2**24,
}
NETWORK = {"id": "n1", "name": "private", "subnets": ["sub"]}


def flavor(name, ram=512, disk=1, **more):
    return {"id": name, "name": name, "ram": ram, "vcpus": 1, "disk": disk, **more}


@pytest.fixture
def made_of(cloud, services):
    """made_of(flavors, network=..., **keys of [test vm]): the plan, where the cloud has these."""

    def plan(
        *flavors, network=NETWORK, image=IMAGE, images=None, image_wanted="vmprobe-test", **test_vm
    ):
        services.answers.update(
            {
                "GET /image/v2/images": images or _json({"images": [image]}),
                "GET /network/v2.0/networks": _json(
                    {"networks": network if isinstance(network, list) else [network]}
                ),
                "GET /compute/v2.1/flavors/detail": _json({"flavors": list(flavors)}),
            }
        )
        return cloud.resolve({**TEST_VM, "image": image_wanted, **test_vm})

    return plan


@pytest.mark.parametrize(
    "special",
    [
        {"extra_specs": {"pci_passthrough:alias": "a100:1"}},
        {"extra_specs": {"resources:VGPU": "1"}},
        {"extra_specs": {"resources:CUSTOM_BAREMETAL_GOLD": "1", "resources:VCPU": "0"}},
        {"OS-FLV-DISABLED:disabled": True},
    ],
)
def test_the_smallest_flavor_is_none_of_a_gpu_or_a_whole_machine_unless_it_is_named(
    special, made_of
):
    flavors = (
        flavor("gpu.tiny", ram=128, **special),
        flavor("m1.tiny", extra_specs={"hw:cpu_policy": "shared", "resources:PCPU": "1"}),
        flavor("m1.small", ram=2048),
    )

    assert made_of(*flavors).flavor == "m1.tiny"
    assert made_of(*flavors, flavor="gpu.tiny").flavor == "gpu.tiny"


def test_a_network_may_have_no_name(made_of):
    assert (
        str(made_of(flavor("m1.tiny"), network={**NETWORK, "name": ""}))
        == "image vmprobe-test, flavor m1.tiny, network n1"
    )


def sent(services, what="server"):
    """What the last request that made something asked for."""
    return json.loads(
        [request.body for request in services.server.requests if request.method == "POST"][-1]
    )[what]


def test_security_groups_are_not_asked_for_on_a_network_without_port_security(
    made_of, cloud, services
):
    services.answers["POST /compute/v2.1/servers"] = _json({"server": {"id": "s1"}}, 202)
    for secure in (True, False):
        plan = made_of(
            flavor("m1.tiny"),
            network={**NETWORK, "port_security_enabled": secure},
            **{"security group": "web"},
        )
        cloud.create(ServerSpec("vmprobe-x", plan, security_group="g1"))
        assert sent(services).get("security_groups") == (
            [{"name": "web"}, {"name": "g1"}] if secure else None
        )


def test_the_volume_that_a_server_boots_from_is_of_the_sites_type_where_nova_can_ask_for_it(
    made_of, services, cloud
):
    services.answers["POST /compute/v2.1/servers"] = _json({"server": {"id": "s1"}}, 202)
    plan = made_of(flavor("m1.tiny"), **{"boot from volume": True, "volume type": "ssd"})

    cloud.create(ServerSpec("vmprobe-x", plan))
    assert sent(services)["block_device_mapping_v2"] == [
        {
            "boot_index": 0,
            "uuid": "i1",
            "source_type": "image",
            "destination_type": "volume",
            "volume_size": 1,
            "delete_on_termination": True,
            "volume_type": "ssd",
        }
    ]

    services.answers["GET /compute/v2.1/"] = _json({"version": {"version": "2.60"}})
    older = driver(services)
    older.connect()
    older.create(ServerSpec("vmprobe-x", plan))
    assert "volume_type" not in sent(services)["block_device_mapping_v2"][0]


@pytest.mark.parametrize(
    "flavor_disk, image, gib",
    [
        (0, {"min_disk": 0, "virtual_size": 10 * 2**30, "size": 2362232012}, 10),
        (0, {"min_disk": 0, "virtual_size": None, "size": 2362232012}, 3),
        (0, {"min_disk": 12, "virtual_size": 10 * 2**30}, 12),
        (20, {"min_disk": 0, "size": 2**20}, 20),
        (0, {"min_disk": 0, "size": 0}, 1),
    ],
    ids=["virtual-size", "size", "min-disk", "flavor", "nothing-said"],
)
def test_the_volume_that_a_server_boots_from_holds_its_image(
    flavor_disk, image, gib, made_of, services, cloud
):
    services.answers["POST /compute/v2.1/servers"] = _json({"server": {"id": "s1"}}, 202)
    plan = made_of(
        flavor("m1.tiny", disk=flavor_disk), image={**IMAGE, **image}, **{"boot from volume": True}
    )

    cloud.create(ServerSpec("vmprobe-x", plan))

    assert sent(services)["block_device_mapping_v2"][0]["volume_size"] == gib


def test_a_volume_is_made_in_the_zone_of_its_server(made_of, services, cloud):
    services.answers[f"POST /volume/v3/{PROJECT}/volumes"] = _json({"volume": {"id": "v1"}}, 202)
    plan = made_of(flavor("m1.tiny"), **{"availability zone": "zone-2"})

    assert cloud.create(VolumeSpec("vmprobe-x", 2**30, plan)) == Ref(Kind.VOLUME, "v1", "vmprobe-x")
    assert sent(services, "volume") == {
        "name": "vmprobe-x",
        "size": 1,
        "metadata": {"vmprobe": "vmprobe-x"},
        "availability_zone": "zone-2",
    }


def test_where_cinder_has_no_such_zone_the_volume_is_made_in_cinders_own(made_of, services, cloud):
    def make(request):
        refused = "availability_zone" in json.loads(request.body)["volume"]
        return (
            _json({"badRequest": {"message": "Availability zone 'zone-2' is invalid."}}, 400)
            if refused
            else _json({"volume": {"id": "v1"}}, 202)
        )

    services.answers[f"POST /volume/v3/{PROJECT}/volumes"] = make

    assert (
        cloud.create(
            VolumeSpec(
                "vmprobe-x", 2**30, made_of(flavor("m1.tiny"), **{"availability zone": "zone-2"})
            )
        ).id
        == "v1"
    )
    assert "availability_zone" not in sent(services, "volume")


@pytest.mark.parametrize(
    "status, message, kind",
    [
        (400, "Invalid input received: size", CloudError),
        (503, "zone is busy: availability zone", GatewayFailed),
        (413, "VolumeLimitExceeded: quota, availability zone", QuotaExceeded),
    ],
    ids=["400", "503", "413"],
)
def test_any_other_refusal_of_a_volume_is_not_asked_again(
    status, message, kind, made_of, services, cloud
):
    services.answers[f"POST /volume/v3/{PROJECT}/volumes"] = _json(
        {"badRequest": {"message": message}}, status
    )
    plan = made_of(flavor("m1.tiny"), **{"availability zone": "zone-2"})

    with pytest.raises(kind):
        cloud.create(VolumeSpec("vmprobe-x", 2**30, plan))
    assert len([asked for asked in services.asked if asked.startswith("POST")]) == 1


EGI = json.dumps(
    {
        "eu.egi.cloud.image_ref": "registry.example.org/images/ubuntu:22.04",
        "ad:appid": 1017,
        "deep": {},
    }
)


@pytest.mark.parametrize(
    "wanted", ["eu.egi.cloud.image_ref=registry.example.org/images/ubuntu:22.04", "ad:appid=1017"]
)
def test_an_image_is_found_by_what_egi_says_of_it(wanted, made_of, services, cloud):
    name = wanted.partition("=")[0]

    def images(request):  # Glance has no property of that name
        query = parse_qs(urlsplit(request.target).query)
        others = [
            {**IMAGE, "id": f"o{number}", "name": "other", "APPLIANCE_ATTRIBUTES": text}
            for number, text in enumerate(("", "{", "[1]", "[" * 60000, 5))
        ]
        return _json(
            {"images": [] if name in query else [*others, {**IMAGE, "APPLIANCE_ATTRIBUTES": EGI}]}
        )

    assert made_of(flavor("m1.tiny"), images=images, image_wanted=wanted).details["image"] == "i1"
    [found] = cloud.images(wanted)
    assert (found.id, found.properties["ad:appid"]) == ("i1", "1017")


def test_an_image_that_glance_gives_for_a_property_has_to_have_it(made_of):
    with pytest.raises(NotFound, match="^no image 'os_distro=debian'$"):
        made_of(
            flavor("m1.tiny"),
            image={**IMAGE, "os_distro": "ubuntu"},
            image_wanted="os_distro=debian",
        )
    assert (
        made_of(
            flavor("m1.tiny"),
            image={**IMAGE, "os_distro": "debian", "protected": True},
            image_wanted="protected=true",
        ).image
        == "vmprobe-test"
    )


SHARED = {"id": "n2", "name": "shared", "subnets": ["s"], "project_id": "b" * 32, "shared": True}
OWN = {"id": "n3", "name": "own", "subnets": ["s"], "project_id": PROJECT}


@pytest.mark.parametrize(
    "networks, chosen",
    [
        ([SHARED, OWN], "own"),
        ([SHARED, {**OWN, "project_id": None, "tenant_id": PROJECT}], "own"),
        ([SHARED, {**OWN, "admin_state_up": False}], "shared"),
        ([{**OWN, "name": "down", "status": "DOWN"}, OWN], "own"),
    ],
    ids=["own", "by-tenant", "own-is-down", "one-of-two"],
)
def test_of_several_networks_the_projects_own_is_taken(networks, chosen, made_of):
    assert made_of(flavor("m1.tiny"), network=networks).network == chosen


def test_of_several_networks_of_its_own_one_has_to_be_named(made_of):
    with pytest.raises(
        ClientError, match=r"^\[test vm\] network: there are own \(n3\), other \(n4\): name one$"
    ):
        made_of(flavor("m1.tiny"), network=[SHARED, OWN, {**OWN, "id": "n4", "name": "other"}])


def test_a_project_that_is_shown_no_flavor_is_told_so(made_of):
    for wanted in ("", "m1.huge"):
        with pytest.raises(NotFound, match="^Nova shows no flavor to this project$"):
            made_of(flavor=wanted)


# --- to be reached ------------------------------------------------------------------------------------------------


def test_a_vm_that_has_to_be_reached_gets_a_security_group_and_a_floating_ip_under_the_handle(
    cloud, services
):
    services.answers = {
        "POST /network/v2.0/security-groups": _json({"security_group": {"id": "g1"}}, 201),
        "POST /network/v2.0/security-group-rules": _json({"security_group_rule": {"id": "r"}}, 201),
        "GET /network/v2.0/ports": _json(
            {"ports": [{"id": "p1", "status": "ACTIVE", "device_id": "s1"}]}
        ),
        "POST /network/v2.0/floatingips": _json({"floatingip": {"id": "f1"}}, 201),
        "GET /network/v2.0/floatingips": _json(
            {
                "floatingips": [
                    {
                        "id": "f1",
                        "description": "vmprobe-x",
                        "status": "DOWN",
                        "floating_ip_address": "192.0.2.9",
                    },
                    {
                        "id": "f2",
                        "description": "",
                        "status": "ACTIVE",
                        "floating_ip_address": "192.0.2.10",
                    },
                ]
            }
        ),
        "GET /network/v2.0/security-groups": _json(
            {
                "security_groups": [
                    {"id": "g0", "name": "default"},
                    {"id": "g1", "name": "vmprobe-x"},
                ]
            }
        ),
    }
    group = cloud.create(SecurityGroupSpec("vmprobe-x"))
    cloud.open_port(group, 22)
    address = cloud.create(
        AddressSpec("vmprobe-x", Ref(Kind.SERVER, "s1", "vmprobe-x"), Plan("i", external="e1"))
    )

    assert (group, address) == (
        Ref(Kind.SECURITY_GROUP, "g1", "vmprobe-x"),
        Ref(Kind.ADDRESS, "f1", "vmprobe-x"),
    )
    sent = [
        json.loads(request.body) for request in services.server.requests if request.method == "POST"
    ][1:]
    assert sent == [
        {"security_group": {"name": "vmprobe-x", "description": "lets a test VM be reached"}},
        *(
            {
                "security_group_rule": {
                    "security_group_id": "g1",
                    "direction": "ingress",
                    "ethertype": family,
                    "protocol": "tcp",
                    "port_range_min": 22,
                    "port_range_max": 22,
                }
            }
            for family in ("IPv4", "IPv6")
        ),
        {"floatingip": {"floating_network_id": "e1", "port_id": "p1", "description": "vmprobe-x"}},
    ]
    assert [
        (thing.ref, thing.addresses)
        for kind in (Kind.ADDRESS, Kind.SECURITY_GROUP)
        for thing in cloud.list(kind, "vmprobe-")
    ] == [(address, ("192.0.2.9",)), (group, ())]


def test_no_group_is_opened_but_one_that_was_shown_under_the_handle(cloud, services):
    handle = new("mon", 60, 1_800_000_000)
    there = [{"id": "theirs", "name": "web"}, {"id": "ours", "name": str(handle)}]
    services.answers = {
        **{
            f"GET /network/v2.0/security-groups/{group['id']}": _json({"security_group": group})
            for group in there
        },
        "GET /network/v2.0/security-groups": _json({"security_groups": there}),
        "POST /network/v2.0/security-groups": _json(
            {"security_group": there[0]}, 201
        ),  # the answer to another request
        "POST /network/v2.0/security-group-rules": _json({"security_group_rule": {"id": "r"}}, 201),
    }
    lease = Lease(Cloud(cloud, cloud.deadline), handle, Ledger(), Timeline(Clock()))
    [group] = lease.create(SecurityGroupSpec(str(handle)))

    with pytest.raises(
        Conflict,
        match=f"^security group theirs has not been shown under {handle} yet: it is not touched$",
    ):
        lease.open_port(group, 22)
    assert services.asked == ["POST /network/v2.0/security-groups"]

    lease.show([group])
    lease.open_port(group, 22)
    rules = [
        json.loads(request.body)["security_group_rule"]
        for request in services.server.requests
        if request.target.endswith("-rules")
    ]
    assert [rule["security_group_id"] for rule in rules] == ["ours", "ours"]


def test_a_rule_that_is_there_already_is_no_failure(cloud, services):
    refusals = iter(
        [
            _json(
                {
                    "NeutronError": {
                        "type": "SecurityGroupRuleExists",
                        "message": "Security group rule already exists. Rule id is r1.",
                    }
                },
                409,
            ),
            _json({"security_group_rule": {"id": "r2"}}, 201),
            _json(
                {
                    "NeutronError": {
                        "type": "OverQuota",
                        "message": "Quota exceeded for resources: ['security_group_rule'].",
                    }
                },
                409,
            ),
        ]
    )
    services.answers["POST /network/v2.0/security-group-rules"] = lambda request: next(refusals)
    cloud.open_port(Ref(Kind.SECURITY_GROUP, "g1", "vmprobe-x"), 22)

    with pytest.raises(QuotaExceeded):
        cloud.open_port(Ref(Kind.SECURITY_GROUP, "g1", "vmprobe-x"), 22)


def test_a_neutron_without_routers_has_no_floating_ips(cloud, services):
    assert cloud.list(Kind.ADDRESS, "vmprobe-") == []


# --- refusals -----------------------------------------------------------------------------------------------------

REFUSALS = {  # what a service answers to a create, and what that is
    "nova-quota": (
        403,
        {
            "forbidden": {
                "message": "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"
            }
        },
        QuotaExceeded,
    ),
    "neutron-quota": (
        409,
        {
            "NeutronError": {
                "type": "OverQuota",
                "message": "Quota exceeded for resources: ['port'].",
            }
        },
        QuotaExceeded,
    ),
    "cinder-quota": (
        413,
        {
            "overLimit": {
                "message": "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed "
                "gigabytes quota."
            }
        },
        QuotaExceeded,
    ),
    "nova-port-quota": (
        403,
        {"forbidden": {"message": "Maximum number of ports exceeded"}},
        QuotaExceeded,
    ),
    "keystones-limits": (
        403,
        {
            "forbidden": {
                "message": "Project 1a2b is over a limit for [Resource servers is over limit of 1 due to "
                "current usage 1 and delta 1]"
            }
        },
        QuotaExceeded,
    ),
    "volume-in-another-state": (
        400,
        {
            "badRequest": {
                "message": "Invalid volume: Volume status must be available or error, but "
                "current status is: detaching."
            }
        },
        Conflict,
    ),
    "too-many-requests": (
        429,
        {"overLimit": {"message": "This request was rate-limited."}},
        RateLimited,
    ),
    "metadata-quota": (
        403,
        {"forbidden": {"message": "Maximum number of metadata items exceeds 0"}},
        QuotaExceeded,
    ),
    "two-groups-of-one-name": (
        409,
        {
            "conflictingRequest": {
                "message": "Multiple security_group matches found for name 'web', use an ID to be "
                "more specific."
            }
        },
        CloudError,
    ),
    "policy": (
        403,
        {
            "forbidden": {
                "message": "Policy doesn't allow os_compute_api:servers:create to be performed."
            }
        },
        NotPermitted,
    ),
    "volumes-in-another-zone": (
        400,
        {
            "badRequest": {
                "message": "Invalid volume: Instance i and volume v are not in the same availability_zone. "
                "Instance is in a. Volume is in b"
            }
        },
        CloudError,
    ),
    "not-there": (404, {"itemNotFound": {"message": "Instance could not be found."}}, NotFound),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_what_the_service_means_whatever_its_status(case, cloud, services):
    status, body, kind = REFUSALS[case]
    services.answers["POST /compute/v2.1/servers"] = _json(body, status)
    details = {
        "flavor": "f",
        "network": "n",
        "image": "i",
        "availability zone": None,
        "config drive": False,
        "security group": None,
        "boot from volume": False,
    }

    with pytest.raises(kind) as raised:
        cloud.create(ServerSpec("vmprobe-x", Plan("i", details=details)))

    assert type(raised.value) is kind
    assert next(iter(body.values()))["message"][:40] in str(raised.value)


@pytest.mark.parametrize(
    "status, message, cause",
    [
        (404, "Volume type with name nonesuch could not be found.", "storage"),
        (400, "Volume type nonesuch could not be found.", "storage"),
        (400, "Flavor's memory is too small for requested image.", "image"),
        (
            400,
            "Flavor's disk is smaller than the minimum size specified in image metadata.",
            "image",
        ),
        (400, "Network n1 requires a subnet in order to boot instances on.", "network"),
        (400, "Unable to find security_group with name or id 'nonesuch'", "network"),
        (400, "The requested availability zone is not available", "client"),
        (403, "Only volume-backed servers are allowed for flavors with zero disk.", "image"),
        (
            403,
            "Policy doesn't allow os_compute_api:servers:create:attach_volume to be performed.",
            "auth",
        ),
        (403, "You are not authorized to use this image.", "auth"),
        (403, "Forbidden", "auth"),
        (400, "It did not work.", ""),
    ],
)
def test_a_refused_create_says_whose_matter_it_is(status, message, cause, cloud, services):
    services.answers["POST /compute/v2.1/servers"] = _json(
        {"badRequest": {"message": message}}, status
    )
    details = {
        "flavor": "f",
        "network": "n",
        "image": "i",
        "availability zone": None,
        "config drive": False,
        "security group": None,
        "boot from volume": False,
    }

    with pytest.raises(CloudError) as raised:
        cloud.create(ServerSpec("vmprobe-x", Plan("i", details=details)))

    assert (raised.value.cause, isinstance(raised.value, Transient)) == (cause, False)


@pytest.mark.parametrize(
    "status, headers, kind",
    [
        (429, {}, RateLimited),
        (413, {"Retry-After": "2"}, RateLimited),
        (503, {"Retry-After": "2"}, RateLimited),
        (503, {}, GatewayFailed),
        (413, {}, GatewayFailed),
    ],
    ids=["429", "413-wait", "503-wait", "503", "413"],
)
def test_a_create_that_was_put_off_says_that_nothing_was_made_and_how_long_to_wait(
    status, headers, kind, cloud, services
):
    services.answers["POST /network/v2.0/security-groups"] = reply(
        status, '{"message": "too many requests"}', **headers
    )

    with pytest.raises(kind) as raised:
        cloud.create(SecurityGroupSpec("vmprobe-x"))

    assert (type(raised.value), raised.value.wait) == (kind, 2.0 if headers else 0.0)


@pytest.mark.parametrize(
    "message, kind",
    [
        (
            "Invalid volume: volume 'v1' status must be 'available'. Currently in 'creating'",
            Conflict,
        ),
        ("Invalid volume: Volume v1 is already attached.", Conflict),
        (
            "Invalid volume: Instance s1 and volume v1 are not in the same availability_zone. Instance is in a. Volume is in b",
            CloudError,
        ),
        ("Invalid volume: read-only access is not supported", CloudError),
    ],
)
def test_only_what_may_pass_is_asked_again_when_an_attachment_is_refused(
    message, kind, cloud, services
):
    services.answers["POST /compute/v2.1/servers/s1/os-volume_attachments"] = _json(
        {"badRequest": {"message": message}}, 400
    )

    with pytest.raises(kind) as raised:
        cloud.attach(Ref(Kind.SERVER, "s1"), Ref(Kind.VOLUME, "v1"))

    assert (type(raised.value), str(raised.value)) == (
        kind,
        f"attach volume v1 to server s1: 400 {message}",
    )


def test_a_service_that_cannot_reach_keystone_says_so_first(cloud, services):
    page = (
        "<html><head><title>503 Service Unavailable</title></head><body><h1>503 Service Unavailable</h1>The server is currently "
        "unavailable. Please try again at a later time.<br /><br />The Keystone service is temporarily unavailable.</body></html>"
    )
    services.answers["GET /compute/v2.1/servers/s1"] = reply(503, page, Content_Type="text/html")

    with pytest.raises(
        GatewayFailed, match="^show server s1: 503 Keystone is temporarily unavailable$"
    ):
        cloud.show(Ref(Kind.SERVER, "s1"))


# --- where it is --------------------------------------------------------------------------------------------------


def test_debts_belong_to_the_cloud_of_the_environment_and_not_to_any(services, monkeypatch):
    for number in (1, 2):
        monkeypatch.setenv("OS_AUTH_URL", f"https://cloud{number}.example.org:5000")
        monkeypatch.setenv("OS_PROJECT_NAME", "ops")
        keys = {name: key.default for name, key in Openstack.endpoint_keys.items()}
        found = Openstack(
            {"manager": "openstack", "timeout": 9.0, "ca": None, **keys},
            {},
            Deadline(60, 0, Clock()),
            Evidence(),
        )
        assert found.identity == f"openstack https://cloud{number}.example.org:5000 ops"


# --- hosts --------------------------------------------------------------------------------------------------------


def test_who_is_no_administrator_does_not_ask_placement(cloud, services):
    services.answers = {
        "GET /compute/v2.1/limits": _json(
            {"limits": {"absolute": {"maxTotalCores": 20, "totalCoresUsed": 3}}}
        ),
        "GET /volume/v3/" + PROJECT + "/limits": _json({"limits": {"absolute": {}}}),
    }

    limits = {limit.name: (limit.used, limit.total, limit.source) for limit in cloud.capacity()}

    assert limits["vcpus"] == (3, 20, "quota")
    assert not [asked for asked in services.asked if "allocation" in asked]


# --- what events say ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event, said",
    [
        ({"finish_time": "2026-03-01T10:00:09.000000", "result": "Success"}, 1772359209.0),
        ({"finish_time": None, "result": None}, None),
        ({"finish_time": "2026-03-01T10:00:09.000000", "result": "Error"}, None),
    ],
)
def test_an_attachment_ended_when_its_event_did_and_not_before(cloud, services, event, said):
    server, asked = Ref(Kind.SERVER, "s1"), "GET /compute/v2.1/servers/s1/os-instance-actions/req-7"
    services.answers = {
        "POST /compute/v2.1/servers/s1/os-volume_attachments": _json(
            {"volumeAttachment": {}}, X_Openstack_Request_Id="req-7"
        ),
        asked: _json(
            {
                "instanceAction": {
                    "action": "attach_volume",
                    "events": [{"event": "compute_attach_volume", **event}],
                }
            }
        ),
    }

    assert (
        cloud.finished_at(server, "storage") is None and asked not in services.asked
    )  # nothing was asked for
    cloud.attach(server, Ref(Kind.VOLUME, "v1"))

    assert cloud.finished_at(server, "storage") == said
    assert services.asked.count(asked) == 1


# --- Gnocchi, in the forms of its "REST API Usage" that the live tests' own does not give ----------------------------


@pytest.fixture
def gnocchi(cloud, services):
    """(the driver, whose diagnostics are forbidden; a function that has Gnocchi answer this for disks)."""
    catalog = cloud.keystone.token["catalog"]
    catalog.append(
        {
            "type": "metric",
            "endpoints": [
                {"interface": "public", "region_id": "one", "url": f"{services.server.url}/metric"}
            ],
        }
    )
    services.answers["GET /compute/v2.1/servers/s1/diagnostics"] = _json(
        {"forbidden": {"message": "Policy"}}, 403
    )

    def disks(answer):
        def told(request):
            kind = json.loads(request.body)["resource_type"]
            return (
                answer
                if kind == "instance_disk"
                else _json({"description": {"cause": "Metrics not found", "detail": ["cpu"]}}, 400)
            )

        services.answers["POST /metric/v1/aggregates"] = told

    return cloud, disks


def _means(*devices):
    """Of each device the counter at the given minutes past ten, kept each 60 seconds; and an hour's mean, which is coarser."""
    return _json(
        {
            "measures": {
                str(number): {
                    "disk.device.read.bytes": {
                        "mean": [
                            ["2026-03-01T10:00:00+00:00", 3600.0, 5.0],
                            *(
                                [f"2026-03-01T10:{minute:02}:00+00:00", 60.0, value]
                                for minute, value in device.items()
                            ),
                        ]
                    }
                }
                for number, device in enumerate(devices)
            }
        }
    )


def readings(cloud):
    return [
        (sample.metric, sample.value, sample.at - 1772359200, sample.source)
        for sample in cloud.metrics(Ref(Kind.SERVER, "s1"))
    ]


@pytest.mark.parametrize(
    "devices, expected",
    [
        ([{1: 100.0, 2: 700.0}], [(60, 100.0), (120, 700.0)]),
        ([{1: 100.0, 2: 700.0}, {2: 50.0}], [(60, 100.0), (120, 750.0)]),  # a disk that came
        (
            [{1: 1.0, 2: 2.0, 3: 3.0}, {1: 10.0, 2: 20.0}],
            [(60, 11.0), (120, 22.0)],
        ),  # a granule that lacks one is not whole
        ([{3: 9.0}], [(180, 9.0)]),
    ],
)
def test_the_two_newest_moments_of_the_finest_granule_are_read_and_all_disks_summed(
    gnocchi, devices, expected
):
    cloud, disks = gnocchi
    disks(_means(*devices))

    assert readings(cloud) == [
        ("disk_read", value, at, "Gnocchi, every 60 s") for at, value in expected
    ]


@pytest.mark.parametrize(
    "answer, said",
    [
        (_json({"measures": {}}), "; Gnocchi has no measures of it yet"),
        (
            _json(
                {
                    "measures": {
                        "0": {
                            "disk.device.read.bytes": {
                                "mean": [["2026-03-01T10:00:00+00:00", 60.0]]
                            }
                        }
                    }
                }
            ),
            "; Gnocchi's measures of server s1: the answer has no 2",
        ),
        (
            _json({"measures": [1]}),
            "; Gnocchi's measures of server s1: measures in the answer is a list, not an object",
        ),
        (
            _json({"description": {"cause": "Invalid operations"}}, 400),
            "; Gnocchi's measures of server s1: 400 ",
        ),
        (_json({"title": "Forbidden"}, 403), "; Gnocchi's measures of server s1: 403 Forbidden"),
        (_json({"title": "Not Found"}, 404), "; Gnocchi's measures of server s1: 404 Not Found"),
        (reply(500, "oops"), "; Gnocchi's measures of server s1: 500 "),
        (b"", "; Gnocchi's measures of server s1: "),
    ],
)
def test_a_gnocchi_that_refuses_is_broken_or_hostile_is_one_sentence_and_not_asked_again(
    gnocchi, services, answer, said
):
    cloud, disks = gnocchi
    disks(answer)

    for _ in range(2):
        with pytest.raises((NotMeasured, NotPermitted)) as raised:
            cloud.metrics(Ref(Kind.SERVER, "s1"))
        assert str(raised.value).startswith("diagnostics of server s1: 403 Policy" + said)
    asked = len([one for one in services.asked if "/aggregates" in one])
    assert asked == (6 if "yet" in said else 2)


def test_a_gnocchi_that_does_not_answer_is_waited_for_once_and_not_for_long(gnocchi, services):
    cloud, disks = gnocchi
    cloud.endpoint["timeout"] = 1.5
    disks(lambda connection: connection.recv(1))  # until the other side has had enough

    for _ in range(2):
        with pytest.raises(
            NotPermitted,
            match="^diagnostics of server s1: 403 Policy; Gnocchi's measures of server s1: no whole answer within",
        ):
            cloud.metrics(Ref(Kind.SERVER, "s1"))
    assert (
        len([one for one in services.asked if "/aggregates" in one]) == 2
    )  # for its interfaces it was not asked any more


def test_what_gnocchi_has_of_one_server_may_be_broken_and_the_others_are_measured(
    gnocchi, services
):
    cloud, disks = gnocchi
    for number in range(1, 7):
        services.answers[f"GET /compute/v2.1/servers/s{number}/diagnostics"] = services.answers[
            "GET /compute/v2.1/servers/s1/diagnostics"
        ]
    good, broken = _means({1: 100.0, 2: 700.0}), _json({"measures": [1]})

    for number, answer, measured in (
        (1, broken, False),
        (2, good, True),
        (3, broken, False),
        (4, good, True),
        (1, good, False),
        (5, broken, False),
        (6, good, False),
    ):  # of three it was broken: then it is not asked any more
        disks(answer)
        server = Ref(Kind.SERVER, f"s{number}")
        if measured:
            assert [sample.value for sample in cloud.metrics(server)] == [100.0, 700.0]
        else:
            with pytest.raises(
                NotPermitted, match="measures in the answer is a list, not an object$"
            ):
                cloud.metrics(server)


def test_cpu_time_is_per_vcpu_and_left_out_where_nova_does_not_say_how_many(gnocchi, services):
    cloud, _ = gnocchi
    services.answers["POST /metric/v1/aggregates"] = lambda request: _json(
        {
            "measures": {"s1": {"cpu": {"mean": [["2026-03-01T10:05:00+00:00", 300.0, 8e9]]}}}
            if json.loads(request.body)["resource_type"] == "instance"
            else {}
        }
    )

    for flavor, expected in (
        ({"vcpus": 4}, [("cpu", 2.0, 300, "Gnocchi, every 300 s")]),
        ({"id": "f1"}, None),
    ):
        services.answers["GET /compute/v2.1/servers/s1"] = _json(
            {"server": {"id": "s1", "status": "ACTIVE", "flavor": flavor}}
        )
        if expected:
            assert readings(cloud) == expected
        else:
            with pytest.raises(NotMeasured):
                cloud.metrics(Ref(Kind.SERVER, "s1"))


def test_what_gnocchi_has_and_how_often_is_said_by_the_archive_policy(gnocchi, services):
    cloud, _ = gnocchi
    services.answers["GET /compute/v2.1/os-hypervisors/detail"] = _json({"hypervisors": []})
    policy = {"definition": [{"granularity": "1 day, 0:00:00"}, {"granularity": "0:05:00"}]}

    def metrics(request):
        return _json(
            [{"name": "cpu", "archive_policy": policy}] if "name=cpu&" in request.target else []
        )

    for answer, said in (
        (metrics, {"cpu": "every 300 s"}),
        (_json({"title": "Forbidden"}, 403), "not permitted"),
    ):
        services.answers["GET /metric/v1/metric"] = answer
        assert cloud.offers()["metrics by Gnocchi"] == said
