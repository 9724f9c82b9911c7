"""The table of metrics: each check measures what it says of it, and nothing else."""

import re

import pytest

from vmprobe.site import metrics, thresholds
from vmprobe.site.services import SERVICES
from vmprobe.site.site import load


@pytest.mark.parametrize("check", sorted(SERVICES))
def test_a_check_measures_only_what_the_table_says(site, check):
    measured = set(re.findall(r"(\w+)=", site.probe(check)[1].split(" | ")[1].split("\n")[0]))

    assert measured and measured <= metrics.measured_by(check)


def test_a_fleet_s_durations_are_those_of_the_table(site):
    site.set("test vm", snapshot="yes")
    line = site.lifecycle("--count", "2")[1]
    ends = ("_min", "_avg", "_max")
    stages = {label.rsplit("_", 1)[0] for label in re.findall(r"(\w+_min)=", line)}

    assert {f"{stage}{end}" for stage in stages for end in ends} == {
        label
        for row in metrics.ROWS
        if row.shown == "STAGE_min _avg _max"
        for label in row.labels.split()
    }


def test_only_hosts_are_measured_for_how_busy_they_are():
    busy = {
        label for label in metrics.UNITS if "load" in label or re.search("ready_(used|full)", label)
    }

    assert busy == {"host_load_used", "host_load_full", "host_ready_used", "host_ready_full"}


def test_each_metric_has_one_unit_and_a_label_of_19_characters_at_most():
    units = {(label, row.unit) for row in metrics.ROWS for label in row.labels.split()}

    assert len(units) == len(metrics.UNITS) == len(dict(units))
    assert all(re.fullmatch("[a-z0-9_]{1,19}", label) for label in metrics.UNITS)


def test_a_row_names_checks_that_there_are():
    assert {check for row in metrics.ROWS for check in row.checks.split()} == set(SERVICES)


def test_a_site_s_thresholds_are_for_all_checks(site):
    site.set("thresholds", tls_expires="1:", age_max="5", cpu_peak="50, 80")
    loaded = load(str(site.write()))

    assert loaded.thresholds == thresholds.Thresholds(
        {"tls_expires": "1:", "age_max": "5", "cpu_peak": "50"}, {"cpu_peak": "80"}
    )
    assert site.probe("state")[0] == 0
