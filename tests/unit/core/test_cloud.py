"""Retry and re-authentication, over a driver that fails as it is told."""

import pytest

from virtual import VirtualClock
from vmprobe.core.clock import Deadline
from vmprobe.core.cloud import Cloud
from vmprobe.core.driver import Driver
from vmprobe.core.errors import AuthRejected, DeadlinePassed, RateLimited, Unreachable
from vmprobe.core.exchanges import Evidence
from vmprobe.core.model import Kind, Plan, Ref, ServerSpec

SPEC = ServerSpec("x", Plan("image"))


class Failing(Driver):
    """Raises ``failures`` in turn, and then succeeds. ``calls`` has the verbs."""

    def __init__(self, failures, deadline):
        super().__init__({}, {}, deadline, Evidence())
        self.failures, self.calls = list(failures), []

    def _call(self, verb, answer):
        self.calls.append(verb)
        if self.failures:
            failure = self.failures.pop(0)
            if failure is not None:
                raise failure
        return answer

    def connect(self):
        self._call("connect", None)

    def describe(self):
        return self._call("describe", {"version": "1"})

    def create(self, spec):
        return self._call("create", Ref(Kind.SERVER, "s-1", spec.name))


@pytest.fixture
def cloud():
    def make(*failures, total=300):
        deadline = Deadline(total, 0, VirtualClock())
        return Cloud(Failing(failures, deadline), deadline)

    return make


def test_a_read_is_repeated_twice(cloud):
    failing = cloud(Unreachable("one"), Unreachable("two"))

    assert failing.describe() == {"version": "1"}
    assert failing.driver.calls == ["describe"] * 3


def test_a_third_failure_of_a_read_is_final(cloud):
    failing = cloud(*(Unreachable(word) for word in ("one", "two", "three")))

    with pytest.raises(Unreachable, match="three"):
        failing.describe()


def test_a_retry_waits_as_long_as_the_manager_wants(cloud):
    failing = cloud(RateLimited("slowly", wait=20.0))
    failing.describe()

    assert failing.deadline.elapsed() == 20


def test_a_deadline_that_ends_a_retry_names_the_failure(cloud):
    failing = cloud(RateLimited("slowly", wait=20.0), total=10)

    with pytest.raises(DeadlinePassed, match="slowly; the deadline of 10 s passed"):
        failing.describe()


def test_a_create_is_not_repeated(cloud):
    failing = cloud(Unreachable("no reply"))

    with pytest.raises(Unreachable):
        failing.create(SPEC)
    assert failing.driver.calls == ["create"]


def test_a_create_that_was_not_served_is_repeated(cloud):
    failing = cloud(RateLimited("too many requests", wait=3.0))

    assert failing.create(SPEC).id == "s-1"
    assert failing.driver.calls == ["create", "create"]


def test_a_session_that_ended_is_renewed(cloud):
    failing = cloud(AuthRejected("expired"))

    assert failing.create(SPEC).id == "s-1"
    assert failing.driver.calls == ["create", "connect", "create"]


def test_a_credential_that_was_rejected_is_not_used_again(cloud):
    failing = cloud(*(AuthRejected(word) for word in ("expired", "locked", "expired")))

    with pytest.raises(AuthRejected, match="locked"):
        failing.describe()
    with pytest.raises(AuthRejected, match="expired"):
        failing.describe()
    assert (failing.credential_rejected, failing.driver.calls) == (
        True,
        ["describe", "connect", "describe"],
    )
