"""XML-RPC over Http (xmlrpc.com/spec): the standard library's marshalling, behind this suite's limits."""

from __future__ import annotations

from typing import Any, Callable, Optional

from vmprobe.core.errors import CloudError, GatewayFailed, VmprobeError
from vmprobe.core.text import cut
from vmprobe.transport import xml
from vmprobe.transport.http import Http

Faults = Callable[[str, int, str], Optional[VmprobeError]]


class XmlRpc:
    """Procedures behind one URL. ``faults`` may turn (procedure, code, words) of a fault into a better error."""

    def __init__(self, http: Http, path: str = "", faults: Optional[Faults] = None):
        self._http, self._path, self._faults = http, path, faults

    def call(self, procedure: str, *words: Any, redact_reply: bool = False) -> Any:
        """The procedure's result, of plain Python types; CloudError for a fault, else as Http.

        ``words`` are text, whole numbers of 32 bits, numbers, booleans, bytes, lists and objects of these. ``redact_reply``: the
        answer has secrets in it that nobody knows yet, and is shown nowhere.
        """
        from xmlrpc.client import dumps

        reply = self._http.post(
            self._path,
            body=dumps(words, procedure).encode(),
            asked=procedure,
            headers={"Content-Type": "text/xml"},
            redact_reply=redact_reply,
        )
        return reply.parse(lambda: self._result(procedure, reply.body))

    def _result(self, procedure: str, body: bytes) -> Any:
        from xmlrpc.client import Fault, Unmarshaller

        unmarshaller = Unmarshaller(use_builtin_types=True)
        unmarshaller.xml("", None)  # expat decodes the text: nothing is left to decode
        try:
            results = xml.parse_into(body, unmarshaller)
        except VmprobeError:
            raise
        except Fault as fault:
            raise self._fault(procedure, fault) from None
        except (
            Exception
        ) as wrong:  # the Unmarshaller trusts its input: anything can come out of a wrong nesting
            raise GatewayFailed(f"the answer is no XML-RPC: {type(wrong).__name__}") from None
        if len(results) != 1:
            raise GatewayFailed(f"the answer has {len(results)} results instead of one")
        return results[0]

    def _fault(self, procedure: str, fault: Any) -> VmprobeError:
        code = fault.faultCode if type(fault.faultCode) is int else 0
        words = cut(str(fault.faultString), 500)
        found = self._faults(procedure, code, words) if self._faults else None
        return found or CloudError(f"{procedure}: fault {code}: {words}", cause="gateway")
