"""vmprobectl: the tool for people. One function per sub-command; each imports only what it needs.

Exit codes: 0 it did what was asked; 1 it could not, with one line on stderr; 2 usage error; of
``conform`` also 1 a requirement is not met, 3 it could not be tried. A failing stdout or stderr
does not keep it from its work.
"""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from typing import Callable, Dict, List, Optional, Sequence, Tuple, TypeVar

from vmprobe.core.errors import VmprobeError
from vmprobe.core.redact import current
from vmprobe.core.text import one_line
from vmprobe.ctl import streams

T = TypeVar("T")


def main(argv: Optional[List[str]] = None) -> int:
    """Run a command line; returns the exit code."""
    # If the caller ignores SIGCHLD, the exit codes of all programs would read as 0.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    stdout, stderr = streams.wrap()
    code = _run(argv)
    stdout.flush()
    stderr.flush()
    failure = stdout.failure
    if failure and not isinstance(failure, BrokenPipeError):  # a reader like head is no problem
        print(
            f"vmprobectl: stdout: {failure.strerror}; the command was carried out, but not all "
            "of its output was written",
            file=sys.stderr,
            flush=True,
        )
    return code or int(failure is not None)


def _run(argv: Optional[List[str]]) -> int:
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        arguments = parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = arguments.run
        return command(arguments)
    except SystemExit as ended:  # argparse raises it: help, usage errors
        return int(ended.code or 0)
    except VmprobeError as error:
        return _failed(str(error))
    except OSError as error:
        message = error.strerror or str(error)
        return _failed(f"{error.filename}: {message}" if error.filename else message)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # people press it twice
        return _failed("interrupted")
    except Exception as error:
        if sys.flags.dev_mode:
            traceback.print_exc()
        message = one_line(f"{type(error).__name__}: {error}")
        return _failed(f"unforeseen: {message} (python3 -X dev {sys.argv[0]} ... shows where)")


def _failed(message: str) -> int:
    print(f"vmprobectl: {current().redact(message)}", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="vmprobectl",
        description="Configuration, site files, the test image, the conformance suite and a "
        "demonstration for vmprobe.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (summary, add_arguments) in COMMANDS.items():
        add_arguments(commands.add_parser(name, help=summary, description=summary))
    return parser


# --- image --------------------------------------------------------------------------------------


def image(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``image``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    summary = "Build the test image; files that exist and are up to date stay as they are."
    build = actions.add_parser("build", help=summary, description=summary)
    build.add_argument(
        "--output",
        metavar="DIR",
        help="directory for the image and its kernel (default: the cache directory)",
    )
    build.add_argument(
        "--format",
        metavar="F",
        action="append",
        dest="formats",
        help="kernel (kernel and initrd; the default), raw (a disk for BIOS), qcow2, vmdk, vhd, "
        "ova (the same disk), uefi (a raw disk for UEFI), or all; repeatable",
    )
    build.add_argument(
        "--kernel",
        metavar="FILE",
        default="",
        help="a kernel of your own, instead of the distribution's cloud kernel",
    )
    build.add_argument(
        "--modules",
        metavar="DIR",
        default="",
        help="the modules of that kernel, such as /lib/modules/RELEASE",
    )
    build.add_argument(
        "--busybox",
        metavar="FILE",
        default="",
        help="a static busybox (default: the one in PATH)",
    )
    build.add_argument(
        "--update",
        action="store_true",
        help="download the distribution's current kernel again",
    )
    build.set_defaults(run=image_build)


def image_build(arguments: argparse.Namespace) -> int:
    """Build the test image, and print checksum, size and path of each file."""
    from vmprobe.guest.image import FORMATS, build, directory

    formats = arguments.formats or ["kernel"]
    image_files = build(
        arguments.output or directory(),
        FORMATS if "all" in formats else formats,
        kernel=arguments.kernel,
        modules=arguments.modules,
        busybox=arguments.busybox,
        update=arguments.update,
    )
    for file in image_files.values():
        print(f"{file.sha256}  {file.size:>10}  {file.path}")
    return 0


# --- demo ---------------------------------------------------------------------------------------


def demo(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``demo``: none."""
    parser.set_defaults(run=demo_run)


def demo_run(arguments: argparse.Namespace) -> int:
    """Run the demonstration."""
    from vmprobe.ctl.demo import run

    return run()


# --- config -------------------------------------------------------------------------------------


def config(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``config``."""
    parser.add_argument(
        "--target",
        required=True,
        choices=("nagios", "icinga2", "director", "argo", "sensu", "systemd"),
        help="the system to write for; nagios also for Naemon; systemd: timers for passive checks",
    )
    parser.add_argument(
        "--output", metavar="DIR", required=True, help="the directory to write the files to"
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
        help="write nothing; show what would change, and exit 1 if anything would",
    )
    parser.add_argument(
        "--validate",
        action="store_true",
        help="have nagios4 or icinga2 check the new files first; keep the old ones if it "
        "rejects them",
    )
    parser.add_argument(
        "--main",
        metavar="FILE",
        default="",
        help="Nagios' main file: validate all files that it reads, with your contacts and "
        "templates",
    )
    parser.add_argument(
        "--reload",
        metavar="COMMAND",
        default="",
        help="run this command after a change",
    )
    parser.add_argument(
        "--templates",
        metavar="DIR",
        default="",
        help="your own templates: a file DIR/TARGET/... replaces the shipped one of that path",
    )
    parser.add_argument(
        "--limit",
        metavar="SECONDS",
        type=_seconds,
        default=60.0,
        help="Nagios' service_check_timeout; checks that need longer become passive (default: 60)",
    )
    parser.add_argument(
        "--contact-groups",
        metavar="NAMES",
        type=_contact_groups,
        default=(),
        help="contact groups for sites that name none themselves; separated by commas",
    )
    parser.add_argument(
        "--plugins",
        metavar="DIR",
        default="",
        help="directory of the check_vm_* executables on the host that runs them",
    )
    parser.add_argument(
        "--docs",
        metavar="URL",
        default="",
        help="where the suite's docs/ are published, for notes_url: each check has a page there",
    )
    parser.set_defaults(run=config_run)


def _contact_groups(text: str) -> Sequence[str]:
    from vmprobe.site.site import contact_groups

    return _parsed(contact_groups, text)


def _seconds(text: str) -> float:
    from vmprobe.core.values import duration

    return _parsed(duration, text)


def _parsed(parse: Callable[[str], T], text: str) -> T:
    """The value of an option, parsed as in a site file."""
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' {error}") from None


def config_run(arguments: argparse.Namespace) -> int:
    """Write the configuration of a monitoring server."""
    from vmprobe.ctl.config.command import configure

    return configure(arguments)


# --- conform ------------------------------------------------------------------------------------


def conform(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``conform``."""
    from vmprobe.ctl.conform.options import add_arguments

    add_arguments(parser)
    parser.set_defaults(run=conform_run)


def conform_run(arguments: argparse.Namespace) -> int:
    """Try the contract's requirements at a site."""
    from vmprobe.ctl.conform.command import conform

    return conform(arguments)


# --- sites --------------------------------------------------------------------------------------


def sites(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``sites``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    summary = "Make site files from GOCDB, a BDII or a table; what people edited is never changed."
    action = actions.add_parser("import", help=summary, description=summary)
    action.add_argument(
        "--from",
        dest="form",
        required=True,
        choices=("gocdb", "glue", "csv"),
        help="what PLACE is: GOCDB's XML; GLUE 2.0 in LDIF or on a server; or a CSV with the "
        "columns name, manager and url",
    )
    action.add_argument(
        "place", metavar="PLACE", help="a file, or for glue a server: ldap://HOST:2170/o=glue"
    )
    action.add_argument(
        "--output", metavar="DIR", required=True, help="the directory of site files"
    )
    action.add_argument(
        "--defaults",
        metavar="FILE",
        default="",
        help="an INI file with sections that every new site file gets as well",
    )
    action.add_argument(
        "--check",
        action="store_true",
        help="write nothing; show what would change, and exit 1 if any file would",
    )
    action.set_defaults(run=sites_import)


def sites_import(arguments: argparse.Namespace) -> int:
    """Bring site files up to date with a catalogue."""
    from vmprobe.core.text import counted
    from vmprobe.ctl.sites import catalogue, sync

    content = catalogue.read(arguments.form, arguments.place)
    messages, count = sync.sync(
        content, arguments.form, arguments.output, arguments.defaults, write=not arguments.check
    )
    for message in messages:
        print(message)
    sites, services = counted(len(content.entries), "site"), counted(content.skipped, "service")
    print(f"{sites} found, {services} skipped")
    return 1 if arguments.check and count else 0


COMMANDS: Dict[str, Tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "sites": ("Make site files from catalogues of sites.", sites),
    "config": ("Generate the configuration of a monitoring server from the site files.", config),
    "demo": (
        "Run check_vm_lifecycle once, on a real VM in QEMU or, without it, on the in-memory cloud.",
        demo,
    ),
    "conform": (
        "Try on a site whether driver and manager do what the suite requires of them.",
        conform,
    ),
    "image": ("Build the suite's own test image.", image),
}
