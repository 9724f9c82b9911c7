"""The costs of a process: CPU time, peak memory and wall time, and ratios of them."""

import json
import os
import statistics
import subprocess
import sys

NOTHING = [sys.executable, "-c", "pass"]


def cost(command, environment, code=0):
    """(CPU seconds, peak MiB) of one process; ends the benchmark if its exit code is not ``code``."""
    null = os.open(os.devnull, os.O_RDWR)
    pid = os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)],
    )
    os.close(null)
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != code:
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def pairs(command, other, rounds, environment, code=0):
    """(median ratio of the CPU time of ``command`` to that of ``other``, median peak MiB of ``command``).

    The two commands run in turn, ``rounds`` times each.
    """
    ratios, memory = [], []
    for _ in range(rounds):
        first, second = cost(command, environment, code), cost(other, environment)
        ratios.append(first[0] / second[0])
        memory.append(first[1])
    return statistics.median(ratios), statistics.median(memory)


TIMED = """import json, resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
wall, usage = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, done.returncode, done.stdout]))
"""


def timed(command, environment):
    """(wall seconds, CPU seconds, peak MiB, exit code, output) of one process.

    A small process starts it, because a new process counts its parent's memory as its own peak.
    """
    done = subprocess.run(
        [sys.executable, "-c", TIMED, *command],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)
    if measured[3]:
        sys.exit(f"{' '.join(command)} ended with {measured[3]}: {measured[4]}")
    return measured
