"""A manager that authenticates over HTTP and is otherwise the cloud in memory."""

from vmprobe.core.driver import Key
from vmprobe.core.values import http_url, word_list
from vmprobe.drivers.memory.driver import Memory
from vmprobe.transport.http import Http


class Gateway(Memory):
    """``services`` are what its catalogue names beside the gateway itself."""

    system = "test gateway"
    endpoint_keys = {
        **Memory.endpoint_keys,
        "url": Key(http_url, required=True),
        "memory": Key(default="memory://gateway"),
        "services": Key(word_list, ()),
    }
    credential_keys = ("username", "password", "certificate", "key")

    def __init__(self, endpoint, *words):
        super().__init__({**endpoint, "url": endpoint["memory"]}, *words)
        self.endpoint = endpoint
        self.http = Http(
            endpoint["url"],
            self.deadline,
            self.evidence,
            timeout=endpoint["timeout"],
            ca=endpoint["ca"],
            certificate=self.credentials.get("certificate", ""),
            key=self.credentials.get("key", ""),
        )

    def connect(self):
        self.http.post("tokens", json={"user": "probe"})
        super().connect()

    def endpoints(self):
        return [self.endpoint["url"], *(self.endpoint["services"] if self._session else ())]

    def close(self):
        self.http.close()
