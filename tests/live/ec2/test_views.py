"""The checks that create nothing, over moto; and over ec2-api, which reports more."""

from __future__ import annotations

import re

import pytest

from running import run_probe

from . import moto, places
from .gateway import Gateway

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def gateway():
    moto.reset()
    with Gateway(moto.url()) as made:
        yield made


@pytest.fixture
def check(gateway, tmp_path):
    """(exit code, output) of a probe."""
    gateway.heal()

    def run(probe, *options, endpoint=()):
        path = places.site_file(
            tmp_path,
            gateway.url,
            endpoint={**places.aws(gateway), **dict(endpoint)},
            flavor="t2.nano",
        )
        code, output, errors = run_probe(f"check_vm_{probe}", "--site", str(path), *options)
        assert errors == ""
        return code, output

    return run


@pytest.fixture
def server(gateway):
    """The id of somebody's running instance."""
    form = {
        "Version": "2016-11-15",
        "TagSpecification.1.ResourceType": "instance",
        "TagSpecification.1.Tag.1.Key": "Name",
        "TagSpecification.1.Tag.1.Value": "web-1",
    }
    _, _, answer = gateway.ask(
        "ec2",
        {
            "Action": "DescribeImages",
            "Filter.1.Name": "name",
            "Filter.1.Value.1": places.IMAGE,
            **form,
        },
    )
    image = re.search(rb"<imageId>(ami-\w+)", answer)[1].decode()
    _, _, answer = gateway.ask(
        "ec2",
        {
            "Action": "RunInstances",
            "ImageId": image,
            "InstanceType": "t2.nano",
            "MinCount": "1",
            "MaxCount": "1",
            **form,
        },
    )
    made = re.search(rb"<instanceId>(i-\w+)", answer)[1].decode()
    gateway._meter(made)
    yield made
    gateway.ask("ec2", {"Action": "TerminateInstances", "InstanceId.1": made, **form})


def figures(output):
    return {
        label: float(value)
        for label, value in re.findall(
            r"(\w+)=(\d+(?:\.\d+)?)", output.split("\n")[0].partition(" | ")[2]
        )
    }


def test_the_gateway_is_well_and_says_its_region_and_zones(check):
    code, output = check("gateway", "--capabilities")

    assert code == 0, output
    assert re.match(
        r"VM_GATEWAY OK - ec2: Amazon EC2 API 2016-11-15 answers in [\d.]+ s \(auth ", output
    )
    assert {"tcp", "http", "auth", "version", "list", "image"} <= set(figures(output))
    assert re.search(r"^zones +.*us-east-1a", output, re.M)


def test_a_server_has_its_age_image_and_name(check, server):
    code, output = check("state", "-v")

    assert code == 0, output
    assert re.match(r"VM_STATE OK - ec2: 1 server \(1 running\)", output)
    assert re.search(rf"^running +\d+ s +.*ami-\w+ +{server} +web-1$", output, re.M)


def test_what_is_used_is_counted(check, server):
    code, output = check("capacity")

    assert code == 0, output
    assert figures(output)["servers_used"] == 1 and figures(output)["addresses_free"] == 5


def limits(output):
    """By name: (used, total), as the lines below the first one show them."""
    rows = [re.split(r"  +", line) for line in output.splitlines() if "  quota  " in line]
    return {name.strip(): (used, total) for name, _, used, total, *_ in rows}


def test_service_quotas_limit_what_is_used(check, gateway, server):
    for kind in ("gp3", "gp2"):
        gateway.ask(
            "ec2",
            {
                "Action": "CreateVolume",
                "Version": "2016-11-15",
                "Size": "512",
                "VolumeType": kind,
                "AvailabilityZone": "us-east-1a",
            },
        )
    code, output = check(
        "capacity", "--need", "3", "-v", endpoint={"service quotas url": gateway.url}
    )

    assert code == 0, output
    assert output.startswith(
        "VM_CAPACITY OK - ec2: 31 more t2.nano fit, limited by vcpus by quota: 31 of 32 are free; free: "
    )
    assert limits(output) == {
        "servers": ("1", "unlimited"),
        "volumes": ("3", "unlimited"),
        "vcpus": ("1", "32"),
        "storage": ("512 GiB", "50 TiB"),
        "addresses": ("0", "8"),
    }
    assert [
        (action, form["QuotaCode"]) for action, form in gateway.calls if "QuotaCode" in form
    ] == [
        ("GetServiceQuota", "L-1216C47A"),
        ("GetServiceQuota", "L-7A658B76"),
        ("GetAWSDefaultServiceQuota", "L-7A658B76"),
        ("GetServiceQuota", "L-0263D0A3"),
    ]


def test_quotas_that_are_forbidden_or_out_of_reach_limit_nothing_and_that_is_said(
    check, gateway, server
):
    gateway.faults.add("no-quotas")
    code, output = check("capacity", "-v", endpoint={"service quotas url": gateway.url})
    assert code == 0, output
    assert limits(output)["vcpus"] == ("1", "unknown") and limits(output)["addresses"] == (
        "0",
        "5",
    )  # by the account's attributes
    assert re.search(
        r"^note: the limit of vcpus is not known: quota ec2/L-1216C47A: 400 AccessDeniedException: User: arn:aws:iam::",
        output,
        re.M,
    )

    code, output = check("capacity", "-v", endpoint={"service quotas url": "http://127.0.37.3:1"})
    assert code == 0, output
    assert re.search(
        r"^note: the limit of storage is not known: quota ec2/L-1216C47A: 127.0.37.3 port 1: connection refused$",
        output,
        re.M,
    )


def test_activity_is_what_cloudwatch_says(check, server):
    code, output = check("activity")

    assert code == 0, output
    assert figures(output)["cpu_avg"] == 12.5 and figures(output)["net_out_avg"] == 200


def test_the_test_image_is_there(check):
    code, output = check("image")

    assert (code, output.partition(" | ")[0]) == (
        0,
        f"VM_IMAGE OK - ec2: image {places.IMAGE} is there",
    )


def test_nothing_of_anybody_elses_is_a_leftover(check, server):
    code, output = check("leftovers", "--remove")

    assert code == 0, output
