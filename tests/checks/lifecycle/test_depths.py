"""How deep a run looks: by the API, by the console of the VM, or by a connection from here."""

import socket


def test_at_depth_reach_a_connection_from_here_is_part_of_the_network(site):
    with socket.create_server(("127.1.0.2", 0)) as listening:
        site.set("test vm", depth="reach", **{"reach port": str(listening.getsockname()[1])})

        state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        0,
        (
            "VM_LIFECYCLE OK - site: test VM ran and is gone in 17.5 s (active 10.5 s, network 10.5 s, storage 12 s)"
        ),
    )


def test_critical_when_the_vm_cannot_be_reached_within_the_budget(site):
    with socket.create_server(("127.1.0.2", 0)) as closed:
        port = str(closed.getsockname()[1])
    site.set("test vm", depth="reach", **{"reach port": port}).set("budget", network="30 s")

    state, line = site.lifecycle()

    assert (state, line.split(" | ")[0]) == (
        2,
        (
            f"VM_LIFECYCLE CRITICAL - site: network: server ser-2: 127.1.0.2 port {port}: Connection refused; not done "
            "within 30 s (cause=network)"
        ),
    )


def test_the_depth_of_the_command_line_comes_before_the_sites(site):
    site.cloud.console = lambda server: ""
    site.set("budget", network="30 s")

    assert site.lifecycle("--depth", "api")[0] == 0
    assert site.lifecycle()[1].split(" | ")[0] == (
        "VM_LIFECYCLE CRITICAL - site: network: server ser-4: its console says nothing yet; not done within 30 s "
        "(cause=network)"
    )
