"""The record of what was asked of a manager and what it answered, with secrets struck out as it is taken."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Optional, Tuple

from vmprobe.core.redact import Redactor, current

_BODY = 4000  # characters of a text that are shown
_KEPT = (
    4 * _BODY
)  # that are kept until then: half of a secret that is learned later would not be known any more


class Evidence:
    """Exchanges in order, for ``-vv``, ``--evidence`` and the count of requests. Bodies are kept only when ``keep``."""

    def __init__(self, redactor: Optional[Redactor] = None, keep: bool = False):
        self.redactor = redactor or current()
        self.keep = keep
        self.requests = 0
        self.server_date = (
            "",
            0.0,
        )  # the Date of the last answer that has one, and when it came by this host's clock
        self._kept: List[Dict[str, Any]] = []

    def record(
        self,
        request: str,
        sent: object = "",
        status: object = "",
        received: object = "",
        seconds: float = 0.0,
    ) -> None:
        """One request and its answer; ``request`` is the method or command with its target."""
        self.requests += 1
        if not self.keep:
            return
        texts = {"request": request, "sent": sent, "status": status, "received": received}
        self._kept.append(
            {
                **{word: self._taken(thing) for word, thing in texts.items()},
                "seconds": round(seconds, 3),
            }
        )

    @property
    def exchanges(self) -> List[Dict[str, Any]]:
        """The exchanges as they may be shown, without all secrets that are known by now."""
        return [
            {
                word: self._shown(*thing) if isinstance(thing, tuple) else thing
                for word, thing in exchange.items()
            }
            for exchange in self._kept
        ]

    def _taken(self, thing: object) -> Tuple[str, int]:
        """The beginning of a text, and the length of all of it."""
        text = thing if isinstance(thing, str) else json.dumps(thing, default=str, sort_keys=True)
        return self.redactor.cut(text, _KEPT), len(text)

    def _shown(self, text: str, length: int) -> str:
        shown = self.redactor.cut(text, _BODY + 1)
        return shown if len(shown) <= _BODY else shown[:_BODY] + f"... ({length} characters)"

    def lines(self) -> List[str]:
        """The exchanges as text, for people."""
        shown = []
        for number, exchange in enumerate(self.exchanges, 1):
            shown.append(
                f"#{number} {exchange['request']} -> {exchange['status']} in {exchange['seconds']} s"
            )
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
