"""Find a site file by its name (``--site``), or by its host (``-H``)."""

from __future__ import annotations

import os
from typing import Iterator, List

from vmprobe.core import urls
from vmprobe.core.errors import ClientError
from vmprobe.host import paths
from vmprobe.site import reader

_SUFFIX = ".ini"


def find(name: str) -> str:
    """The path of a site file; ``name`` is a path, or a name in one of the site directories."""
    if os.sep in name or name.endswith(_SUFFIX):
        return name
    for directory in paths.site_directories():
        path = os.path.join(directory, name + _SUFFIX)
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # the file may exist; reading it will say why it cannot be read
        return path
    raise ClientError(f"no site file {name}{_SUFFIX} in {' or '.join(paths.site_directories())}")


def find_by_host(host: str) -> str:
    """The path of the only site file whose name, or whose endpoint's host, is ``host``.

    Upper and lower case do not matter. ClientError if there is none, or more than one.
    """
    matches: List[str] = []
    unreadable = ""  # the first file that cannot be read: it may be the one
    for path in _site_files():
        try:
            sections = reader.read(path)
        except ClientError as error:
            unreadable = unreadable or f" ({error})"
            continue
        name = sections.get("site", {}).get("name", "")
        url = sections.get("endpoint", {}).get("url", "")
        if _normal(host) and _normal(host) in (_normal(name), _normal(urls.host(url))):
            matches.append(path)
    if not matches:
        raise ClientError(f"no site file has the host {host}{unreadable}; name one with --site")
    if len(matches) > 1:
        raise ClientError(
            f"several site files have the host {host}: {', '.join(matches)}; name one with --site"
        )
    return matches[0]


def _site_files() -> Iterator[str]:
    for directory in paths.site_directories():
        try:
            entries = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ClientError(f"{directory}: {error.strerror}") from None
        yield from (os.path.join(directory, entry) for entry in entries if entry.endswith(_SUFFIX))


def _normal(host: str) -> str:
    """A host name or address in one form, so that equal ones compare equal."""
    return host.lower().strip("[]").rstrip(".")
