"""For tests of ledgers: a handle, two resources, and what the ledgers of a directory hold."""

from vmprobe.core import handle as handles
from vmprobe.core.model import Kind, Ref
from vmprobe.lease.ledger import Ledger, ledgers_in

HANDLE = handles.Handle("mon", 1_800_000_000, 6, "abcdefgh")
SERVER, VOLUME = Ref(Kind.SERVER, "4f1c", str(HANDLE)), Ref(Kind.VOLUME, "77aa", str(HANDLE))
NOW = 1_800_000_000.0


def ended_runs(directory, now):
    """The ledgers of ended runs in a directory, each locked by this process."""
    for path in ledgers_in(directory, now):
        ledger = Ledger.of_ended_run(path)
        if ledger is not None:
            yield ledger


def owed(directory):
    """What the ledgers of a directory owe."""
    refs = []
    for ledger in ended_runs(directory, NOW):
        refs += [debt.ref for debt in ledger.owed()]
        ledger.close(settled=False)
    return refs
