"""Check results for Icinga 2, through its REST API.

Source: Icinga 2, "REST API", process-check-result.
"""

from __future__ import annotations

import socket

from vmprobe.core.clock import Deadline
from vmprobe.core.errors import GatewayFailed
from vmprobe.report.submit import https
from vmprobe.report.submit.receiver import (
    Receiver,
    Rejected,
    Superseded,
    UnclearReply,
    Undelivered,
)
from vmprobe.report.submit.spool import PassiveResult
from vmprobe.site.targets import Target


class Icinga2(Receiver):
    """Icinga 2. It discards a result that is older than the newest one it has of the service."""

    def __init__(self, target: Target, deadline: Deadline):
        super().__init__(target, deadline)
        keys = ("username", "password", "certificate", "key")
        self._http, _ = https.connect(target, deadline, keys)

    def send(self, result: PassiveResult) -> None:
        text, _, perfdata = result.line.partition(" | ")
        details = result.output.partition("\n")[1:]
        reply = self._http.post(
            "v1/actions/process-check-result",
            {
                "type": "Service",
                "filter": "host.name == wanted_host && service.name == wanted_service",
                "filter_vars": {"wanted_host": result.host, "wanted_service": result.service},
                "exit_status": result.state,
                "plugin_output": text + "".join(details),
                "performance_data": perfdata.split(" ") if perfdata else [],
                "execution_start": result.began,
                "execution_end": result.ended,
                "check_source": socket.gethostname(),
            },
            accept=(404, 409, 500),
        )
        try:
            document = reply.json()
            is_unknown = reply.status == 404 and isinstance(document, dict) and "error" in document
            answers = [] if is_unknown else reply.items("results")
        except GatewayFailed as error:
            failure = UnclearReply if reply.status < 300 else Undelivered
            raise failure(f"{error} (status {reply.status})") from None
        codes = [answer.get("code") for answer in answers]
        if not answers:
            raise Rejected(f"it has no service {result.host}!{result.service}")
        if 200 in codes:
            return
        failure = Superseded if 409 in codes else Rejected
        raise failure(f"it says: {answers[0].get('status', 'nothing')}")
