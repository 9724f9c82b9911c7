"""The record of requests and replies, redacted when it is written and when it is read."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Optional, Tuple

from vmprobe.core.redact import Redactor, current

_BODY = 4000  # characters of a text that are shown
# Characters that are kept until then. More than are shown: a secret that is learned later can only
# be found whole, and the end of the kept text may be half of one.
_KEPT = 4 * _BODY


class Evidence:
    """Exchanges in order, for ``-vv`` and ``--evidence``.

    Without ``keep`` the requests are only counted.
    """

    def __init__(self, redactor: Optional[Redactor] = None, keep: bool = False):
        self.redactor = redactor or current()
        self.keep = keep
        self.requests = 0
        # The Date header of the newest reply that has one, and this host's time when it came.
        self.server_date = ("", 0.0)
        self._kept: List[Dict[str, Any]] = []

    def record(
        self,
        request: str,
        sent: object = "",
        status: object = "",
        received: object = "",
        seconds: float = 0.0,
    ) -> None:
        """Record a request and its reply; ``request`` is the method or command and its target."""
        self.requests += 1
        if not self.keep:
            return
        texts = {"request": request, "sent": sent, "status": status, "received": received}
        self._kept.append(
            {
                **{word: self._beginning(content) for word, content in texts.items()},
                "seconds": round(seconds, 3),
            }
        )

    @property
    def exchanges(self) -> List[Dict[str, Any]]:
        """The exchanges without the secrets that are known by now."""
        return [
            {
                word: self._shown(*kept) if isinstance(kept, tuple) else kept
                for word, kept in exchange.items()
            }
            for exchange in self._kept
        ]

    def _beginning(self, content: object) -> Tuple[str, int]:
        """The beginning of a text, and the length of the whole."""
        text = (
            content
            if isinstance(content, str)
            else json.dumps(content, default=str, sort_keys=True)
        )
        return self.redactor.cut(text, _KEPT), len(text)

    def _shown(self, text: str, length: int) -> str:
        shown = self.redactor.cut(text, _BODY + 1)
        return shown if len(shown) <= _BODY else shown[:_BODY] + f"... ({length} characters)"

    def lines(self) -> List[str]:
        """The exchanges as text, for people."""
        lines = []
        for number, exchange in enumerate(self.exchanges, 1):
            lines.append(
                f"#{number} {exchange['request']} -> {exchange['status']}"
                f" in {exchange['seconds']} s"
            )
            for word, mark in (("sent", ">"), ("received", "<")):
                lines.extend(f"  {mark} {line}" for line in exchange[word].splitlines())
        return lines

    def save(self, directory: str, name: str, summary: Dict[str, Any]) -> str:
        """Write everything to ``directory``/``name``.json, readable by this user only.

        Returns the path. Raises OSError.
        """
        os.makedirs(directory, mode=0o700, exist_ok=True)
        path = os.path.join(directory, f"{name}.json")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(self.redactor.json({**summary, "exchanges": self.exchanges}))
        return path
