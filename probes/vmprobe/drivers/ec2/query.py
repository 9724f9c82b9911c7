"""The AWS Query API, as EC2, CloudWatch and STS speak it.

    ec2 = Query(http, keys, service="ec2", region="eu-west-1", version="2016-11-15", classify=...)
    reply = ec2("DescribeInstances", {"Filter": [{"Name": "tag:Name", "Value": ["web-*"]}]})

A request is a signed form, sent by POST; its answer is XML (Amazon EC2 API Reference, "Query
requests").
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from vmprobe.core.errors import GatewayFailed, VmprobeError
from vmprobe.core.text import cut
from vmprobe.drivers.ec2.faults import Classify, refusal_in
from vmprobe.drivers.ec2.signature import Keys, encoded, signature_2, signed
from vmprobe.transport.http import Http, Reply

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# The parameters of a call. None is left out.
Value = Union[str, float, bool, None, Sequence["Value"], Mapping[str, "Value"]]
Parameters = Mapping[str, Value]

FORM = "application/x-www-form-urlencoded; charset=utf-8"
_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^<>]*\?>\s*)?<(?:[\w.-]+:)?(\w+)[\s/>]")
_ERROR_ROOTS = ("Response", "ErrorResponse")


class Query:
    """Calls of one service at one URL. Each call is signed by the clock of the run."""

    def __init__(
        self,
        http: Http,
        keys: Keys,
        *,
        service: str,
        region: str,
        version: str,
        signature: int = 4,
        classify: Optional[Classify] = None,
    ):
        """``classify`` makes an error of a refusal; None leaves the error to the HTTP status."""
        self.http, self.keys = http, keys
        self.service, self.region, self.version = service, region, version
        self._sign = self._sign_2 if signature == 2 else self._sign_4
        self._classify = classify
        http.headers = {**http.headers, "Accept": "text/xml, application/xml", "Content-Type": FORM}
        http.classify = self._error_of

    def __call__(
        self,
        action: str,
        parameters: Optional[Parameters] = None,
        asked: str = "",
        redact_reply: bool = False,
    ) -> Reply:
        """The answer to one call; GatewayFailed when it is no answer to this action.

        ``parameters``: see ``flat``. ``asked`` says in errors what was asked; default: the action.
        ``redact_reply``: the answer is secret as a whole.
        """
        form = {"Action": action, "Version": self.version, **flat(parameters or {})}
        body, headers = self._sign(form)
        reply = self.http.post(
            body=body.encode("ascii"),
            headers=headers,
            asked=asked or action,
            redact_reply=redact_reply,
        )
        match = _ROOT.match(reply.body[:1000])
        root = match[1].decode("ascii", "replace") if match else ""
        if root == f"{action}Response":
            return reply
        # An answer to another action, or a proxy's page: it says nothing about this one.
        error = self._error_of(reply) if root in _ERROR_ROOTS else None
        raise error or reply.malformed(
            f"the answer is one to {cut(root[:-8], 60)}"
            if root.endswith("Response") and root != "Response"
            else "the answer is not from this service"
        )

    def _sign_4(self, form: Mapping[str, str]) -> Tuple[str, Dict[str, str]]:
        body = encoded(form)
        headers = {"Content-Type": FORM}
        return body, signed(
            self.http, self.keys, headers, body.encode("ascii"), self.region, self.service
        )

    def _sign_2(self, form: Mapping[str, str]) -> Tuple[str, Dict[str, str]]:
        signed_form = {
            **form,
            "AWSAccessKeyId": self.keys.access,
            "SignatureVersion": "2",
            "SignatureMethod": "HmacSHA256",
            "Timestamp": timestamp(self.http.deadline.clock.utc()),
        }
        if self.keys.token:
            signed_form["SecurityToken"] = self.keys.token
        signed_form["Signature"] = signature_2(self.keys.secret, "POST", self.http.url, signed_form)
        return encoded(signed_form), {}

    def _error_of(self, reply: Reply) -> Optional[VmprobeError]:
        refusal = refusal_in(reply.body)
        if not refusal.code and reply.status in (404, 409, 410):
            # The service itself would say by a code what it does not know: this is a proxy.
            return reply.error(GatewayFailed)
        return self._classify(reply, refusal) if refusal.code and self._classify else None


def rows(element: Optional[Element], path: str) -> List[Element]:
    """The ``item`` (or ``member``) elements of a set; none where the set is missing."""
    if element is None:
        return []
    return element.findall(f"{path}/item") + element.findall(f"{path}/member")


def flat(parameters: Union[Parameters, Sequence[Value]], prefix: str = "") -> Dict[str, str]:
    """Lists and mappings as the Query API has them: ``Filter.1.Value.2``; None is left out.

    >>> flat({"Filter": [{"Name": "state", "Value": ["a", "b"]}], "Dry": True, "No": None})
    {'Filter.1.Name': 'state', 'Filter.1.Value.1': 'a', 'Filter.1.Value.2': 'b', 'Dry': 'true'}
    """
    form: Dict[str, str] = {}
    for name, value in (
        parameters.items() if isinstance(parameters, Mapping) else enumerate(parameters, 1)
    ):
        if isinstance(value, (Mapping, list, tuple)):
            form.update(flat(value, f"{prefix}{name}."))
        elif value is not None:
            form[f"{prefix}{name}"] = str(value).lower() if isinstance(value, bool) else str(value)
    return form


def timestamp(utc: float) -> str:
    """A time as the Query API's parameters have it, from seconds since the epoch."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(utc))
