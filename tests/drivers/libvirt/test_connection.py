"""The connection to libvirt's daemons."""

import socket

from vmprobe.drivers.libvirt import connection


def test_a_daemon_that_takes_no_connection_is_not_waited_for_and_counts_as_one_that_runs(tmp_path):
    path, waiting = str(tmp_path / "socket"), []
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(path)
        assert not connection._listens(path, 5.0)
        daemon.listen(0)
        for _ in range(3):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(path)

        assert connection._listens(path, 0.1)
    for each in waiting:
        each.close()
