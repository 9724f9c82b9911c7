"""The record of what was asked of a manager and what it answered, with secrets struck out as it is taken."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Optional

from vmprobe.redact import Redactor, current

_BODY = 4000


class Evidence:
    """Exchanges in order, for ``-vv``, ``--evidence`` and the count of requests. Bodies are kept only when ``keep``."""

    def __init__(self, redactor: Optional[Redactor] = None, keep: bool = False):
        self.redactor = redactor or current()
        self.keep = keep
        self.requests = 0
        self.dated = ("", 0.0)  # the Date of the last answer that has one, and when it came by this host's clock
        self.exchanges: List[Dict[str, Any]] = []

    def note(self, request: str, sent: object = "", status: object = "", received: object = "", seconds: float = 0.0) -> None:
        """One request and its answer; ``request`` is the method or command with its target."""
        self.requests += 1
        if not self.keep:
            return
        self.exchanges.append({
            "request": self._cut(request), "sent": self._cut(sent), "status": self._cut(status),
            "received": self._cut(received), "seconds": round(seconds, 3),
        })

    def _cut(self, thing: object) -> str:
        text = thing if isinstance(thing, str) else json.dumps(thing, default=str, sort_keys=True)
        shown = self.redactor.cut(text, _BODY + 1)
        return shown if len(shown) <= _BODY else shown[:_BODY] + f"... ({len(text)} characters)"

    def lines(self) -> List[str]:
        """The exchanges as text, for people."""
        shown = []
        for number, exchange in enumerate(self.exchanges, 1):
            shown.append(f"#{number} {exchange['request']} -> {exchange['status']} in {exchange['seconds']} s")
            for word, mark in (("sent", ">"), ("received", "<")):
                shown.extend(f"  {mark} {line}" for line in exchange[word].splitlines())
        return shown

    def save(self, directory: str, name: str, summary: Dict[str, Any]) -> str:
        """Write everything to ``directory``/``name``.json, for this user only; returns the path. OSError as it comes."""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        path = os.path.join(directory, f"{name}.json")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(self.redactor.json({**summary, "exchanges": self.exchanges}))
        return path
