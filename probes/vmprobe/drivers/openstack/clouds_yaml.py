"""Read a cloud's settings from clouds.yaml, secure.yaml and clouds-public.yaml.

The places are those of OpenStack's own client (openstacksdk, "Configuring OpenStack SDK
Applications"). Unlike that client, this module looks for secure.yaml only beside the clouds.yaml
that is used, and for clouds-public.yaml there and where only root can write: a password from
elsewhere must not go to the auth_url of that file.
"""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Iterable, Mapping

from vmprobe.core.errors import ClientError
from vmprobe.host import files

_SYSTEM_DIRECTORIES = ("/etc/xdg/openstack", "/etc/openstack")  # where only root can write
_LARGEST = 2**20  # bytes of a file
_HOLDS_SECRET = re.compile(rb"(?:password|passcode|secret|token)[\"']?\s*:\s*\S", re.I)

Section = Dict[str, Any]  # what a file says of one cloud


def read_cloud(name: str, region: str) -> Dict[str, str]:
    """The settings of a cloud in clouds.yaml, with those of secure.yaml and its profile, flattened.

    ``region`` chooses among the cloud's ``regions``; "" takes the first. ClientError where the
    cloud cannot be found, or a file cannot be read or is not safe.
    """
    try:
        import yaml
    except ImportError:
        raise ClientError("clouds.yaml needs PyYAML (python3-yaml)") from None
    file = _clouds_file()
    if not file:
        raise ClientError(f"there is no clouds.yaml to read the cloud {name!r} from")
    secure = _secure_file(file)
    cloud = _merge(_section(file, "clouds", name, yaml), _section(secure, "clouds", name, yaml))
    if not cloud:
        raise ClientError(f"{file}: no cloud {name!r} in it")

    profile = cloud.get("profile") or cloud.get("cloud")
    if isinstance(profile, str):
        directories = [os.path.dirname(file), *_SYSTEM_DIRECTORIES]
        public = _first_file(directories, "clouds-public")
        settings = _section(public, "public-clouds", profile, yaml)
        cloud = _merge(settings, cloud)
        if not settings and not _auth(cloud).get("auth_url"):
            raise ClientError(
                f"{file}: the cloud {name!r} has no auth_url, "
                f"and its profile {profile!r} is in no clouds-public.yaml"
            )
    cloud = _with_region(cloud, region)
    return {
        str(key): str(value)
        for key, value in {**cloud, **_auth(cloud)}.items()
        if isinstance(value, (str, int)) and value != ""
    }


def _clouds_file() -> str:
    """The clouds.yaml that OS_CLIENT_CONFIG_FILE names, or the first one there is.

    "" if there is none.
    """
    # for a user without a home directory the ~ stays, and the path is not absolute
    homes = [os.environ.get("XDG_CONFIG_HOME", ""), os.path.expanduser("~/.config")]
    directories = [os.path.join(home, "openstack") for home in homes if os.path.isabs(home)]
    return _named_file("OS_CLIENT_CONFIG_FILE") or _first_file(
        ["", *directories, *_SYSTEM_DIRECTORIES], "clouds"
    )


def _secure_file(clouds_file: str) -> str:
    """The secure.yaml beside clouds.yaml, or the one that OS_CLIENT_SECURE_FILE names.

    That variable does not count for a clouds.yaml that was found in the current directory, in which
    somebody else may have put it.
    """
    directory = os.path.dirname(clouds_file)
    in_current_directory = not directory and not _named_file("OS_CLIENT_CONFIG_FILE")
    named = "" if in_current_directory else _named_file("OS_CLIENT_SECURE_FILE")
    return named or _first_file([directory], "secure")


def _named_file(variable: str) -> str:
    """The file that the environment names; "" if it names none, or one that does not exist."""
    file = os.environ.get(variable, "")
    return file if os.path.lexists(file) else ""


def _first_file(directories: Iterable[str], name: str) -> str:
    """The first file ``name``.yaml, .yml or .json in these directories; "" if there is none."""
    for directory in directories:
        for suffix in ("yaml", "yml", "json"):
            file = os.path.join(directory, f"{name}.{suffix}")
            if os.path.lexists(file):
                return file
    return ""


def _section(file: str, section: str, name: str, yaml: Any) -> Section:
    """What a file says of a cloud, keys with ``_`` for ``-``.

    {} if it says nothing, or there is no file.
    """
    if not file:
        return {}
    try:
        content = files.read_secret(
            file, _LARGEST, lambda content: bool(_HOLDS_SECRET.search(content)), searched=True
        )
        document = yaml.safe_load(content.decode("utf-8-sig"))
    except OSError as failed:
        raise ClientError(f"{file}: {failed.strerror}") from None
    except (ValueError, RecursionError, yaml.YAMLError) as failed:
        message = (str(failed).splitlines() or ["it is not YAML"])[0]
        raise ClientError(f"{file}: cannot be read: {message}") from None
    clouds = document.get(section) if isinstance(document, dict) else None
    cloud = clouds.get(name) if isinstance(clouds, dict) else None
    return _with_underscores(cloud) if isinstance(cloud, dict) else {}


def _with_underscores(settings: Mapping[object, object]) -> Section:
    return {
        str(key).replace("-", "_"): _with_underscores(value) if isinstance(value, dict) else value
        for key, value in settings.items()
    }


def _with_region(cloud: Section, wanted: str) -> Section:
    """The cloud with what it says of one of its ``regions``: the wanted one, or the first."""
    wanted = wanted or str(cloud.get("region_name") or "")
    for entry in cloud.get("regions") or []:
        region = entry if isinstance(entry, dict) else {"name": entry}
        if wanted in ("", region.get("name")):
            values = region.get("values")
            cloud = {**cloud, "region_name": region.get("name")}
            return _merge(cloud, values) if isinstance(values, dict) else cloud
    return cloud


def _auth(cloud: Section) -> Section:
    auth = cloud.get("auth")
    return auth if isinstance(auth, dict) else {}


def _merge(settings: Section, others: Mapping[str, Any]) -> Section:
    """Merge; ``others`` take precedence, and mappings in both are merged as well."""
    merged = dict(settings)
    for key, value in others.items():
        own = merged.get(key)
        merged[key] = (
            _merge(own, value) if isinstance(own, dict) and isinstance(value, dict) else value
        )
    return merged
