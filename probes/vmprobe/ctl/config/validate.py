"""The monitoring daemons' own word on a generated tree, before it takes the place of the old one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Set

from vmprobe.core.errors import ClientError
from vmprobe.core.text import one_line
from vmprobe.ctl.config import output
from vmprobe.host import files, programs

_LARGEST_MAIN = 2**24  # bytes
_PATIENCE = 600  # seconds; Icinga takes half a minute for 10 000 sites


def validate(target: str, wanted: Mapping[str, str], main: str = "", place: str = "") -> str:
    """The daemon that has no objection to these files; ClientError with the daemon's first words when it has.

    With ``main``, Nagios' own main file, all that it reads is looked at, these files in the place of those in ``place``.
    """
    if target not in _DAEMONS:
        raise ClientError(
            f"--validate: there is no daemon that checks files for {target}; there are {', '.join(_DAEMONS)}"
        )
    binaries, command = _DAEMONS[target]
    if main and target != "nagios":
        raise ClientError(
            "--main: is Nagios' main file; Icinga looks at all that it reads before it reloads"
        )
    binary = next((found for found in map(_program, binaries) if found), None)
    if not binary:
        raise ClientError(f"--validate: {' or '.join(binaries)} is not installed here")
    with tempfile.TemporaryDirectory(prefix="vmprobe-validate-", dir=_open_to_all()) as directory:
        os.chmod(directory, 0o755)
        objects = os.path.join(directory, "objects")
        files.make_public_directory(objects)
        output.write_all(objects, wanted)
        try:
            done = programs.run([binary, *command(directory, objects, main, place)], _PATIENCE)
        except programs.TooSlow:
            raise ClientError(f"--validate: {binary} was not through in {_PATIENCE} s") from None
    if done.code:
        said = done.text.replace(objects + os.sep, "")
        raise ClientError(
            f"{os.path.basename(binary)} refuses this, and nothing was changed: {_objection(said)}"
        )
    return os.path.basename(binary)


def _program(name: str) -> Optional[str]:
    """A daemon's path; cron's PATH has no sbin, where the daemons are."""
    return shutil.which(
        name,
        path=os.pathsep.join(
            (os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin")
        ),
    )


def _open_to_all() -> Optional[str]:
    """A place for temporary files that a daemon, another user, can come to; None: the usual one, which may be this user's own."""
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        above = Path(place).resolve()
        if all(
            os.path.isdir(each) and os.stat(each).st_mode & 0o001
            for each in (above, *above.parents)
        ):
            return place
    return None


def _objection(said: str) -> str:
    """The first lines in which a daemon says what is wrong."""
    lines = [re.sub(r"^\[[^]]*\] *", "", line) for line in said.splitlines()]
    wrong = [line for line in lines if re.match(r"\W*(error|critical)", line, re.I)]
    return one_line(" / ".join(wrong[:3] or lines[-3:]), 600)


def _nagios(directory: str, objects: str, main: str, place: str) -> List[str]:
    """It runs as this very user, whom it knows by number, because not every user has an account."""
    for name in ("results", "archives"):
        files.make_public_directory(os.path.join(directory, name))
    more = _main(main, place) if main else [f"cfg_file={_contacts(directory, objects)}"]
    own = _NAGIOS.format(
        directory=directory, objects=objects, user=os.geteuid(), group=os.getegid()
    )
    output.write_all(directory, {"nagios.cfg": "\n".join([*more, own])})
    return ["-v", os.path.join(directory, "nagios.cfg")]


def _main(main: str, place: str) -> List[str]:
    """The lines of Nagios' main file, but for what lies in ``place``; ClientError where it does not read that."""
    try:
        with files.open_regular(main, _LARGEST_MAIN) as file:
            lines = [
                line.strip() for line in file.read().decode("utf-8", "surrogateescape").split("\n")
            ]
    except OSError as failed:
        raise ClientError(f"--main: {main}: {failed.strerror}") from None
    place, found, read = os.path.realpath(place), [], False
    for line in lines:
        name, _, value = (word.strip() for word in line.partition("="))
        path = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(main)), value))
        if name in ("cfg_file", "resource_file"):
            found.append(f"{name}={path}")
        elif name != "cfg_dir":
            found.append(line)
        else:
            read = read or f"{place}/".startswith(f"{path}/")
            found += [
                f"cfg_file={each}" for each in _below(path) if not each.startswith(f"{place}/")
            ]
    if not read:
        raise ClientError(f"--main: {main} has no cfg_dir in which {place} lies")
    return found


def _below(folder: str) -> List[str]:
    """The files that Nagios reads of a cfg_dir."""
    return sorted(
        os.path.join(each, name)
        for each, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.endswith(".cfg") and not name.startswith(".")
    )


def _contacts(directory: str, objects: str) -> str:
    """A file of the contact groups that the objects name, which are the monitoring server's own, and of one contact."""
    groups = (
        f"define contactgroup {{\n    contactgroup_name {name}\n    alias {name}\n}}\n"
        for name in sorted(_contact_groups(objects))
    )
    output.write_all(directory, {"contact.cfg": _CONTACT + "".join(groups)})
    return os.path.join(directory, "contact.cfg")


def _contact_groups(objects: str) -> Set[str]:
    """The contact groups that the files name; they are the monitoring server's own."""
    found: Set[str] = set()
    for folder, _, names in os.walk(objects):
        for name in names:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                for groups in re.findall(r"(?m)^\s*contact_groups\s+(.+)$", file.read()):
                    found.update(group.strip() for group in groups.split(","))
    return found


def _icinga(directory: str, objects: str, main: str, place: str) -> List[str]:
    """Also while it only checks, Icinga writes what it read into its cache, where its other commands look who they are."""
    main, cache = os.path.join(directory, "icinga2.conf"), os.path.join(directory, "cache")
    files.make_public_directory(cache)
    os.chmod(cache, 0o1777)  # it becomes its own user first
    output.write_all(directory, {"icinga2.conf": _ICINGA.format(objects=objects)})
    return ["daemon", "-C", "-c", main, "-D", f"CacheDir={cache}"]


_DAEMONS: Dict[str, tuple] = {
    "nagios": (("nagios4", "nagios", "naemon"), _nagios),
    "icinga2": (("icinga2",), _icinga),
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

_CONTACT = """\
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
