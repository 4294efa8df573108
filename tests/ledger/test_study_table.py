"""The table of a study's life, tested as data; and docs/study-states.md is that table."""

from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammography.study import (
    TRANSITIONS,
    ImpossibleTransition,
    StudyEvent,
    StudyState,
    next_state,
    transition_table,
)

ANSWERED = {StudyState.DELIVERED, StudyState.COMMITTED}
WAITS_FOR_NOBODY = {StudyState.DELIVERED, StudyState.COMMITTED, StudyState.UNREADABLE}
WAITS_FOR_A_PERSON = {StudyState.FAILED}


def reachable(start: StudyState, *, without: frozenset[StudyEvent] = frozenset()) -> set[StudyState]:
    found, ahead = {start}, deque([start])
    while ahead:
        state = ahead.popleft()
        steps = [to for (seen, event), to in TRANSITIONS.items() if seen == state and event not in without]
        ahead.extend(to for to in steps if to not in found)
        found.update(steps)
    return found


def test_every_state_is_reached_from_the_first_image() -> None:
    assert reachable(StudyState.RECEIVING) == set(StudyState)


@pytest.mark.parametrize("state", StudyState)
def test_every_state_leads_to_an_answer_without_another_image(state: StudyState) -> None:
    assert ANSWERED & reachable(state, without=frozenset({StudyEvent.INSTANCE_STORED}))


@pytest.mark.parametrize("state", StudyState)
def test_a_late_image_opens_every_state_again(state: StudyState) -> None:
    assert next_state(state, StudyEvent.INSTANCE_STORED) == StudyState.RECEIVING


@pytest.mark.parametrize("state", sorted(set(StudyState) - WAITS_FOR_NOBODY - WAITS_FOR_A_PERSON))
def test_every_state_that_waits_for_us_can_go_on_by_itself(state: StudyState) -> None:
    by_hand = {StudyEvent.RETRIED, StudyEvent.DELIVERY_RETRIED, StudyEvent.INSTANCE_STORED}
    assert [event for (seen, event) in TRANSITIONS if seen == state and event not in by_hand]


@pytest.mark.parametrize("state", sorted(WAITS_FOR_A_PERSON | {StudyState.UNREADABLE}))
def test_what_waits_for_a_person_can_be_retried(state: StudyState) -> None:
    assert next_state(state, StudyEvent.RETRIED) == StudyState.RECEIVING


def test_every_event_is_of_use() -> None:
    assert {event for _, event in TRANSITIONS} == set(StudyEvent)


@given(st.sampled_from(StudyState), st.sampled_from(StudyEvent))
def test_what_is_not_in_the_table_cannot_happen(state: StudyState, event: StudyEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) == TRANSITIONS[state, event]
    else:
        with pytest.raises(ImpossibleTransition, match=f"{state} cannot be moved by {event}"):
            next_state(state, event)


def test_the_documented_table_is_the_table() -> None:
    documented = Path(__file__).parents[2] / "docs" / "study-states.md"
    assert documented.read_text(encoding="utf-8") == transition_table()
