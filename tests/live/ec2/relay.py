"""A gateway in front of OpenStack's real ec2-api. It verifies a dialect's signature, signs the request again
by botocore, and passes it on.

Nimbus has no parameters for the zone and the subnet: the gateway adds them, as Nimbus' own
configuration would.
"""

from __future__ import annotations

import http.client
from urllib.parse import urlencode, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .verifying import Verifying

FORM = "application/x-www-form-urlencoded; charset=utf-8"


class Relay(Verifying):
    """It has a project member's keys; Eucalyptus' instance types are Nova's flavors."""

    def __init__(self, front, *arguments):
        """``front``: of fronted.py."""
        member = front.stack.api(front.stack.cloud().member)
        types = [
            (flavor["name"].encode(), flavor["vcpus"], flavor["ram"])
            for flavor in member.get("compute", "/flavors/detail")["flavors"]
        ]
        super().__init__(Credentials(front.access, front.secret), *arguments, types=types)
        self.front = front

    def served(self, action: str, form: dict[str, str], service: str):
        if self.dialect == "nimbus" and action == "RunInstances":
            form = {
                **form,
                "SubnetId": self.front.subnet,
                "Placement.AvailabilityZone": self.front.stack.cloud().zone,
            }
        status, kind, answer = self._passed_on(form)
        return (
            status,
            kind,
            answer.replace(b"<Code>UnsupportedOperation<", b"<Code>IncorrectState<"),
        )  # as all other managers of the family say it

    def _passed_on(self, form: dict[str, str]):
        url = urlsplit(self.front.url)
        request = AWSRequest(
            "POST",
            f"{self.front.url}/",
            {"Content-Type": FORM, "Host": url.netloc},
            urlencode(form),
        )
        SigV4Auth(self.keys, "ec2", "RegionOne").add_auth(request)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=180)
        try:
            connection.request("POST", "/", request.body, dict(request.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        finally:
            connection.close()
