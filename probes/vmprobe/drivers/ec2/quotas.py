"""Service Quotas: how much an account of Amazon's may have.

    quotas = Quotas(http, keys, region="eu-west-1", classify=...)
    quotas("ec2", "L-1216C47A")

The protocol is JSON 1.1 by POST, signed by version 4 (Service Quotas API Reference, version
2019-06-24). A quota has the same code in every region.
"""

from __future__ import annotations

import json
from typing import Optional

from vmprobe.core.errors import NotFound, VmprobeError
from vmprobe.core.text import cut
from vmprobe.drivers.ec2.faults import Classify, Refusal
from vmprobe.drivers.ec2.signature import Keys, signed
from vmprobe.transport.http import Http, Reply

JSON = "application/x-amz-json-1.1"
_TARGET = "ServiceQuotasV20190624"


class Quotas:
    """The quotas of one account in one region."""

    def __init__(self, http: Http, keys: Keys, *, region: str, classify: Classify):
        self.http, self.keys, self.region = http, keys, region
        self._classify = classify
        http.headers = {**http.headers, "Content-Type": JSON}
        http.classify = self._error_of

    def __call__(self, service: str, code: str) -> float:
        """The quota's value, in its own unit: the account's, or the default where it has none.

        NotFound: there is no such service or quota.
        """
        try:
            reply = self._call("GetServiceQuota", service, code)
        except NotFound:
            reply = self._call("GetAWSDefaultServiceQuota", service, code)
        value: float = reply.field("Quota", "Value", float)
        return value

    def _call(self, action: str, service: str, code: str) -> Reply:
        body = json.dumps({"ServiceCode": service, "QuotaCode": code}).encode()
        headers = {"Content-Type": JSON, "X-Amz-Target": f"{_TARGET}.{action}"}
        return self.http.post(
            body=body,
            headers=signed(self.http, self.keys, headers, body, self.region, "servicequotas"),
            asked=f"quota {service}/{code}",
        )

    def _error_of(self, reply: Reply) -> Optional[VmprobeError]:
        try:
            code = reply.field("__type", str, default="").rpartition("#")[2]
        except VmprobeError:
            return None
        if not code:
            return None
        return self._classify(reply, Refusal(cut(code, 100), reply.message, reply.request_id))
