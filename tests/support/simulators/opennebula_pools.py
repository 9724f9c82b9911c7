"""Part of the simulated oned. Hosts, datastores, networks and templates, which no request changes."""

from __future__ import annotations

from simulators.opennebula_records import (
    User,
    permissions,
    pool,
    vector,
)


class Pools:
    """Hosts, datastores, networks and templates, which no request changes."""

    def _one_hostpool_info(self, user: User) -> str:
        return f"<HOST_POOL>{''.join(self._host(number, name) for number, name in enumerate(self.hosts))}</HOST_POOL>"

    def _host(self, number: int, name: str) -> str:
        vms = [
            vm
            for vm in self.vms.values()
            if vm.host == name and vm.state not in ("DONE", "PENDING")
        ]
        cpu = sum(float(vm.template.findtext("CPU") or 0) for vm in vms) * 100
        memory = sum(int(vm.template.findtext("MEMORY") or 0) for vm in vms) * 1024
        return (
            f"<HOST><ID>{number}</ID><NAME>{name}</NAME><STATE>2</STATE><PREV_STATE>2</PREV_STATE><IM_MAD>kvm</IM_MAD>"
            f"<VM_MAD>kvm</VM_MAD><CLUSTER_ID>{self.host_clusters.get(name, 0)}</CLUSTER_ID><CLUSTER>default</CLUSTER><HOST_SHARE>"
            f"<MEM_USAGE>{memory}</MEM_USAGE><CPU_USAGE>{cpu:.0f}</CPU_USAGE><TOTAL_MEM>8388608</TOTAL_MEM>"
            f"<TOTAL_CPU>800</TOTAL_CPU><MAX_MEM>8388608</MAX_MEM><MAX_CPU>800</MAX_CPU>"
            f"<RUNNING_VMS>{len(vms)}</RUNNING_VMS><VMS_THREAD>1</VMS_THREAD><DATASTORES><DISK_USAGE>0</DISK_USAGE>"
            f"<FREE_DISK>0</FREE_DISK><MAX_DISK>0</MAX_DISK><USED_DISK>0</USED_DISK></DATASTORES><PCI_DEVICES/><NUMA_NODES/>"
            f"</HOST_SHARE><VMS>{''.join(f'<ID>{vm.id}</ID>' for vm in vms)}</VMS><TEMPLATE/><MONITORING/></HOST>"
        )

    def _one_datastorepool_info(self, user: User) -> str:
        return (
            "<DATASTORE_POOL>"
            + "".join(
                f"<DATASTORE><ID>{number}</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><NAME>{name}</NAME>"
                f"{permissions()}<DS_MAD>fs</DS_MAD><TM_MAD>ssh</TM_MAD><BASE_PATH>/var/lib/one/datastores/{number}</BASE_PATH>"
                f"<TYPE>{kind}</TYPE><DISK_TYPE>0</DISK_TYPE><STATE>{int(number in self.disabled_stores)}</STATE>{self._in_clusters('datastore', number)}<TOTAL_MB>{total}</TOTAL_MB>"
                f"<FREE_MB>{self.store_free.get(number, total - used)}</FREE_MB><USED_MB>{used}</USED_MB><IMAGES/>"
                f"{vector('TEMPLATE', self.store_says.get(number, {}))}</DATASTORE>"
                for number, (name, kind, total, used) in self.datastores.items()
            )
            + "</DATASTORE_POOL>"
        )

    def _one_vnpool_info(self, user: User, whose: int, start: int, end: int) -> str:
        return pool(
            "VNET_POOL",
            [
                f"<VNET><ID>{number}</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><NAME>{name}</NAME>"
                f"{permissions()}{self._in_clusters('network', number)}<BRIDGE>br0</BRIDGE><BRIDGE_TYPE>linux</BRIDGE_TYPE><STATE>1</STATE>"
                f"<PREV_STATE>1</PREV_STATE><PARENT_NETWORK_ID/><VN_MAD>bridge</VN_MAD><PHYDEV/><VLAN_ID/><OUTER_VLAN_ID/>"
                f"<VLAN_ID_AUTOMATIC>0</VLAN_ID_AUTOMATIC><OUTER_VLAN_ID_AUTOMATIC>0</OUTER_VLAN_ID_AUTOMATIC>"
                f"<USED_LEASES>{self._leased(number)}</USED_LEASES><VROUTERS/><UPDATED_VMS/><OUTDATED_VMS/><UPDATING_VMS/><ERROR_VMS/><TEMPLATE/>"
                f"<AR_POOL><AR><AR_ID>0</AR_ID><IP>10.0.0.2</IP><MAC>02:00:0a:00:00:02</MAC><SIZE>{self.leases.get(number, 254)}</SIZE>"
                f"<TYPE>IP4</TYPE></AR></AR_POOL></VNET>"
                for number, name in self.networks.items()
            ],
            start,
            end,
        )

    def _in_clusters(self, kind: str, number: int) -> str:
        return f"<CLUSTERS>{''.join(f'<ID>{one}</ID>' for one in self.clusters.get((kind, number), [0]))}</CLUSTERS>"

    def _leased(self, network: int) -> int:
        return sum(
            1
            for vm in self.vms.values()
            if vm.state != "DONE"
            for nic in vm.nics
            if nic["NETWORK_ID"] == str(network)
        )

    def _one_templatepool_info(self, user: User, whose: int, start: int, end: int) -> str:
        return pool(
            "VMTEMPLATE_POOL",
            [
                f"<VMTEMPLATE><ID>{number}</ID><UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME><NAME>{name}</NAME>"
                f"{permissions()}<REGTIME>1</REGTIME>{template}</VMTEMPLATE>"
                for number, (name, template) in self.templates.items()
            ],
            start,
            end,
        )
