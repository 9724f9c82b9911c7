"""vmprobectl config: what is generated for three sites, whole, and that it fits the rest of the suite."""

import json
import re
import shutil

import pytest

from configuring import GOLDEN, INSTALLED, tree
from running import CHECKOUT, PROBES
from vmprobe.ctl.config import templates
from vmprobe.site import services


@pytest.mark.parametrize("target", templates.TARGETS)
def test_three_sites_come_out_whole(target, request):
    found, place = tree(target, GOLDEN / "sites"), GOLDEN / target
    if request.config.getoption("--regen"):
        shutil.rmtree(place, ignore_errors=True)
        for path, text in found.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)

    assert found == {
        str(path.relative_to(place)): path.read_text()
        for path in place.rglob("*")
        if path.is_file()
    }


def test_every_probe_with_an_executable_is_a_service():
    executables = {path.name[len("check_vm_") :] for path in PROBES.glob("check_vm_*")}

    assert executables == set(services.SERVICES)


@pytest.mark.parametrize("probe", services.SERVICES)
def test_a_page_has_the_interval_that_is_generated(probe):
    number, unit = re.search(
        r"(?m)^\| interval \| (\d+) (minute|hour)s?\b",
        (CHECKOUT / "docs" / f"check_vm_{probe}.md").read_text(),
    ).groups()

    assert int(number) * {"minute": 60, "hour": 3600}[unit] == services.SERVICES[probe].interval


@pytest.mark.parametrize(
    "target", [target for target in templates.TARGETS if target != "systemd"]
)  # a unit has no such word
def test_the_page_that_a_service_names_is_there(target):
    named = {
        page
        for text in tree(target, GOLDEN / "sites").values()
        for page in re.findall(r"docs\.example\.org/vmprobe/([^\s\"]+)", text)
    }

    assert named == {f"check_vm_{probe}.md" for probe in INSTALLED}
    assert all((CHECKOUT / "docs" / page).is_file() for page in named)


@pytest.mark.parametrize("target", ["director", "argo"])
def test_what_has_to_be_json_is(target):
    for text in tree(target, GOLDEN / "sites").values():
        assert json.loads(text)
