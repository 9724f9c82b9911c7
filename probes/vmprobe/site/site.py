"""A site file: one endpoint as seen by one project, with its test VM, its budget and its thresholds.

INI, read strictly: an unknown key is an error, and every mistake is one line that names file, section, key and what
would be right.
"""

from __future__ import annotations

import configparser
import io
import os
import re
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    TextIO,
    Tuple,
    Type,
)
from urllib.parse import urlsplit

from vmprobe import drivers
from vmprobe.core import redact
from vmprobe.core.clock import Polling
from vmprobe.core.driver import Driver, Key
from vmprobe.core.errors import CAUSES, ClientError
from vmprobe.core.handle import owner_word
from vmprobe.core.text import one_line, suggest
from vmprobe.core.timeline import STAGES
from vmprobe.core.values import (
    duration,
    fraction,
    one_of,
    positive_duration,
    run_time,
    server_count,
    size_or_none,
    whole,
    word_list,
    yes_or_no,
)
from vmprobe.host import files, paths
from vmprobe.site.services import SERVICES
from vmprobe.site.thresholds import LABELS, Thresholds, parse_range

DEPTHS = ("api", "console", "reach")
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_SUFFIX = ".ini"
_LARGEST = 2**20  # bytes of a file that a person wrote


# --- values of a site file only ------------------------------------------------------------------------------------


def _name(text: str) -> str:
    if not re.match(r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})$", text):
        raise ValueError("is not a name of up to 63 letters, digits, '.', '_' and '-'")
    return text


def _zone(text: str) -> str:
    if text in ("global-templates", "director-global"):
        raise ValueError("is a zone that checks nothing")
    return "" if text == "master" else _name(text)


def _period(text: str) -> float:
    if duration(text) < 60:
        raise ValueError("is less than a minute")
    return duration(text)


def _probes(text: str) -> Tuple[str, ...]:
    for word in word_list(text):
        if word not in SERVICES:
            raise ValueError(f"names {word}, which is no probe; {suggest(word, SERVICES)}")
    return word_list(text)


def contact_groups(text: str) -> Tuple[str, ...]:
    """Names of the monitoring server's own, which may have blanks in them; so between them are commas."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(
        re.match(r"^[^`~!$%^&*|'\"<>?()=;+\\\x00-\x1f]+$", name) and name != "null"
        for name in names
    ):
        raise ValueError(
            "is not a list of names of contact groups, which have none of `~!$%^&*|'\"<>?()=;+\\"
        )
    return names


def _targets(text: str) -> Tuple[str, ...]:
    from vmprobe.site import targets  # imported here because most sites name none

    return targets.parse_all(text)


# --- sections -----------------------------------------------------------------------------------------------------

_SITE = {"name": Key(_name, required=True), "owner": Key(), "contact": Key(), "notes": Key()}
_ENDPOINT = {
    "manager": Key(required=True),
    "credentials": Key(),
    "ca": Key(),
    "timeout": Key(positive_duration, 30.0),
}
_TEST_VM = {
    "image": Key(required=True),
    "flavor": Key(default=""),
    "network": Key(default=""),
    "volume": Key(size_or_none, 2**30),
    "depth": Key(one_of(*DEPTHS), "api"),
    "count": Key(server_count, 1),
    "snapshot": Key(yes_or_no, False),
    "reach port": Key(whole(1), 22),
}
_BUDGET = {
    "deadline": Key(run_time, 300.0),
    "reserve": Key(positive_duration, 60.0),
    "leftovers": Key(whole(), 10),
    **{stage: Key(positive_duration) for stage in STAGES},
}
_POLLING = {
    "first": Key(duration, 3.0),
    "fraction": Key(fraction, 0.08),
    "shortest": Key(positive_duration, 1.5),
    "longest": Key(positive_duration, 5.0),
}
_SAMPLE = {"readings": Key(whole(), 3), "interval": Key(duration, 2.0)}
_VERDICT = {word: Key(one_of(*STATES)) for word in CAUSES + ("leftovers", "timeout", "unmeasured")}
_SCHEDULE = {
    "interval": Key(_period, 3600.0),
    "retry interval": Key(_period, 900.0),
    "checks": Key(one_of("auto", "active", "passive"), "auto"),
    "probes": Key(_probes, tuple(SERVICES)),
    "parallel": Key(whole(1)),
    "zone": Key(_zone, ""),
    "submit": Key(_targets, ()),
    "contact groups": Key(contact_groups, ()),
}


class Site(NamedTuple):
    """What a site file says, with defaults filled in and values parsed."""

    path: str
    name: str
    driver: Type[Driver]
    endpoint: Mapping[str, Any]
    test_vm: Mapping[str, Any]
    deadline: float = 300.0
    reserve: float = 60.0
    budgets: Mapping[str, float] = {}  # of stages, in seconds
    most_leftovers: int = 10  # of earlier runs: with more than these no test VM is started
    thresholds: Thresholds = Thresholds()
    polling: Polling = Polling()
    sample: Mapping[str, Any] = {}
    verdict: Mapping[str, str] = {}
    schedule: Mapping[str, Any] = {}
    labels: Mapping[str, str] = {}
    about: Mapping[str, str] = {}  # contact, notes
    owner: str = ""

    def with_options(self, **changed: Any) -> "Site":
        """This site with what a command line changed; ``depth`` and ``count`` reach into the test VM."""
        test_vm = {
            key: changed.pop(key) for key in ("depth", "count") if changed.get(key) is not None
        }
        changed = {key: value for key, value in changed.items() if value is not None}
        return self._replace(test_vm={**self.test_vm, **test_vm}, **changed)

    def credentials(self) -> Dict[str, str]:
        """The credentials that the file names, read now; ClientError when they cannot be used."""
        path = self.endpoint.get("credentials")
        if not path:
            return {}
        where = f"{os.path.basename(self.path)} [endpoint] credentials"
        return read_credentials(path, self.driver.credential_keys, where)


def find(name: str) -> str:
    """The path of the site file that ``--site`` means: a path, or a name known to the site directories."""
    if os.sep in name or name.endswith(_SUFFIX):
        return name
    for directory in paths.site_directories():
        path = os.path.join(directory, name + _SUFFIX)
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # it may be there: who reads it says why it cannot be
        return path
    raise ClientError(f"no site file {name}{_SUFFIX} in {' or '.join(paths.site_directories())}")


def find_by_host(host: str) -> str:
    """The path of the one site file whose name, or whose endpoint's host, is ``host``, in whatever letters."""
    found: List[str] = []
    wanted = _same(host)
    unread = ""
    for path in _site_files():
        try:
            parser = _read(path)
        except (
            ClientError
        ) as wrong:  # is nobody's matter but its own, unless it is the one that is looked for
            unread = unread or f" ({wrong})"
            continue
        url = parser.get("endpoint", "url", fallback="")
        if wanted and wanted in (
            _same(parser.get("site", "name", fallback="")),
            _same(_host(url) or ""),
        ):
            found.append(path)
    if not found:
        raise ClientError(f"no site file has the host {host}{unread}; name one by --site")
    if len(found) > 1:
        raise ClientError(
            f"more than one site file has the host {host}: {', '.join(found)}; name one by --site"
        )
    return found[0]


def _same(host: str) -> str:
    """A host's name or address in the one form of all that mean the same."""
    return host.lower().strip("[]").rstrip(".")


def _site_files() -> Iterator[str]:
    for directory in paths.site_directories():
        try:
            entries = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as failed:
            raise ClientError(f"{directory}: {failed.strerror}") from None
        yield from (os.path.join(directory, entry) for entry in entries if entry.endswith(_SUFFIX))


def _host(url: str) -> Optional[str]:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def load(path: str) -> Site:
    """The site that a file describes; ClientError with one line that names file, section, key and what would be right."""
    parser = _read(path)
    base = os.path.basename(path)
    for section in parser.sections():
        if section not in _SECTIONS:
            raise ClientError(f"{base} [{section}]: no such section; {suggest(section, _SECTIONS)}")
    for section in ("site", "endpoint", "test vm"):
        if not parser.has_section(section):
            raise ClientError(f"{base} [{section}]: this section is missing")

    manager = parser.get("endpoint", "manager", fallback="")
    if not manager:
        raise ClientError(f"{base} [endpoint] manager: this key is missing")
    try:
        driver = drivers.load(manager)
    except ClientError as wrong:
        raise ClientError(f"{base} [endpoint] manager: {wrong}") from None

    section = _Sections(base, parser)
    about = section("site", _SITE)
    endpoint = section("endpoint", {**_ENDPOINT, **driver.endpoint_keys})
    test_vm = section("test vm", {**_TEST_VM, **driver.test_vm_keys})
    budget = section("budget", _BUDGET)
    _check_budget(base, budget)
    for key in ("credentials", "ca"):
        if endpoint[key]:
            endpoint[key] = os.path.join(
                os.path.dirname(os.path.abspath(path)), os.path.expanduser(endpoint[key])
            )
    return Site(
        path=path,
        name=about.pop("name"),
        driver=driver,
        endpoint=endpoint,
        test_vm=test_vm,
        deadline=budget.pop("deadline"),
        reserve=budget.pop("reserve"),
        most_leftovers=budget.pop("leftovers"),
        budgets={stage: limit for stage, limit in budget.items() if limit is not None},
        thresholds=_thresholds(base, parser),
        polling=_polling(base, section("polling", _POLLING)),
        sample=section("sample", _SAMPLE),
        schedule=section("schedule", _SCHEDULE),
        verdict={cause: state for cause, state in section("verdict", _VERDICT).items() if state},
        labels=_labels(base, parser),
        owner=owner_word(about.pop("owner") or ""),
        about={key: text for key, text in about.items() if text},
    )


_SECTIONS = (
    "site",
    "endpoint",
    "test vm",
    "budget",
    "thresholds",
    "polling",
    "sample",
    "verdict",
    "schedule",
    "labels",
)


def _read(path: str) -> configparser.ConfigParser:
    """The file's text, as sections; inline comments begin with `` ;``."""
    parser = configparser.ConfigParser(
        interpolation=None, inline_comment_prefixes=(";",), default_section="\0"
    )
    parser.optionxform = str
    base = os.path.basename(path)
    try:
        parser.read_file(_lines(files.read(path, _LARGEST)), base)
    except OSError as failed:
        raise ClientError(f"{path}: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise ClientError(f"{path}: is not UTF-8 text") from None
    except configparser.DuplicateOptionError as twice:
        raise ClientError(
            f"{base} [{twice.section}] {twice.option}: this key stands twice (line {twice.lineno})"
        ) from None
    except configparser.DuplicateSectionError as twice:
        raise ClientError(
            f"{base} [{twice.section}]: this section stands twice (line {twice.lineno})"
        ) from None
    except configparser.MissingSectionHeaderError as missing:
        raise ClientError(
            f"{base} line {missing.lineno}: a key before the first [section]"
        ) from None
    except configparser.ParsingError as wrong:
        raise ClientError(
            f"{base} line {wrong.errors[0][0]}: neither 'key = value' nor '[section]'"
        ) from None
    _check_lines(base, parser)
    return parser


def _check_lines(base: str, parser: configparser.ConfigParser) -> None:
    """A key that was indented is not the end of the value above it. What is for people only may be of any form."""
    for section in parser.sections():
        for key, text in parser.items(section) if section != "labels" else ():
            if "\n" in text and key not in ("contact", "notes"):
                more = text.split("\n")[-1]
                raise ClientError(
                    f"{base} [{section}] {key}: goes on in the indented line '{more}'; a value is one line"
                )
            if re.search(r"[\x00-\x08\x0e-\x1f\x7f]", key + text):
                raise ClientError(f"{base} [{section}] {key}: has a control character in it")


def _lines(written: bytes) -> TextIO:
    """The text of a file that a person wrote, perhaps with an editor that begins it with a mark."""
    return io.TextIOWrapper(io.BytesIO(written), encoding="utf-8-sig")


class _Sections:
    """Turns sections into values by their keys."""

    def __init__(self, base: str, parser: configparser.ConfigParser):
        self._base, self._parser = base, parser

    def __call__(self, section: str, keys: Mapping[str, Key]) -> Dict[str, Any]:
        texts = dict(self._parser.items(section)) if self._parser.has_section(section) else {}
        for name in texts:
            if name not in keys:
                raise ClientError(
                    f"{self._base} [{section}] {name}: no such key; {suggest(name, keys)}"
                )
        return {
            name: self._value(section, name, key, texts)
            if name in texts or key.required
            else key.default
            for name, key in keys.items()
        }  # most are left out, and ten thousand sites are read at once

    def _value(self, section: str, name: str, key: Key, texts: Mapping[str, str]) -> Any:
        text = texts.get(name, "")
        if name in texts and not text:
            raise ClientError(
                f"{self._base} [{section}] {name}: is empty; leave the line out for the default"
            )
        if not text:
            if key.required:
                raise ClientError(f"{self._base} [{section}] {name}: this key is missing")
            return key.default
        try:
            return key.parse(text)
        except ValueError as wrong:
            redact.current().add_url(text)  # it may have been given a password
            shown = one_line(re.sub(r"//\S*@", "//***@", text), 60)
            raise ClientError(f"{self._base} [{section}] {name}: '{shown}' {wrong}") from None


def _check_budget(base: str, budget: Mapping[str, Any]) -> None:
    deadline, reserve = budget["deadline"], budget["reserve"]
    if reserve >= deadline:
        raise ClientError(
            f"{base} [budget] reserve: {reserve:g} s leaves nothing of the deadline of {deadline:g} s"
        )


def _polling(base: str, polling: Mapping[str, Any]) -> Polling:
    if polling["longest"] < polling["shortest"]:
        raise ClientError(
            f"{base} [polling] longest: {polling['longest']:g} s is less than the shortest, {polling['shortest']:g} s"
        )
    return Polling(**polling)


def _thresholds(base: str, parser: configparser.ConfigParser) -> Thresholds:
    """``label = warning, critical``: Nagios ranges in the label's unit, either of which may be left empty."""
    thresholds = Thresholds()
    for label, text in parser.items("thresholds") if parser.has_section("thresholds") else ():
        if label not in LABELS:
            raise ClientError(
                f"{base} [thresholds] {label}: no such metric; {suggest(label, LABELS)}"
            )
        ranges = [part.strip() for part in text.split(",")]
        if len(ranges) > 2 or not any(ranges):
            raise ClientError(f"{base} [thresholds] {label}: '{text}' is not 'warning, critical'")
        for level, part in zip(("warning", "critical"), ranges):
            if part:
                try:
                    parse_range(part, label)
                except ValueError as wrong:
                    raise ClientError(f"{base} [thresholds] {label}: {wrong}") from None
                thresholds = thresholds.with_range(level, label, part)
    return thresholds


def _labels(base: str, parser: configparser.ConfigParser) -> Dict[str, str]:
    """Words of the operator's own; those that name groups, ``site`` and ``vo``, have to be names."""
    labels = dict(parser["labels"]) if parser.has_section("labels") else {}
    for key, text in labels.items():
        if key in ("contact", "contact_groups", "manager", "notes", "site_name") or key.startswith(
            "vmprobe"
        ):
            raise ClientError(
                f"{base} [labels] {key}: is a word of the suite's own; choose another one"
            )
        if not re.match(r"^[a-z][a-z0-9_]{0,30}$", key):
            raise ClientError(
                f"{base} [labels] {key}: is not a word of small letters, digits and '_'"
            )
        try:
            if key in ("site", "vo"):
                _name(text)
        except ValueError as wrong:
            raise ClientError(f"{base} [labels] {key}: '{text}' {wrong}") from None
    return labels


# --- credentials --------------------------------------------------------------------------------------------------


def read_credentials(path: str, known: Any, where: str) -> Dict[str, str]:
    """The section [credentials] of a file that only its owner may read; ClientError names what is wrong with it."""
    try:
        parser = configparser.ConfigParser(interpolation=None, default_section="\0")
        parser.optionxform = str
        parser.read_file(_lines(files.read_secret(path, _LARGEST)), os.path.basename(path))
    except files.Exposed as wrong:
        raise ClientError(f"{path} {wrong.strerror}") from None
    except OSError as failed:
        raise ClientError(f"{where}: {path}: {failed.strerror}") from None
    except (UnicodeDecodeError, configparser.Error):
        raise ClientError(f"{path}: is not an INI file with a section [credentials]") from None
    if parser.sections() != ["credentials"]:
        raise ClientError(f"{path}: has to have one section, [credentials]")
    texts = dict(parser["credentials"])
    for name in texts:
        if name not in known:
            raise ClientError(f"{path} [credentials] {name}: no such key; {suggest(name, known)}")
        if not texts[name]:
            raise ClientError(f"{path} [credentials] {name}: is empty")
    for secret in secrets(texts):
        redact.current().add(secret)
    return texts


def secrets(credentials: Mapping[str, str]) -> List[str]:
    """Those of the credentials that nobody may see, alone and behind their user; names, ids and paths are not among them."""
    found = [
        value
        for key, value in credentials.items()
        if re.search(r"(password|passphrase|secret|token|secret_key|access_key)$", key)
    ]
    return found + [
        f"{credentials['username']}:{secret}" for secret in found if credentials.get("username")
    ]
