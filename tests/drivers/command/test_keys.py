"""The section [endpoint] of a command: what it declares, and what is refused in one line."""

import pytest

from simulators.command_sites import script, write_site
from vmprobe.core.clock import Clock, Deadline
from vmprobe.core.errors import ClientError
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import METRICS, Capability, Kind
from vmprobe.drivers.command.driver import Command
from vmprobe.site.site import load


def site(directory, **endpoint):
    return load(str(write_site(directory, "/bin/true", endpoint=endpoint)))


def test_a_command_offers_servers_and_nothing_else_by_default(tmp_path):
    driver = site(tmp_path).driver

    assert (driver.capabilities, tuple(driver.kinds), driver.metrics_offered) == (
        frozenset(),
        (Kind.SERVER,),
        (),
    )


def test_the_site_file_declares_what_a_command_offers(tmp_path):
    driver = site(
        tmp_path,
        offers="volumes, metrics snapshots",
        metrics="net_in, cpu",
        metrics_period="30 s",
        consistency_window="10 s",
    ).driver

    assert driver.capabilities == {Capability.VOLUMES, Capability.METRICS, Capability.SNAPSHOTS}
    assert tuple(driver.kinds) == (Kind.SERVER, Kind.VOLUME, Kind.SNAPSHOT)
    assert (driver.metrics_offered, driver.metrics_period) == (("cpu", "net_in"), 30.0)
    assert driver.consistency_window == 10.0


def test_two_sites_do_not_share_what_they_declare(tmp_path):
    one = site(tmp_path, offers="metrics").driver
    other = site(tmp_path).driver

    assert (one.metrics_offered, other.metrics_offered) == (METRICS, ())
    assert Command.capabilities == set(Capability) - {Capability.PORTS}


@pytest.mark.parametrize(
    "key, text, message",
    [
        ("command", "virsh", "is not an absolute path like '/usr/local/libexec/my-manager'"),
        ("offers", "volume", "contains volume; did you mean volumes?"),
        (
            "offers",
            "ports",
            "contains ports; there are volumes, console, metrics, snapshots, capacity, bulk, images",
        ),
        ("metrics", "cpus", "contains cpus; did you mean cpu?"),
        ("options", "pool", "is not a list like 'pool=default, cpu=host', each key once"),
        ("options", "a=1, a=2", "is not a list like 'pool=default, cpu=host', each key once"),
        ("url", "ssh://u:p@h/", "carries a password; it belongs into the credentials file"),
        ("url", "a b", "contains blanks"),
        ("url", "http://[", "is not a URL"),
    ],
)
def test_a_wrong_key_is_refused_in_one_line(tmp_path, key, text, message):
    with pytest.raises(ClientError) as refused:
        site(tmp_path, **{key: text})
    assert str(refused.value) == (
        f"site.ini [endpoint] {key}: '{text.replace('u:p', '***')}' {message}"
    )


def test_a_ledger_is_settled_only_where_command_and_options_are_the_same(tmp_path):
    def identity(**endpoint):
        found = site(tmp_path, **endpoint)
        return found.driver(found.endpoint, {}, Deadline(60, 1, Clock()), Evidence()).identity

    assert identity(url="farm://a", options="pool=b, area=c") == (
        "command farm://a /bin/true area=c pool=b"
    )
    assert identity(options="pool=b") != identity(options="pool=c")


def test_a_site_file_that_promises_more_than_the_command_offers_is_refused(tmp_path):
    command = script(tmp_path, """echo '{"offers": ["volumes"]}'""")
    found = load(str(write_site(tmp_path, command, endpoint={"offers": "volumes, console"})))
    driver = found.driver(found.endpoint, {}, Deadline(60, 1, Clock()), Evidence())

    with pytest.raises(ClientError) as refused:
        driver.connect()
    assert str(refused.value) == "[endpoint] offers: manager does not offer console"
