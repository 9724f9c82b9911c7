"""The life of a server and a disk by Microsoft's own clients, at the URL of the first argument.

It runs in an environment of its own. Each step prints a line, and a step that fails ends it.
"""

import sys
import time

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

URL, SUBSCRIPTION, TOKEN = sys.argv[1:4]
GROUP, WHERE = "judged", "eastus"


class Bearer(SansIOHTTPPolicy):
    """The clients send no token over plain HTTP; this sends one."""

    def on_request(self, request):
        request.http_request.headers["Authorization"] = f"Bearer {TOKEN}"


class Credential:
    def get_token(self, *scopes, **words):
        return AccessToken(TOKEN, int(time.time()) + 3600)


def client(kind):
    return kind(
        Credential(),
        SUBSCRIPTION,
        base_url=URL,
        authentication_policy=Bearer(),
        retry_total=0,
        polling_interval=0.1,
    )


compute, network, resources = map(
    client, (ComputeManagementClient, NetworkManagementClient, ResourceManagementClient)
)
SCOPE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers"
SUBNET = f"{SCOPE}/Microsoft.Network/virtualNetworks/net/subnets/subnet"
DISK = f"{SCOPE}/Microsoft.Compute/disks/disk"
NIC = f"{SCOPE}/Microsoft.Network/networkInterfaces/nic"


def done(poller):
    return poller.result(timeout=30)


def step(what, seen):
    print(what, getattr(seen, "value", seen), flush=True)


resources.resource_groups.create_or_update(GROUP, {"location": WHERE})
step("group", resources.resource_groups.get(GROUP).properties.provisioning_state)
space = {"addressPrefixes": ["10.0.0.0/28"]}
net = {
    "location": WHERE,
    "properties": {
        "addressSpace": space,
        "subnets": [{"name": "subnet", "properties": {"addressPrefix": "10.0.0.0/28"}}],
    },
}
step("network", done(network.virtual_networks.begin_create_or_update(GROUP, "net", net)).name)
nic = {
    "location": WHERE,
    "properties": {
        "ipConfigurations": [{"name": "primary", "properties": {"subnet": {"id": SUBNET}}}]
    },
}
made = done(network.network_interfaces.begin_create_or_update(GROUP, "nic", nic))
step("interface", made.provisioning_state)
disk = {
    "location": WHERE,
    "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1},
}
step("disk", done(compute.disks.begin_create_or_update(GROUP, "disk", disk)).disk_state)
machine = {
    "location": WHERE,
    "properties": {
        "hardwareProfile": {"vmSize": "Standard_B1s"},
        "storageProfile": {
            "imageReference": {
                "publisher": "Canonical",
                "offer": "ubuntu",
                "sku": "server",
                "version": "latest",
            },
            "osDisk": {"name": "os", "createOption": "FromImage"},
        },
        "osProfile": {
            "computerName": "vm",
            "adminUsername": "probe",
            "adminPassword": "Aa1-aaaaaaaa",
        },
        "networkProfile": {"networkInterfaces": [{"id": NIC, "properties": {"primary": True}}]},
    },
}
made = done(compute.virtual_machines.begin_create_or_update(GROUP, "vm", machine))
step("machine", made.provisioning_state)
view = compute.virtual_machines.get(GROUP, "vm", expand="instanceView").instance_view
step("view", [status.code for status in view.statuses])
data = [{"lun": 0, "createOption": "Attach", "managedDisk": {"id": DISK}}]
attached = {"properties": {"storageProfile": {"dataDisks": data}}}
done(compute.virtual_machines.begin_update(GROUP, "vm", attached))
step("attached", compute.disks.get(GROUP, "disk").disk_state)
try:
    done(compute.disks.begin_delete(GROUP, "disk"))
except HttpResponseError as error:
    step("held", error.error.code)
try:
    done(network.network_interfaces.begin_delete(GROUP, "nic"))
except HttpResponseError as error:
    step("held", error.error.code)
detached = {"properties": {"storageProfile": {"dataDisks": []}}}
done(compute.virtual_machines.begin_update(GROUP, "vm", detached))
step("detached", compute.disks.get(GROUP, "disk").disk_state)
copy = {
    "location": WHERE,
    "properties": {"creationData": {"createOption": "Copy", "sourceResourceId": DISK}},
}
step(
    "snapshot",
    done(compute.snapshots.begin_create_or_update(GROUP, "copy", copy)).provisioning_state,
)
step("listed", sorted(one.name for one in resources.resources.list_by_resource_group(GROUP)))
step("machines", [one.name for one in compute.virtual_machines.list_all()])
step("usages", sorted(one.name.value for one in compute.usage.list(WHERE))[:2])
step("sizes", len(list(compute.virtual_machine_sizes.list(WHERE))))
restricted = [one.name for one in compute.resource_skus.list() if one.restrictions]
step("restricted", restricted)
log = compute.virtual_machines.retrieve_boot_diagnostics_data(GROUP, "vm")
step("console", log.serial_console_log_blob_uri.startswith(URL))
done(compute.virtual_machines.begin_delete(GROUP, "vm"))
try:
    compute.virtual_machines.get(GROUP, "vm")
except ResourceNotFoundError as error:
    step("gone", error.error.code)
step("kept", sorted(one.name for one in compute.disks.list_by_resource_group(GROUP)))
done(resources.resource_groups.begin_delete(GROUP))
step("all gone", resources.resource_groups.check_existence(GROUP))
