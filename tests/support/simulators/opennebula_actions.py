"""Part of the simulated oned. What can be asked of a VM: its end, disks and snapshots."""

from __future__ import annotations

from typing import Dict
from xml.etree import ElementTree

from simulators.opennebula_records import (
    ACTION,
    AUTHORIZATION,
    ERROR,
    INTERNAL,
    LOCKED_IMAGE,
    NO_EXISTS,
    READY,
    USED,
    USED_PERS,
    Refused,
    User,
    Vm,
)


class VmActions:
    """What can be asked of a VM: its end, disks and snapshots."""

    def _found_vm(self, user: User, number: int, right: str) -> Vm:
        if number not in self.vms:
            raise Refused(NO_EXISTS, f"Error getting virtual machine [{number}].")
        if self.vms[number].owner is not user and user is not self.oneadmin:
            raise Refused(
                AUTHORIZATION,
                f"User [{user.id}] : Not authorized to perform {right} VM [{number}].",
            )
        return self.vms[number]

    def _one_vm_action(self, user: User, action: str, number: int) -> int:
        vm = self._found_vm(user, number, "MANAGE")
        if action not in (
            ("finalize", "shutdown") if not self.since(4) else ("terminate-hard", "terminate")
        ):
            raise Refused(ACTION, f'Action "{action}" is not supported')
        if "delete-ignored" in self.faults:
            return number
        if vm.state in ("PENDING", "HOLD", "CLONING_FAILURE", "FAILED"):
            self._free(vm)
        elif action == "finalize" and vm.state not in ("EPILOG", "DONE"):
            self._walk(vm, ["EPILOG", "DONE"], lambda: self._free(vm))
        elif vm.state == "RUNNING" and "cancel-failure" in self.faults:
            self._walk(
                vm,
                ["SHUTDOWN", "RUNNING"],
                lambda: self._failed(vm, self._on_host("CANCEL", "Could not destroy one-40")),
            )
        elif vm.state in ("RUNNING", "UNKNOWN", "SHUTDOWN", "POWEROFF"):
            if "epilog-failure" in self.faults:
                self._walk(vm, ["SHUTDOWN", "EPILOG", "EPILOG_FAILURE"])
            else:
                self._walk(vm, ["SHUTDOWN", "EPILOG", "DONE"], lambda: self._free(vm))
        elif vm.state.endswith("_FAILURE") and self.since(5, 4):
            self._walk(vm, ["CLEANUP_DELETE", "DONE"], lambda: self._free(vm))
        elif vm.state != "DONE":
            raise Refused(
                ACTION,
                f'Error performing action "{action}": Could not terminate VM {number}, wrong state {vm.state}.',
            )
        return number

    def _one_vm_recover(self, user: User, number: int, operation: int) -> int:
        if user is not self.oneadmin:
            raise Refused(
                AUTHORIZATION, f"User [{user.id}] : Not authorized to perform ADMIN VM [{number}]."
            )
        vm = self._found_vm(user, number, "ADMIN")
        self._walk(vm, ["CLEANUP_DELETE", "DONE"], lambda: self._free(vm))
        return number

    def _free(self, vm: Vm) -> None:
        vm.state = "DONE"
        for disk in vm.disks:
            self._release(vm, disk)

    def _release(self, vm: Vm, disk: Dict[str, str]) -> None:
        image = self.images.get(int(disk.get("IMAGE_ID", -1)))
        if image and vm.id in image.vms:
            image.vms.remove(vm.id)
            image.state = image.state if image.vms else READY

    def _one_vm_attach(self, user: User, number: int, text: str) -> int:
        vm = self._found_vm(user, number, "MANAGE")
        if vm.state != "RUNNING":
            raise Refused(
                ACTION, f"Could not attach a new disk to VM {number}, wrong state {vm.state}."
            )
        wanted = int(ElementTree.fromstring(text).findtext("DISK/IMAGE_ID"))
        if wanted not in self.images:
            raise Refused(ACTION, f"Image with ID: {wanted} does not exist")
        image = self.images[wanted]
        if image.state == LOCKED_IMAGE:
            raise Refused(ACTION, f"Cannot acquire image {image.id}, it is locked")
        if image.state == USED_PERS:
            raise Refused(
                ACTION, f"Cannot acquire image {image.id}, it is persistent and already in use"
            )
        if self.store_says[1].get("LN_TARGET") == "SYSTEM":
            self._check_quota(user, {"SYSTEM_DISK_SIZE": image.size})
        image.vms.append(number)
        image.state = USED_PERS if image.persistent else USED
        disk = {
            "ATTACH": "YES",
            "DISK_ID": str(len(vm.disks) + 1),
            "IMAGE": image.name,
            "IMAGE_ID": str(image.id),
            "TYPE": "FILE",
        }
        vm.disks.append(disk)  # the number before belongs to the context

        def attached() -> None:
            disk.pop("ATTACH")
            if "attach-failure" in self.faults:
                vm.disks.remove(disk)
                self._release(vm, disk)
                self._failed(vm, self._on_host("ATTACHDISK", "Could not attach vdb: target busy"))

        self._walk(
            vm,
            ["HOTPLUG"] if "attach-hangs" in self.faults else ["HOTPLUG", "RUNNING"],
            (lambda: None) if "attach-hangs" in self.faults else attached,
        )
        return number

    def _one_vm_detach(self, user: User, number: int, disk_id: int) -> int:
        vm = self._found_vm(user, number, "MANAGE")
        if vm.state not in ("RUNNING", "POWEROFF"):
            raise Refused(
                ACTION, f"Could not detach disk from VM {number}, wrong state {vm.state}."
            )
        disk = next((disk for disk in vm.disks if disk["DISK_ID"] == str(disk_id)), None)
        if disk is None:
            raise Refused(
                ACTION, f"Could not detach disk with DISK_ID {disk_id}, it does not exist."
            )
        disk["ATTACH"] = "YES"

        def detached() -> None:
            if "detach-failure" in self.faults:
                disk.pop("ATTACH")
                return self._failed(vm, self._on_host("DETACHDISK", "Could not detach vdb"))
            vm.disks.remove(disk)
            self._release(vm, disk)

        self._walk(vm, ["HOTPLUG", "RUNNING"], detached)
        return number

    def _one_vm_disksaveas(
        self, user: User, number: int, disk_id: int, name: str, kind: str, snapshot: int
    ) -> int:
        vm = self._found_vm(user, number, "MANAGE")
        if vm.state not in ("RUNNING", "POWEROFF"):
            raise Refused(INTERNAL, "VM has to be RUNNING, POWEROFF or SUSPENDED to save disks.")
        if not any(disk["DISK_ID"] == str(disk_id) for disk in vm.disks):
            raise Refused(INTERNAL, "Cannot use DISK. Disk not found")
        self._check_name(user, name)
        made = self._keep(user, name, 0, 16, False)
        made.said.update(SAVED_DISK_ID=str(disk_id), SAVED_IMAGE_ID="7", SAVED_VM_ID=str(number))

        def saved() -> None:  # only the VM has the reason of a failure
            made.state = ERROR if "saveas-error" in self.faults else READY
            if made.state == ERROR:
                self._failed(
                    vm,
                    "Error executing image transfer script: Error dumping /var/lib/one/datastores/0/40/disk.0",
                )

        self._walk(vm, ["HOTPLUG_SAVEAS", "RUNNING"], saved)
        return made.id
