"""A driver for tests of check_vm_gateway: authenticates over HTTP, and is otherwise the cloud in memory."""

from typing import Any, List, Mapping

from vmprobe.core.driver import Deadline, Evidence, Key
from vmprobe.core.values import http_url, word_list
from vmprobe.drivers.memory.driver import Memory
from vmprobe.transport.http import Http


class Gateway(Memory):
    """``services``: the URLs that its catalog names beside the gateway itself."""

    system = "test gateway"
    endpoint_keys = {
        **Memory.endpoint_keys,
        "url": Key(http_url, required=True),
        "memory": Key(default="memory://gateway"),
        "services": Key(word_list, ()),
    }
    credential_keys = ("username", "password", "certificate", "key")

    def __init__(
        self,
        endpoint: Mapping[str, Any],
        credentials: Mapping[str, str],
        deadline: Deadline,
        evidence: Evidence,
    ) -> None:
        super().__init__({**endpoint, "url": endpoint["memory"]}, credentials, deadline, evidence)
        self.endpoint = endpoint
        self.http = Http(
            endpoint["url"],
            deadline,
            evidence,
            timeout=endpoint["timeout"],
            ca=endpoint["ca"],
            certificate=credentials.get("certificate", ""),
            key=credentials.get("key", ""),
        )

    def connect(self) -> None:
        self.http.post("tokens", json={"user": "probe"})
        super().connect()

    def endpoints(self) -> List[str]:
        return [self.endpoint["url"], *(self.endpoint["services"] if self._session else ())]

    def close(self) -> None:
        self.http.close()
