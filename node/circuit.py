"""A destination that is away is called now and then, and nothing else is tried there meanwhile."""

import random
from datetime import datetime, timedelta

PAUSES = (
    timedelta(seconds=1),
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=5),
)
"""Between one call that came to nothing and the next; the last one is kept from then on.

So what waited is on its way five minutes after a destination is back, however long it was away.
"""


class Circuit:
    """Whether one destination may be called: always, until a call comes to nothing; then after a pause.

    It is kept in memory: a node that starts calls everybody at once.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._failed_at: datetime | None = None
        self._pause = timedelta(0)

    def closed(self, now: datetime) -> bool:
        """Return whether a call may be tried at `now`; a clock that was set back does not hold it up."""
        return self._failed_at is None or not self._failed_at <= now < self._failed_at + self._pause

    def failed(self, now: datetime) -> timedelta:
        """Remember that a call came to nothing at `now`, and return the pause: give or take a fifth."""
        self._pause = PAUSES[min(self._failures, len(PAUSES) - 1)] * random.uniform(0.8, 1.2)
        self._failures += 1
        self._failed_at = now
        return self._pause

    def succeeded(self) -> None:
        """Remember that a call was answered."""
        self._failures, self._failed_at = 0, None
