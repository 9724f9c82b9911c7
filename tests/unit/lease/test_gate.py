"""The gate: nothing counts as ours that the cloud has not shown under the handle."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmprobe.core import handle as handles
from vmprobe.core.errors import Conflict, GatewayFailed
from vmprobe.core.model import Kind, Ref, Resource, State
from vmprobe.lease.gate import Gate, Owner

HANDLE = handles.Handle("mon", 1_800_000_000, 6, "abcdefgh")
NAME = str(HANDLE)
SERVER = Ref(Kind.SERVER, "4f1c", NAME)


def shown(ref, name=NAME, server=""):
    return Resource(Ref(ref.kind, ref.id, name), State.READY, "ACTIVE", server=server)


def test_an_id_that_was_never_shown_is_not_acted_upon():
    with pytest.raises(
        Conflict, match=f"^server 4f1c has not been shown under {NAME} yet: it is not touched$"
    ):
        Gate(HANDLE).require(SERVER)


@pytest.mark.parametrize(
    "name, owner",
    [
        (NAME, Owner.OURS),
        (NAME.upper(), Owner.OURS),
        (f"{NAME}-2", Owner.OURS),
        ("", Owner.UNKNOWN),
        ("prod-db", Owner.OTHER),
        (NAME[:-1], Owner.OTHER),
        (f"{NAME}x", Owner.OTHER),
        (NAME.replace("mon", "mon2"), Owner.OTHER),
    ],
    ids=[
        "exact",
        "in-capitals",
        "a-member",
        "no-name",
        "foreign",
        "cut",
        "longer",
        "another-owner",
    ],
)
def test_the_name_in_the_answer_decides(name, owner):
    gate = Gate(HANDLE)

    assert gate.check_shown(SERVER, shown(SERVER, name)) is owner
    assert gate.has_passed(SERVER) == (owner is Owner.OURS)


@pytest.mark.parametrize(
    "answer",
    [Ref(Kind.SERVER, "77aa"), Ref(Kind.VOLUME, "4f1c"), Ref(Kind.SERVER, "")],
    ids=["another-id", "another-kind", "no-id"],
)
def test_the_answer_to_another_question_is_no_answer(answer):
    gate = Gate(HANDLE)

    with pytest.raises(GatewayFailed, match="^asked for server 4f1c, the manager answered with "):
        gate.check_shown(SERVER, shown(answer))
    assert not gate.has_passed(SERVER)


def test_what_was_ours_and_has_another_name_now_is_not_touched_any_more():
    gate = Gate(HANDLE)
    gate.check_shown(SERVER, shown(SERVER))
    gate.check_shown(SERVER, shown(SERVER, "taken-over"))

    with pytest.raises(Conflict):
        gate.require(SERVER)


def test_what_was_ours_and_shows_no_name_for_once_stays_ours():
    gate = Gate(HANDLE)
    gate.check_shown(SERVER, shown(SERVER))

    assert gate.check_shown(SERVER, shown(SERVER, "")) is Owner.OURS


def test_only_what_has_the_kind_and_a_name_under_the_handle_passes_from_a_list():
    gate = Gate(HANDLE)

    assert [
        gate.check_listed(Kind.SERVER, shown(ref, name))
        for ref, name in (
            (SERVER, NAME),
            (SERVER, ""),
            (SERVER, "prod-db"),
            (SERVER._replace(id=""), NAME),
            (SERVER._replace(kind=Kind.VOLUME), NAME),
        )
    ] == [True, False, False, False, False]


PORT = Ref(Kind.PORT, "p1", "")


@pytest.mark.parametrize(
    "answer, owner",
    [
        (shown(PORT, "", "4f1c"), Owner.OURS),
        (shown(PORT, "", ""), Owner.OURS),
        (shown(PORT, "", "another-server"), Owner.OTHER),
        (shown(PORT, "my port", ""), Owner.OTHER),
    ],
    ids=["still-the-servers", "of-no-server", "of-another-server", "renamed"],
)
def test_what_the_manager_made_for_a_server_is_ours_as_long_as_nobody_else_has_taken_it(
    answer, owner
):
    gate = Gate(HANDLE)
    gate.bind("4f1c", PORT)

    assert gate.check_shown(PORT, answer) is owner


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.data())
def test_a_handle_covers_exactly_the_names_that_it_can_be_read_from(data):
    handle = data.draw(
        st.sampled_from(
            [HANDLE, HANDLE._replace(owner="a-20270115t080000z"), HANDLE._replace(owner="a")]
        )
    )
    text = str(handle)
    place = data.draw(st.integers(0, len(text)))
    name = (
        text[:place]
        + data.draw(st.text("-abc019zAZ_\n\u0660\u212a", max_size=3))
        + text[data.draw(st.integers(place, len(text))) :]
    )
    name += data.draw(st.sampled_from(["", "", "-1", "-snapshot", "-", "-" + text]))

    assert handle.covers(name) == (handles.parse(name) == handle)
