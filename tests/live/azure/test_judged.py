"""What judges the simulated Azure, and the driver's requests: Microsoft's clients, and Microsoft's
validator with the published definitions of the API. Neither is a real Azure.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from packages.environments import environment
from running import CHECKOUT, run_probe
from simulators.azure import SUBSCRIPTION, Azure
from simulators.azure_replay import DATA
from simulators.azure_server import served
from simulators.azure_world import FINE, World, line

pytestmark = pytest.mark.live
CLIENTS = (
    "azure-mgmt-compute==39.0.0",
    "azure-mgmt-network==33.1.0",
    "azure-mgmt-resource==26.0.0",
)
VALIDATOR = "oav@4.0.3"


def clients():
    """The interpreter that has Microsoft's clients; skips where PyPI does not give them."""
    try:
        return environment("azure-clients", sys.executable, CLIENTS)
    except subprocess.CalledProcessError as failed:
        pytest.skip(f"Microsoft's clients cannot be had from PyPI: {failed}")


def validator():
    """The directory that has Microsoft's validator; skips where npm does not give it."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Microsoft's validator needs node and npm")
    if not (DATA / "swagger").exists():
        pytest.skip(f"the published definitions of the API are not beside the checkout, in {DATA}")
    place = CHECKOUT / ".cache" / "azure-oav"
    if not (place / "done").exists():
        place.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", VALIDATOR],
            cwd=place,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            pytest.skip(f"{VALIDATOR} cannot be had from npm: {done.stderr[-200:]}")
        (place / "done").write_text(VALIDATOR)
    return place


def test_microsofts_clients_understand_the_simulator_through_a_whole_life():
    python = clients()
    azure = Azure(delay=0.05)
    azure.page = 2
    with served(azure) as (services, url):
        token = services.token()["access_token"]
        run = subprocess.run(
            [python, Path(__file__).with_name("clients.py"), url, SUBSCRIPTION, token],
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert (run.stdout.splitlines(), run.returncode, azure.left()) == (
        [
            "group Succeeded",
            "network net",
            "interface Succeeded",
            "disk Unattached",
            "machine Succeeded",
            "view ['ProvisioningState/succeeded', 'PowerState/running']",
            "attached Attached",
            "held OperationNotAllowed",
            "held NicInUse",
            "detached Unattached",
            "snapshot Succeeded",
            "listed ['copy', 'disk', 'net', 'nic', 'os', 'vm']",
            "machines ['vm']",
            "usages ['StandardDiskCount', 'cores']",
            "sizes 5",
            "restricted ['Standard_A0']",
            "console True",
            "gone ResourceNotFound",
            "kept ['disk', 'os']",
            "all gone False",
        ],
        0,
        [],
    ), run.stderr[-2000:]


def test_every_request_of_the_driver_and_every_answer_is_as_the_definitions_say(tmp_path):
    place = validator()
    azure = Azure(delay=0.05)
    with served(azure) as (services, url):
        world = World(services, url, tmp_path)
        words = {"volume": "1 GiB", "depth": "console", "snapshot": "yes"}
        code, output, _ = run_probe("check_vm_lifecycle", "--site", world.site(**words))
        assert (code, line(output)) == (0, FINE)
        assert world.run(image="Canonical:ubuntu:server:latest")[0] == 0
        azure.put_group("shared", {"location": "eastus"})
        assert world.run(endpoint="resource group = shared\n")[0] == 0
        for check in ("capacity", "state", "gateway", "leftovers"):
            assert run_probe(f"check_vm_{check}", "--site", world.site())[0] == 0
        exchanges = [
            one for one in services.exchanges if "/subscriptions/" in one["request"]["url"]
        ]
    (tmp_path / "exchanges.json").write_text(json.dumps(exchanges))

    run = subprocess.run(
        [
            "node",
            Path(__file__).with_name("judge.js"),
            DATA / "swagger",
            tmp_path / "exchanges.json",
        ],
        env={**os.environ, "NODE_PATH": str(place / "node_modules")},
        capture_output=True,
        text=True,
        timeout=120,
    )

    *wrong, last = run.stdout.splitlines() or [run.stderr]
    assert wrong == [], run.stderr[-500:]
    assert last.startswith("judged ") and int(last.split()[1]) > 100, last


def test_the_validator_finds_what_is_wrong(tmp_path):
    place = validator()
    url = f"https://management.azure.com/subscriptions/{SUBSCRIPTION}/resourceGroups/g?api-version=2020-06-01"
    kind = {"content-type": "application/json"}
    exchange = {
        "request": {"method": "PUT", "url": url, "headers": kind, "body": {"tags": {"vmprobe": 1}}},
        "response": {"status": 201, "headers": kind, "body": {"location": "eastus"}},
    }
    (tmp_path / "exchanges.json").write_text(json.dumps([exchange]))

    run = subprocess.run(
        [
            "node",
            Path(__file__).with_name("judge.js"),
            DATA / "swagger",
            tmp_path / "exchanges.json",
        ],
        env={**os.environ, "NODE_PATH": str(place / "node_modules")},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert sorted(text.split()[3] for text in run.stdout.splitlines()[:-1]) == [
        "INVALID_TYPE",
        "OBJECT_MISSING_REQUIRED_PROPERTY",
    ]
