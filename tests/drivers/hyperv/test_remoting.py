"""The session: every way to authenticate that can be tried here, and what a host or another may answer."""

import ssl
import sys

import pytest

from certificates import Authority
from simulators import hyperv_sites
from simulators.hyperv_sites import FINE, World
from vmprobe.core.errors import (
    AuthRejected,
    ClientError,
    CloudError,
    GatewayFailed,
    NotPermitted,
    TooLarge,
    Unreachable,
)
from vmprobe.core.model import Kind, VolumeSpec

BASIC = "authentication = basic\ntimeout = 10 s\n"


def refused(world, kind, **words):
    """The text of the error with which ``connect`` ends."""
    driver, _ = world.driver(**words)
    with pytest.raises(kind) as wrong:
        driver.connect()
    assert type(wrong.value) is kind
    return str(wrong.value).replace(world.url, "URL")


def test_a_wrong_password_is_rejected(world):
    assert refused(
        world, AuthRejected, credentials="username = probe\npassword = a-wrong-password\n"
    ) == ("open a session with URL: probe is not accepted by 127.0.0.1")
    assert world.run(credentials="username = probe\npassword = a-wrong-password\n") == (
        2,
        f"VM_LIFECYCLE CRITICAL - hyperv: auth: open a session with {world.url}: probe is not accepted by 127.0.0.1 "
        "(cause=auth)",
    )


def test_an_account_without_the_right_to_open_a_session_is_not_permitted(world):
    world.server.always.add("denied")

    assert refused(world, NotPermitted) == "open a session with URL: Access is denied."


def test_a_host_where_nobody_listens_is_unreachable_and_nothing_was_sent(world):
    driver, _ = world.driver()
    world.server.shutdown()
    world.server.server_close()
    with pytest.raises(Unreachable) as wrong:
        driver.connect()

    assert str(wrong.value).replace(world.url, "URL") == (
        "open a session with URL: 127.0.0.1 cannot be reached: connection refused"
    )
    assert not wrong.value.sent


@pytest.mark.parametrize(
    "method, text",
    [
        ("certificate", "authentication = certificate needs url = https://..."),
        ("ntlm", "authentication = ntlm needs username and password"),
    ],
)
def test_what_the_site_lacks_is_our_own_fault(world, method, text):
    assert text == refused(
        world,
        ClientError,
        endpoint=f"authentication = {method}\n",
        credentials="username = probe\n",
    )


def test_a_password_is_not_sent_in_clear_text_to_another_host(world):
    world.url = "http://hv1.example.org:5985/wsman"

    assert refused(world, ClientError) == (
        "authentication = basic sends the password: url has to be https://"
    )


def test_without_pypsrp_it_says_what_to_install(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypsrp.powershell", None)

    assert refused(world, ClientError) == (
        "the driver hyperv needs pypsrp: pip install pypsrp, or vmprobe[hyperv]"
    )


def test_the_files_of_tls_are_read_before_anything_is_sent(world, tmp_path):
    world.url = "https://hv1.example.org:5986/wsman"
    key = Authority(tmp_path).issue("probe")
    key.chmod(0o644)

    assert refused(world, ClientError, endpoint="ca = /no/such.pem\n") == (
        "ca /no/such.pem: no such file or directory"
    )
    assert "certificate " in refused(
        world,
        ClientError,
        endpoint="authentication = certificate\n",
        credentials=f"certificate = {key}\n",
    )


# --- TLS and message encryption ---


def tls_world(tmp_path, authority, names=("127.0.0.1",)):
    from simulators.hyperv_server import served

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("hv1", names=names))
    return served(tls=context)


def test_a_run_over_tls(tmp_path):
    hyperv_sites.needs_libraries()
    authority = Authority(tmp_path)
    with tls_world(tmp_path, authority) as (server, url):
        world = World(server, url, tmp_path)

        assert world.run(endpoint=f"{BASIC}ca = {authority.ca}\n") == (0, FINE)


def test_a_certificate_that_nobody_we_trust_signed_is_not_accepted(tmp_path):
    hyperv_sites.needs_libraries()
    authority = Authority(tmp_path)
    with tls_world(tmp_path, authority) as (server, url):
        world = World(server, url, tmp_path)
        text = refused(world, CloudError)

        assert text.startswith("open a session with URL: TLS with 127.0.0.1 failed: ")
        assert "certificate verify failed" in text
        assert server.shells == {}


def test_a_certificate_of_another_host_is_not_accepted(tmp_path):
    hyperv_sites.needs_libraries()
    authority = Authority(tmp_path)
    with tls_world(tmp_path, authority, names=("hv2.example.org",)) as (server, url):
        world = World(server, url, tmp_path)

        assert "TLS with 127.0.0.1 failed" in refused(
            world, CloudError, endpoint=f"{BASIC}ca = {authority.ca}\n"
        )


def test_a_run_with_a_client_certificate(tmp_path):
    hyperv_sites.needs_libraries()
    from simulators.hyperv_server import served

    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("hv1"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    with served(tls=context) as (server, url):
        world = World(server, url, tmp_path)

        assert world.run(
            endpoint=f"authentication = certificate\nca = {authority.ca}\n",
            credentials=f"certificate = {authority.issue('probe')}\n",
        ) == (0, FINE)


@pytest.fixture
def sealed(tmp_path, monkeypatch):
    """A world whose endpoint wants NTLM and message encryption."""
    hyperv_sites.needs_libraries()
    from simulators.hyperv_ntlm import Encrypted
    from simulators.hyperv_server import served

    users = tmp_path / "users"
    users.write_text("HV1:probe:a-good-password\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(users))
    with served(handler=Encrypted) as (server, url):
        server.sealed, server.plain, server.offers = 0, 0, "Negotiate"
        yield World(server, url, tmp_path)


@pytest.mark.parametrize("method, offered", [("ntlm", "Negotiate"), ("negotiate", "NTLM")])
def test_a_run_over_http_with_ntlm_is_encrypted(sealed, method, offered):
    sealed.server.offers = offered
    endpoint = f"authentication = {method}\ntimeout = 10 s\n"
    credentials = "username = HV1\\probe\npassword = a-good-password\n"

    assert sealed.run(endpoint=endpoint, credentials=credentials) == (0, FINE)
    assert (sealed.server.sealed > 20, sealed.server.plain) == (True, 0)


def test_a_wrong_password_is_rejected_by_ntlm(sealed):
    assert refused(
        sealed,
        AuthRejected,
        endpoint="authentication = ntlm\n",
        credentials="username = HV1\\probe\npassword = a-wrong-password\n",
    ) == ("open a session with URL: HV1\\probe is not accepted by 127.0.0.1")


def test_without_the_library_for_kerberos_it_says_so(sealed, monkeypatch):
    monkeypatch.setitem(sys.modules, "gssapi", None)
    monkeypatch.setitem(sys.modules, "spnego._gss", None)
    text = refused(sealed, ClientError, endpoint="authentication = kerberos\n")

    assert text.startswith("open a session with URL: authentication of probe: ")


def test_the_host_ends_a_session_whose_client_is_gone(connected, world):
    assert world.server.idle == "PT180S"


# --- answers ---


def test_an_error_that_a_script_does_not_catch_is_known_by_its_id_too(connected, world):
    world.faults.update(("uncaught", "no-rights"))
    with pytest.raises(NotPermitted) as wrong:
        connected.describe()

    assert str(wrong.value).startswith("describe: You do not have the required permission to ")


def test_a_name_goes_through_as_it_is(connected, world):
    name = "vmprobe-é\"'$x`; Remove-VM *"

    ref = connected.create(VolumeSpec(name, 2**20))

    assert [each.ref for each in connected.list(Kind.VOLUME, name)] == [ref]
    connected.delete(ref)


def test_a_large_number_goes_through(connected, world):
    ref = connected.create(VolumeSpec("vmprobe-large", 3 * 2**40 + 1))

    assert connected.show(ref).size == 3 * 2**40 + 2**20
    connected.delete(ref)


ANSWERS = {  # fault: (the error, its text)
    "503": (GatewayFailed, "127.0.0.1 answered 503 Service Unavailable"),
    "reset": (
        Unreachable,
        "describe: no complete answer from 127.0.0.1: remote end closed connection without response",
    ),
    "malformed": (GatewayFailed, "describe: the answer of 127.0.0.1 cannot be parsed: "),
    "redirect": (
        GatewayFailed,
        "127.0.0.1 redirects to another address, which is not followed",
    ),
    "huge": (TooLarge, "the reply of 127.0.0.1 is larger than allowed"),
    "session-lost": (AuthRejected, "127.0.0.1 has ended the session"),
}


@pytest.mark.parametrize("fault", ANSWERS)
def test_an_answer_that_is_none_is_an_error_of_the_suite(connected, world, fault):
    kind, text = ANSWERS[fault]
    world.server.plot["DESCRIBE"] = fault
    with pytest.raises(CloudError) as wrong:
        connected.describe()

    assert (type(wrong.value), str(wrong.value)[: len(text)]) == (kind, text)
    with pytest.raises(AuthRejected):  # the suite connects again
        connected.describe()
    world.server.shells.clear()


def test_no_answer_ends_with_the_time_for_one(world):
    driver, _ = world.driver(endpoint="authentication = basic\ntimeout = 0.5 s\n")
    driver.connect()
    world.server.plot["DESCRIBE"] = "silent"
    with pytest.raises(Unreachable) as wrong:
        driver.describe()

    assert str(wrong.value) == "describe: no answer within 0.5 s from 127.0.0.1"
    assert wrong.value.sent
    world.server.shells.clear()


HOSTILE = {
    "nothing": "",
    "null": "null",
    "a-list": "[]",
    "half": "{",
    "no-list": "{}",
    "null-for-a-list": '{"servers": null}',
    "object-for-a-list": '{"now": 1, "servers": {}}',
    "text-for-a-time": '{"now": "x", "servers": []}',
    "null-for-a-server": '{"now": 1, "servers": [null]}',
    "server-without-all": '{"now": 1, "servers": [{}]}',
    "server-without-id": '{"now": 1, "servers": [{"id": "", "name": "x", "state": "Running"}]}',
    "text-for-a-number": '{"now": 1, "servers": [{"id": "1", "name": "x", "state": 2, "uptime": "long"}]}',
    "text-for-a-size": '{"now": 1, "servers": [{"id": "1", "name": "x", "state": "Off", "memory": "big"}]}',
    "deep": "[" * 100000,
    "infinity": '{"now": 1e999, "servers": []}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_json_of_another_shape_is_never_read_as_nothing(connected, world, name):
    world.hyperv._list_servers = lambda prefix: HOSTILE[name]

    with pytest.raises(GatewayFailed):
        connected.list(Kind.SERVER, "vmprobe-")


def test_the_password_is_in_no_evidence_and_in_no_error(world):
    driver, _ = world.driver()
    driver.connect()
    driver.describe()
    driver.close()

    text = "\n".join(driver.evidence.lines())
    assert "a-good-password" not in text and "describe -> ok" in text
