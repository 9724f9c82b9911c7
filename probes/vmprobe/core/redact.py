"""Redact secrets: the values that the run knows, in every form in which they may be echoed.

    redact.current().add(password)      redacts it from now on, in all text that is cleaned or cut
    redact.current().redact(text)       the text without secrets

A process has one redactor at a time. ``core.text`` redacts before it cleans or cuts anything, while
a secret is still whole. From the start the redactor knows the passwords in URLs among the process's
arguments and in its environment, such as those of proxies.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Dict, Iterable, List, Mapping, Optional, Pattern, Tuple
from urllib.parse import unquote

from vmprobe.core.secret_forms import FOLDED, SHORT, code_patterns, hints, text_pattern

REDACTED = "***"
# Keys of a document about a run: the values are the suite's own words, or redacted already.
_OWN = ("site", "handle", "state", "text")

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|\Z)", re.S)
_VALUE = r"\\{1,3}\"[^\"\\]*|u?\"(?:[^\"\\]|\\[\s\S]?)*(?:\"|\Z)|u?'(?:[^'\\]|\\[\s\S]?)*(?:'|\Z)|"
_WORDS = (
    r"password|passwd|passphrase|admin_?pass|secret(?:_?access)?(?:_?key)?|(?:access|auth|id|refresh|session|security)[_-]?token"
    r"|api_?key|private_?key|signature"
)
_NAMED = (
    r"(?i)((?:\\{0,3}[\"'])?\b(?:x-(?:auth|subject|service)-token|((?:proxy-)?authorization)|(?:[a-z_]*)(?:"
    + _WORDS
    + r")|(?<=[?&,])token(?==))"
    r"(?:\\{0,3}[\"'])?\s*[=:>]\s*)"
    rf"({_VALUE}(?(2)[^\s,;&\"'<>]+\s+[^\s,;&\"'<>]+|(?!))|(?:bearer|basic|token)\s+[^\s,;&\"'<>]+|[^\s,;&\"'<>]+)"
)
_TAGGED = (
    r"(?i)(<(?:\w{1,20}:)?(?:\w{0,20}(?:"
    + _WORDS
    + r")|token)\b[^<>]{0,100}>\s*(?:<!\[CDATA\[)?)([^<\s][^<]*?(?=\]\]>|<|\Z))"
)
# A part of each word that _NAMED or _TAGGED looks for: a text without any of these has no match.
# Without an i, because the pattern also takes U+0130 and U+0131 for one.
_HINTS = ("pass", "secret", "token", "key", "gnature", "author")
_IN_URL = re.compile(
    r"(:(?:\\{0,2}/){2}[^\s\"'<>?#@:/\[\]]{0,200}:)(?![0-9]{1,5}[/?#])[^\s\"'<>]{0,500}@"
)  # a port is no password
_URL = re.compile(r"://(?P<pair>.*)@", re.S)
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}|[\\&]|[^\x00-\x7f]")


class Redactor:
    """Redact text: the known secrets, and any value in a place where secrets stand.

    >>> Redactor(["s3cr3t!"]).redact('{"password": "other"} s3cr3t! s3cr3t%21 czNjcjN0IQ==')
    '{"password": ***} *** *** ***'
    """

    def __init__(self, secrets: Iterable[str] = ()):
        self._known: Dict[str, Tuple[str, ...]] = {}  # the secrets, with their hints
        # compiled when a text needs them: text, and base64 or hexadecimal
        self._patterns: Optional[Tuple[Pattern[str], Pattern[str]]] = None
        self.longest = 0  # characters that the longest form of a secret may have
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Redact this value, too, from now on."""
        secret = secret.strip()
        if secret and secret not in self._known:
            self._known[secret] = hints(secret)
            self._patterns = None
            self.longest = max(self.longest, 12 * len(secret.encode("utf-8", "replace")))

    def add_url(self, url: str) -> None:
        """Redact the password in a URL from now on, or a token in the place of the user.

        The password is all from the first ``:`` behind ``//`` to the last ``@``.
        """
        match = _URL.search(url)
        user, _, password = match["pair"].partition(":") if match else ("", "", "")
        if not password and len(user) >= FOLDED:  # a token instead of a user
            self.add(user)
            self.add(unquote(user))
        for name, secret in (
            ((user, password), (unquote(user), unquote(password))) if password else ()
        ):
            # a parser may split it at these characters
            parts = [part for part in re.split(r"[/?#@:]", secret) if len(part) >= SHORT]
            for form in (secret, f"{name}:{secret}", *parts):
                self.add(form)
                self.add(form.lower())

    def redact(self, text: str) -> str:
        """``text`` without secrets."""
        if self._known:
            text = self._without_known(text)
        text = _IN_URL.sub(rf"\1{REDACTED}@", text) if "@" in text else text
        text = _PEM.sub(REDACTED, text) if "-----BEGIN" in text else text
        folded = text.casefold()
        if not any(hint in folded for hint in _HINTS):
            return text  # most runs end without a need for these patterns, which cost to compile
        if "</" in text:
            text = re.sub(_TAGGED, lambda match: match[1] + REDACTED, text)
        return re.sub(_NAMED, lambda match: match[1] + REDACTED, text)

    def redact_id(self, identity: str) -> str:
        """Redact an id or name, unless it is short: a number is an id more often than a secret."""
        return self.redact(identity) if len(identity) >= FOLDED else identity

    def cut(self, text: str, limit: int) -> str:
        """Redact, and cut to ``limit`` characters, without reading all of a long text."""
        length = 20 * limit + self.longest
        if len(text) <= length:
            return self.redact(text)[:limit]
        redacted = self.redact(text[:length])
        # half a secret may be at the end
        return redacted[: max(0, len(redacted) - self.longest)][:limit]

    def json(self, document: Mapping[str, object]) -> str:
        """A document as JSON, redacted text by text, so that it stays valid JSON.

        Values under the keys of ``_OWN`` are left as they are.
        """
        redacted = {
            key if key in _OWN else self._redacted(key): value
            if key in _OWN
            else self._redacted(value)
            for key, value in document.items()
        }
        return json.dumps(redacted, indent=1, default=str) + "\n"

    def _redacted(self, value: object) -> object:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self._redacted(key): self._redacted(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._redacted(item) for item in value]
        return value

    def _without_known(self, text: str) -> str:
        folded = text.lower()
        if not any(
            hint in folded for hints in self._known.values() for hint in hints
        ) and not _ESCAPED.search(text):
            return text
        if self._patterns is None:
            secrets = sorted(self._known, key=len, reverse=True)
            coded = dict.fromkeys(form for secret in secrets for form in code_patterns(secret))
            self._patterns = (
                re.compile("|".join(map(text_pattern, secrets))),
                re.compile("|".join(coded) or "(?!)"),
            )
        plain, encoded = self._patterns
        spans = [match.span() for match in plain.finditer(text)]
        spans += [_widened(text, *match.span()) for match in encoded.finditer(text)]
        return _replaced(text, spans) if spans else text


def _widened(text: str, first: int, last: int) -> Tuple[int, int]:
    """Widen a span of base64 by the letters that hold bits of the secret's first and last byte."""
    left = re.search(r"[A-Za-z0-9+/_-]{0,4}\Z", text[max(0, first - 4) : first])
    right = re.match(r"[A-Za-z0-9+/_-]{0,4}={0,2}", text[last : last + 6])
    return first - len(left[0] if left else ""), last + len(right[0] if right else "")


def _replaced(text: str, spans: List[Tuple[int, int]]) -> str:
    """``text`` with each span redacted; overlapping spans are one."""
    kept: List[str] = []
    end = 0
    for first, last in sorted(spans):
        if first >= end:
            kept += [text[end:first], REDACTED]
        end = max(end, last)
    return "".join(kept + [text[end:]])


# --- the redactor of this process ---------------------------------------------------------------

_current: List[Redactor] = []


def current() -> Redactor:
    """The redactor of this process's run."""
    return _current[0] if _current else begin()


def begin(secrets: Iterable[str] = ()) -> Redactor:
    """Replace the current redactor by one for a new run.

    It knows ``secrets``, and those that the process was started with.
    """
    redactor = Redactor(secrets)
    for argument in sys.argv[1:]:
        redactor.add_url(argument)
    for name, value in os.environ.items():
        if "@" in value and ("://" in value or name.lower().endswith("_proxy")):
            redactor.add_url(value if "://" in value else f"://{value}")
    _current[:] = [redactor]
    return redactor
