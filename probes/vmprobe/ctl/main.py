"""vmprobectl: what people do around the probes, one sub-command each. What a sub-command needs is imported when it runs.

Exits 0 when it did what was asked, 1 with one line on stderr when it could not, 2 on a usage error. Nothing that becomes of
stdout or stderr keeps it from its work.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import string
import sys
import traceback
from typing import Any, Callable, List, Optional, Sequence, TextIO

from vmprobe.core.errors import VmprobeError
from vmprobe.core.redact import current
from vmprobe.core.text import one_line


def main(argv: Optional[List[str]] = None) -> int:
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # handed down as ignored, it would make every program's exit code 0
    sys.stdin = sys.stdin or open(
        os.devnull, encoding="ascii"
    )  # each gets the lowest number that is free
    sys.stdout, sys.stderr = _Stream(sys.stdout or _nowhere()), _Stream(sys.stderr or _nowhere())
    done = _run(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    failure = sys.stdout.failure
    if failure and not isinstance(
        failure, BrokenPipeError
    ):  # that is somebody who reads no further, such as head
        print(
            f"vmprobectl: stdout: {failure.strerror}; what was asked for was done, and not all of it was told",
            file=sys.stderr,
            flush=True,
        )
    return done or int(failure is not None)


def _run(argv: Optional[List[str]]) -> int:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        chosen = parser().parse_args(argv)
        return chosen.run(chosen)
    except SystemExit as ended:  # argparse's: help, and usage errors
        return int(ended.code or 0)
    except VmprobeError as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(
            f"{error.filename}: {error.strerror}"
            if error.filename
            else error.strerror or str(error)
        )
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # who presses it twice means it once
        return _failed("interrupted")
    except Exception as error:
        if sys.flags.dev_mode:
            traceback.print_exc()
        return _failed(
            f"unforeseen: {one_line(f'{type(error).__name__}: {error}')} (python3 -X dev {sys.argv[0]} ... shows where)"
        )


def _failed(words: str) -> int:
    print(f"vmprobectl: {current().redact(words)}", file=sys.stderr)
    return 1


class _Stream(io.TextIOBase):
    """Standard output or standard error, which never ends the work: a disk that is full, a reader who is gone, an encoding that
    lacks a letter. What failed is remembered; from then on it leads nowhere.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.failure: Optional[OSError] = None
        if isinstance(stream, io.TextIOWrapper):
            readable = _writes_ascii(stream.encoding)
            stream.reconfigure(
                encoding=stream.encoding if readable else "ascii", errors="backslashreplace"
            )

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except OSError as failed:
            self.failure, self._stream = failed, _nowhere()


def _writes_ascii(encoding: str) -> bool:
    """Whether text in this encoding can be read as plain ASCII, as far as it is that, and every other letter by its number."""
    try:
        return (
            string.printable.encode(encoding) == string.printable.encode()
            and "\u00e9".encode(encoding, "backslashreplace") != b""
        )
    except UnicodeError:  # such as idna's, which knows of no numbers
        return False


def _nowhere() -> TextIO:
    stream = open(os.devnull, "w", encoding="utf-8")
    os.set_inheritable(
        stream.fileno(), True
    )  # in the place of one that was closed, it is that of --reload's command, too
    return stream


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="vmprobectl", description="What people do around vmprobe's probes."
    )
    commands = found.add_subparsers(metavar="COMMAND", required=True)
    for name, (summary, arguments) in COMMANDS.items():
        arguments(commands.add_parser(name, help=summary, description=summary))
    return found


# --- image ---


def image(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    summary = "Build the test image; what is there already and still right is left as it is."
    build = actions.add_parser("build", help=summary, description=summary)
    build.add_argument(
        "--output",
        metavar="DIR",
        help="where it and its kernel are put (default: the cache directory)",
    )
    build.add_argument(
        "--format",
        metavar="F",
        action="append",
        dest="formats",
        help="kernel (kernel and initrd; the default), raw (a disk that boots by BIOS), qcow2, vmdk, vhd, ova (the same "
        "disk), uefi (a raw disk that boots by UEFI), or all; repeatable",
    )
    build.add_argument(
        "--kernel",
        metavar="FILE",
        default="",
        help="a kernel instead of the distribution's cloud kernel",
    )
    build.add_argument(
        "--modules", metavar="DIR", default="", help="its modules: a /lib/modules/RELEASE"
    )
    build.add_argument(
        "--busybox", metavar="FILE", default="", help="a static busybox (default: the one in PATH)"
    )
    build.add_argument(
        "--update", action="store_true", help="ask the distribution for its current kernel anew"
    )
    build.set_defaults(run=image_build)


def image_build(chosen: argparse.Namespace) -> int:
    from vmprobe.guest.image import FORMATS, build, directory

    formats = chosen.formats or ["kernel"]
    made = build(
        chosen.output or directory(),
        FORMATS if "all" in formats else formats,
        kernel=chosen.kernel,
        modules=chosen.modules,
        busybox=chosen.busybox,
        update=chosen.update,
    )
    for file in made.values():
        print(f"{file.sha256}  {file.size:>10}  {file.path}")
    return 0


# --- demo ---


def demo(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=demo_run)


def demo_run(chosen: argparse.Namespace) -> int:
    from vmprobe.ctl.demo import run

    return run()


# --- config ---


def config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        required=True,
        choices=("nagios", "icinga2", "director", "argo", "sensu", "systemd"),
        help="the system to write for; nagios is Naemon's form, too; systemd: timers for passive results",
    )
    parser.add_argument(
        "--output", metavar="DIR", required=True, help="the directory that is written"
    )
    parser.add_argument(
        "--sites",
        metavar="DIR",
        action="append",
        help="directory of site files; repeatable (default: /etc/vmprobe/sites)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; show what would change, and exit 1 if anything",
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help="ask nagios4 or icinga2 first, and keep the old files when it refuses the new ones",
    )
    parser.add_argument(
        "--main",
        metavar="FILE",
        default="",
        help="Nagios' main file: validate all that it reads, contacts and templates of your own, too",
    )
    parser.add_argument(
        "--reload", metavar="COMMAND", default="", help="run this when something was changed"
    )
    parser.add_argument(
        "--templates",
        metavar="DIR",
        default="",
        help="templates of your own: DIR/TARGET/... stands for the shipped one of this path",
    )
    parser.add_argument(
        "--limit",
        metavar="SECONDS",
        type=_seconds,
        default=60.0,
        help="Nagios' service_check_timeout; what needs longer becomes passive (default: 60)",
    )
    parser.add_argument(
        "--contact-groups",
        metavar="NAMES",
        type=_contact_groups,
        default=(),
        help="who is notified of sites that name no contact groups themselves; separated by commas",
    )
    parser.add_argument(
        "--plugins",
        metavar="DIR",
        default="",
        help="the probes' directory on the host that runs them",
    )
    parser.add_argument(
        "--docs",
        metavar="URL",
        default="",
        help="where the files of the suite's docs/ lie, for notes_url: each probe has its page there",
    )
    parser.set_defaults(run=config_run)


def _contact_groups(text: str) -> Sequence[str]:
    from vmprobe.site.site import contact_groups

    return _parsed(contact_groups, text)


def _seconds(text: str) -> float:
    from vmprobe.core.values import duration

    return _parsed(duration, text)


def _parsed(parse: Callable[[str], Any], text: str) -> Any:
    """What a site file's own parser makes of an option."""
    try:
        return parse(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(f"'{text}' {wrong}") from None


def config_run(chosen: argparse.Namespace) -> int:
    from vmprobe.ctl.config.command import configure

    return configure(chosen)


# --- sites ---


def sites(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    summary = "Make site files from what GOCDB, a BDII or a table knows; what a person wrote is never touched."
    action = actions.add_parser("import", help=summary, description=summary)
    action.add_argument(
        "--from",
        dest="form",
        required=True,
        choices=("gocdb", "glue", "csv"),
        help="what is read: GOCDB's XML, "
        "GLUE 2.0 as LDIF or from a server, or a CSV with the columns name, manager and url",
    )
    action.add_argument(
        "place", metavar="PLACE", help="a file, or for glue a server: ldap://HOST:2170/o=glue"
    )
    action.add_argument(
        "--output", metavar="DIR", required=True, help="the directory of site files"
    )
    action.add_argument(
        "--defaults", metavar="FILE", default="", help="sections that every new site file gets, too"
    )
    action.add_argument(
        "--check",
        action="store_true",
        help="write nothing; say what would be done, and exit 1 if anything",
    )
    action.set_defaults(run=sites_import)


def sites_import(chosen: argparse.Namespace) -> int:
    from vmprobe.core.text import counted
    from vmprobe.ctl.sites import catalogue, sync

    found = catalogue.read(chosen.form, chosen.place)
    told, written = sync.adopt(
        found, chosen.form, chosen.output, chosen.defaults, write=not chosen.check
    )
    for line in told:
        print(line)
    print(
        f"{counted(len(found.entries), 'site')} found, {counted(found.passed_over, 'service')} passed over"
    )
    return 1 if chosen.check and written else 0


COMMANDS = {
    "sites": ("Make site files from what others know about sites.", sites),
    "config": ("Write what the monitoring servers read, from the site files.", config),
    "demo": (
        "Run check_vm_lifecycle once: on a real VM by QEMU, or where there is none, over the cloud in memory.",
        demo,
    ),
    "image": ("Build the suite's own test image.", image),
}
