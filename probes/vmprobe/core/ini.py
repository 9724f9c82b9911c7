"""Parse INI text, the same way for all INI files that the suite reads.

Keys are case-sensitive, values are taken literally (no interpolation), no section has a special
meaning. A comment begins with ``#`` or ``;`` at the start of a line.
"""

from __future__ import annotations

import configparser
import io
from typing import Dict

Sections = Dict[str, Dict[str, str]]  # section, key, value


class Malformed(ValueError):
    """The text is not valid INI. The message says where and why, on one line."""


def parse(content: bytes, inline_comments: bool = True, strict: bool = True) -> Sections:
    """The sections of an INI file; Malformed, or UnicodeDecodeError if it is not UTF-8 text.

    ``inline_comments``: `` ;`` after a value begins a comment. Not for files with passwords.
    ``strict``: a key or section that appears twice is an error; otherwise the last one counts.
    """
    parser = _Parser(
        interpolation=None,
        inline_comment_prefixes=(";",) if inline_comments else None,
        default_section="\0",  # no section is called that
        strict=strict,
    )
    # Some editors write a byte order mark, and any of the three line ends.
    lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig")
    try:
        parser.read_file(lines)
    except configparser.DuplicateOptionError as error:
        raise Malformed(
            f"[{error.section}] {error.option}: this key appears twice (line {error.lineno})"
        ) from None
    except configparser.DuplicateSectionError as error:
        raise Malformed(
            f"[{error.section}]: this section appears twice (line {error.lineno})"
        ) from None
    except configparser.MissingSectionHeaderError as error:
        raise Malformed(f"line {error.lineno}: a key before the first [section]") from None
    except configparser.ParsingError as error:
        raise Malformed(
            f"line {error.errors[0][0]}: neither 'key = value' nor '[section]'"
        ) from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


class _Parser(configparser.ConfigParser):
    """configparser, but upper and lower case matter in keys."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr
