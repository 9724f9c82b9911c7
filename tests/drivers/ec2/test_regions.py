"""Where the EC2 driver finds the services: URLs and regions."""

import pytest

from simulators.scripted_ec2 import driver
from vmprobe.core.errors import (
    ClientError,
)
from vmprobe.core.model import Capability


@pytest.mark.parametrize(
    "manager, endpoint, urls",
    [
        (
            "ec2",
            {"region": "eu-west-1"},
            ["https://ec2.eu-west-1.amazonaws.com", "https://monitoring.eu-west-1.amazonaws.com"],
        ),
        (
            "ec2",
            {"region": "cn-north-1"},
            [
                "https://ec2.cn-north-1.amazonaws.com.cn",
                "https://monitoring.cn-north-1.amazonaws.com.cn",
            ],
        ),
        (
            "ec2",
            {"url": "https://ec2.us-gov-west-1.amazonaws.com"},
            [
                "https://ec2.us-gov-west-1.amazonaws.com",
                "https://monitoring.us-gov-west-1.amazonaws.com",
            ],
        ),
        (
            "ec2",
            {"region": "eusc-de-east-1"},
            [
                "https://ec2.eusc-de-east-1.amazonaws.eu",
                "https://monitoring.eusc-de-east-1.amazonaws.eu",
            ],
        ),
        ("ec2", {"url": "https://cloud.example.org:1"}, ["https://cloud.example.org:1"]),
        (
            "eucalyptus",
            {"url": "https://c.example.org:8773"},
            ["https://c.example.org:8773/services/compute"],
        ),
        (
            "eucalyptus",
            {
                "url": "https://c.example.org:8773/services/Eucalyptus",
                "cloudwatch url": "https://c.example.org:8773/services/CloudWatch",
            },
            [
                "https://c.example.org:8773/services/Eucalyptus",
                "https://c.example.org:8773/services/CloudWatch",
            ],
        ),
        ("ec2-api", {"url": "https://o.example.org:8788"}, ["https://o.example.org:8788"]),
    ],
)
def test_the_urls_follow_from_region_and_dialect(manager, endpoint, urls):
    ec2 = driver(manager, **endpoint)

    assert ec2.endpoints() == urls
    assert (Capability.METRICS in ec2.capabilities) == (len(urls) > 1)


@pytest.mark.parametrize(
    "manager, endpoint, url",
    [
        ("ec2", {"region": "eu-west-1"}, "https://servicequotas.eu-west-1.amazonaws.com"),
        (
            "ec2",
            {"url": "https://ec2.cn-north-1.amazonaws.com.cn"},
            "https://servicequotas.cn-north-1.amazonaws.com.cn",
        ),
        (
            "ec2",
            {
                "url": "https://ec2.eu-west-1.amazonaws.com",
                "service quotas url": "https://vpce-1.example.org",
            },
            "https://vpce-1.example.org",
        ),
        ("ec2", {"url": "https://cloud.example.org:1"}, ""),
        ("eucalyptus", {"url": "https://c.example.org:8773"}, ""),
    ],
)
def test_service_quotas_are_where_amazons_are_or_where_the_site_says(manager, endpoint, url):
    assert driver(manager, **endpoint).session.quotas_url() == url


@pytest.mark.parametrize(
    "host, region",
    [
        ("ec2.eu-west-1.amazonaws.com", "eu-west-1"),
        ("ec2.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("ec2.ap-southeast-5.api.aws", "ap-southeast-5"),
        ("ec2-fips.us-east-2.amazonaws.com", "us-east-2"),
        ("vpce-0a1b-2c3d.ec2.eu-central-1.vpce.amazonaws.com", "eu-central-1"),
        ("ec2.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
    ],
)
def test_the_region_that_is_signed_is_that_of_the_url(host, region):
    assert driver(url=f"https://{host}").session.region() == region


def test_a_site_without_url_and_region_is_our_own_mistake(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(
        ClientError,
        match=r"\[endpoint\] has neither url nor region: one of them is needed",
    ):
        driver().connect()
