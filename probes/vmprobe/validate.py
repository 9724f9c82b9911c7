"""The monitoring daemons' own word on a generated tree, before it takes the place of the old one."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from typing import Dict, List, Mapping, Set

from vmprobe import tree
from vmprobe.errors import ClientError
from vmprobe.text import one_line

_PATIENCE = 600  # seconds; Icinga takes half a minute for 10 000 sites


def validate(target: str, wanted: Mapping[str, str]) -> str:
    """The daemon that has no objection to these files; ClientError with the daemon's first words when it has."""
    if target not in _DAEMONS:
        raise ClientError(f"--validate: there is no daemon that checks files for {target}; there are {', '.join(_DAEMONS)}")
    binaries, command = _DAEMONS[target]
    binary = next((found for found in map(shutil.which, binaries) if found), None)
    if not binary:
        raise ClientError(f"--validate: {' or '.join(binaries)} is not installed here")
    with tempfile.TemporaryDirectory(prefix="vmprobe-validate-") as directory:
        os.chmod(directory, 0o755)
        objects = os.path.join(directory, "objects")
        os.mkdir(objects)
        tree.write_all(objects, wanted)
        try:
            done = subprocess.run([binary, *command(directory, objects)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            raise ClientError(f"--validate: {binary} was not through in {_PATIENCE} s") from None
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").replace(objects + os.sep, "")
        raise ClientError(f"{os.path.basename(binary)} refuses this, and nothing was changed: {_objection(said)}")
    return os.path.basename(binary)


def _objection(said: str) -> str:
    """The first lines in which a daemon says what is wrong."""
    lines = [re.sub(r"^\[[^]]*\] *", "", line) for line in said.splitlines()]
    wrong = [line for line in lines if re.match(r"\W*(error|critical)", line, re.I)]
    return one_line(" / ".join(wrong[:3] or lines[-3:]), 600)


def _nagios(directory: str, objects: str) -> List[str]:
    main = os.path.join(directory, "nagios.cfg")
    for name in ("results", "archives"):
        os.mkdir(os.path.join(directory, name))
    with open(main, "w", encoding="utf-8") as file:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        file.write(_NAGIOS.format(directory=directory, objects=objects, user=user, group=group))
    with open(os.path.join(directory, "contact.cfg"), "w", encoding="utf-8") as file:
        file.write(_CONTACT)
        for name in sorted(_contact_groups(objects)):
            file.write(f"define contactgroup {{\n    contactgroup_name {name}\n    alias {name}\n}}\n")
    return ["-v", main]


def _contact_groups(objects: str) -> Set[str]:
    """The contact groups that the files name; they are the monitoring server's own."""
    found: Set[str] = set()
    for folder, _, names in os.walk(objects):
        for name in names:
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                for groups in re.findall(r"(?m)^\s*contact_groups\s+(.+)$", file.read()):
                    found.update(group.strip() for group in groups.split(","))
    return found


def _icinga(directory: str, objects: str) -> List[str]:
    """Also while it only checks, Icinga writes what it read into its cache, where its other commands look who they are."""
    main, cache = os.path.join(directory, "icinga2.conf"), os.path.join(directory, "cache")
    os.mkdir(cache)
    os.chmod(cache, 0o1777)  # it becomes its own user first
    with open(main, "w", encoding="utf-8") as file:
        file.write(_ICINGA.format(objects=objects))
    return ["daemon", "-C", "-c", main, "-D", f"CacheDir={cache}"]


_DAEMONS: Dict[str, tuple] = {"nagios": (("nagios4", "nagios", "naemon"), _nagios), "icinga2": (("icinga2",), _icinga)}

_NAGIOS = """\
cfg_dir={objects}
cfg_file={directory}/contact.cfg
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
