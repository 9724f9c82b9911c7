"""What each server really gave to the conformance suite, in ``got.json``, for the README's tables.

``pytest --regen tests/conformance`` writes it, for the harnesses that run.
"""

import json
from pathlib import Path

from vmprobe import drivers

_FILE = Path(__file__).with_name("got.json")


def entry(driver, capabilities, metrics) -> dict:
    """The entry of a server: the name of its driver, and what it gave."""
    module = type(driver).__module__
    name = next((name for name, path in drivers.DRIVERS.items() if path == module), module)
    return {
        "driver": name,
        "capabilities": sorted(each.value for each in capabilities),
        "metrics": sorted(metrics),
    }


def read() -> dict:
    """The entries by the names of the harnesses."""
    return json.loads(_FILE.read_text()) if _FILE.exists() else {}


def write(name: str, given: dict) -> None:
    """Replace the entry of a harness."""
    found = {**read(), name: given}
    _FILE.write_text(
        "{\n"
        + ",\n".join(f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
        + "\n}\n"
    )


def of_driver(name: str, what: str) -> set:
    """``capabilities`` or ``metrics`` that any server gave to a driver."""
    return {word for given in read().values() if given["driver"] == name for word in given[what]}
