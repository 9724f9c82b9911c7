"""The forms in which a secret may be sent or echoed, as patterns.

Servers escape differently, and nest: JSON in JSON, URLs in pages. So any letter may be escaped or
not, once or several times over; and all of it may be in base64 or hexadecimal.
"""

from __future__ import annotations

import json
import re
from typing import Iterable, List, Tuple
from urllib.parse import quote

SHORT = 4  # characters; a shorter secret is redacted only where it is a word of its own
FOLDED = 8  # characters; from here on capital and small letters are the same
_RICH = 100  # characters; letters and digits of longer secrets (tokens) are not matched escaped
_CODED = 5  # certain characters of base64 that are enough to be a secret's

# What begins and ends an escape, itself escaped or not.
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


def text_pattern(secret: str) -> str:
    """A pattern of the secret as text: raw, or escaped for JSON, XML, URLs, shells or INI files,
    or in other charsets.
    """
    rich, fold = len(secret) <= _RICH, FOLDED <= len(secret) <= _RICH
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
        elif run[4] == "+" and rich:  # in a form it means a blank
            parts.append(f"(?:{_sign('+', len(run[0]))}| {{{len(run[0])}}})")
        else:
            parts.append(
                _blanks()
                if run[2]
                else _sign(run[4], len(run[0]))
                if rich
                else _sign_of_many(run[4], len(run[0]))
            )
    pattern = "".join(parts)
    if len(secret) >= SHORT:
        return pattern
    if len(secret) == 1:  # a single letter is in every text: redact it only where values stand
        return rf"(?<=[=:\"'`(>]){pattern}(?=[\"'`)<,;&\s]|\Z)"
    return rf"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{{2}})|(?<=\\[nrtbf])){pattern}(?![A-Za-z0-9])"


def _letter(char: str, fold: bool) -> str:
    """A pattern of an ASCII letter or digit."""
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
    """A pattern of blanks and plus signs, where a blank may be written as ``+``."""
    return f"(?:{_BLANK}|{_sign('+', 1)}){{1,64}}"


def _sign(char: str, times: int, fold: bool = False) -> str:
    """A pattern of any other character, ``times`` times; ``fold``: in capital or small letters."""
    coded = char.encode("utf-8", "surrogatepass")
    forms = [re.escape(char), "".join(rf"{_BACKSLASH}{{1,4}}{byte:03o}" for byte in coded)]
    if char in _NAMES:
        forms.append(f"{_AND}{_NAMES[char]}{_END}")
    forms += _escapes(ord(char)) if ord(char) < 256 else []
    forms += _foreign(char, coded, fold) if ord(char) > 127 else []
    if char != "\\":
        forms = [_behind_backslashes(form) for form in forms]
    # without duplicates, each of which would be tried for each character
    pattern = "(?:" + "|".join(dict.fromkeys(forms)) + ")"
    if char == "'":
        return rf"(?:'\"'\"'|'\\{{1,2}}''|{_BACKSLASH}{{0,4}}{pattern}){{{times},{2 * times}}}"
    if char in '\\"%':  # doubled by JSON, SQL and INI files, and once more where they nest
        pattern = pattern if char == "\\" else f"{_BACKSLASH}{{0,4}}{pattern}"
        return f"(?:{pattern}){{{times},{4 * times}}}"
    pattern = f"(?:{_BACKSLASH}{{0,4}}{pattern})"
    return f"{pattern}{{{times}}}" if times > 1 else pattern


def _behind_backslashes(form: str) -> str:
    """The form for a place where the pattern has matched backslashes already.

    It begins with one backslash at most, so that there is only one way to match several.
    """
    if form.startswith(_BACKSLASH):
        return form.replace("{1,4}", "", 1)
    return form.replace(r"\\{1,4}u", r"\\u", 1) if form.startswith((_PER_CENT, _AND)) else form


def _sign_of_many(char: str, times: int) -> str:
    """As ``_sign``, for long secrets: their full patterns would take seconds to compile."""
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

    A charset without a character writes one mark for it, or several. A row of marks must match in
    one way only: with n ways for each character, many marks would keep the run busy for years.
    """
    return (
        rf"(?:[\ufffd?]{{{len(run) + 1},{4 * len(run)}}}|"
        + "".join(_sign(char, 1, fold) for char in run)
        + ")"
    )


def _foreign(char: str, coded: bytes, fold: bool) -> List[str]:
    """A character beyond ASCII in other charsets and normal forms, and where it cannot be shown."""
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
    """The character in UTF-16, as JSON escapes it."""
    coded = char.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(coded[at : at + 2], "big") for at in range(0, len(coded), 2)]


def _hex(number: int, digits: int = 2) -> str:
    """A pattern of a number in hexadecimal."""
    return "".join(
        f"[{digit}{digit.upper()}]" if digit.isalpha() else digit
        for digit in f"{number:0{digits}x}"
    )


def hints(secret: str) -> Tuple[str, ...]:
    """Words in small letters. One is in every text with the secret, unless escaped there."""
    forms = [secret] + [code for _, codes in _codes(secret) for code in codes]
    return tuple(max(re.findall("[a-z0-9]+", form.lower()), key=len, default="") for form in forms)


def code_patterns(secret: str) -> Iterable[str]:
    """Patterns of the secret in base64 and hexadecimal, also as a part of ``user:password``."""
    for raw, codes in _codes(secret):
        *in_base64, in_hex = codes
        for code in in_base64:
            pattern = "".join(_CODE.get(char, char) for char in code)
            yield (
                pattern
                if len(raw) >= SHORT
                else rf"(?<![A-Za-z0-9+/=]){pattern}={{0,2}}(?![A-Za-z0-9+/=])"
            )
        yield (
            f"{in_hex}|{in_hex.upper()}"
            if len(raw) >= SHORT
            else rf"(?<![A-Za-z0-9])(?:{in_hex}|{in_hex.upper()})(?![A-Za-z0-9])"
        )


def _codes(secret: str) -> Iterable[Tuple[bytes, List[str]]]:
    """Return for each charset the secret's bytes, and what is certain of their base64 and hex.

    The bytes before a secret decide how its bits fall on base64's letters, so there are three ways.
    """
    import base64

    for charset in ("utf-8",) if secret.isascii() else ("utf-8", "latin-1"):
        raw = secret.encode(charset, "replace")
        codes = [base64.b64encode(raw).decode("ascii").rstrip("=")] if len(raw) < SHORT else []
        for before in range(3):
            whole = base64.b64encode(bytes(before) + raw).decode("ascii")
            certain = whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
            if len(certain) >= _CODED and len(raw) >= SHORT:
                codes.append(certain)
        yield raw, [*codes, raw.hex()]


_CODE = {
    "+": r"(?:[+-]|%(?:25){0,2}2[bB]|\\{1,4}u002[bB])",
    "/": r"(?:\\{0,4}/|_|%(?:25){0,2}2[fF]|\\{1,4}u002[fF])",
}
