"""A gateway on loopback for the tests of check_vm_gateway: real sockets, real TLS, and behind them a cloud in memory."""
