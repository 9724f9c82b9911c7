"""The templates of a target: find, compile and render them, and quote values for its format."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Tuple

from vmprobe.core.errors import ClientError
from vmprobe.host import paths

if TYPE_CHECKING:
    import jinja2


class Text(str):
    """A value as a person wrote it, which knows where it was written."""

    where = ""


def text(value: str, where: str = "") -> Text:
    """``value``, which ``where`` (file, section, key) names in the message if it is refused."""
    written = Text(value)
    written.where = where
    return written


def load(target: str, own: str) -> List[Tuple[str, jinja2.Template]]:
    """The target's templates and their paths; those in the operator's ``own`` folder come first.

    ClientError if there is no jinja2, or a template is wrong.
    """
    try:
        import jinja2
    except ImportError:
        raise ClientError(
            "vmprobectl config needs jinja2: python3-jinja2, or pip install jinja2"
        ) from None
    folders = [os.path.join(own, target)] if own else []
    if own and not os.path.isdir(own):
        raise ClientError(f"{own}: No such directory")
    folders.append(paths.data("templates", target))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders, encoding="utf-8-sig"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters["quote"] = _quote_filter(TARGETS[target])
    names = [
        name
        for name in environment.list_templates()
        if not name.endswith("~") and "/." not in f"/{name}"
    ]
    return [(name, _compiled(environment, name)) for name in names]


def _compiled(environment: jinja2.Environment, name: str) -> jinja2.Template:
    import jinja2

    try:
        return environment.get_template(name)
    except jinja2.TemplateSyntaxError as error:
        raise ClientError(f"{error.filename} line {error.lineno}: {error.message}") from None
    except UnicodeDecodeError:
        raise ClientError(f"template {name}: is not UTF-8 text") from None
    except (OSError, jinja2.TemplateError) as error:
        # TemplateError: it was removed meanwhile, or is not a file
        raise ClientError(f"template {name}: {getattr(error, 'strerror', None) or error}") from None


def render(name: str, template: jinja2.Template, values: Mapping[str, Any]) -> str:
    """The text that a template makes of ``values``; ClientError if it fails."""
    try:
        return template.render(values)
    except ClientError:
        raise
    except Exception as error:  # an operator's own template can do anything
        raise ClientError(f"template {name}: {type(error).__name__}: {error}") from None


def _quote_filter(quote: Callable[[str], str]) -> Callable[[object], str]:
    """The templates' filter ``quote``; a refused value is named by where it was written."""

    def quoted(value: object) -> str:
        try:
            return quote(str(value))
        except ValueError as error:
            raise ClientError(f"{getattr(value, 'where', '') or repr(value)}: {error}") from None

    return quoted


# --- quoting: each function raises ValueError for what its format cannot carry -------------------

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _nagios(text: str) -> str:
    """The value of a directive: ``;`` begins a comment, ``$`` a macro, and it is one line."""
    if _CONTROL.search(text):
        raise ValueError("has several lines, which a directive of Nagios cannot carry")
    if "$" in text:
        raise ValueError("contains '$', which begins a macro in Nagios; write it without")
    if text.endswith("\\"):
        raise ValueError("ends with '\\', which joins the next line in Nagios")
    return text.replace(";", "\\;")


_ICINGA: Dict[str, str] = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _icinga(text: str) -> str:
    """A string literal. ``$`` begins a macro only in commands, and no such text is in a command."""
    if _CONTROL.search(text.translate({9: "", 10: "", 13: ""})):
        raise ValueError("contains a control character, which a string of Icinga cannot carry")
    return '"' + "".join(_ICINGA.get(letter, letter) for letter in text) + '"'


def _yaml(text: str) -> str:
    """A string in double quotes, escaped as in JSON.

    JSON writes characters beyond 16 bits as two escapes, which YAML does not understand.
    """
    letters = (
        json.dumps(letter)[1:-1] if letter < "\U00010000" else f"\\U{ord(letter):08x}"
        for letter in text
    )
    return '"' + "".join(letters) + '"'


_SYSTEMD: Dict[str, str] = {"\\": "\\\\", "%": "%%", "$": "$$", '"': "\\x22", "'": "\\x27"}


def _systemd(text: str) -> str:
    """A word of a command in a unit file: ``%`` begins a specifier, ``$`` a variable."""
    if _CONTROL.search(text):
        raise ValueError("has several lines, which a unit file cannot carry")
    return "".join(_SYSTEMD.get(letter, letter) for letter in text)


TARGETS: Mapping[str, Callable[[str], str]] = {  # how a target quotes a value
    "nagios": _nagios,
    "icinga2": _icinga,
    "director": json.dumps,
    "argo": json.dumps,
    "sensu": _yaml,
    "systemd": _systemd,
}
