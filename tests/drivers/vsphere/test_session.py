"""Login, the session's cookie, and the logout at the end of a run."""

import pytest

from rawserver import reply
from simulators.scripted_vsphere import COOKIE, Scripted, answer, driver, fault
from virtual import VirtualClock
from vmprobe.core.clock import Deadline
from vmprobe.core.errors import AuthRejected, ClientError, GatewayFailed
from vmprobe.core.model import Kind


def test_the_cookie_is_sent_back_as_it_came_and_shown_nowhere(connected):
    server, vsphere = connected()
    vsphere.close()

    assert server.calls == ["RetrieveServiceContent", "Login", "Logout"]
    assert server.cookies == ["", "", COOKIE]
    text = "\n".join(vsphere.evidence.lines())
    secrets = ("5220f274-secret", "52-key-of-the-session", "s3cret &", "s3cret &amp;")
    assert [secret for secret in secrets if secret in text] == []


def test_a_wrong_password_is_rejected_in_the_managers_words(scripted):
    message = "Cannot complete login due to an incorrect user name or password."
    server, vsphere = scripted({"Login": fault("InvalidLogin", message)})

    with pytest.raises(AuthRejected) as rejected:
        vsphere.connect()
    vsphere.close()

    assert str(rejected.value) == f"login: {message[:-1]} (InvalidLogin)"
    assert "Logout" not in server.calls


def test_no_verb_logs_in_by_itself(scripted):
    server, vsphere = scripted()

    with pytest.raises(AuthRejected):
        vsphere.list(Kind.SERVER, "a")
    assert server.calls == []


def test_a_session_that_has_ended_is_not_logged_out(connected):
    server, vsphere = connected({"CreateContainerView": fault("NotAuthenticated")})
    with pytest.raises(AuthRejected):
        vsphere.list(Kind.SERVER, "a")
    vsphere.close()

    assert server.calls[-1] == "CreateContainerView"


@pytest.mark.parametrize("how", ["signal", "deadline"])
def test_the_logout_is_sent_after_a_signal_and_after_the_deadline(scripted, how):
    clock = VirtualClock()
    deadline = Deadline(100, 10, clock)
    server, vsphere = scripted(deadline=deadline)
    vsphere.connect()
    if how == "signal":
        deadline.interrupt(15)
    else:
        clock.sleep(200)
    vsphere.close()
    vsphere.close()

    assert server.calls.count("Logout") == 1


@pytest.mark.parametrize("given", [fault("RuntimeFault"), reply(503, "busy"), b""])
def test_closing_never_raises(scripted, given):
    server, vsphere = scripted({"Logout": given})
    vsphere.connect()

    vsphere.close()

    assert server.calls[-1] == "Logout"


def test_closing_before_anything_was_sent():
    driver("http://127.0.0.1:9").close()


@pytest.mark.parametrize(
    "answers, words",
    [
        ({"Login": answer("Login", "")}, "the answer has no session cookie"),
        ({"RetrieveServiceContent": "<a/>"}, "the answer has none"),
        ({"RetrieveServiceContent": reply(200, "<html>hello</html>")}, "no SOAP"),
        ({"RetrieveServiceContent": answer("Other", "")}, "not a RetrieveServiceContentResponse"),
        (
            {"RetrieveServiceContent": reply(200, "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>")},
            "document type",
        ),
    ],
)
def test_an_answer_that_is_something_else_is_a_gateway_that_failed(answers, words):
    with Scripted(answers) as server, pytest.raises(GatewayFailed) as failed:
        driver(server.url).connect()

    assert words in str(failed.value)


def test_both_credentials_are_needed(scripted):
    _, vsphere = scripted()
    vsphere.session.credentials = {"username": "probe"}

    with pytest.raises(ClientError):
        vsphere.connect()
