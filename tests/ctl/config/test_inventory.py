"""The inventory: all sites, each name once."""

import json
import os

import pytest

from configuring import ctl, write
from vmprobe.ctl.config import inventory


@pytest.mark.parametrize(
    "hosts",
    [
        7,
        [],
        {"{path}": 7},
        {"{path}": [[], []]},
        {"{path}": ["{marks}", ["one"]]},
        {"{path}": ["{marks}", 7]},
    ],
    ids=["number", "list", "no-entry", "empty", "too-short", "no-host"],
)
def test_a_foreign_memory_of_sites_is_ignored(tmp_path, hosts):
    path = write(tmp_path / "sites")
    state = path.stat()
    text = (
        json.dumps(hosts)
        .replace("{path}", str(path))
        .replace('"{marks}"', json.dumps([state.st_mtime_ns, state.st_size, state.st_ino]))
    )

    found, kept = inventory.read(
        [str(tmp_path / "sites")], {"suite": inventory._suite(), "hosts": json.loads(text)}
    )

    assert [each.name for each in found] == ["one"] and list(kept["hosts"]) == [str(path)]


def test_with_a_bad_site_file_nothing_is_written(sites, tmp_path):
    write(sites, name="bad", schedule="checks = maybe")

    assert ctl("nagios", tmp_path / "out", sites) == (
        1,
        "",
        "vmprobectl: bad.ini [schedule] checks: 'maybe' is not one of auto, active, passive\n",
    )
    assert os.listdir(tmp_path / "out") == []


def test_two_sites_of_one_name_are_refused(sites, tmp_path):
    (sites / "twice.ini").write_text((sites / "local.ini").read_text())

    assert ctl("nagios", tmp_path / "out", sites)[2] == (
        f"vmprobectl: {sites}/twice.ini [site] name: local is also the name of {sites}/local.ini\n"
    )
