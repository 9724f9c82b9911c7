"""VMware's own client, pyVmomi, says what it sees: ``judge.py PORT``, one JSON object on its output."""

import http.client
import json
import sys

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim


class Plain(http.client.HTTPConnection):
    """pyVmomi asks for TLS; the simulator on loopback speaks without."""

    def __init__(self, *words, key_file=None, cert_file=None, context=None, **more):
        super().__init__(*words, **more)


def main():
    service = SmartConnect(
        protocol="http", host="127.0.0.1", port=int(sys.argv[1]), user="user", pwd="pass"
    )
    content = service.RetrieveContent()
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    found = {}
    for machine in view.view:
        if machine.name.startswith("vmprobe-"):
            devices = machine.config.hardware.device
            nics = [one for one in devices if isinstance(one, vim.vm.device.VirtualEthernetCard)]
            found[machine.name] = {
                "id": machine.config.instanceUuid,
                "power": machine.runtime.powerState,
                "vcpus": machine.config.hardware.numCPU,
                "memory": machine.config.hardware.memoryMB,
                "folder": machine.parent.name,
                "connected": [nic.connectable.connected for nic in nics],
                "disks": [
                    [one.backing.fileName, one.backing.diskMode]
                    for one in devices
                    if isinstance(one, vim.vm.device.VirtualDisk)
                ],
                "snapshots": [one.name for one in machine.snapshot.rootSnapshotList]
                if machine.snapshot
                else [],
            }
    Disconnect(service)
    print(json.dumps(found))


main()
