"""A study that stays where it is becomes an alarm, once, and the alarm ends when the study moves on."""

from datetime import timedelta

import pytest

from mammography.ledger.alarms import AlarmKind, alarm_seen, alarms
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import advance, retry
from mammography.settings_file import LONGEST
from mammography.study import StudyEvent, StudyState
from node.composition import ages_of
from node.overdue import BETWEEN_LOOKS, WHAT_TO_DO, Overdue
from node.settings import AlarmsSection, CompletionSection, NodeSettings
from tests.ledger.given import NOW, STUDY, claimed, queued, received

HOUR = timedelta(hours=1)
AGES = {StudyState.QUEUED: HOUR, StudyState.READING: 2 * HOUR, StudyState.RECEIVING: 30 * HOUR}


@pytest.fixture
def overdue(ledger: Ledger) -> Overdue:
    return Overdue(ledger=ledger, ages=AGES)


def raised(ledger: Ledger) -> list[tuple[str, str]]:
    with ledger.read() as session:
        return [(row.kind, row.subject) for row in alarms(session)]


def test_a_study_that_nobody_reads_is_an_alarm_until_somebody_does(ledger: Ledger, overdue: Overdue):
    with ledger.begin() as session:
        queued(session)
    assert overdue.sweep(now=NOW + HOUR - timedelta(seconds=1)) == 0
    assert overdue.sweep(now=NOW + HOUR) == 0, "it looks every now and then alone"
    assert overdue.sweep(now=NOW + HOUR + BETWEEN_LOOKS) == 1
    assert overdue.sweep(now=NOW + 2 * HOUR) == 0, "it is raised already"
    with ledger.read() as session:
        (alarm,) = alarms(session)
    assert (alarm.kind, alarm.subject, alarm.times) == (AlarmKind.STUDY_OVERDUE, STUDY, 1)
    assert "has been queued since" in alarm.sentence
    assert "60 min" in alarm.sentence
    assert WHAT_TO_DO[StudyState.QUEUED] in alarm.sentence
    with ledger.begin() as session:
        claimed_now = NOW + 2 * HOUR
        advance(
            session,
            STUDY,
            seen=StudyState.QUEUED,
            event=StudyEvent.CLAIMED,
            now=claimed_now,
            reason="A worker reads it.",
        )
    assert overdue.sweep(now=claimed_now + HOUR) == 1
    assert raised(ledger) == []
    with ledger.read() as session:
        assert alarms(session, all_of_them=True)[0].over_because == "It is reading."
    assert overdue.sweep(now=claimed_now + 3 * HOUR) == 1, "and a state later it is overdue again"
    assert raised(ledger) == [("study-overdue", STUDY)]


def test_a_failed_study_is_an_alarm_at_once_until_it_is_retried(ledger: Ledger, overdue: Overdue):
    with ledger.begin() as session:
        queued(session)
        claimed(session)
        advance(
            session,
            STUDY,
            seen=StudyState.READING,
            event=StudyEvent.GAVE_UP,
            now=NOW,
            reason="Three workers died of it.",
        )
    assert overdue.sweep(now=NOW) == 1
    with ledger.read() as session:
        (alarm,) = alarms(session)
    assert alarm.kind == AlarmKind.STUDY_FAILED
    assert "Three workers died of it." in alarm.sentence
    with ledger.begin() as session:
        retry(session, STUDY, now=NOW + HOUR, by="anna")
    assert overdue.sweep(now=NOW + HOUR) == 1
    assert raised(ledger) == []


def test_an_alarm_that_was_seen_to_stays_quiet_while_nothing_changes(ledger: Ledger, overdue: Overdue):
    with ledger.begin() as session:
        queued(session)
    overdue.sweep(now=NOW + HOUR)
    with ledger.begin() as session:
        (alarm,) = alarms(session)
        alarm_seen(session, alarm.number, now=NOW + HOUR, by="anna")
    overdue.sweep(now=NOW + 2 * HOUR)
    assert raised(ledger) == []


def test_the_longest_ages_of_the_settings_are_kept(ledger: Ledger):
    longest = CompletionSection(longest_wait=LONGEST)
    alarms = AlarmsSection.model_validate(dict.fromkeys(AlarmsSection.model_fields, LONGEST))
    with ledger.begin() as session:
        received(session)
    ages = ages_of(NodeSettings(completion=longest, alarms=alarms))
    assert max(ages.values()) == 2 * LONGEST
    assert Overdue(ledger=ledger, ages=ages).sweep(now=NOW) == 0


def test_a_study_in_time_is_no_alarm(ledger: Ledger, overdue: Overdue):
    with ledger.begin() as session:
        received(session)
    assert overdue.sweep(now=NOW + HOUR) == 0
    assert raised(ledger) == []


def test_every_state_that_may_be_overdue_says_what_to_do():
    ends = {StudyState.COMMITTED, StudyState.UNREADABLE, StudyState.FAILED}
    assert WHAT_TO_DO.keys() == set(StudyState) - ends
