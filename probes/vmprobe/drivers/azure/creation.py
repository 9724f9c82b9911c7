"""The requests that make something: their bodies, and the passwords of servers."""

from __future__ import annotations

import secrets
from typing import cast

from vmprobe.core.model import Ref, ServerSpec, VolumeSpec
from vmprobe.drivers.azure import names
from vmprobe.drivers.azure.arm import Record, Session
from vmprobe.drivers.azure.names import Place
from vmprobe.drivers.azure.plan import AzureDetails
from vmprobe.drivers.azure.readings import GIB

_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def interface(session: Session, spec: ServerSpec) -> Record:
    """The body of a network interface."""
    details = cast(AzureDetails, spec.plan.details)
    return _resource(
        session,
        spec.name,
        {
            "ipConfigurations": [
                {
                    "name": "primary",
                    "properties": {
                        "subnet": {"id": details["subnet"]},
                        "privateIPAllocationMethod": "Dynamic",
                        "primary": True,
                    },
                }
            ]
        },
    )


def server(session: Session, spec: ServerSpec, where: Place) -> Record:
    """The body of a virtual machine. Nobody ever learns the password of its administrator."""
    from vmprobe.guest import user_data

    details = cast(AzureDetails, spec.plan.details)
    password = "Aa1-" + "".join(secrets.choice(_LETTERS) for _ in range(28))
    session.evidence.redactor.add(password)
    profile: Record = {
        "computerName": spec.name[:63].rstrip("-"),
        "adminUsername": details["admin"],
        "adminPassword": password,
        "linuxConfiguration": {"disablePasswordAuthentication": False},
    }
    data = user_data.for_server(spec)
    if data:
        profile["customData"] = data
    nic = names.azure_id(session.subscription, names.INTERFACES, where)
    body = _resource(
        session,
        spec.name,
        {
            "hardwareProfile": {"vmSize": details["size"]},
            "storageProfile": {
                "imageReference": details["image"],
                "osDisk": {
                    "name": spec.name + names.OS_DISK,
                    "createOption": "FromImage",
                    "caching": "ReadWrite",
                    "managedDisk": {"storageAccountType": details["disk type"]},
                },
            },
            "osProfile": profile,
            "networkProfile": {"networkInterfaces": [{"id": nic, "properties": {"primary": True}}]},
            "diagnosticsProfile": {"bootDiagnostics": {"enabled": True}},
        },
    )
    if details["zone"]:
        body["zones"] = [details["zone"]]
    if details["purchase"]:
        body["plan"] = details["purchase"]
    return body


def disk(session: Session, spec: VolumeSpec) -> Record:
    """The body of an empty disk, of whole GiB."""
    details = cast(AzureDetails, spec.plan.details)
    body = _resource(
        session,
        spec.name,
        {"creationData": {"createOption": "Empty"}, "diskSizeGB": -(-spec.size // GIB)},
    )
    body["sku"] = {"name": details.get("disk type") or "Standard_LRS"}
    if details.get("zone"):
        body["zones"] = [details["zone"]]
    return body


def snapshot(session: Session, server: Ref, name: str) -> Record:
    """The body of a snapshot of the disk that a server boots from."""
    where = names.place(server.id)
    source = names.azure_id(
        session.subscription,
        f"{names.COMPUTE}/disks",
        where._replace(name=where.name + names.OS_DISK),
    )
    return _resource(
        session, name, {"creationData": {"createOption": "Copy", "sourceResourceId": source}}
    )


def _resource(session: Session, name: str, properties: Record) -> Record:
    return {
        "location": session.endpoint["region"],
        "tags": {names.TAG: name},
        "properties": properties,
    }
