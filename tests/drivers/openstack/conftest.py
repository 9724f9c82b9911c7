"""Fixtures of the tests of the OpenStack driver."""

import os

import pytest

from simulators.keystone import Identity
from simulators.openstack import IMAGE, NETWORK, TEST_VM, Services, answer, driver


@pytest.fixture
def services():
    found = Services()
    with found.server:
        yield found


@pytest.fixture
def cloud(services):
    """The driver, connected; ``services.asked`` begins after that."""
    made = driver(services)
    made.connect()
    services.asked.clear()
    return made


@pytest.fixture
def plan_for(cloud, services):
    """plan_for(*flavors, network=..., **keys of [test vm]): the plan in a cloud that has these."""

    def plan(
        *flavors, network=NETWORK, image=IMAGE, images=None, image_wanted="vmprobe-test", **test_vm
    ):
        services.answers.update(
            {
                "GET /image/v2/images": images or answer({"images": [image]}),
                "GET /network/v2.0/networks": answer(
                    {"networks": network if isinstance(network, list) else [network]}
                ),
                "GET /compute/v2.1/flavors/detail": answer({"flavors": list(flavors)}),
            }
        )
        return cloud.resolve({**TEST_VM, "image": image_wanted, **test_vm})

    return plan


@pytest.fixture
def identity():
    """identity(...): an ``Identity`` that listens."""
    made = []

    def make(**options):
        made.append(Identity(**options))
        return made[-1]

    yield make
    for keystone in made:
        keystone.server.__exit__()


@pytest.fixture
def no_environment(monkeypatch, tmp_path):
    """Hide the environment and the files of this machine."""
    for name in [name for name in os.environ if name.startswith("OS_")] + ["X509_USER_PROXY"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
