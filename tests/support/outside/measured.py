"""Run check_vm_lifecycle for each site in the arguments, in virtual time, and measure its memory.

Prints a line of JSON for each: state, output, and the peak of memory so far in KiB. The peak is VmHWM: getrusage's
includes, in a child, the memory of the process that it was forked from.
"""

import json
import sys

from virtual import VirtualClock
from vmprobe.checks.lifecycle import command
from vmprobe.report import verdict


def peak() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


for site in sys.argv[1:]:
    said = command.main(["--site", site], clock=VirtualClock()).verdict
    print(json.dumps([said.state, verdict.render("VM_LIFECYCLE", said), peak()]), flush=True)
