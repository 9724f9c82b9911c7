"""Service Quotas: how much an account of Amazon's may have (Service Quotas API reference, version 2019-06-24).

    quota = Quotas(http, keys, region="eu-west-1", classify=...)
    quota("ec2", "L-1216C47A")

Its protocol is JSON 1.1 by POST, signed by version 4; what it calls a quota's code is the same in every region.
"""

from __future__ import annotations

import json
from typing import Optional

from vmprobe.core.errors import NotFound, VmprobeError
from vmprobe.core.text import cut
from vmprobe.drivers.ec2.query import Classify, Keys, Refusal, signed
from vmprobe.transport.http import Http, Reply

JSON = "application/x-amz-json-1.1"
_TARGET = "ServiceQuotasV20190624"


class Quotas:
    """The quotas of one account in one region."""

    def __init__(self, http: Http, keys: Keys, *, region: str, classify: Classify):
        self.http, self.keys, self.region = http, keys, region
        self._classify = classify
        http.headers = {**http.headers, "Content-Type": JSON}
        http.classify = self._refused

    def __call__(self, service: str, code: str) -> float:
        """The value that holds, in the quota's own unit: the default, where none was set for the account.

        NotFound: the service or the quota is not there.
        """
        try:
            reply = self._call("GetServiceQuota", service, code)
        except NotFound:
            reply = self._call("GetAWSDefaultServiceQuota", service, code)
        return reply.field("Quota", "Value", float)

    def _call(self, action: str, service: str, code: str) -> Reply:
        body = json.dumps({"ServiceCode": service, "QuotaCode": code}).encode()
        headers = {"Content-Type": JSON, "X-Amz-Target": f"{_TARGET}.{action}"}
        return self.http.post(
            body=body,
            headers=signed(self.http, self.keys, headers, body, self.region, "servicequotas"),
            asked=f"quota {service}/{code}",
        )

    def _refused(self, reply: Reply) -> Optional[VmprobeError]:
        try:
            kind = reply.field("__type", str, default="").rpartition("#")[2]
        except VmprobeError:
            return None
        return (
            self._classify(reply, Refusal(cut(kind, 100), reply.words, reply.request))
            if kind
            else None
        )
