"""A check of a gateway that is a real server on loopback."""

import re

from vmprobe.checks.gateway import command
from vmprobe.core.clock import Clock
from vmprobe.report import verdict


class Wired:
    """A site whose gateway is a real server; runs take real time, so durations are T in what they say."""

    def __init__(self, site, url):
        self.site = site.set(
            "endpoint", manager="gateways.driver", url=url, memory=site.url, timeout="5 s"
        )

    def set(self, section, **keys):
        self.site.set(section, **keys)
        return self

    def __call__(self, *options):
        result = command.main(["--site", str(self.site.write()), *options], clock=Clock()).verdict
        return result.state, plain(verdict.render("VM_GATEWAY", result))


def plain(text):
    """Text without what differs from run to run."""
    text = re.sub(r"(?<![\w.])\d+(\.\d+)? ?s\b", "Ts", text)
    text = re.sub(r"(skew=)Ts", r"\1Ss", text)
    return re.sub(r"(127\.0\.0\.1(?: port |:))\d+", r"\1PORT", text)
