"""Check results for NRDP. Source: NRDP's README and its server's source."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import GatewayFailed
from vmprobe.core.text import one_line
from vmprobe.report.submit import https
from vmprobe.report.submit.receiver import Receiver, Rejected, UnclearReply, Undelivered
from vmprobe.report.submit.spool import PassiveResult
from vmprobe.site.targets import Target

if TYPE_CHECKING:
    from vmprobe.transport.http import Reply


class Nrdp(Receiver):
    """NRDP. It answers in XML, or in JSON if its URL has ``output_type=json``."""

    def __init__(self, target: Target, deadline: Deadline):
        super().__init__(target, deadline)
        self._http, credentials = https.connect(target, deadline, ("token",))
        self._token = credentials.get("token", "")

    def send(self, result: PassiveResult) -> None:
        from xml.sax.saxutils import escape

        fields = {
            "hostname": result.host,
            "servicename": result.service,
            "state": str(result.state),
            "output": result.output,
            "time": str(int(result.ended)),
        }
        body = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items())
        document = (
            "<?xml version='1.0'?><checkresults><checkresult type='service' checktype='1'>"
            f"{body}</checkresult></checkresults>"
        )
        form = urlencode({"token": self._token, "cmd": "submitcheck", "XMLDATA": document})
        # The URL exactly as written: without the slash at its end, a web server redirects, and a
        # redirected POST is not repeated.
        reply = self._http.request(
            "POST",
            self.where,
            body=form.encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        answer = _parsed(reply)
        if answer.status != "0":
            raise Undelivered(f"it says: {one_line(answer.message or reply.text)}")
        if re.match(r"0 checks? processed", answer.output):
            raise Rejected(f"it says: {one_line(answer.output)}")


class _Answer(NamedTuple):
    status: str  # '0' if the request was accepted
    message: str
    output: str


def _parsed(reply: Reply) -> _Answer:
    """NRDP's answer, without what its PHP may have written around it."""
    from vmprobe.transport import error_text, xml
    from vmprobe.transport import json as fields
    from vmprobe.transport.reply import parse_json

    if error_text.is_html_page(reply.body):
        raise Undelivered("the reply is a web page, not an answer of NRDP: is the URL right?")
    json_answer = re.search(rb'\{\s*"result"\s*:.*\}', reply.body, re.S)
    xml_answer = re.search(rb"<result>.*</result>", reply.body, re.S)
    try:
        if json_answer and not xml_answer:
            result = fields.field(parse_json(json_answer[0]), "result", dict)
            meta = result.get("meta")
            output = meta.get("output") if isinstance(meta, dict) else ""
            return _Answer(
                fields.short_text(result, "status"),
                str(result.get("message") or ""),
                str(output or ""),
            )
        root = xml.parse(xml_answer[0] if xml_answer else reply.body)
        return _Answer(
            xml.text(root, "status"),
            xml.text(root, "message", ""),
            xml.text(root, "meta/output", ""),
        )
    except GatewayFailed as error:
        raise UnclearReply(str(error)) from None
