"""Part of the simulated oned. Users, groups and their quotas."""

from __future__ import annotations

from typing import Dict
from xml.etree import ElementTree

from simulators.opennebula_records import (
    AUTHORIZATION,
    USED_PERS,
    Refused,
    User,
)


class Accounts:
    """Users, groups and their quotas."""

    def _one_user_info(self, user: User, identity: int) -> str:
        return (
            f"<USER><ID>{user.id}</ID><GID>{user.group}</GID><GROUPS><ID>{user.group}</ID></GROUPS><GNAME>users</GNAME><NAME>{user.name}</NAME>"
            f"<PASSWORD>5f4dcc3b5aa765d61d8327deb882cf99</PASSWORD><AUTH_DRIVER>{user.driver}</AUTH_DRIVER>"
            f"<ENABLED>1</ENABLED><TEMPLATE/>{self._quotas(user, user.limits)}"
            f"<DEFAULT_USER_QUOTAS>{self._quotas(user, self.default_limits, used=False)}</DEFAULT_USER_QUOTAS></USER>"
        )

    def _one_group_info(self, user: User, identity: int) -> str:
        empty = "<DATASTORE_QUOTA/><NETWORK_QUOTA/><VM_QUOTA/><IMAGE_QUOTA/>"
        return (
            f"<GROUP><ID>{user.group}</ID><NAME>users</NAME><TEMPLATE/><USERS><ID>2</ID></USERS><ADMINS/>"
            f"{self._quotas(user, self.group_limits)}<DEFAULT_GROUP_QUOTAS>{empty}</DEFAULT_GROUP_QUOTAS></GROUP>"
        )

    def _quotas(self, user: User, limits: Dict[str, float], used: bool = True) -> str:
        """The four quotas of an account; default quotas have no usage."""
        now = self._used(user) if used else {}

        def rows(*keys: str) -> str:
            return "".join(
                f"<{key}>{limits.get(key, -1):g}</{key}><{key}_USED>{now.get(key, 0):g}</{key}_USED>"
                for key in keys
            )

        vms = rows(
            "CPU",
            "MEMORY",
            "RUNNING_CPU",
            "RUNNING_MEMORY",
            "RUNNING_VMS",
            "SYSTEM_DISK_SIZE",
            "VMS",
        )
        of_a_cluster = (
            f"<VM><CLUSTER_IDS>100</CLUSTER_IDS>{vms.replace('>50<', '>1<')}</VM>"
            if self.since(7) and used
            else ""
        )
        network = f"<NETWORK><ID>0</ID>{rows('LEASES')}</NETWORK>" if "LEASES" in limits else ""
        image = f"<IMAGE><ID>7</ID>{rows('RVMS')}</IMAGE>" if "RVMS" in limits else ""
        return (
            f"<DATASTORE_QUOTA><DATASTORE><ID>1</ID>{rows('IMAGES', 'SIZE')}</DATASTORE></DATASTORE_QUOTA>"
            f"<NETWORK_QUOTA>{network}</NETWORK_QUOTA><VM_QUOTA>{of_a_cluster}<VM>{vms}</VM></VM_QUOTA><IMAGE_QUOTA>{image}</IMAGE_QUOTA>"
        )

    def _used(self, user: User) -> Dict[str, float]:
        """The usage of an account's quotas (QuotaVirtualMachine::check and others)."""
        vms = [vm for vm in self.vms.values() if vm.owner is user and vm.state != "DONE"]
        mine = [image for image in self.images.values() if image.owner is user]
        used: Dict[str, float] = {"IMAGES": len(mine), "SIZE": sum(image.size for image in mine)}
        for vm in vms:
            for key, more in self._wanted(vm.template).items():
                used[key] = used.get(key, 0) + more
        if self.store_says[1].get("LN_TARGET") == "SYSTEM":
            used["SYSTEM_DISK_SIZE"] = used.get("SYSTEM_DISK_SIZE", 0) + sum(
                image.size for image in mine if image.state == USED_PERS
            )
        return used

    def _wanted(self, template: ElementTree.Element) -> Dict[str, float]:
        """What a VM of this template takes of its owner's quotas."""
        cpu, memory = float(template.findtext("CPU") or 0), float(template.findtext("MEMORY") or 0)
        disks = [
            self._image_of(self.probe, disk)
            for disk in template.findall("DISK")
            if disk.find("IMAGE") is not None or disk.find("IMAGE_ID") is not None
        ]
        copied = self.store_says[1].get("CLONE_TARGET") == "SYSTEM"
        volatile = sum(
            float(disk.findtext("SIZE") or 0)
            for disk in template.findall("DISK")
            if disk.findtext("TYPE") == "fs"
        )
        return {
            "VMS": 1,
            "RUNNING_VMS": 1,
            "CPU": cpu,
            "RUNNING_CPU": cpu,
            "MEMORY": memory,
            "RUNNING_MEMORY": memory,
            "SYSTEM_DISK_SIZE": volatile + sum(image.size for image in disks if copied),
            "LEASES": len(template.findall("NIC")),
            "RVMS": sum(1 for image in disks if image.id == 7),
        }

    def _check_quota(self, user: User, wanted: Dict[str, float]) -> None:
        used = self._used(user)
        if user is self.oneadmin:
            return
        for account, limits in (("user", user.limits), ("group", self.group_limits)):
            for key, more in wanted.items():
                most = limits.get(key, -1)
                if most == -1:
                    most = self.default_limits.get(key, -2) if account == "user" else -2
                if most >= 0 and used.get(key, 0) + more > most + 1e-6:
                    thing = {
                        "LEASES": "NETWORK with ID: 0",
                        "RVMS": "IMAGE with ID: 7",
                        "IMAGES": "DATASTORE with ID: 1",
                        "SIZE": "DATASTORE with ID: 1",
                    }.get(key, "VM")
                    number = user.id if account == "user" else user.group
                    raise Refused(
                        AUTHORIZATION,
                        f"User [{user.id}] : {account} [{number}] limit of {most:g} reached for {key} quota in {thing}.",
                    )
