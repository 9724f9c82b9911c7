"""Part of the simulated oned. VMs: how they are made, and the states that they go through."""

from __future__ import annotations

import time
from typing import Callable, List
from xml.etree import ElementTree

from simulators.opennebula_records import (
    ALLOCATE,
    DATED,
    INTERNAL,
    NO_EXISTS,
    USED,
    USED_PERS,
    Refused,
    Stored,
    User,
    Vm,
    parsed,
)


class Vms:
    """VMs: how they are made, and the states that they go through."""

    def _one_vm_allocate(self, user: User, text: str, hold: bool = False) -> int:
        return self._start(
            user,
            ElementTree.fromstring(text) if text.startswith("<") else parsed(text),
            refusal=INTERNAL,
        )

    def _one_template_instantiate(
        self, user: User, number: int, name: str, hold: bool, text: str
    ) -> int:
        if number not in self.templates:
            raise Refused(NO_EXISTS, f"Error getting virtual machine template [{number}].")
        template, more = (
            ElementTree.fromstring(self.templates[number][1]),
            ElementTree.fromstring(text),
        )
        for tag in {child.tag for child in more}:
            for child in template.findall(tag):
                template.remove(child)
        template.extend(more)
        return self._start(user, template, name)

    def _start(
        self, user: User, template: ElementTree.Element, name: str = "", refusal: int = ALLOCATE
    ) -> int:
        """``refusal``: the code of refusals; INTERNAL for allocate (RequestManagerAllocate.cc), ALLOCATE for a template."""
        preamble = "" if refusal == INTERNAL else "Error allocating a new virtual machine. "
        self._check_quota(user, self._wanted(template))
        if (
            "no-lease" in self.faults
            or template.find("NIC") is not None
            and self._leased(0) >= self.leases.get(0, 254)
        ):
            raise Refused(refusal, f"{preamble}Cannot get IP/MAC lease from virtual network 0.")
        if "clusters" in self.faults:
            raise Refused(
                refusal, f"{preamble}Missing clusters. Network for NIC 0 is not in any cluster"
            )
        number = next(self._ids["vm"])
        vm = Vm(
            number,
            self.oneadmin if "not-owner" in self.faults else user,
            name or template.findtext("NAME"),
            template,
            made=time.time(),
        )
        for disk in template.findall("DISK"):
            if disk.find("SOURCE") is not None or disk.findtext("TYPE") == "swap":
                vm.disks.append(
                    {"DISK_ID": str(len(vm.disks)), **{child.tag: child.text for child in disk}}
                )
                continue
            image = self._image_of(user, disk)
            image.vms.append(number)
            image.state = USED_PERS if image.persistent else USED
            vm.disks.append(
                {
                    "DISK_ID": str(len(vm.disks)),
                    "IMAGE": image.name,
                    "IMAGE_ID": str(image.id),
                    "TYPE": "FILE",
                }
            )
        for nic in template.findall("NIC"):
            network = self._network_of(nic)
            lease = (
                {}
                if self.faults & {"no-address", "guest-address"}
                else {"IP": f"10.0.0.{number % 250}"}
            )
            vm.nics.append(
                {
                    **lease,
                    "MAC": "02:00:0a:00:00:01",
                    "NETWORK": self.networks[network],
                    "NETWORK_ID": str(network),
                    "NIC_ID": str(len(vm.nics)),
                }
            )
        vm.said = {
            child.tag: child.text or ""
            for child in template
            if child.tag in ("VMPROBE", "SCHED_REQUIREMENTS")
        }
        self.vms[number] = vm
        self._later(1, lambda: self._placed(vm))
        return number

    def _image_of(self, user: User, disk: ElementTree.Element) -> Stored:
        number = disk.findtext("IMAGE_ID")
        if number is None:
            number = next(
                (i.id for i in self.images.values() if i.name == disk.findtext("IMAGE")), -1
            )
        if int(number) not in self.images:
            raise Refused(
                ALLOCATE,
                "Error allocating a new virtual machine. User 2 does not own an image with name: "
                f"{disk.findtext('IMAGE')} . Set IMAGE_UNAME or IMAGE_UID of owner in DISK.",
            )
        return self.images[int(number)]

    def _network_of(self, nic: ElementTree.Element) -> int:
        number = nic.findtext("NETWORK_ID")
        return (
            int(number)
            if number is not None
            else next(n for n, name in self.networks.items() if name == nic.findtext("NETWORK"))
        )

    def _placed(self, vm: Vm) -> None:
        if vm.state != "PENDING":
            return
        if self.faults & {"no-room", "system-full"} or vm.said.get("SCHED_REQUIREMENTS"):
            wanted = vm.said.get("SCHED_REQUIREMENTS")
            if not self.since(4):  # it is only in the log
                return
            vm.said["SCHED_MESSAGE"] = (
                DATED
                + "Cannot dispatch VM: "
                + (
                    f"No host meets capacity and SCHED_REQUIREMENTS: {wanted}"
                    if wanted
                    else "No system datastore with enough capacity for the VM"
                    if "system-full" in self.faults
                    else "No host with enough capacity to deploy the VM"
                )
            )
            return
        vm.host = self.hosts[vm.id % len(self.hosts)]
        ends = {
            "boot-failure": ["BOOT", "BOOT_FAILURE"],
            "prolog-failure": ["PROLOG_FAILURE"],
            "never-running": ["BOOT"],
            "dies": ["BOOT", "POWEROFF"],
        }
        if not self.since(4):  # failures end in FAILED, and a guest that is off is UNKNOWN
            ends.update(
                {
                    "boot-failure": ["BOOT", "FAILED"],
                    "prolog-failure": ["FAILED"],
                    "dies": ["BOOT", "UNKNOWN"],
                }
            )
        if "slow-prolog" in self.faults:
            return self._walk(vm, ["LCM_INIT", "PROLOG"])
        way = next((ends[fault] for fault in self.faults if fault in ends), ["BOOT", "RUNNING"])
        self._walk(vm, ["LCM_INIT", "PROLOG", *way])

    def _walk(self, vm: Vm, way: List[str], then: Callable[[], None] = lambda: None) -> None:
        """Go through these states, one step each, until something else happens to the VM."""
        vm.state, rest = way[0], way[1:]
        if vm.state == "RUNNING":
            vm.runs = vm.runs or time.time()
        said = {
            "BOOT_FAILURE": self._on_host(
                "DEPLOY", "Could not create domain from /var/lib/one//datastores/0/40/deployment.0"
            ),
            "PROLOG_FAILURE": "Error executing image transfer script: Error copying node1:/var/lib/one/datastores/1/7",
            "EPILOG_FAILURE": "Error executing image transfer script: Error deleting /var/lib/one/datastores/0/40",
        }
        said["FAILED"] = said[
            "PROLOG_FAILURE" if "prolog-failure" in self.faults else "BOOT_FAILURE"
        ]
        if vm.state in said:
            self._failed(vm, said[vm.state])
        here = vm.state
        if rest:
            self._later(1, lambda: self._walk(vm, rest, then) if vm.state == here else None)
        else:
            then()

    def _on_host(self, action: str, words: str) -> str:
        """oned's message on an action that failed on a host; since 6.0 with the exit code."""
        old = {
            "DEPLOY": "Error deploying virtual machine",
            "ATTACHDISK": "Error attaching new VM Disk",
            "DETACHDISK": "Error detaching VM Disk",
            "CANCEL": "Error canceling VM",
        }
        return f"{action}: {words}ExitCode: 1" if self.since(6) else f"{old[action]}: {words}"

    def _failed(self, vm: Vm, words: str) -> None:
        """Set the VM's ERROR. Up to 5.12 there is a space after the date; in images there always is."""
        vm.said["ERROR"] = (DATED.replace(" : ", ": ") if self.since(6) else DATED) + words
