"""vmprobectl config: from site files to the monitoring server's directory; made for cron."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from collections import Counter

from vmprobe.core.errors import ClientError
from vmprobe.core.text import counted
from vmprobe.ctl.config import inventory, objects, output
from vmprobe.host import paths
from vmprobe.site.services import SERVICES


def configure(arguments: argparse.Namespace) -> int:
    """Generate the files, validate them, write what changed, reload the monitoring server.

    Returns the exit code: 1 when --check finds a difference.
    """
    options = _options(arguments)
    with output.open_tree(arguments.output, arguments.target, write=not arguments.check) as tree:
        directories = arguments.sites or paths.site_directories()[:1]
        hosts, remember = inventory.read(directories, tree.remembered)
        texts = objects.tree(arguments.target, hosts, options, arguments.templates)
        changes = tree.changes(texts)
        if arguments.check:
            for change in changes:
                print("\n".join(change.diff()))
            return 1 if changes else 0
        if changes and (arguments.validate or arguments.main):
            from vmprobe.ctl.config.validate import validate

            validate(arguments.target, texts, arguments.main, arguments.output)
        if changes and arguments.reload:
            tree.request_reload()
        tree.apply(texts, changes, remember)
        count = Counter(change.word for change in changes)
        print(
            f"{counted(len(hosts), 'site')}, {counted(len(texts), 'file')}: {count['new']} new, "
            f"{count['changed']} changed, {count['removed']} removed",
            flush=True,
        )
        # Still locked, so that no other run changes files that this reload would miss.
        if arguments.reload and tree.is_reload_due:
            _reload(arguments.reload)
            tree.reloaded()
    return 0


def _options(arguments: argparse.Namespace) -> objects.Options:
    directory = paths.probes_directory()
    return objects.Options(
        limit=arguments.limit,
        plugins=(arguments.plugins or directory).rstrip("/"),
        docs=arguments.docs,
        contact_groups=arguments.contact_groups,
        installed=[
            probe
            for probe in SERVICES
            if os.path.exists(os.path.join(directory, f"check_vm_{probe}"))
        ],
    )


def _reload(command: str) -> None:
    try:
        done = subprocess.run(shlex.split(command), stdin=subprocess.DEVNULL, check=False)
        failure = f"exit code {done.returncode}" if done.returncode else ""
    except (OSError, ValueError) as error:  # ValueError: a quote is not closed
        failure = getattr(error, "strerror", None) or str(error)
    if failure:
        raise ClientError(
            f"--reload {command}: {failure}; the files are written, and the next run tries to "
            "reload again"
        )
