"""Site files for the simulator, its template, and harnesses for the conformance suite."""

from __future__ import annotations

import re
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from conformance.harnesses import of_site
from vmprobe.core.clock import Clock

from . import vcsim
from .proxy import ENVELOPE, Proxy

USER, PASSWORD = "user", "pass"
TEMPLATE, NETWORK = "DC0_C0_RP0_VM0", "DC0_DVPG0"


class Client:
    """Calls of the tests themselves, straight to the simulator."""

    def __init__(self, url: str):
        self.url, self.cookie = url, ""
        _, headers, _ = self.send(
            f'<Login xmlns="urn:vim25"><_this type="SessionManager">{self.manager("sessionManager")}</_this>'
            f"<userName>{USER}</userName><password>{PASSWORD}</password></Login>"
        )
        self.cookie = headers["Set-Cookie"].split(";")[0]

    def send(self, body: str):
        request = urllib.request.Request(
            f"{self.url}/sdk",
            (ENVELOPE % body).encode(),
            {"Cookie": self.cookie, "SOAPAction": "urn:vim25/6.0"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()

    def call(self, method: str, this: tuple[str, str], arguments: str = "") -> str:
        kind, value = this
        return self.send(
            f'<{method} xmlns="urn:vim25"><_this type="{kind}">{value}</_this>{arguments}</{method}>'
        )[2]

    def machines(self) -> dict[str, str]:
        """The ids of all machines, by name."""
        view = re.search(
            r">([^<>]+)</returnval>",
            self.call(
                "CreateContainerView",
                ("ViewManager", self.manager("viewManager")),
                '<container type="Folder">%s</container><type>VirtualMachine</type><recursive>true</recursive>'
                % self.root(),
            ),
        )[1]
        text = self.call(
            "RetrievePropertiesEx",
            ("PropertyCollector", self.manager("propertyCollector")),
            "<specSet><propSet><type>VirtualMachine</type><pathSet>name</pathSet></propSet>"
            f'<objectSet><obj type="ContainerView">{view}</obj><skip>true</skip>'
            '<selectSet xsi:type="TraversalSpec"><type>ContainerView</type><path>view</path></selectSet>'
            "</objectSet></specSet><options/>",
        )
        self.call("DestroyView", ("ContainerView", view))
        found = re.findall(
            r'<obj type="VirtualMachine">([^<]+)</obj>.*?<val [^>]*>([^<]*)</val>', text
        )
        return {name: ref for ref, name in found}

    def sessions(self) -> int:
        """How many sessions are open, our own among them."""
        return len(self._session_keys())

    def _session_keys(self) -> list[str]:
        text = self.call(
            "RetrievePropertiesEx",
            ("PropertyCollector", self.manager("propertyCollector")),
            "<specSet><propSet><type>SessionManager</type><pathSet>sessionList</pathSet></propSet>"
            f'<objectSet><obj type="SessionManager">{self.manager("sessionManager")}</obj></objectSet></specSet><options/>',
        )
        return re.findall(r"<UserSession>\s*<key>([^<]+)", text)

    def files(self) -> list[str]:
        """The volumes and consoles in the root of the datastore. The simulator does not tidy up directories."""
        answer = urllib.request.urlopen(
            urllib.request.Request(
                f"{self.url}/folder/?dcPath=DC0&dsName=LocalDS_0", headers={"Cookie": self.cookie}
            ),
            timeout=60,
        )
        with answer:
            return re.findall(r'<a href="([^"]+\.(?:vmdk|txt))"', answer.read().decode())

    def end_other_sessions(self) -> None:
        """End all sessions but our own, as a vCenter does with idle ones."""
        manager = ("SessionManager", self.manager("sessionManager"))
        keys = [key for key in self._session_keys() if key not in self.cookie]
        if keys:
            self.call(
                "TerminateSession",
                manager,
                "".join(f"<sessionId>{key}</sessionId>" for key in keys),
            )

    def root(self) -> str:
        return self.manager("rootFolder")

    def manager(self, name: str) -> str:
        content = self.call("RetrieveServiceContent", ("ServiceInstance", "ServiceInstance"))
        return re.search(rf"<{name} [^>]*>([^<]+)<", content)[1]


def make_template(client: Client, name: str = TEMPLATE) -> None:
    """Turn one of the simulator's machines into a template."""
    machine = ("VirtualMachine", client.machines()[name])
    client.call("PowerOffVM_Task", machine)
    client.call("MarkAsTemplate", machine)


def site_file(
    directory: Path,
    url: str,
    credentials: str = "",
    endpoint=(),
    budget="deadline = 120 s\nreserve = 60 s",
    **test_vm: str,
) -> Path:
    """Write a site file and its credentials file."""
    secret = directory / "credentials.ini"
    secret.write_text(
        "[credentials]\n" + (credentials or f"username = {USER}\npassword = {PASSWORD}\n")
    )
    secret.chmod(0o600)
    there = {
        "manager": "vsphere",
        "url": url,
        "credentials": "credentials.ini",
        "timeout": "20 s",
        "datacenter": "DC0",
        "cluster": "DC0_C0",
        "datastore": "LocalDS_0",
        **dict(endpoint),
    }
    keys = {"image": TEMPLATE, "network": NETWORK, "volume": "none", **test_vm}
    path = directory / "vsphere.ini"
    path.write_text(
        "[site]\nname = vsphere\nowner = live\n"
        + _section("endpoint", there)
        + _section("test vm", keys)
        + "[polling]\nfirst = 0.1 s\nshortest = 0.1 s\nlongest = 0.5 s\n"
        + "[sample]\nreadings = 2\ninterval = 0.2 s\n"
        + f"[budget]\n{budget}\n"
    )
    return path


def _section(name: str, keys: dict[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value)


@contextmanager
def harness():
    """For the conformance suite: a vCenter that pages its lists, and whose tasks take a while."""
    with vcsim.running() as url, Proxy(url) as proxy, TemporaryDirectory() as directory:
        make_template(Client(url))
        proxy.page = 1
        yield of_site(str(site_file(Path(directory), proxy.url)), Clock(), reports=False)


@contextmanager
def harness_of_esxi():
    """For the conformance suite: a single host, whose machines are made on a child of a disk."""
    with vcsim.running("-esx") as url, Proxy(url) as proxy, TemporaryDirectory() as directory:
        make_disk(Client(url))
        yield of_site(str(esxi_site_file(Path(directory), proxy.url)), Clock(), reports=False)


DISK, HOST = "[LocalDS_0] images/vmprobe.vmdk", "localhost.localdomain"


def make_disk(client: Client, datacenter: str = "ha-datacenter") -> None:
    """Put a disk into the datastore, to make machines of."""
    datacenter = f'<datacenter type="Datacenter">{datacenter}</datacenter>'
    client.call(
        "MakeDirectory",
        ("FileManager", client.manager("fileManager")),
        f"<name>{DISK.rpartition('/')[0]}</name>{datacenter}",
    )
    client.call(
        "CreateVirtualDisk_Task",
        ("VirtualDiskManager", client.manager("virtualDiskManager")),
        f'<name>{DISK}</name>{datacenter}<spec xsi:type="FileBackedVirtualDiskSpec"><diskType>thin</diskType>'
        "<adapterType>lsiLogic</adapterType><capacityKb>1024</capacityKb></spec>",
    )


def esxi_site_file(directory: Path, url: str, **words) -> Path:
    """A site file for a single host: nothing but the datastore and the network has to be named."""
    endpoint = {"datacenter": "", "cluster": "", "datastore": "", **words.pop("endpoint", {})}
    words = {"image": DISK, "network": "VM Network", **words}
    return site_file(directory, url, endpoint=endpoint, **words)
