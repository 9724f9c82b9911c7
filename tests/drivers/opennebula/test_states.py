"""The tables of states are OpenNebula's own."""

import pytest

from vmprobe.core.model import State
from vmprobe.drivers.opennebula import states

pyone = pytest.importorskip("pyone", reason="pyone, OpenNebula's own client, is not installed")


def test_the_tables_of_states_are_pyones_and_what_is_newer():
    ours = {number: name for number, name in states.LCM_STATE.items() if number < 69}
    assert {state.value: state.name for state in pyone.LCM_STATE} == ours
    assert {state.value: state.name for state in pyone.VM_STATE} == states.STATE
    assert {state.value: state.name for state in pyone.IMAGE_STATES} == states.IMAGE


def test_every_failure_is_failed_and_an_unknown_state_is_pending():
    names = {states.name(3, number) for number in states.LCM_STATE} | {
        states.name(number, 0) for number in states.STATE
    }

    assert {word for word in names if states.meaning(word) is State.FAILED} == {
        word for word in names if word.endswith("_FAILURE")
    } | {"FAILED", "FAILURE", "UNKNOWN", "POWEROFF"}
    assert (states.name(3, 99), states.meaning(states.name(3, 99))) == (
        "LCM_STATE 99",
        State.PENDING,
    )
    assert (states.name(42, 0), states.meaning(states.name(42, 0))) == ("STATE 42", State.PENDING)
