"""The OCCI endpoints that the tests speak to: pyssf, and ooi before the Nova of the live tests."""
from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from . import pypi

HERE = Path(__file__).resolve().parent
USER, PASSWORD = "probe", "s3cret-of-pyssf"


@contextmanager
def pyssf(*faults: str):
    """The URL of pyssf's server with our small cloud behind it, and with these faults (``reference.py``)."""
    code = pypi.site("pyssf", "0.4.7")
    server = subprocess.Popen([sys.executable, "-W", "ignore", str(HERE / "reference.py"), str(code), f"{USER}:{PASSWORD}", *faults],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = server.stdout.readline().strip()
        assert url, "pyssf did not start"
        yield url
    finally:
        server.terminate()
        server.wait(20)


def pyssf_site(directory: Path, url: str, endpoint: str = "", password: str = PASSWORD, **test_vm: str) -> Path:
    """A site file for it."""
    keys = {"image": "vmprobe-test", "flavor": "small", "network": "private", "start": "yes", **test_vm}
    return site_file(directory, "pyssf", f"url = {url}\n{endpoint}", f"username = {USER}\npassword = {password}\n", keys)


def site_file(directory: Path, name: str, endpoint: str, credentials: str, test_vm: dict) -> Path:
    secret = directory / "credentials.ini"
    secret.write_text("[credentials]\n" + credentials)
    secret.chmod(0o600)
    path = directory / f"{name}.ini"
    path.write_text(
        f"[site]\nname = {name}\nowner = live\n[endpoint]\nmanager = occi\n{endpoint}\ncredentials = credentials.ini\n"
        "timeout = 60 s\n[budget]\ndeadline = 600 s\nreserve = 200 s\n[polling]\nfirst = 0.2 s\nshortest = 0.2 s\nlongest = 1 s\n"
        "[test vm]\n" + "".join(f"{key} = {value}\n" for key, value in test_vm.items() if value))
    return path


@contextmanager
def pyssf_harness():
    """For the conformance suite: pyssf in text/plain, which is all that it takes."""
    from conformance.harnesses import of_site
    from vmprobe.clock import Clock

    with pyssf() as url, TemporaryDirectory() as directory:
        yield of_site(str(pyssf_site(Path(directory), url)), Clock())
