"""Redact secrets: the values that the run knows, in every form in which they are sent or may be echoed.

    redact.current().add(password)      from now on, wherever text is cleaned, cut or written
    redact.current().redact(text)       the text without secrets

A process has one redactor at a time. ``text.py`` asks it before it cleans or cuts anything, so a secret is replaced while
it is still whole. It knows from the start what stands in URLs among the process's arguments and in its environment, such as proxies.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, Dict, Iterable, List, Mapping, Optional, Pattern, Tuple
from urllib.parse import quote, unquote

REDACTED = "***"
_OWN = (
    "site",
    "handle",
    "state",
    "text",
)  # of a document about a run: the suite's own words, or redacted already
_SHORT = 4  # below this length a secret is replaced only where it stands as a word of its own
_FOLDED = 8  # from this length a secret is replaced in capital and small letters alike
_RICH = 100  # up to this length every letter may be encoded; the letters and digits of longer ones, tokens, stand as they are
_CODED = 5  # letters of base64 that must be certain before they count as a secret's

_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|\Z)", re.S)
_VALUE = r"\\{1,3}\"[^\"\\]*|u?\"(?:[^\"\\]|\\[\s\S]?)*(?:\"|\Z)|u?'(?:[^'\\]|\\[\s\S]?)*(?:'|\Z)|"
_WORDS = (
    r"password|passwd|passphrase|admin_?pass|secret(?:_?access)?(?:_?key)?|(?:access|auth|id|refresh|session|security)[_-]?token"
    r"|api_?key|private_?key|signature"
)
_NAMED = re.compile(
    r"(?i)((?:\\{0,3}[\"'])?\b(?:x-(?:auth|subject|service)-token|((?:proxy-)?authorization)|(?:[a-z_]*)(?:"
    + _WORDS
    + r")|(?<=[?&,])token(?==))"
    r"(?:\\{0,3}[\"'])?\s*[=:>]\s*)"
    rf"({_VALUE}(?(2)[^\s,;&\"'<>]+\s+[^\s,;&\"'<>]+|(?!))|(?:bearer|basic|token)\s+[^\s,;&\"'<>]+|[^\s,;&\"'<>]+)"
)
_TAGGED = re.compile(
    r"(?i)(<(?:\w{1,20}:)?(?:\w{0,20}(?:"
    + _WORDS
    + r")|token)\b[^<>]{0,100}>\s*(?:<!\[CDATA\[)?)([^<\s][^<]*?(?=\]\]>|<|\Z))"
)
_IN_URL = re.compile(
    r"(:(?:\\{0,2}/){2}[^\s\"'<>?#@:/\[\]]{0,200}:)(?![0-9]{1,5}[/?#])[^\s\"'<>]{0,500}@"
)  # a port is no password
_URL = re.compile(r"://(?P<pair>.*)@", re.S)
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}|[\\&]|[^\x00-\x7f]")


class Redactor:
    """Replace secrets in text: the known values, and whatever stands where secrets stand.

    >>> Redactor(["s3cr3t!"]).redact('{"password": "other"} s3cr3t! s3cr3t%21 czNjcjN0IQ==')
    '{"password": ***} *** *** ***'
    """

    def __init__(self, secrets: Iterable[str] = ()):
        self._known: Dict[str, Tuple[str, ...]] = {}  # with its hints
        self._patterns: Optional[Tuple[Pattern[str], Pattern[str]]] = (
            None  # made only for a text that needs them
        )
        self.longest = 0  # characters that a secret takes in its longest form
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """From now on replace this very value, too, in every form of it."""
        secret = secret.strip()
        if secret and secret not in self._known:
            self._known[secret] = _hints(secret)
            self._patterns = None
            self.longest = max(self.longest, 12 * len(secret.encode("utf-8", "replace")))

    def add_url(self, url: str) -> None:
        """Replace the password in a URL, if it has one: all from the first ``:`` behind ``//`` to the last ``@``; or a token there."""
        match = _URL.search(url)
        user, _, password = match["pair"].partition(":") if match else ("", "", "")
        if not password and len(user) >= _FOLDED:  # a token instead of a user
            self.add(user)
            self.add(unquote(user))
        for name, secret in (
            ((user, password), (unquote(user), unquote(password))) if password else ()
        ):
            parts = [
                part for part in re.split(r"[/?#@:]", secret) if len(part) >= _SHORT
            ]  # as who parses it may split it
            for form in (secret, f"{name}:{secret}", *parts):
                self.add(form)
                self.add(form.lower())

    def redact(self, text: str) -> str:
        """``text`` without secrets."""
        if self._known:
            text = self._without_known(text)
        text = _IN_URL.sub(rf"\1{REDACTED}@", text) if "@" in text else text
        text = _PEM.sub(REDACTED, text) if "-----BEGIN" in text else text
        text = _TAGGED.sub(lambda match: match[1] + REDACTED, text) if "</" in text else text
        return _NAMED.sub(lambda match: match[1] + REDACTED, text)

    def redact_id(self, identity: str) -> str:
        """An id or a name from outside as it may be kept in a file; one that is short, as a number is, tells no secret."""
        return self.redact(identity) if len(identity) >= _FOLDED else identity

    def cut(self, text: str, limit: int) -> str:
        """The first ``limit`` characters of what ``strike`` makes of ``text``, without looking at all of a long one."""
        looked_at = 20 * limit + self.longest
        if len(text) <= looked_at:
            return self.redact(text)[:limit]
        found = self.redact(text[:looked_at])
        return found[: max(0, len(found) - self.longest)][
            :limit
        ]  # the half of a secret may be at the end

    def json(self, document: Mapping[str, Any]) -> str:
        """A document as JSON without secrets: replaced text by text, so that it stays JSON.

        What it has under the words of ``_OWN`` is the suite's own, or has been replaced already.
        """
        found = {
            key if key in _OWN else self._struck(key): value if key in _OWN else self._struck(value)
            for key, value in document.items()
        }
        return json.dumps(found, indent=1, default=str) + "\n"

    def _struck(self, thing: Any) -> Any:
        if isinstance(thing, str):
            return self.redact(thing)
        if isinstance(thing, Mapping):
            return {self._struck(key): self._struck(value) for key, value in thing.items()}
        return (
            [self._struck(value) for value in thing] if isinstance(thing, (list, tuple)) else thing
        )

    def _without_known(self, text: str) -> str:
        folded = text.lower()
        if not any(
            hint in folded for hints in self._known.values() for hint in hints
        ) and not _ESCAPED.search(text):
            return text
        if self._patterns is None:
            secrets = sorted(self._known, key=len, reverse=True)
            coded = dict.fromkeys(form for secret in secrets for form in _coded(secret))
            self._patterns = (
                re.compile("|".join(map(_written, secrets))),
                re.compile("|".join(coded) or "(?!)"),
            )
        plain, encoded = self._patterns
        spans = [match.span() for match in plain.finditer(text)]
        spans += [_widened(text, *match.span()) for match in encoded.finditer(text)]
        return _replaced(text, spans) if spans else text


def _widened(text: str, first: int, last: int) -> Tuple[int, int]:
    """A span of base64 with the letters beside it, which hold bits of the secret's first and last byte."""
    left = re.search(r"[A-Za-z0-9+/_-]{0,4}\Z", text[max(0, first - 4) : first])
    right = re.match(r"[A-Za-z0-9+/_-]{0,4}={0,2}", text[last : last + 6])
    return first - len(left[0] if left else ""), last + len(right[0] if right else "")


def _replaced(text: str, spans: List[Tuple[int, int]]) -> str:
    """``text`` with each span replaced; those that overlap are one."""
    kept: List[str] = []
    end = 0
    for first, last in sorted(spans):
        if first >= end:
            kept += [text[end:first], REDACTED]
        end = max(end, last)
    return "".join(kept + [text[end:]])


# --- the redactor of this process ---------------------------------------------------------------------------------

_current: List[Redactor] = []


def current() -> Redactor:
    """The redactor of the run that this process makes, or is about to make."""
    return _current[0] if _current else begin()


def begin(secrets: Iterable[str] = ()) -> Redactor:
    """A new redactor for a run, from now on the current one: it knows ``secrets``, and those that the process was started with."""
    found = Redactor(secrets)
    for word in sys.argv[1:]:
        found.add_url(word)
    for name, value in os.environ.items():
        if "@" in value and ("://" in value or name.lower().endswith("_proxy")):
            found.add_url(value if "://" in value else f"://{value}")
    _current[:] = [found]
    return found


# --- the forms of a secret ----------------------------------------------------------------------------------------

# What begins and ends an escape, itself escaped or not: servers nest JSON in JSON, and URLs in pages.
_PER_CENT = r"(?:%(?:25){0,2}|\\{1,4}u0025|&#37;)"
_AND = r"(?:&|%(?:25){0,2}26|\\{1,4}u0026)(?:amp(?:;|%(?:25){0,2}3[bB])){0,2}"
_NUMBER = r"(?:#|%(?:25){0,2}23)"
_END = r"(?:;|%(?:25){0,2}3[bB])"
_BACKSLASH = r"(?:\\|%(?:25){0,2}5[cC]|&#92;)"
_BLANK = (
    rf"(?:\s|{_PER_CENT}(?:20|09|0[aAdD]|[cC]2{_PER_CENT}[aA]0)"
    rf"|{_AND}(?:#0{{0,4}}(?:32|9|10|160)|#[xX]0{{0,4}}(?:20|9|[aA]|[aA]0)|nbsp){_END}"
    rf"|{_BACKSLASH}{{1,4}}(?:(?:u00|x)(?:20|09|0[aAdD]|[aA]0)|[ tnr]|040))"
)


def _written(secret: str) -> str:
    """A pattern of all that a text is written as: raw, escaped for JSON, XML, URLs, shells and INI files, in other charsets.

    Any letter may be escaped or not, once or several times over: servers differ in what they escape, and nest.
    """
    rich, fold = len(secret) <= _RICH, _FOLDED <= len(secret) <= _RICH
    parts = []
    for run in re.finditer(
        r"([A-Za-z0-9]+)|(\+*[ \t\r\n][ \t\r\n+]*)|(\?*(?:[^\x00-\x7f]+\?*)+)|(.)\4*", secret, re.S
    ):
        if run[1]:
            parts.append("".join(_letter(char, fold) for char in run[1]) if rich else run[1])
        elif run[3]:
            parts.append(
                _foreign_run(run[3], fold)
                if rich
                else "".join(_sign_of_many(char, 1) for char in run[3])
            )
        elif run[4] == "+" and rich:  # a server that takes all for a form reads it as a blank
            parts.append(f"(?:{_sign('+', len(run[0]))}| {{{len(run[0])}}})")
        else:
            parts.append(
                _blanks()
                if run[2]
                else _sign(run[4], len(run[0]))
                if rich
                else _sign_of_many(run[4], len(run[0]))
            )
    found = "".join(parts)
    if len(secret) >= _SHORT:
        return found
    if len(secret) == 1:  # a letter alone is in every text: only where values stand
        return rf"(?<=[=:\"'`(>]){found}(?=[\"'`)<,;&\s]|\Z)"
    return rf"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{{2}})|(?<=\\[nrtbf])){found}(?![A-Za-z0-9])"


def _letter(char: str, fold: bool) -> str:
    """A pattern of a letter or digit of ASCII."""
    raw = f"[{char.lower()}{char.upper()}]" if fold and char.isalpha() else char
    return f"(?:{raw}|{_escaped(ord(char))})"


def _escaped(code: int) -> str:
    """A pattern of a character below 256 as URLs, JSON, Python and XML escape it."""
    return "|".join(_escapes(code))


def _escapes(code: int) -> List[str]:
    return [
        f"{_PER_CENT}{_hex(code)}",
        rf"{_BACKSLASH}{{1,4}}(?:u00|x){_hex(code)}",
        rf"{_AND}{_NUMBER}(?:0{{0,4}}{code}|[xX]0{{0,4}}{_hex(code)}){_END}",
    ]


def _blanks() -> str:
    """A pattern of blanks, each of which may be written as ``+``, and of plus signs beside them."""
    return f"(?:{_BLANK}|{_sign('+', 1)}){{1,64}}"


def _sign(char: str, times: int, fold: bool = False) -> str:
    """A pattern of another character, which stands ``times`` times in a row; ``fold``: capital or small."""
    coded = char.encode("utf-8", "surrogatepass")
    forms = [re.escape(char), "".join(rf"{_BACKSLASH}{{1,4}}{byte:03o}" for byte in coded)]
    if char in _NAMES:
        forms.append(f"{_AND}{_NAMES[char]}{_END}")
    forms += _escapes(ord(char)) if ord(char) < 256 else []
    forms += _foreign(char, coded, fold) if ord(char) > 127 else []
    if char != "\\":
        forms = [_behind_backslashes(form) for form in forms]
    pattern = (
        "(?:" + "|".join(dict.fromkeys(forms)) + ")"
    )  # the same form twice would be tried twice, for each character
    if char == "'":
        return rf"(?:'\"'\"'|'\\{{1,2}}''|{_BACKSLASH}{{0,4}}{pattern}){{{times},{2 * times}}}"
    if char in '\\"%':  # these are doubled by JSON, SQL, INI files, and once more by what nests
        pattern = pattern if char == "\\" else f"{_BACKSLASH}{{0,4}}{pattern}"
        return f"(?:{pattern}){{{times},{4 * times}}}"
    pattern = f"(?:{_BACKSLASH}{{0,4}}{pattern})"
    return f"{pattern}{{{times}}}" if times > 1 else pattern


def _behind_backslashes(form: str) -> str:
    """The form, where backslashes before it are matched already: then it begins with one at most, and there is one way to read them."""
    if form.startswith(_BACKSLASH):
        return form.replace("{1,4}", "", 1)
    return form.replace(r"\\{1,4}u", r"\\u", 1) if form.startswith((_PER_CENT, _AND)) else form


def _sign_of_many(char: str, times: int) -> str:
    """The same for a secret so long that the whole pattern for each of its characters would take seconds to make."""
    forms = [
        char,
        json.dumps(char)[1:-1],
        f"\\{char}",
        quote(char, safe="", errors="replace"),
        _NAMES.get(char) and f"&{_NAMES[char]};",
        f"&#{ord(char)};",
        *(f"\\u{half:04X}" for half in _halves(char)),
    ]
    forms += [form.lower() for form in forms[3:] if form]
    return "".join(
        f"(?:{'|'.join(re.escape(form) for form in dict.fromkeys(forms) if form)})"
        for _ in range(times)
    )


_NAMES = {
    "&": "amp",
    "<": "lt",
    ">": "gt",
    '"': "quot",
    "'": "apos",
    "/": "sol",
    "\\": "bsol",
    "@": "commat",
    "!": "excl",
    "#": "num",
    "$": "dollar",
    "%": "percnt",
    "*": "ast",
    "+": "plus",
    "=": "equals",
    "_": "lowbar",
    ":": "colon",
    ";": "semi",
    "?": "quest",
    ",": "comma",
    ".": "period",
    "(": "lpar",
    ")": "rpar",
    "[": "lsqb",
    "]": "rsqb",
    "{": "lcub",
    "}": "rcub",
    "|": "verbar",
    "^": "Hat",
    "`": "grave",
}


def _foreign_run(run: str, fold: bool) -> str:
    """A pattern of characters beyond ASCII, and of question marks beside them.

    Where a charset lacks them each becomes one mark, or several. There must be one way only to read a row of marks:
    with n ways for each character, a server that sends many marks would keep the run busy for years.
    """
    return (
        rf"(?:[\ufffd?]{{{len(run) + 1},{4 * len(run)}}}|"
        + "".join(_sign(char, 1, fold) for char in run)
        + ")"
    )


def _foreign(char: str, coded: bytes, fold: bool) -> List[str]:
    """What becomes of a character beyond ASCII in other charsets, other normal forms, and where it cannot be shown."""
    import unicodedata
    from html.entities import codepoint2name

    code = ord(char)
    forms = [re.escape(coded.decode(charset, "replace")) for charset in ("latin-1", "cp1252")]
    forms += [re.escape(unicodedata.normalize(form, char)) for form in ("NFC", "NFD")]
    forms += [re.escape(other) for other in (char.upper(), char.lower()) if fold]
    forms.append(r"[\ufffd?]" if code < 0x10000 else r"(?:[\ufffd?]{2,4}(?![\ufffd?])|[\ufffd?])")
    forms += [
        "".join(f"{_PER_CENT}{_hex(byte)}" for byte in coded),
        "".join(rf"{_BACKSLASH}{{1,4}}x{_hex(byte)}" for byte in coded),
    ]
    forms += [
        "".join(rf"{_BACKSLASH}{{1,4}}u{_hex(half, 4)}" for half in _halves(char)),
        rf"{_BACKSLASH}{{1,4}}U{_hex(code, 8)}",
    ]
    forms.append(rf"{_AND}{_NUMBER}(?:0{{0,4}}{code}|[xX]0{{0,4}}{_hex(code, 1)}){_END}")
    if code in codepoint2name:
        forms.append(f"{_AND}{codepoint2name[code]}{_END}")
    return forms


def _halves(char: str) -> List[int]:
    """The character in UTF-16, as JSON writes it."""
    coded = char.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(coded[at : at + 2], "big") for at in range(0, len(coded), 2)]


def _hex(number: int, digits: int = 2) -> str:
    """A pattern of a number in hexadecimal, in capital and small letters."""
    return "".join(
        f"[{digit}{digit.upper()}]" if digit.isalpha() else digit
        for digit in f"{number:0{digits}x}"
    )


def _hints(secret: str) -> Tuple[str, ...]:
    """Small letters and digits, one of which is in every text that holds the secret, unless something in it is escaped."""
    found = [secret] + [piece for _, code in _codes(secret) for piece in code]
    return tuple(max(re.findall("[a-z0-9]+", form.lower()), key=len, default="") for form in found)


def _coded(secret: str) -> Iterable[str]:
    """Patterns of base64 and hexadecimal: of the secret alone, and within anything else, such as ``user:password``."""
    for raw, codes in _codes(secret):
        *encoded, shown = codes
        for code in encoded:
            pattern = "".join(_CODE.get(char, char) for char in code)
            yield (
                pattern
                if len(raw) >= _SHORT
                else rf"(?<![A-Za-z0-9+/=]){pattern}={{0,2}}(?![A-Za-z0-9+/=])"
            )
        yield (
            f"{shown}|{shown.upper()}"
            if len(raw) >= _SHORT
            else rf"(?<![A-Za-z0-9])(?:{shown}|{shown.upper()})(?![A-Za-z0-9])"
        )


def _codes(secret: str) -> Iterable[Tuple[bytes, List[str]]]:
    """The bytes of a secret by charset, with what of their base64 is certain wherever they begin, and their hexadecimal last."""
    import base64

    for charset in ("utf-8",) if secret.isascii() else ("utf-8", "latin-1"):
        raw = secret.encode(charset, "replace")
        found = [base64.b64encode(raw).decode("ascii").rstrip("=")] if len(raw) < _SHORT else []
        for before in range(
            3
        ):  # bytes before the secret, which decide how its bits fall on letters
            whole = base64.b64encode(bytes(before) + raw).decode("ascii")
            certain = whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
            if len(certain) >= _CODED and len(raw) >= _SHORT:
                found.append(certain)
        yield raw, [*found, raw.hex()]


_CODE = {
    "+": r"(?:[+-]|%(?:25){0,2}2[bB]|\\{1,4}u002[bB])",
    "/": r"(?:\\{0,4}/|_|%(?:25){0,2}2[fF]|\\{1,4}u002[fF])",
}
