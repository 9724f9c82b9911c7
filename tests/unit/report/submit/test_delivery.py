"""Delivery of check results: now, or spooled and delivered by a later run."""

import shutil
import time

from submitting import RESULT, deliver, lines, spooled
from virtual import VirtualClock
from vmprobe.checks.options import Parser
from vmprobe.core.clock import Deadline
from vmprobe.report.submit import delivery
from vmprobe.site import targets


def test_a_file_gets_all_that_was_spooled_oldest_first_and_once(tmp_path):
    word = f"file:{tmp_path}/there/file"
    for number in (1, 2):
        assert deliver(word, RESULT._replace(state=number, ended=1000.0 + number))[0].endswith(
            "; spooled"
        )
    (tmp_path / "there").mkdir()

    assert deliver(word, RESULT._replace(state=3)) == []
    assert deliver(word, RESULT._replace(state=0, ended=1011.0)) == []

    assert [(each["state"], each["ended"]) for each in lines(tmp_path / "there" / "file")] == [
        (1, 1001.0),
        (2, 1002.0),
        (3, 1010.5),
        (0, 1011.0),
    ]
    assert spooled(word) == []


def test_a_monitoring_server_gets_the_newest_result_of_each_service_and_this_run_s_first(monitor):
    monitor.is_away = True
    for number, service in enumerate(("vm-gateway", "vm-lifecycle", "vm-state", "vm-lifecycle")):
        deliver(monitor.word, RESULT._replace(service=service, state=2, ended=1001.0 + number))
    monitor.is_away = False

    assert deliver(monitor.word, RESULT._replace(state=0)) == []

    assert [(each.service, each.state) for each in monitor.got] == [
        ("vm-lifecycle", 0),
        ("vm-state", 2),
        ("vm-gateway", 2),
    ]
    assert spooled(monitor.word) == []


def test_a_late_result_does_not_replace_a_newer_one(monitor):
    monitor.is_away = True
    deliver(monitor.word, RESULT._replace(state=0, ended=1012.0))
    monitor.is_away = False

    assert deliver(monitor.word, RESULT._replace(state=2)) == []
    assert deliver(monitor.word, RESULT._replace(service="vm-state")) == []

    assert [(each.service, each.state) for each in monitor.got] == [
        ("vm-state", 2),
        ("vm-lifecycle", 0),
    ]


def test_a_result_that_a_target_fails_at_does_not_hold_back_the_others(monitor):
    monitor.fails_at = {"vm-gateway", "vm-state"}
    for number, service in enumerate(("vm-gateway", "vm-state", "vm-image")):
        deliver(monitor.word, RESULT._replace(service=service, ended=1001.0 + number))
    assert [each.service for each in monitor.got] == ["vm-image"]

    assert deliver(monitor.word) == []

    assert [each.service for each in monitor.got] == ["vm-image", "vm-lifecycle"]
    assert len(spooled(monitor.word)) == 2


def test_an_unavailable_target_is_asked_at_most_twice_per_attempt(monitor):
    monitor.is_away = True
    for number in range(5):
        deliver(monitor.word, RESULT._replace(service=f"vm-{number}"))
    monitor.asked = 0

    deliver(monitor.word)

    assert monitor.asked == 2 * len(delivery._PAUSES)


def test_a_result_of_an_unknown_service_stays_spooled_and_is_reported(monitor):
    monitor.knows_nothing_of = {"stranger"}

    assert deliver(monitor.word, RESULT._replace(host="stranger")) == [
        f"not submitted to {monitor.word}: it has no service stranger!vm-lifecycle; spooled"
    ]
    assert deliver(monitor.word) == []
    assert [each.host for each in monitor.got] == ["cesga"]
    assert len(spooled(monitor.word)) == 1


def test_a_result_is_spooled_before_its_target_is_asked(monitor):
    seen = []
    monitor.before = staticmethod(lambda result: seen.append(len(spooled(monitor.word))))

    assert deliver(monitor.word) == []
    assert (seen, spooled(monitor.word)) == ([1], [])


def test_only_one_run_sends_at_a_time_and_delivers_what_others_spooled(monitor):
    """While the first is sending, a second comes, may not send, and spools; then the first takes that along the next time."""
    said = []

    def second(result):
        monitor.before = staticmethod(lambda result: None)
        said.extend(deliver(monitor.word, RESULT._replace(service="vm-state"), seconds=0.2))

    monitor.before = staticmethod(second)

    assert deliver(monitor.word) == []
    assert said == [f"not submitted to {monitor.word}: another run is sending to it; spooled"]
    assert deliver(monitor.word, RESULT._replace(service="vm-image")) == []
    assert [each.service for each in monitor.got] == ["vm-lifecycle", "vm-image", "vm-state"]


def test_a_result_that_another_run_has_delivered_is_not_sent_again(monitor):
    attempt = delivery.Delivery(targets.parse(monitor.word), RESULT)
    assert deliver(monitor.word, RESULT._replace(service="vm-state")) == []

    attempt.attempt(Deadline(5, 0))

    assert (attempt.is_finished, attempt.message()) == (True, "")
    assert [each.service for each in monitor.got] == ["vm-state", "vm-lifecycle"]


def test_a_removed_spool_does_not_count_as_delivery(monitor, state_directory):
    attempt = delivery.Delivery(targets.parse(monitor.word), RESULT)
    shutil.rmtree(state_directory)

    attempt.attempt(Deadline(5, 0))

    assert [each.service for each in monitor.got] == ["vm-lifecycle"]


def test_a_correction_of_the_clock_loses_no_result(monitor, monkeypatch):
    attempt = delivery.Delivery(targets.parse(monitor.word), RESULT)
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)

    attempt.attempt(Deadline(5, 0))

    assert [each.service for each in monitor.got] == ["vm-lifecycle"]


def test_a_slow_target_leaves_the_others_their_share_of_the_time(tmp_path, monitor):
    deadline, left = Deadline(10, 0, VirtualClock()), []

    def slow(result):
        left.append(deadline.left())
        deadline.sleep(left[-1])

    monitor.before = staticmethod(slow)

    said = delivery.submit(
        [targets.parse(monitor.word), targets.parse(f"file:{tmp_path}/file")], RESULT, deadline
    )
    assert said == [f"not submitted to {monitor.word}: the deadline of 10 s passed; spooled"]
    assert left[0] == 5.0
    assert [each["state"] for each in lines(tmp_path / "file")] == [2]


def test_every_kind_of_target_has_a_receiver_and_is_in_the_help():
    text = Parser("state").format_help()

    assert list(delivery.RECEIVERS) == list(targets.KINDS)
    assert [kind for kind in targets.KINDS if f"{kind}:" not in text] == []
