"""Let the monitoring daemons check generated files before these replace the old ones."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from vmprobe.core.errors import ClientError
from vmprobe.core.text import one_line
from vmprobe.ctl.config import output
from vmprobe.host import files, programs

_LARGEST_MAIN = 2**24  # bytes
_TIMEOUT = 600  # seconds; Icinga needs half a minute for 10 000 sites


class Check(NamedTuple):
    """What a daemon is asked to check."""

    directory: str  # a temporary one, for the daemon's own files
    objects: str  # the directory of the generated files
    main: str = ""  # Nagios' main file; '' to check the generated files alone
    place: str = ""  # where the generated files will be put


def validate(target: str, texts: Mapping[str, str], main: str = "", place: str = "") -> str:
    """The name of the daemon that accepts these files; ClientError with its errors if it does not.

    With ``main``, Nagios' main file, everything that it reads is checked, with these files instead
    of those in ``place``.
    """
    if target not in _DAEMONS:
        raise ClientError(
            f"--validate: no daemon can check files for {target}; use it with "
            f"{' or '.join(_DAEMONS)}"
        )
    names, prepare = _DAEMONS[target]
    if main and target != "nagios":
        raise ClientError("--main: only for Nagios; Icinga checks all its files when it reloads")
    binary = next((path for path in map(_program, names) if path), None)
    if not binary:
        raise ClientError(f"--validate: {' or '.join(names)} is not installed here")
    with tempfile.TemporaryDirectory(prefix="vmprobe-validate-", dir=_public_directory()) as folder:
        os.chmod(folder, 0o755)
        objects = os.path.join(folder, "objects")
        files.make_public_directory(objects)
        output.write_all(objects, texts)
        arguments = prepare(Check(folder, objects, main, place))
        try:
            done = programs.run([binary, *arguments], _TIMEOUT)
        except programs.TooSlow:
            raise ClientError(f"--validate: {binary} did not finish within {_TIMEOUT} s") from None
    daemon = os.path.basename(binary)
    if done.code:
        errors = _errors(done.text.replace(objects + os.sep, ""))
        raise ClientError(f"{daemon} rejects these files, and nothing was changed: {errors}")
    return daemon


def _program(name: str) -> Optional[str]:
    """A daemon's path, also in the directories for daemons, which cron's PATH does not have."""
    search_path = (os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin")
    return shutil.which(name, path=os.pathsep.join(search_path))


def _public_directory() -> Optional[str]:
    """A directory for temporary files that a daemon's user can reach.

    None means the usual one, which may be this user's own.
    """
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(place).resolve()
        if all(
            os.path.isdir(parent) and os.stat(parent).st_mode & 0o001
            for parent in (path, *path.parents)
        ):
            return place
    return None


def _errors(text: str) -> str:
    """The first lines of a daemon's output that say what is wrong."""
    lines = [re.sub(r"^\[[^]]*\] *", "", line) for line in text.splitlines()]
    errors = [line for line in lines if re.match(r"\W*(error|critical)", line, re.I)]
    return one_line(" / ".join(errors[:3] or lines[-3:]), 600)


def nagios(check: Check) -> List[str]:
    """Nagios' arguments. It runs as this user, named by number: not every user has an account."""
    directory = check.directory
    for name in ("results", "archives"):
        files.make_public_directory(os.path.join(directory, name))
    if check.main:
        lines = _main_file(check.main, check.place)
    else:
        lines = [f"cfg_file={_contacts(check)}"]
    own = _NAGIOS.format(
        directory=directory, objects=check.objects, user=os.geteuid(), group=os.getegid()
    )
    output.write_all(directory, {"nagios.cfg": "\n".join([*lines, own])})
    return ["-v", os.path.join(directory, "nagios.cfg")]


def _main_file(main: str, place: str) -> List[str]:
    """The lines of Nagios' main file, without the files in ``place``.

    ClientError if Nagios does not read files there.
    """
    try:
        with files.open_regular(main, _LARGEST_MAIN) as file:
            text = file.read().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ClientError(f"--main: {main}: {error.strerror}") from None
    place, folder = os.path.realpath(place), os.path.dirname(os.path.abspath(main))
    lines: List[str] = []
    is_read = False
    for line in (line.strip() for line in text.split("\n")):
        name, _, value = (word.strip() for word in line.partition("="))
        path = os.path.realpath(os.path.join(folder, value))
        if name in ("cfg_file", "resource_file"):
            lines.append(f"{name}={path}")
        elif name != "cfg_dir":
            lines.append(line)
        else:
            is_read = is_read or f"{place}/".startswith(f"{path}/")
            others = [file for file in _cfg_files(path) if not file.startswith(f"{place}/")]
            lines += [f"cfg_file={file}" for file in others]
    if not is_read:
        raise ClientError(f"--main: {main} has no cfg_dir that contains {place}")
    return lines


def _cfg_files(folder: str) -> List[str]:
    """The files that Nagios reads in a cfg_dir."""
    return sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.endswith(".cfg") and not name.startswith(".")
    )


def _contacts(check: Check) -> str:
    """The path of a file with one contact, and the contact groups that the objects name.

    Those groups are the monitoring server's own, and so not among the generated files.
    """
    groups = (
        f"define contactgroup {{\n    contactgroup_name {name}\n    alias {name}\n}}\n"
        for name in sorted(_contact_groups(check.objects))
    )
    output.write_all(check.directory, {"contact.cfg": CONTACT + "".join(groups)})
    return os.path.join(check.directory, "contact.cfg")


def _contact_groups(objects: str) -> Set[str]:
    """The contact groups that the generated files name."""
    group_names: Set[str] = set()
    for folder, _, names in os.walk(objects):
        for name in names:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                for groups in re.findall(r"(?m)^\s*contact_groups\s+(.+)$", file.read()):
                    group_names.update(group.strip() for group in groups.split(","))
    return group_names


def icinga(check: Check) -> List[str]:
    """Icinga's arguments. It needs a cache directory of its own.

    Even when it only checks, it writes what it read into its cache, where its other commands look
    up the name of their node.
    """
    main = os.path.join(check.directory, "icinga2.conf")
    cache = os.path.join(check.directory, "cache")
    files.make_public_directory(cache)
    os.chmod(cache, 0o1777)  # Icinga changes to its own user first
    text = _ICINGA.format(objects=check.objects)
    output.write_all(check.directory, {"icinga2.conf": text})
    return ["daemon", "-C", "-c", main, "-D", f"CacheDir={cache}"]


# by target: the names that the daemon's program may have, and what makes its arguments
_DAEMONS: Dict[str, Tuple[Tuple[str, ...], Callable[[Check], List[str]]]] = {
    "nagios": (("nagios4", "nagios", "naemon"), nagios),
    "icinga2": (("icinga2",), icinga),
}

_NAGIOS = """\
cfg_dir={objects}
log_file={directory}/log
log_archive_path={directory}/archives
check_result_path={directory}/results
object_cache_file={directory}/cache
status_file={directory}/status
temp_file={directory}/temporary
temp_path={directory}
lock_file={directory}/lock
nagios_user={user}
nagios_group={group}
illegal_object_name_chars=`~!$%^&*|'"<>?,()=
illegal_macro_output_chars=`~$&|'"<>
"""

CONTACT = """\
define command {
    command_name vmprobe-validate
    command_line /bin/true
}
define timeperiod {
    timeperiod_name vmprobe-validate
    alias validation
}
define contact {
    contact_name vmprobe-validate
    host_notification_period vmprobe-validate
    service_notification_period vmprobe-validate
    host_notification_commands vmprobe-validate
    service_notification_commands vmprobe-validate
}
"""

_ICINGA = """\
include <itl>
const NodeName = "vmprobe-validate"
object Endpoint NodeName {{ }}
object Zone "master" {{ endpoints = [ NodeName ] }}
object CheckerComponent "checker" {{ }}
include_recursive "{objects}"
"""
