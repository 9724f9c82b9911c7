"""A simulated Azure: one subscription behind the Resource Manager, as Microsoft's clients know it.

Above 400 lines: one service, whose resources refer to each other.

The shapes of answers, and what is asked for synchronously and what is not, follow recordings of the
real service; its refusals are the real ones where they were recorded.
"""

from __future__ import annotations

import copy
import re
import time
import uuid
from typing import Any, Callable, Dict, List, Optional, Tuple

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
REGION = "eastus"
NETWORK_GROUP = "networks"
Record = Dict[str, Any]
VM, DISK, SNAPSHOT, IMAGE = (
    f"microsoft.compute/{word}" for word in ("virtualmachines", "disks", "snapshots", "images")
)
NIC, NET = "microsoft.network/networkinterfaces", "microsoft.network/virtualnetworks"
SPELLED = {
    VM: "Microsoft.Compute/virtualMachines",
    DISK: "Microsoft.Compute/disks",
    SNAPSHOT: "Microsoft.Compute/snapshots",
    IMAGE: "Microsoft.Compute/images",
    NIC: "Microsoft.Network/networkInterfaces",
    NET: "Microsoft.Network/virtualNetworks",
}
SIZES = {  # name: (family, vCPUs, GB, generations, why it is restricted)
    "Standard_A0": ("standardA0_A7Family", 1, 0.75, "V1", "NotAvailableForSubscription"),
    "Standard_B1ls": ("standardBSFamily", 1, 0.5, "V1,V2", ""),
    "Standard_B1s": ("standardBSFamily", 1, 1, "V1,V2", ""),
    "Standard_D2s_v3": ("standardDSv3Family", 2, 8, "V1,V2", ""),
    "Standard_D2ps_v5": ("standardDPSv5Family", 2, 8, "V2", ""),
}
URN = ("Canonical", "ubuntu", "server", "22.04.202211010")


class Refused(Exception):
    """An answer of 400 or more."""

    def __init__(self, status: int, code: str, message: str, **headers: str):
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


def not_found(kind: str, group: str, name: str) -> Refused:
    return Refused(
        404,
        "ResourceNotFound",
        f"The Resource '{SPELLED.get(kind, kind)}/{name}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


class Operation:
    """Something that goes on until ``ends``."""

    def __init__(self, ends: float, finish: Callable[[], Optional[Tuple[str, str]]]):
        self.id, self.ends, self.finish = str(uuid.uuid4()), ends, finish
        self.done, self.error = False, None


class Azure:
    """The subscription: groups, resources, operations. ``faults`` are names, as the tests use them.

    Above 250 lines: one method for each kind of resource.
    """

    def __init__(self, delay: float = 0.1):
        self.delay = delay  # seconds that an operation takes
        self.faults: set = set()
        self.plot: Dict[Any, str] = {}  # number of a request, or "PUT vm": how its answer fails
        self.killer: Callable[[], None] = lambda: None
        self.groups: Dict[str, Record] = {}
        self.things: Dict[Tuple[str, str, str], Record] = {}  # by type, group and name
        self.operations: Dict[str, Operation] = {}
        self.calls: List[str] = []
        self.page = 50
        self.cores = 100
        self.addresses = 3
        self.metrics_after = 0.0  # seconds after a start from which there are metrics
        self.started: Dict[str, float] = {}
        self.nonces: Dict[str, str] = {}
        self._seed()

    def _seed(self) -> None:
        self.put_group(NETWORK_GROUP, {"location": REGION})
        net = self._new(NET, NETWORK_GROUP, "net1", {"location": REGION})
        subnet = f"{net['id']}/subnets/subnet1"
        net["properties"] = {
            "provisioningState": "Succeeded",
            "addressSpace": {"addressPrefixes": ["10.0.0.0/24"]},
            "subnets": [
                {
                    "id": subnet,
                    "name": "subnet1",
                    "properties": {
                        "provisioningState": "Succeeded",
                        "addressPrefix": "10.0.0.0/24",
                    },
                }
            ],
        }
        image = self._new(IMAGE, NETWORK_GROUP, "vmprobe-test", {"location": REGION})
        image["properties"] = {"provisioningState": "Succeeded", "hyperVGeneration": "V1"}

    def left(self) -> List[str]:
        """What was made and is still there."""
        self.settle(forever=True)
        groups = [f"group {name}" for name in self.groups if name != NETWORK_GROUP]
        things = [
            f"{kind} {group}/{name}"
            for kind, group, name in self.things
            if kind not in (NET, IMAGE)
        ]
        return sorted(groups + things)

    # --- time -----------------------------------------------------------------------------------

    def settle(self, forever: bool = False) -> None:
        """Let what is over take effect."""
        for operation in list(self.operations.values()):
            if not operation.done and (forever or time.monotonic() >= operation.ends):
                operation.done = True
                operation.error = operation.finish()

    def begin(self, finish: Callable[[], Optional[Tuple[str, str]]], never: bool = False) -> str:
        ends = float("inf") if never else time.monotonic() + self.delay
        operation = Operation(ends, finish)
        self.operations[operation.id] = operation
        return operation.id

    # --- groups ---------------------------------------------------------------------------------

    def group(self, name: str) -> Record:
        if name.lower() not in self.groups:
            raise Refused(
                404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found."
            )
        return self.groups[name.lower()]

    def put_group(self, name: str, body: Record) -> Tuple[int, Record]:
        if "no-groups" in self.faults:
            raise self._forbidden("Microsoft.Resources/subscriptions/resourcegroups/write", name)
        old = self.groups.get(name.lower())
        if old and old["properties"]["provisioningState"] == "Deleting":
            raise Refused(
                409,
                "ResourceGroupBeingDeleted",
                f"The resource group '{name}' is in deprovisioning state and cannot perform this operation.",
            )
        made = {
            "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}",
            "name": name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": body["location"],
            "tags": body.get("tags", {}),
            "properties": {"provisioningState": "Succeeded"},
        }
        self.groups[name.lower()] = made
        return 200 if old else 201, made

    def delete_group(self, name: str) -> str:
        group = self.group(name)
        group["properties"]["provisioningState"] = "Deleting"

        def finish() -> None:
            self.groups.pop(name.lower(), None)
            for key in [key for key in self.things if key[1] == name.lower()]:
                del self.things[key]

        return self.begin(finish, never="group-stays" in self.faults)

    # --- resources ------------------------------------------------------------------------------

    def get(self, kind: str, group: str, name: str) -> Record:
        self.group(group)
        try:
            return self.things[kind, group.lower(), name.lower()]
        except KeyError:
            raise not_found(kind, group, name) from None

    def of(self, kind: str, group: str = "") -> List[Record]:
        if group:
            self.group(group)
        return [
            one
            for (of, where, _), one in self.things.items()
            if of == kind and where in (group.lower() or where,)
        ]

    def by_id(self, identity: str) -> Record:
        match = re.fullmatch(
            r"/subscriptions/[^/]+/resourceGroups/([^/]+)/providers/([^/]+/[^/]+)/([^/]+)",
            identity,
            re.I,
        )
        if not match:
            raise Refused(400, "InvalidParameter", f"{identity} is no id")
        return self.get(match[2].lower(), match[1], match[3])

    def _new(self, kind: str, group: str, name: str, body: Record) -> Record:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", name):
            raise Refused(400, "InvalidResourceName", f"Resource name {name} is invalid.")
        if body.get("location") != REGION:
            raise Refused(400, "LocationRequired", "The location property is required.")
        made = {
            "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}/providers/{SPELLED[kind]}/{name}",
            "name": name,
            "type": SPELLED[kind],
            "location": body["location"],
            "tags": body.get("tags", {}),
            "properties": {},
        }
        self.things[kind, group.lower(), name.lower()] = made
        return made

    def _forbidden(self, action: str, scope: str, code: str = "AuthorizationFailed") -> Refused:
        return Refused(
            403,
            code,
            "The client 'probe' with object id '00000000-0000-0000-0000-00000000000a' does not have authorization to "
            f"perform action '{action}' over scope '/subscriptions/{SUBSCRIPTION}/resourceGroups/{scope}'.",
        )

    def put_net(self, group: str, name: str, body: Record) -> Tuple[int, Record, str]:
        self.group(group)
        net = self._new(NET, group, name, body)
        net["properties"] = copy.deepcopy(body["properties"])
        net["properties"]["provisioningState"] = "Updating"
        for subnet in net["properties"].get("subnets", []):
            subnet["id"] = f"{net['id']}/subnets/{subnet['name']}"
            subnet["properties"]["provisioningState"] = "Updating"

        def finish() -> None:
            net["properties"]["provisioningState"] = "Succeeded"

        return 201, net, self.begin(finish)

    def put_nic(self, group: str, name: str, body: Record) -> Tuple[int, Record, str]:
        self.group(group)
        subnet = body["properties"]["ipConfigurations"][0]["properties"]["subnet"]["id"]
        network = re.sub(r"/subnets/.*", "", subnet)
        if "linked" in self.faults:
            raise self._forbidden(
                "Microsoft.Network/virtualNetworks/subnets/join/action",
                group,
                "LinkedAuthorizationFailed",
            )
        if "subnet-full" in self.faults:
            raise Refused(
                400,
                "SubnetIsFull",
                "Subnet subnet1 with address prefix 10.0.0.0/24 does not have enough capacity.",
            )
        self.by_id(network)
        self.addresses += 1
        nic = self._new(NIC, group, name, body)
        nic["properties"] = {
            "provisioningState": "Succeeded",
            "ipConfigurations": [
                {
                    "id": f"{nic['id']}/ipConfigurations/primary",
                    "name": "primary",
                    "properties": {
                        "provisioningState": "Succeeded",
                        "privateIPAddress": f"10.0.0.{self.addresses}",
                        "privateIPAllocationMethod": "Dynamic",
                        "subnet": {"id": subnet},
                        "primary": True,
                    },
                }
            ],
        }
        if "no-address" in self.faults:
            del nic["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]
        return 201, nic, self.begin(lambda: None)

    def put_disk(self, kind: str, group: str, name: str, body: Record) -> Tuple[int, Record, str]:
        self.group(group)
        if "disk-refused" in self.faults:
            raise Refused(409, "OperationNotAllowed", self._quota("StandardDiskCount", 1))
        source = body["properties"]["creationData"].get("sourceResourceId")
        if source:
            self.by_id(source)
        disk = self._new(kind, group, name, body)
        size = body["properties"].get("diskSizeGB", 30)
        disk["properties"] = {
            "creationData": body["properties"]["creationData"],
            "diskSizeGB": size,
            "provisioningState": "Updating",
        }
        early = copy.deepcopy(disk)
        disk["sku"] = {"name": body.get("sku", {}).get("name", "Standard_LRS"), "tier": "Standard"}

        def finish() -> Optional[Tuple[str, str]]:
            if "disk-fails" in self.faults:
                disk["properties"]["provisioningState"] = "Failed"
                return "InternalDiskManagementError", "An internal disk management error occurred."
            disk["properties"].update(
                provisioningState="Succeeded",
                diskSizeBytes=size * 2**30,
                timeCreated=stamp(),
                diskState="Unattached",
            )
            return None

        return 202, {k: v for k, v in early.items() if k not in ("id", "type")}, self.begin(finish)

    def _quota(self, what: str, more: int) -> str:
        return (
            f"Operation results in exceeding quota limits of {what}. Maximum allowed: {self.cores}, "
            f"Current in use: {self.cores}, Additional requested: {more}."
        )

    # --- machines -------------------------------------------------------------------------------

    REFUSALS = {
        "sku": (
            409,
            "SkuNotAvailable",
            "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: Standard_B1ls' "
            "is currently not available in location 'eastus'.",
        ),
        "policy": (
            403,
            "RequestDisallowedByPolicy",
            "Resource 'vm' was disallowed by policy. Policy identifiers: 'Allowed sizes'.",
        ),
        "rights": (403, "AuthorizationFailed", "The client does not have authorization."),
        "image-gone": (
            404,
            "PlatformImageNotFound",
            "The platform image 'Canonical:ubuntu:server:1' is not available.",
        ),
        "busy": (
            429,
            "OperationNotAllowed",
            "The server rejected the request because too many requests.",
        ),
    }
    FAILURES = {
        "allocation": (
            "AllocationFailed",
            "Allocation failed. We do not have sufficient capacity for the requested VM size in this region.",
        ),
        "zonal": (
            "ZonalAllocationFailed",
            "Allocation failed. We do not have sufficient capacity for the requested VM size in this zone.",
        ),
        "provisioning": (
            "OSProvisioningTimedOut",
            "OS Provisioning for VM did not finish in the allotted time.",
        ),
        "internal": ("InternalExecutionError", "An internal execution error occurred."),
    }

    def put_vm(self, group: str, name: str, body: Record) -> Tuple[int, Record, str]:
        self.group(group)
        if "cores" in self.faults:
            raise Refused(409, "OperationNotAllowed", self._quota("Core", 1))
        for fault, words in self.REFUSALS.items():
            if fault in self.faults:
                raise Refused(*words)
        given = body["properties"]
        if not given["osProfile"].get("adminUsername"):
            raise Refused(
                400, "InvalidParameter", "Required parameter 'adminUsername' is missing (null)."
            )
        size = given["hardwareProfile"]["vmSize"]
        if size not in SIZES:
            raise Refused(
                400, "InvalidParameter", f"The value {size} provided for the VM size is not valid."
            )
        if "ps_" in size:
            raise Refused(
                400,
                "BadRequest",
                f"The selected VM size '{size}' cannot boot Hypervisor Generation '1'.",
            )
        self._check_image(given["storageProfile"]["imageReference"])
        nic = self.by_id(given["networkProfile"]["networkInterfaces"][0]["id"])
        vm = self._new(VM, group, name, body)
        os_name = given["storageProfile"]["osDisk"].get("name") or f"{name}_OsDisk_1"
        loud = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group.upper()}/providers"
        vm["properties"] = {
            "vmId": str(uuid.uuid4()),
            "hardwareProfile": {"vmSize": size},
            "storageProfile": {
                "imageReference": given["storageProfile"]["imageReference"],
                "osDisk": {
                    "osType": "Linux",
                    "name": os_name,
                    "createOption": "FromImage",
                    "caching": "ReadWrite",
                    "managedDisk": {
                        "storageAccountType": "Standard_LRS",
                        "id": f"{loud}/Microsoft.Compute/disks/{os_name}",
                    },
                    "diskSizeGB": 30,
                },
                "dataDisks": [],
            },
            "osProfile": {
                key: value
                for key, value in given["osProfile"].items()
                if key not in ("adminPassword", "customData")
            },
            "networkProfile": given["networkProfile"],
            "diagnosticsProfile": given.get("diagnosticsProfile", {}),
            "provisioningState": "Creating",
        }
        nic["properties"]["virtualMachine"] = {"id": vm["id"]}
        self.nonces[name.lower()] = given["osProfile"].get("customData", "")
        disk = self._new(DISK, group, os_name, {"location": REGION})
        disk["managedBy"] = vm["id"]
        disk["properties"] = {
            "osType": "Linux",
            "creationData": {"createOption": "FromImage"},
            "diskSizeGB": 30,
            "diskSizeBytes": 30 * 2**30,
            "provisioningState": "Succeeded",
            "diskState": "Attached",
        }

        def finish() -> Optional[Tuple[str, str]]:
            for fault, error in self.FAILURES.items():
                if fault in self.faults:
                    vm["properties"]["provisioningState"] = "Failed"
                    vm["failure"] = error
                    return error
            vm["properties"]["provisioningState"] = "Succeeded"
            self.started[name.lower()] = time.monotonic()
            return None

        return 201, vm, self.begin(finish, never="never-running" in self.faults)

    def _check_image(self, reference: Record) -> None:
        if reference.get("id"):
            self.by_id(reference["id"])
        elif (reference["publisher"], reference["offer"], reference["sku"]) != URN[:3]:
            raise Refused(404, "PlatformImageNotFound", "The platform image is not available.")

    def view(self, vm: Record) -> Record:
        """The instance view."""
        state = vm["properties"]["provisioningState"]
        statuses = [{"code": f"ProvisioningState/{state.lower()}", "level": "Info"}]
        if vm.get("failure"):
            code, message = vm["failure"]
            statuses = [
                {"code": f"ProvisioningState/failed/{code}", "level": "Error", "message": message}
            ]
        elif state == "Succeeded":
            statuses[0]["time"] = stamp()
        if state in ("Succeeded", "Updating"):
            power = "deallocated" if "dies" in self.faults else "running"
            statuses.append({"code": f"PowerState/{power}", "level": "Info"})
        return {"statuses": statuses}

    def patch_vm(self, group: str, name: str, body: Record) -> Tuple[int, Record, str]:
        vm = self.get(VM, group, name)
        if "patch-conflict" in self.faults:
            self.faults.discard("patch-conflict")
            raise Refused(
                409,
                "AttachDiskWhileBeingDetached",
                "Cannot attach data disk: it is being detached.",
            )
        wanted = body.get("properties", {}).get("storageProfile", {}).get("dataDisks")
        if wanted is None:
            return 200, vm, self.begin(lambda: None)
        profile = vm["properties"]["storageProfile"]
        before = {disk["managedDisk"]["id"].lower() for disk in profile["dataDisks"]}
        disks = []
        for disk in wanted:
            found = self.by_id(disk["managedDisk"]["id"])
            if found.get("managedBy") not in (None, vm["id"]):
                raise Refused(
                    409,
                    "ConflictingUserInput",
                    f"Disk '{found['id']}' cannot be attached as the disk is already owned by VM '{found['managedBy']}'.",
                )
            disks.append(
                {
                    "lun": disk["lun"],
                    "name": found["name"],
                    "createOption": "Attach",
                    "caching": disk.get("caching", "None"),
                    "managedDisk": {"storageAccountType": "Standard_LRS", "id": found["id"]},
                    "diskSizeGB": found["properties"]["diskSizeGB"],
                    "toBeDetached": False,
                }
            )
        vm["properties"]["provisioningState"] = "Updating"
        after = {disk["managedDisk"]["id"].lower() for disk in disks}

        def finish() -> Optional[Tuple[str, str]]:
            if "attach-fails" in self.faults and after - before:
                vm["properties"]["provisioningState"] = "Failed"
                return "AttachDiskFailed", "The disk could not be attached to the host."
            vm["properties"]["provisioningState"] = "Succeeded"
            profile["dataDisks"] = disks
            for disk in self.of(DISK):
                if disk["id"].lower() in after:
                    disk["managedBy"] = vm["id"]
                    disk["properties"]["diskState"] = "Attached"
                elif disk["id"].lower() in before:
                    disk.pop("managedBy", None)
                    disk["properties"]["diskState"] = "Unattached"
            return None

        return (
            200,
            vm,
            self.begin(finish, never="attach-hangs" in self.faults and bool(after - before)),
        )

    # --- removal --------------------------------------------------------------------------------

    def delete(self, kind: str, group: str, name: str) -> str:
        thing = self.get(kind, group, name)
        if "delete-refused" in self.faults and kind == VM:
            raise self._forbidden("Microsoft.Compute/virtualMachines/delete", group)
        if kind == NIC and "virtualMachine" in thing["properties"]:
            raise Refused(
                400,
                "NicInUse",
                f"Network Interface {thing['id']} is used by existing resource {thing['properties']['virtualMachine']['id']}.",
            )
        if kind == DISK and thing.get("managedBy"):
            raise Refused(
                409,
                "OperationNotAllowed",
                f"Disk {name} is attached to VM {thing['managedBy']}.",
            )
        thing["properties"]["provisioningState"] = "Deleting"

        def finish() -> None:
            self.things.pop((kind, group.lower(), name.lower()), None)
            if kind != VM:
                return
            for other in self.of(NIC):
                if other["properties"].get("virtualMachine", {}).get("id") == thing["id"]:
                    del other["properties"]["virtualMachine"]
            for disk in self.of(DISK):
                if disk.get("managedBy") == thing["id"]:
                    del disk["managedBy"]
                    disk["properties"]["diskState"] = "Unattached"

        return self.begin(finish, never="delete-hangs" in self.faults)


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.0000000+00:00", time.gmtime())
