"""Microsoft Hyper-V on Windows Server 2016 to 2025, by PowerShell remoting (PSRP over WinRM).

What the suite's nouns are here:
    server      a VM, by its GUID. It is created with its disk and started by one script
    volume      a VHDX in ``folder``; its id is its path, its name that of the file
    image       a VHD or VHDX, by its path or by its name in ``folder``; the server boots from a
                differencing disk NAME-boot in ``folder``, which is part of the server
    flavor      memory, and ``vcpus``
    network     a virtual switch; its name may be left out where there is only one
    address     what the guest's integration services tell the host
    snapshot    a standard checkpoint, by its GUID
    metrics     Measure-VM, with the resource metering that ``create`` enables

``Remove-VM`` leaves virtual disks behind; ``delete`` removes the server's own with it. What is
still in use then (a checkpoint that is being merged) is listed as a volume once the server is gone.

One host is asked, not a failover cluster. No Windows was seen by this driver's authors: the scripts
are held against Microsoft's reference of the cmdlets, and the protocol against psrpcore.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, Tuple, cast

from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import Conflict, NotFound, ResourceFailed
from vmprobe.core.handle import PREFIX
from vmprobe.core.model import (
    METRICS,
    Capability,
    Image,
    Kind,
    Limit,
    Plan,
    Ref,
    Resource,
    Sample,
    Spec,
    TestVM,
)
from vmprobe.core.values import http_url, one_of, size, whole
from vmprobe.drivers.hyperv import plan as plans
from vmprobe.drivers.hyperv import readings, scripts
from vmprobe.drivers.hyperv.remoting import Remoting
from vmprobe.transport.json import field, short_text

_MIB = 2**20
_HANDLE = rf"^{PREFIX}.+-\d{{8}}t\d{{6}}z-\d+-"  # a disk of a test VM
_HASHES = ("md5", "sha1", "sha256", "sha384", "sha512")  # of Get-FileHash


class Hyperv(Driver):
    """One script for each verb (``scripts.py``)."""

    system = "Microsoft Hyper-V"
    proved_against = (
        "not proved; tested with our simulator behind psrpcore's half of PowerShell remoting; its "
        "scripts are checked by Microsoft's reference of cmdlets; no Windows was seen"
    )
    capabilities = frozenset(
        {
            Capability.VOLUMES,
            Capability.METRICS,
            Capability.SNAPSHOTS,
            Capability.CAPACITY,
            Capability.IMAGES,
        }
    )
    kinds = (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    metrics_offered = (*METRICS, "memory")
    # A host finishes a script whose client was killed. What it creates is listed at once.
    consistency_window = 60.0
    endpoint_keys = {
        "url": Key(http_url, required=True),
        "authentication": Key(
            one_of("negotiate", "kerberos", "ntlm", "credssp", "certificate", "basic"), "negotiate"
        ),
        "configuration": Key(default="Microsoft.PowerShell"),
        "folder": Key(default=""),
    }
    test_vm_keys = {
        "flavor": Key(size, 512 * _MIB),
        "vcpus": Key(whole(1), 1),
        "generation": Key(plans.generation),
        "secure boot": Key(plans.secure_boot, "off"),
    }
    credential_keys = ("username", "password", "certificate", "key")

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self._remoting = Remoting(self.endpoint, self.credentials, self.deadline, self.evidence)
        self._run = self._remoting.run
        self._folder = self.endpoint["folder"]

    @property
    def identity(self) -> str:
        return f"{super().identity} {self._folder}".strip()

    def connect(self) -> None:
        self._remoting.open()

    def resolve(self, section: TestVM) -> Plan:
        test_vm = cast("plans.HypervTestVM", section)
        reply = self._run(
            f"resolve image {test_vm['image']}",
            scripts.RESOLVE,
            cause="image",
            Folder=self._folder,
            Image=test_vm["image"],
        )
        return plans.of_reply(reply, test_vm)

    def create(self, spec: Spec) -> Ref:
        request = f"create {spec.kind.value} {spec.name}"
        if spec.kind is Kind.VOLUME:
            reply = self._run(
                request,
                scripts.CREATE_VOLUME,
                failed=ResourceFailed,
                cause="storage",
                Folder=self._folder,
                Name=spec.name,
                Size=-(-spec.size // _MIB) * _MIB,
            )
            return Ref(Kind.VOLUME, short_text(reply, "path"), spec.name)

        assert spec.kind is Kind.SERVER
        details = cast("plans.HypervDetails", spec.plan.details)
        reply = self._run(
            request,
            scripts.CREATE_SERVER,
            failed=ResourceFailed,
            Name=spec.name,
            Image=details["image"],
            Disk=f"{details['folder'].rstrip(chr(92))}\\{spec.name}-boot{details['suffix']}",
            Memory=spec.plan.memory,
            Processors=spec.plan.vcpus,
            Generation=details["generation"],
            SwitchName=spec.plan.network,
            Template=details["template"],
        )
        return Ref(Kind.SERVER, short_text(reply, "id").lower(), spec.name)

    def show(self, ref: Ref) -> Resource:
        request = f"show {ref}"
        if ref.kind is Kind.SERVER:
            found = readings.servers(self._run(request, scripts.SHOW_SERVER, Id=ref.id))
        elif ref.kind is Kind.VOLUME:
            found = self._volumes(request, path=ref.id)
        else:
            found = self._snapshots(request, id=ref.id)
        return readings.only(ref, found)

    def list(self, kind: Kind, name: str) -> List[Resource]:
        request = f"list {kind.value} {name}".rstrip()
        if kind is Kind.SERVER:
            return readings.servers(self._run(request, scripts.LIST_SERVERS, Prefix=name))
        if kind is Kind.VOLUME:
            return self._volumes(request, prefix=name)
        return self._snapshots(request, prefix=name)

    def delete(self, ref: Ref) -> None:
        request = f"delete {ref}"
        if ref.kind is Kind.SERVER:
            self._run(request, scripts.DELETE_SERVER, Folder=self._folder, Id=ref.id)
        elif ref.kind is Kind.VOLUME:
            reply = self._run(request, scripts.DELETE_VOLUME, Folder=self._folder, Path=ref.id)
            holder = field(reply, "holder", str, default="")
            if holder:
                raise Conflict(f"{ref} is in use by server {holder.lower()}")
        else:
            self._run(request, scripts.DELETE_SNAPSHOT, Id=ref.id)

    def describe(self) -> Dict[str, object]:
        reply = self._run("describe", scripts.DESCRIBE)
        return {
            "version": short_text(reply, "version"),
            "system": field(reply, "system", str, default=""),
            "host": field(reply, "host", str, default=""),
        }

    def attach(self, server: Ref, volume: Ref) -> None:
        reply = self._run(
            f"attach {volume} to {server}",
            scripts.ATTACH,
            failed=ResourceFailed,
            cause="storage",
            Id=server.id,
            Path=volume.id,
        )
        for key, ref in (("server", server), ("volume", volume)):
            if not field(reply, key, bool):
                raise NotFound(f"the host has no {ref}")
        holder = field(reply, "holder", str, default="").lower()
        if holder != server.id.lower():
            raise Conflict(f"{volume} is in use by server {holder}")

    def detach(self, server: Ref, volume: Ref) -> None:
        self._run(
            f"detach {volume} from {server}",
            scripts.DETACH,
            cause="storage",
            Id=server.id,
            Path=volume.id,
        )

    def metrics(self, server: Ref) -> List[Sample]:
        return readings.samples(
            server, self._run(f"metrics {server}", scripts.MEASURE, Id=server.id)
        )

    def snapshot(self, server: Ref, name: str) -> Ref:
        reply = self._run(
            f"snapshot {server}",
            scripts.CREATE_SNAPSHOT,
            failed=ResourceFailed,
            Id=server.id,
            Name=name,
        )
        if field(reply, "id", str, default=None) is None:
            raise NotFound(f"the host has no {server}")
        return Ref(Kind.SNAPSHOT, short_text(reply, "id").lower(), name)

    def capacity(self) -> List[Limit]:
        reply = self._run("capacity", scripts.CAPACITY, Folder=self._folder)
        return readings.limits(reply, self._folder)

    def needs(self, plan: Plan, test_vm: TestVM) -> Mapping[Tuple[str, str], float]:
        """Virtual disks grow as they are written: a test VM needs no storage beforehand."""
        needs = dict(super().needs(plan, test_vm))
        needs.pop(("storage", ""), None)
        return needs

    def images(self, name: str = "", algorithms: Sequence[str] = ()) -> List[Image]:
        """The image of this name or path; without a name the disks in the folder, without those of
        test VMs. The host reads a whole file for each of its checksums.
        """
        reply = self._run(
            f"list images {name}".rstrip(),
            scripts.LIST_IMAGES,
            cause="image",
            Folder=self._folder,
            Name=name,
            Excluded=_HANDLE,
            Algorithms=",".join(each.upper() for each in algorithms if each in _HASHES),
        )
        return readings.images(reply, name)

    def is_at_rest(self, server: Resource) -> bool:
        return server.provider_state in readings.AT_REST

    def close(self) -> None:
        self._remoting.close()

    # --- helpers ----------------------------------------------------------------------------------

    def _volumes(self, request: str, prefix: str = "", path: str = "") -> List[Resource]:
        reply = self._run(
            request, scripts.LIST_VOLUMES, Folder=self._folder, Prefix=prefix, Path=path
        )
        return readings.volumes(reply)

    def _snapshots(self, request: str, prefix: str = "", id: str = "") -> List[Resource]:
        return readings.snapshots(self._run(request, scripts.LIST_SNAPSHOTS, Prefix=prefix, Id=id))
