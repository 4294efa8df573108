"""The clock is set back while the node runs."""

from datetime import datetime, timedelta

from mammography.ledger.deliveries import due, postpone
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import study
from node.clock import BETWEEN_LOOKS, DISTRUST, Clock
from tests.ledger.given import LEASE, NOW, PACS, STUDY, received, reported


def test_it_is_noticed_at_once_and_looked_for_twice_a_minute(ledger: Ledger) -> None:
    day = timedelta(days=1)
    clock = Clock(ledger=ledger, lease=LEASE)
    assert clock.sweep(now=NOW + day) == 0
    with ledger.begin() as session:
        received(session)
        study(session, STUDY).last_instance_at = NOW + day
    assert clock.sweep(now=NOW + day + timedelta(seconds=1)) == 0
    assert clock.sweep(now=NOW) == 1
    with ledger.begin() as session:
        study(session, STUDY).last_instance_at = NOW + day
    assert clock.sweep(now=NOW + BETWEEN_LOOKS - timedelta(seconds=1)) == 0
    assert clock.sweep(now=NOW + BETWEEN_LOOKS) == 1


def test_after_a_step_back_nothing_stays_put_off(ledger: Ledger) -> None:
    """Put off by an hour under a clock that was an hour ahead: nothing in the row says so."""
    hour = timedelta(hours=1)
    clock = Clock(ledger=ledger, lease=LEASE)
    clock.sweep(now=NOW + hour)
    _put_off(ledger, now=NOW + hour)
    assert clock.sweep(now=NOW) == 1
    with ledger.read() as session:
        assert len(due(session, destination=PACS, now=NOW)) > 0
    _put_off(ledger, now=NOW + hour)  # by somebody who had read the clock before
    assert clock.sweep(now=NOW + BETWEEN_LOOKS) == 1
    _put_off(ledger, now=NOW + DISTRUST)
    assert clock.sweep(now=NOW + DISTRUST + BETWEEN_LOOKS) == 0


def test_a_start_tries_what_is_put_off(ledger: Ledger) -> None:
    """It does not know how the clock stood before."""
    _put_off(ledger, now=NOW)
    assert Clock(ledger=ledger, lease=LEASE).sweep(now=NOW) == 1
    with ledger.read() as session:
        assert len(due(session, destination=PACS, now=NOW)) > 0


def _put_off(ledger: Ledger, *, now: datetime) -> None:
    """Let everything that is due be tried, in vain."""
    with ledger.begin() as session:
        if study(session, STUDY) is None:
            reported(session)
        for one in due(session, destination=PACS, now=now):
            postpone(session, one.number, now=now, until=now + timedelta(minutes=10), reason="It is busy.")
