"""Sites with ``manager = command``: the example in Python over a server on loopback, and commands of a few lines."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from outside.webserver import PASSWORD, TOKEN, WebServer
from running import CHECKOUT
from vmprobe.core.clock import Clock
from vmprobe.drivers.command.keys import OFFERS

EXAMPLE = CHECKOUT / "etc" / "commands" / "rest"
SECRETS = (PASSWORD, TOKEN)


def write_site(directory: Path, command: Path, **sections) -> Path:
    """A site file; sections by their names with ``_`` for a blank, keys likewise."""
    wanted = {
        "site": {"name": "site", "owner": "mon"},
        "endpoint": {"manager": "command", "command": str(command), "consistency window": "1 s"},
        "test vm": {"image": "vmprobe-test", "volume": "none"},
        "budget": {"deadline": "300 s", "reserve": "60 s"},
        "polling": {"first": "0.1 s", "shortest": "0.1 s", "longest": "0.2 s"},
        "sample": {"readings": "2", "interval": "0.1 s"},
    }
    for section, keys in sections.items():
        named = {key.replace("_", " "): text for key, text in keys.items()}
        wanted.setdefault(section.replace("_", " "), {}).update(named)
    lines = []
    for section, keys in wanted.items():
        lines += [f"[{section}]", *(f"{key} = {text}" for key, text in keys.items())]
    path = directory / "site.ini"
    path.write_text("\n".join(lines) + "\n")
    return path


def example_site(directory: Path, url: str, command: Path = EXAMPLE, **sections) -> Path:
    """A site file for the example in Python, which offers all that a command can."""
    credentials = directory / "credentials.ini"
    credentials.write_text(f"[credentials]\nusername = probe\npassword = {PASSWORD}\n")
    credentials.chmod(0o600)
    endpoint = {"url": url, "credentials": str(credentials), "offers": ", ".join(OFFERS)}
    endpoint.update(sections.pop("endpoint", {}))
    test_vm = {"volume": "1 GiB", "depth": "console", **sections.pop("test_vm", {})}
    return write_site(directory, command, endpoint=endpoint, test_vm=test_vm, **sections)


def script(directory: Path, text: str) -> Path:
    """A command in shell: ``text`` is run with the verb as $1 and the request in $request."""
    path = directory / "manager"
    path.write_text(f"#!/bin/sh\nrequest=$(cat)\n{text}\n")
    path.chmod(0o755)
    return path


@contextmanager
def harness():
    from conformance.harnesses import of_site

    with WebServer() as server, tempfile.TemporaryDirectory() as directory:
        yield of_site(str(example_site(Path(directory), server.url + "/v1")), Clock())
        assert server.things == {}


def killing(directory: Path, command: Path, verb: str, number: int, moment: str) -> Path:
    """A command that does what ``command`` does, and kills the check at the n-th request of a verb.

    ``moment``: before the request, during it (it is served all the same), or after it, before the answer.
    """
    # One name for all: it is part of the endpoint's identity, and a ledger is settled only there.
    path, count = directory / "killing", directory / "count"
    path.write_text(
        f"""#!/bin/sh
if [ "$1" = {verb} ]; then
    echo >>'{count}'
    [ $(wc -l <'{count}') != {number} ] || kills={moment}
fi
[ "$kills" != before ] || {{ kill -9 $PPID; exit 1; }}
[ "$kills" != during ] || kill -9 $PPID
'{command}' "$@" || exit
[ "$kills" != after ] || kill -9 $PPID
"""
    )
    path.chmod(0o755)
    count.unlink(missing_ok=True)
    return path


MOMENTS = ("before", "during", "after")
REQUESTS = (("create", 1), ("create", 2), ("attach", 1), ("delete", 1), ("delete", 2))


def kills(*quick):
    """Every moment of every request that changes something; slow, but for those in ``quick``."""
    return [
        pytest.param(*case, marks=[] if case in quick else [pytest.mark.slow])
        for case in ((verb, number, moment) for verb, number in REQUESTS for moment in MOMENTS)
    ]
