"""XML-RPC over Http (xmlrpc.com/spec), by the standard library, within this suite's limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional

from vmprobe.core.errors import CloudError, GatewayFailed, VmprobeError
from vmprobe.core.text import cut
from vmprobe.transport import xml
from vmprobe.transport.http import Http

if TYPE_CHECKING:  # loaded by the first call
    from xmlrpc.client import Fault

Faults = Callable[[str, int, str], Optional[VmprobeError]]  # (procedure, code, message)


class XmlRpc:
    """Procedures behind one URL.

    ``faults`` may turn a fault into a better error than CloudError.
    """

    def __init__(self, http: Http, path: str = "", faults: Optional[Faults] = None):
        self._http, self._path, self._faults = http, path, faults

    def call(self, procedure: str, *arguments: Any, redact_reply: bool = False) -> Any:
        """The result of a procedure, of plain Python types; CloudError for a fault, else the errors
        of Http.

        Arguments are text, whole numbers of 32 bits, numbers, booleans, bytes, lists and objects of
        these. ``redact_reply``: the answer has secrets in it that are not known yet, so it is not
        shown anywhere.
        """
        from xmlrpc.client import dumps

        reply = self._http.post(
            self._path,
            body=dumps(arguments, procedure).encode(),
            asked=procedure,
            headers={"Content-Type": "text/xml"},
            redact_reply=redact_reply,
        )
        return reply.parse(lambda: self._result(procedure, reply.body))

    def _result(self, procedure: str, body: bytes) -> Any:
        from xmlrpc.client import Fault, Unmarshaller

        unmarshaller = Unmarshaller(use_builtin_types=True)
        unmarshaller.xml("", None)  # no encoding: expat has decoded the text already
        try:
            results: Any = xml.parse_into(body, unmarshaller)
        except VmprobeError:
            raise
        except Fault as fault:
            raise self._error(procedure, fault) from None
        except Exception as error:  # Unmarshaller trusts its input: a wrong nesting raises anything
            raise GatewayFailed(f"the answer is no XML-RPC: {type(error).__name__}") from None
        if len(results) != 1:
            raise GatewayFailed(f"the answer has {len(results)} results instead of one")
        return results[0]

    def _error(self, procedure: str, fault: Fault) -> VmprobeError:
        code = fault.faultCode if type(fault.faultCode) is int else 0
        message = cut(str(fault.faultString), 500)
        better = self._faults(procedure, code, message) if self._faults else None
        return better or CloudError(f"{procedure}: fault {code}: {message}", cause="gateway")
