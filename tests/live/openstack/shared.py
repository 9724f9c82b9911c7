"""One running cloud for a whole run of the tests, whoever asks for it first; it ends with the process that started it."""
from __future__ import annotations

import atexit
import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from .bootstrap import Account
from .stack import Cloud, Stack, Unavailable

_stacks: list[Stack] = []


def running() -> Stack:
    """The ``Stack``, up, with Nova's fake hypervisor; a skip with the reason where there can be none.

    With ``VMPROBE_LIVE_REUSE`` set, one that was started by hand is taken, and left running.
    """
    if not _stacks:
        reuse = bool(os.environ.get("VMPROBE_LIVE_REUSE"))
        stack = Stack()
        try:
            stack.up(reuse=reuse)
        except Unavailable as reason:
            pytest.skip(f"no OpenStack here: {reason}")
        if not reuse:
            atexit.register(stack.down)
        _stacks.append(stack)
    return _stacks[0]


def site_file(directory: Path, cloud: Cloud, account: Account | None = None, credentials: str = "", **test_vm: str) -> Path:
    """A site of the running cloud, as a member of its project sees it."""
    account = account or cloud.member
    secret = directory / "credentials.ini"
    secret.write_text("[credentials]\n" + (credentials or f"username = {account.user}\npassword = {account.password}\n"))
    secret.chmod(0o600)
    keys = {"image": cloud.image, "flavor": cloud.flavor, "network": cloud.network, "availability zone": cloud.zone,
            "volume type": cloud.volume_type, **test_vm}
    path = directory / "openstack.ini"
    path.write_text(
        f"[site]\nname = openstack\nowner = live\n[endpoint]\nmanager = openstack\nurl = {cloud.auth_url}\n"
        f"project = {account.project}\ncredentials = credentials.ini\ntimeout = 60 s\n"
        "[budget]\ndeadline = 600 s\nreserve = 200 s\n[test vm]\n"
        + "".join(f"{key} = {value}\n" for key, value in keys.items() if value))
    return path


@contextmanager
def harness():
    """For the conformance suite: Nova's fake hypervisor, whose console says nothing and whose snapshots never end."""
    from conformance.harnesses import of_site
    from vmprobe.clock import Clock
    from vmprobe.model import Capability

    stack = running()
    with TemporaryDirectory() as directory:
        path = site_file(Path(directory), stack.cloud())
        found = of_site(str(path), Clock(), reports=False,
                        lacks={Capability.SNAPSHOTS: "Nova's fake hypervisor takes none"},
                        impossible={"availability zone": "no-such-zone"})
        yield found
