"""vmprobectl config: from the site files to the monitoring server's directory, safe to be run from cron."""

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


def configure(chosen: argparse.Namespace) -> int:
    """Make the tree, look what differs, have it validated, write it, reload. 1 when --check finds a difference."""
    own = paths.probes_directory()
    options = objects.Options(
        limit=chosen.limit,
        plugins=(chosen.plugins or own).rstrip("/"),
        docs=chosen.docs,
        contact_groups=chosen.contact_groups,
        installed=[
            probe for probe in SERVICES if os.path.exists(os.path.join(own, f"check_vm_{probe}"))
        ],
    )
    with output.opened(chosen.output, chosen.target, write=not chosen.check) as files:
        hosts, remember = inventory.read(
            chosen.sites or paths.site_directories()[:1], files.remembered
        )
        wanted = objects.tree(chosen.target, hosts, options, chosen.templates)
        changes = files.changes(wanted)
        if chosen.check:
            for change in changes:
                print("\n".join(change.diff()))
            return 1 if changes else 0
        if changes and (chosen.validate or chosen.main):
            from vmprobe.ctl.config.validate import validate

            validate(chosen.target, wanted, chosen.main, chosen.output)
        if changes and chosen.reload:
            files.owe()
        files.apply(wanted, changes, remember)
        count = Counter(change.word for change in changes)
        print(
            f"{counted(len(hosts), 'site')}, {counted(len(wanted), 'file')}: {count['new']} new, {count['changed']} changed, {count['removed']} removed",
            flush=True,
        )
        if (
            chosen.reload and files.owes
        ):  # while no other run can write, whose change this reload might come too early for
            _reload(chosen.reload)
            files.settle()
    return 0


def _reload(command: str) -> None:
    try:
        done = subprocess.run(shlex.split(command), stdin=subprocess.DEVNULL, check=False)
        failure = f"exit code {done.returncode}" if done.returncode else ""
    except (OSError, ValueError) as failed:  # the second: quotes that do not end
        failure = getattr(failed, "strerror", None) or str(failed)
    if failure:
        raise ClientError(
            f"--reload {command}: {failure}; the files are written, and the next run tries it again"
        )
