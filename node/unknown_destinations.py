"""Objects that wait for a destination which the settings no longer name are an alarm: they would wait for ever."""

from collections.abc import Collection
from datetime import datetime, timedelta

from mammography.ledger.alarms import AlarmKind, alarm_over, alarms, raise_alarm, was_raised
from mammography.ledger.engine import Ledger
from mammography.ledger.withdrawals import waiting

BETWEEN_LOOKS = timedelta(minutes=1)


class UnknownDestinations:
    """Raises an alarm for each such destination, and ends it when nothing waits for it any more."""

    def __init__(self, *, ledger: Ledger, names: Collection[str]) -> None:
        self._ledger, self._names = ledger, frozenset(names)
        self._looked_at: datetime | None = None

    def sweep(self, *, now: datetime) -> int:
        """Look, every now and then, and return how many alarms were raised or ended."""
        if self._looked_at is not None and self._looked_at <= now < self._looked_at + BETWEEN_LOOKS:
            return 0
        self._looked_at = now
        kind = AlarmKind.DESTINATION_UNKNOWN
        with self._ledger.read() as session:
            forsaken = {
                each.destination: each for each in waiting(session) if each.destination not in self._names
            }
            raised = {row.subject for row in alarms(session) if row.kind == kind}
            new = [
                each
                for name, each in forsaken.items()
                if name not in raised and not was_raised(session, kind, name, since=each.oldest)
            ]
        over = raised - forsaken.keys()
        for each in new:
            with self._ledger.begin() as session:
                raise_alarm(
                    session,
                    kind,
                    each.destination,
                    f"{each.objects} objects of {each.studies} studies wait for {each.destination}, which is no "
                    "destination of the settings: name it there again, or give them up with: "
                    f"mammocalc destination withdraw {each.destination}",
                    now=now,
                )
        for name in sorted(over):
            with self._ledger.begin() as session:
                alarm_over(session, kind, name, now=now, because="Nothing waits for it any more.")
        return len(new) + len(over)
