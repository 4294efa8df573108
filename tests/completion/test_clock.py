"""The clock is set back while the node runs."""

from datetime import timedelta

from mammography.ledger.engine import Ledger
from mammography.ledger.studies import study
from node.clock import BETWEEN_LOOKS, Clock
from tests.ledger.given import LEASE, NOW, STUDY, received


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
