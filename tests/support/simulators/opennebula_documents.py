"""Part of the simulated oned. What oned shows of VMs: in a pool, alone, and their metrics."""

from __future__ import annotations

import time
from typing import Dict
from xml.etree import ElementTree
from xml.sax.saxutils import escape
from xmlrpc.client import Fault

from simulators.opennebula_records import (
    STATES,
    User,
    Vm,
    owned,
    permissions,
    pool,
    vector,
)


class VmDocuments:
    """What oned shows of VMs: in a pool, alone, and their metrics."""

    def _one_vm_info(self, user: User, number: int) -> str:
        return self._whole(self._found_vm(user, number, "USE"))

    def _one_vmpool_info(self, user: User, whose: int, start: int, end: int, state: int) -> str:
        seen = [
            vm
            for vm in self.vms.values()
            if (vm.owner is user or user is self.oneadmin and whose == -2)
            and (state == -2 or vm.state != "DONE")
        ]
        short = self.since(5, 8)
        return pool(
            "VM_POOL", [self._short(vm) if short else self._whole(vm) for vm in seen], start, end
        )

    def _one_vm_monitoring(self, user: User, number: int) -> str:
        if not self.since(3, 6):
            raise Fault(-506, "Method 'one.vm.monitoring' not defined")
        vm = self._found_vm(user, number, "USE")
        reading = self._reading(vm)
        if not reading:
            return "<MONITORING_DATA/>"
        return f"<MONITORING_DATA>{vector('MONITORING', reading) if self.since(5, 12) else self._whole(vm)}</MONITORING_DATA>"

    def _reading(self, vm: Vm) -> Dict[str, str]:
        """monitord's newest reading. It takes one every ten steps, the first one step after the VM began to run."""
        age = time.time() - vm.runs
        if not vm.runs or age < self.step or "no-metrics" in self.faults:
            return {}
        taken = int(age / (10 * self.step)) + 1
        said = {
            "CPU": "50.0",
            "DISKRDBYTES": str(1000 * taken),
            "DISKRDIOPS": "10",
            "DISKWRBYTES": str(2000 * taken),
            "DISKWRIOPS": "20",
            **({"ID": str(vm.id)} if self.since(5, 12) else {}),
            "MEMORY": "65536",
            "NETRX": str(300 * taken),
            "NETTX": str(400 * taken),
        }
        if "guest-address" in self.faults:
            said["GUEST_IP"] = f"192.168.1.{vm.id}"
        if self.since(5, 12):
            said["TIMESTAMP"] = str(int(vm.runs) + taken)
        return said

    def _short(self, vm: Vm) -> str:
        state, lcm = STATES[vm.state]
        reading = self._reading(vm)
        monitored = vector(
            "MONITORING",
            {**{key: reading[key] for key in ("CPU", "MEMORY")}, "STATE": "a"} if reading else {},
        )
        keys = ("ERROR", "SCHED_MESSAGE", "SCHED_REQUIREMENTS")
        said = {key: vm.said[key] for key in keys if key in vm.said}
        rows = "".join(
            f"<{key}>{vm.template.findtext(key) or ''}</{key}>"
            for key in (("CPU", "MEMORY", "VCPU") if self.since(6, 8) else ("CPU", "MEMORY"))
        )
        disks = "".join(
            vector("DISK", {key: value for key, value in disk.items() if key != "ATTACH"})
            for disk in vm.disks
        )
        host = (
            (
                f"<HISTORY><OID>{vm.id}</OID><SEQ>{vm.seq}</SEQ><HOSTNAME>{vm.host}</HOSTNAME><HID>0</HID><CID>0</CID><DS_ID>0</DS_ID>"
                f"<VM_MAD>kvm</VM_MAD><TM_MAD>ssh</TM_MAD><ACTION>0</ACTION></HISTORY>"
            )
            if vm.host
            else ""
        )
        return (
            f"<VM><ID>{vm.id}</ID>{owned(vm.owner)}<NAME>{escape(vm.name)}</NAME><LAST_POLL>{self._polled(vm)}</LAST_POLL>"
            f"<STATE>{state}</STATE><LCM_STATE>{lcm}</LCM_STATE><RESCHED>0</RESCHED><STIME>{vm.made:.0f}</STIME><ETIME>0</ETIME>"
            f"<DEPLOY_ID/><TEMPLATE>{rows}{disks}{''.join(vector('NIC', nic) for nic in vm.nics)}</TEMPLATE>{monitored}"
            f"{vector('USER_TEMPLATE', said)}<HISTORY_RECORDS>{host}</HISTORY_RECORDS></VM>"
        )

    def _whole(self, vm: Vm) -> str:
        state, lcm = STATES[vm.state]
        template = "".join(
            f"<{key}>{vm.template.findtext(key)}</{key}>"
            for key in ("CPU", "MEMORY", "VCPU")
            if vm.template.findtext(key)
        )
        disks, nics = (
            "".join(vector(tag, one) for one in those)
            for tag, those in (("DISK", vm.disks), ("NIC", vm.nics))
        )
        context = vm.template.find("CONTEXT")
        shown = "" if context is None else ElementTree.tostring(context, encoding="unicode")
        history = "".join(
            f"<{key}>{int(vm.stamps[key]) if key in vm.stamps else value}</{key}>"
            for key, value in (
                ("OID", vm.id),
                ("SEQ", vm.seq),
                ("HOSTNAME", vm.host),
                ("HID", 0),
                ("CID", 0),
                ("STIME", int(vm.made)),
                ("ETIME", 0),
                ("VM_MAD", "kvm"),
                ("TM_MAD", "ssh"),
                ("DS_ID", 0),
                ("PSTIME", int(vm.made)),
                ("PETIME", int(vm.made)),
                ("RSTIME", int(vm.made)),
                ("RETIME", 0),
                ("ESTIME", 0),
                ("EETIME", 0),
                ("ACTION", 0),
                ("UID", -1),
                ("GID", -1),
                ("REQUEST_ID", -1),
            )
        )
        reading = self._reading(vm)
        if not self.since(4):  # the VM itself has the figures
            old = {"MEMORY": "MEMORY", "CPU": "CPU", "NET_TX": "NETTX", "NET_RX": "NETRX"}
            error = f"<ERROR>{escape(vm.said['ERROR'])}</ERROR>" if "ERROR" in vm.said else ""
            shown, figures = (
                error,
                "".join(f"<{key}>{reading.get(name, 0)}</{key}>" for key, name in old.items()),
            )
        else:
            figures = vector("MONITORING", reading)
        return (
            f"<VM><ID>{vm.id}</ID>{owned(vm.owner)}<NAME>{escape(vm.name)}</NAME>{permissions()}"
            f"<LAST_POLL>{self._polled(vm)}</LAST_POLL><STATE>{state}</STATE><LCM_STATE>{lcm}</LCM_STATE>"
            f"<PREV_STATE>{state}</PREV_STATE><PREV_LCM_STATE>{lcm}</PREV_LCM_STATE><RESCHED>0</RESCHED>"
            f"<STIME>{vm.made:.0f}</STIME><ETIME>0</ETIME><DEPLOY_ID/>{figures}"
            f"{'<SCHED_ACTIONS/>' if self.since(6, 8) else ''}<TEMPLATE>{shown}{template}{disks}{nics}<TM_MAD_SYSTEM>ssh</TM_MAD_SYSTEM>"
            f"<VMID>{vm.id}</VMID></TEMPLATE>{vector('USER_TEMPLATE', vm.said)}"
            f"<HISTORY_RECORDS>{f'<HISTORY>{history}</HISTORY>' if vm.host else ''}</HISTORY_RECORDS>"
            f"{'<BACKUPS><BACKUP_CONFIG/><BACKUP_IDS/></BACKUPS>' if self.since(6, 6) else ''}</VM>"
        )

    def _polled(self, vm: Vm) -> int:
        reading = self._reading(vm)
        return int(vm.runs) + int(reading["DISKRDBYTES"]) // 1000 if reading else 0
