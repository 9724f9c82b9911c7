"""Where Amazon's services are, by region (AWS General Reference, "Service endpoints")."""

from __future__ import annotations

import re
from typing import Optional

from vmprobe.core import urls

_AMAZON_DOMAINS = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".api.amazonwebservices.com.cn",
    ".c2s.ic.gov",
    ".sc2s.sgov.gov",
)
_PARTITIONS = (  # (how names of regions begin, domain), the first that matches
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-iso-", "c2s.ic.gov"),
    ("", "amazonaws.com"),
)


def service_url(service: str, region: str) -> str:
    """The URL of one of Amazon's services in a region.

    >>> service_url("ec2", "cn-north-1")
    'https://ec2.cn-north-1.amazonaws.com.cn'
    """
    domain = next(domain for prefix, domain in _PARTITIONS if region.startswith(prefix))
    return f"https://{service}.{region}.{domain}"


def neighbour_url(service: str, ec2_url: str) -> str:
    """The URL of a service in the same region as an EC2 of Amazon's; '' for any other EC2."""
    match = re.fullmatch(
        r"https://ec2[.-]([a-z0-9-]+)\.(?:api\.aws|amazonaws\.com(?:\.cn)?|amazonaws\.eu)/?",
        ec2_url,
    )
    return service_url(service, match[1]) if match else ""


def region_in(url: Optional[str]) -> str:
    """The region that a URL of Amazon's EC2 names; '' where it names none."""
    host = urls.host(url or "")
    match = re.search(r"(?:^|\.)ec2(?:-fips)?[.-]([a-z]{2,4}-[a-z-]+-\d)\.", host)
    return match[1] if match else ""


def is_amazon(url: Optional[str]) -> bool:
    """Whether an endpoint is Amazon's own, by its host; a site without a URL means Amazon.

    >>> [is_amazon(url) for url in (None, "https://ec2.eu-west-1.api.aws", "https://h/amazonaws.com")]
    [True, True, False]
    """
    return not url or f".{urls.host(url)}".endswith(_AMAZON_DOMAINS)
