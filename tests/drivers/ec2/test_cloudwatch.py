"""Metrics from CloudWatch."""

from simulators.scripted_ec2 import SERVER
from vmprobe.core.model import Sample


def test_metrics_are_the_newest_and_sums_become_rates(connected):
    def result(name, *pairs):
        stamps, values = (
            "".join(f"<member>{pair[index]}</member>" for pair in pairs) for index in (0, 1)
        )
        return f"<member><Id>{name}</Id><Timestamps>{stamps}</Timestamps><Values>{values}</Values></member>"

    body = (
        "<AResponse><GetMetricDataResult><MetricDataResults>"
        + result("cpuutilization", ("2026-11-23T00:05:00Z", "1.5E1"), ("2026-11-23T00:00:00Z", "9"))
        + result("diskreadbytes", ("2026-11-23T00:05:00Z", "300"))
        + result("ebsreadbytes", ("2026-11-23T00:05:00Z", "600"))
        + result("networkin", ("soon", "1"))
        + result("networkout", ("2026-11-23T00:05:00Z", "1.2.3"))
        + result("ebswritebytes")
        + "</MetricDataResults></GetMetricDataResult></AResponse>"
    ).encode()

    assert connected({"GetMetricData": body}).metrics(SERVER) == [
        Sample("cpu", 15.0, 1795392300.0, counter=False),
        Sample("disk_read", 3.0, 1795392300.0, counter=False),
    ]
