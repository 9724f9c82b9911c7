"""Sites of the simulated Azure, and the harness of the conformance suite."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from simulators.azure import REGION, SUBSCRIPTION, Azure
from simulators.azure_server import CLIENT, SECRET, TENANT, served

CREDENTIALS = f"tenant_id = {TENANT}\nclient_id = {CLIENT}\nclient_secret = {SECRET}\n"


def site_file(
    directory: Path,
    url: str,
    credentials: str = CREDENTIALS,
    name: str = "azure",
    more: str = "",
    endpoint: str = "",
    **test_vm: str,
) -> Path:
    """A site of the simulated Azure, with a short poll."""
    secret = directory / "credentials.ini"
    secret.write_text("[credentials]\n" + credentials)
    secret.chmod(0o600)
    keys = {
        "image": "vmprobe-test",
        **{key.replace("_", " "): value for key, value in test_vm.items()},
    }
    path = directory / f"{name}.ini"
    path.write_text(
        f"[site]\nname = {name}\nowner = mon\n[endpoint]\nmanager = azure\nurl = {url}\nregion = {REGION}\n"
        f"subscription = {SUBSCRIPTION}\ncredentials = credentials.ini\ntimeout = 10 s\n{endpoint}[polling]\n"
        "first = 0.05 s\nshortest = 0.05 s\nlongest = 0.2 s\n[sample]\nreadings = 2\n"
        f"interval = 0.1 s\n{more}[test vm]\n"
        + "".join(f"{key} = {value}\n" for key, value in keys.items())
    )
    return path


@contextmanager
def _harness(endpoint: str = ""):
    from conformance.harnesses import of_site
    from vmprobe.core.clock import Clock

    azure = Azure()
    with served(azure) as (_, url), TemporaryDirectory() as directory:
        if endpoint:
            azure.put_group("shared", {"location": REGION})
        path = site_file(Path(directory), url, endpoint=endpoint, depth="console")
        yield of_site(str(path), Clock(), impossible={"flavor": "Standard_D2ps_v5"})
        left = azure.left()
        assert left == (["group shared"] if endpoint else []), azure.calls[-14:]


def harness():
    """Each run has a resource group to itself."""
    return _harness()


def harness_of_shared():
    """All runs share a resource group, which the credential may not delete."""
    return _harness("resource group = Shared\n")
