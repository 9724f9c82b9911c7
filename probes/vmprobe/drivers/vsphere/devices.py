"""Virtual devices: those that a machine has, and those that we ask for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from vmprobe.core.errors import CloudError
from vmprobe.drivers.vsphere import soap
from vmprobe.drivers.vsphere.soap import Data, Value

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NICS = (
    "VirtualVmxnet3",
    "VirtualVmxnet3Vrdma",
    "VirtualVmxnet2",
    "VirtualVmxnet",
    "VirtualE1000e",
    "VirtualE1000",
    "VirtualPCNet32",
    "VirtualSriovEthernetCard",
)
# By type of a disk's controller: how many units it has, and the one that it takes for itself.
_CONTROLLERS: Mapping[str, Tuple[int, Optional[int]]] = {
    "ParaVirtualSCSIController": (16, 7),
    "VirtualLsiLogicController": (16, 7),
    "VirtualLsiLogicSASController": (16, 7),
    "VirtualBusLogicController": (16, 7),
    "VirtualNVMEController": (15, None),
    "VirtualAHCIController": (30, None),
}
_NEW_CONTROLLER, _NEW_DISK, _NEW_NIC, _NEW_SERIAL = -101, -102, -103, -104  # keys until it exists


class Nic(NamedTuple):
    """A network card; ``key`` is 0 for one that is to be added."""

    type: str
    key: int
    backing: Optional[Data]
    network: str = ""  # its network, for people
    label: str = ""
    controller: Optional[int] = None
    unit: Optional[int] = None
    mac: str = ""
    is_connected: bool = False


class Disk(NamedTuple):
    """A disk of a machine; ``path`` is its file, '' where it has none."""

    key: int
    path: str
    size: int  # bytes


NEW_NIC = Nic("VirtualVmxnet3", 0, None)


# --- what a machine has --------------------------------------------------------------------------


def nics(devices: Sequence[Element]) -> List[Nic]:
    """The network cards among the devices."""
    return [
        Nic(
            soap.type_of(device),
            _number(device, "key") or 0,
            _known_backing(device.find("backing")),
            _text(device, "deviceInfo/summary"),
            _text(device, "deviceInfo/label"),
            _number(device, "controllerKey"),
            _number(device, "unitNumber"),
            _text(device, "macAddress"),
            _text(device, "connectable/connected") == "true",
        )
        for device in devices
        if soap.type_of(device) in _NICS
    ]


def disks(devices: Sequence[Element]) -> List[Disk]:
    """The disks among the devices."""
    return [
        Disk(
            _number(device, "key") or 0,
            _text(device, "backing/fileName"),
            1024 * (_number(device, "capacityInKB") or 0),
        )
        for device in devices
        if soap.type_of(device) == "VirtualDisk"
    ]


def _known_backing(backing: Optional[Element]) -> Optional[Data]:
    """A network card's backing, as it can be sent back; None for one that we do not know."""
    if backing is None:
        return None
    kind = soap.type_of(backing)
    if kind == "VirtualEthernetCardDistributedVirtualPortBackingInfo":
        return distributed_port(
            _text(backing, "port/switchUuid"), _text(backing, "port/portgroupKey")
        )
    if kind == "VirtualEthernetCardOpaqueNetworkBackingInfo":
        return opaque_network(
            _text(backing, "opaqueNetworkId"), _text(backing, "opaqueNetworkType")
        )
    if kind == "VirtualEthernetCardNetworkBackingInfo":
        return standard_network(_text(backing, "deviceName"))
    return None


# --- what we ask for -----------------------------------------------------------------------------


def standard_network(name: str) -> Data:
    return Data({"deviceName": name}, "VirtualEthernetCardNetworkBackingInfo")


def distributed_port(switch: str, group: str) -> Data:
    port = Data({"switchUuid": switch, "portgroupKey": group})
    return Data({"port": port}, "VirtualEthernetCardDistributedVirtualPortBackingInfo")


def opaque_network(network: str, kind: str) -> Data:
    return Data(
        {"opaqueNetworkId": network, "opaqueNetworkType": kind},
        "VirtualEthernetCardOpaqueNetworkBackingInfo",
    )


def connected_nic(nic: Nic) -> Data:
    """Connect a network card of the template to its network at power on, or add one."""
    fields: Mapping[str, Value] = {
        "key": nic.key or _NEW_NIC,
        "deviceInfo": Data({"label": nic.label or "vmprobe", "summary": "vmprobe"}),
        "backing": nic.backing,
        "connectable": Data({"startConnected": True, "allowGuestControl": True, "connected": True}),
        "controllerKey": nic.controller,
        "unitNumber": nic.unit,
        "addressType": "generated" if nic.key == 0 else None,
    }
    return _change("edit" if nic.key else "add", Data(fields, nic.type))


def disk_of_image(image: str, datastore: str) -> List[Data]:
    """A controller, and a disk that is a child of the image: the image itself is not written to."""
    return [
        new_controller(),
        _change(
            "add",
            Data(
                {
                    "key": _NEW_DISK,
                    "backing": Data(
                        {
                            "fileName": f"[{datastore}]",
                            "diskMode": "persistent",
                            "thinProvisioned": True,
                            "parent": Data({"fileName": image, "diskMode": "persistent"}),
                        },
                        "VirtualDiskFlatVer2BackingInfo",
                    ),
                    "controllerKey": _NEW_CONTROLLER,
                    "unitNumber": 0,
                    "capacityInKB": 0,
                },
                "VirtualDisk",
            ),
            file_operation="create",
        ),
    ]


def new_controller() -> Data:
    """A SCSI controller for a machine that has none."""
    return _change(
        "add",
        Data(
            {"key": _NEW_CONTROLLER, "busNumber": 0, "sharedBus": "noSharing"},
            "ParaVirtualSCSIController",
        ),
    )


def attached_disk(devices: Sequence[Element], path: str) -> List[Data]:
    """The changes that attach an existing disk, at the first free place of a controller.

    It is independent, so that no snapshot of the machine puts another file in its place.
    """
    changes = []
    place = _free_place(devices)
    if place is None:
        changes.append(new_controller())
        place = (_NEW_CONTROLLER, 0)
    changes.append(
        _change(
            "add",
            Data(
                {
                    "key": _NEW_DISK,
                    "backing": Data(
                        {"fileName": path, "diskMode": "independent_persistent"},
                        "VirtualDiskFlatVer2BackingInfo",
                    ),
                    "controllerKey": place[0],
                    "unitNumber": place[1],
                    "capacityInKB": 0,
                },
                "VirtualDisk",
            ),
        )
    )
    return changes


def detached_disk(disk: Disk) -> Data:
    """The change that takes a disk out of a machine; its file stays."""
    return _change(
        "remove",
        Data({"key": disk.key, "capacityInKB": disk.size // 1024}, "VirtualDisk"),
    )


def serial_port(path: str) -> Data:
    """A serial port that writes to a file in a datastore."""
    return _change(
        "add",
        Data(
            {
                "key": _NEW_SERIAL,
                "backing": Data({"fileName": path}, "VirtualSerialPortFileBackingInfo"),
                "connectable": Data(
                    {"startConnected": True, "allowGuestControl": False, "connected": True}
                ),
                "yieldOnPoll": True,
            },
            "VirtualSerialPort",
        ),
    )


def serial_file(devices: Sequence[Element]) -> str:
    """The file that the machine's first serial port writes to; '' where there is none."""
    for device in devices:
        if soap.type_of(device) == "VirtualSerialPort":
            path = _text(device, "backing/fileName")
            if path:
                return path
    return ""


def _change(operation: str, device: Data, file_operation: Optional[str] = None) -> Data:
    return Data(
        {"operation": operation, "fileOperation": file_operation, "device": device},
        "VirtualDeviceConfigSpec",
    )


def _free_place(devices: Sequence[Element]) -> Optional[Tuple[int, int]]:
    """(controller, unit) for one more disk; None where no controller takes disks.

    CloudError where those that there are have no unit left.
    """
    taken = {
        (_number(device, "controllerKey"), _number(device, "unitNumber")) for device in devices
    }
    has_controller = False
    for device in devices:
        units, own = _CONTROLLERS.get(soap.type_of(device), (0, None))
        key = _number(device, "key")
        has_controller = has_controller or bool(units)
        for unit in range(units):
            if key is not None and unit != own and (key, unit) not in taken:
                return key, unit
    if has_controller:
        raise CloudError("the machine has no place for one more disk", cause="storage")
    return None


def _text(device: Element, path: str) -> str:
    return (device.findtext(path) or "").strip()


def _number(device: Element, path: str) -> Optional[int]:
    digits = _text(device, path)
    return int(digits) if re.fullmatch(r"-?[0-9]{1,18}", digits) else None
