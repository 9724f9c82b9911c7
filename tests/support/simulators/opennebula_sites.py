"""Sites of the simulated oned, and the judge of its answers: pyone, OpenNebula's own client."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from simulators.opennebula import Oned
from simulators.opennebula_server import served

JUDGED: set = set()  # procedures whose answers pyone has accepted


def site_file(
    directory: Path,
    url: str,
    credentials: str = "",
    name: str = "opennebula",
    manager: str = "opennebula",
    more: str = "",
    **test_vm: str,
) -> Path:
    """A site of the simulated oned, with a short poll."""
    secret = directory / "credentials.ini"
    secret.write_text(
        "[credentials]\n" + (credentials or "username = probe\npassword = a-good-password\n")
    )
    secret.chmod(0o600)
    keys = {"image": "vmprobe-test", **test_vm}
    path = directory / f"{name}.ini"
    path.write_text(
        f"[site]\nname = {name}\nowner = mon\n[endpoint]\nmanager = {manager}\nurl = {url}\ncredentials = credentials.ini\n"
        "timeout = 10 s\n[polling]\nfirst = 0.05 s\nshortest = 0.05 s\nlongest = 0.2 s\n[sample]\nreadings = 2\n"
        f"interval = 0.1 s\n{more}[test vm]\n"
        + "".join(f"{key} = {value}\n" for key, value in keys.items())
    )
    return path


@contextmanager
def driver_of(url: str, **test_vm: str):
    """(a driver connected to the simulated oned, the site's [test vm]) during a ``with`` block."""
    from vmprobe.core.clock import Clock, Deadline
    from vmprobe.core.exchanges import Evidence
    from vmprobe.site.site import load

    with TemporaryDirectory() as directory:
        site = load(str(site_file(Path(directory), url, **test_vm)))
        driver = site.driver(
            site.endpoint, site.credentials(), Deadline(60, 10, Clock()), Evidence()
        )
        driver.connect()
        yield driver, site.test_vm
        driver.close()


def judge(procedure: str, answer: str) -> None:
    """AssertionError unless pyone can parse the answer, and its schemas have every element of it."""
    from pyone import bindings

    found = bindings.parseString(answer.encode())
    _placed(procedure, bindings.parsexmlstring_(answer.encode()), found)
    JUDGED.add(procedure)


def _placed(where: str, element, found) -> None:
    """Each element below ``element`` is an attribute of ``found``, as deep as the schema is closed."""
    if hasattr(found, "anytypeobjs_") or not hasattr(type(found), "subclass"):
        return
    for child in element:
        path = f"{where}/{child.tag}"
        inner = getattr(found, child.tag, None)
        assert (
            inner is not None or hasattr(found, child.tag) and not child.text and not len(child)
        ), f"{path} is not in the schema"
        if isinstance(inner, list):
            inner = inner[element.findall(child.tag).index(child)]
        _placed(path, child, inner)


@contextmanager
def _harness(version: str):
    from conformance.harnesses import of_site
    from vmprobe.core.clock import Clock

    oned = Oned(version)
    with served(oned) as (_, url), TemporaryDirectory() as directory:
        if version >= "6":
            pytest.importorskip(
                "pyone", reason="pyone, which judges the simulator's answers, is not installed"
            )
            oned.judge = judge
        found = of_site(str(site_file(Path(directory), url)), Clock(), reports=False)
        found.impossible_id = "999999"
        yield found
        assert (oned.left(), oned.rejected) == ([], [])


def harness():
    """6.x and 7.x."""
    return _harness("6.10.0")


def harness_of_5():
    """5.2: refusals name classes, a pool has whole VMs, readings are VMs."""
    return _harness("5.2.1")


@contextmanager
def stratuslab_site(directory: Path, **words: str):
    """(StratusLab, path of its site file) during a ``with`` block."""
    from simulators.stratuslab import IMAGE, Services, StratusLab

    with served(StratusLab(), Services) as (world, url):
        yield world, site_of_stratuslab(directory, url, **{"image": IMAGE, **words})


def site_of_stratuslab(directory: Path, url: str, **words: str) -> Path:
    """A site of the simulated StratusLab at this address."""
    base = url.rpartition("/RPC2")[0]
    path = site_file(directory, f"{base}/xmlrpc", name="stratuslab", manager="stratuslab", **words)
    path.write_text(
        path.read_text().replace(
            "timeout = 10 s", f"timeout = 10 s\ndisks = {base}\nmarketplace = {base}"
        )
    )
    return path


@contextmanager
def harness_of_stratuslab():
    """Its oned is 3.2, its disks and images are its own."""
    from conformance.harnesses import of_site
    from vmprobe.core.clock import Clock

    with TemporaryDirectory() as directory, stratuslab_site(Path(directory)) as (world, path):
        found = of_site(str(path), Clock())
        found.impossible_id = "999999"
        yield found
        assert world.left() == []
