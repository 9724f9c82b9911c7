"""The options of ``vmprobectl conform``."""

from __future__ import annotations

import argparse
from typing import Tuple

from vmprobe.core.values import run_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--site", metavar="SITE", required=True, help="a site file, or its name, as for the checks"
    )
    parser.add_argument("--json", metavar="FILE", default="", help="also write a report in JSON")
    parser.add_argument(
        "--junit", metavar="FILE", default="", help="also write a report in JUnit's XML"
    )
    parser.add_argument(
        "--skip",
        metavar="ID",
        action="append",
        default=[],
        help="leave out a requirement, and all that need it; repeatable",
    )
    parser.add_argument(
        "--impossible",
        metavar="KEY=VALUE",
        action="append",
        type=_pair,
        default=[],
        help="a key of [test vm] with which no server can be created, for impossible-server; "
        "repeatable",
    )
    parser.add_argument(
        "--unused-id",
        metavar="ID",
        default="",
        help="an id in the manager's form that nothing has, for unknown-id (default: a UUID)",
    )
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=_seconds,
        default=1800.0,
        help="the longest time for everything, with the clean-up (default: 1800)",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="also print the requests and replies of each requirement that failed",
    )


def _pair(text: str) -> Tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"'{text}' is not KEY=VALUE")
    return key.strip(), value.strip()


def _seconds(text: str) -> float:
    try:
        return run_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' {error}") from None
