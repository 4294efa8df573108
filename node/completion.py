"""Studies that have arrived become QUEUED, with the reason, and the doorbell is rung for them."""

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from mammography.completeness import (
    ArchiveList,
    ArrivedView,
    SenderList,
    Verdict,
    all_listed,
    compare,
    judge,
    waited,
)
from mammography.ledger.commitment_requests import held
from mammography.ledger.engine import Ledger
from mammography.ledger.signals import SignalSource, signals_of
from mammography.ledger.studies import (
    LostRace,
    advance,
    expire_leases,
    explain_wait,
    in_state,
    instances_of,
    mark_rung,
    study,
    unrung,
)
from mammography.ledger.tables import InstanceRow, StudyRow
from mammography.study import StudyEvent, StudyState
from mammography.view import Laterality, View, ViewModifier, ViewPosition

_log = structlog.get_logger()

RING_AGAIN_AFTER = timedelta(seconds=15)
"""A bell may be lost; until a worker comes the study is rung for again."""
_FRONT_OF_THE_QUEUE = 16
"""So many of the oldest are rung for again, so that a long queue does not fill the broker with bells."""
_BROKER_PAUSE = timedelta(seconds=5)
"""How long a sweep rings no more once the broker was away: each try may take seconds."""
_STUDIES_A_SWEEP = 1000
_LOOK_AGAIN_AFTER = timedelta(seconds=5)
"""At a study that waits for what an archive holds."""
_LOCK_NOT_AVAILABLE = "55P03"
"""The SQLSTATE of PostgreSQL."""
_NEVER = timedelta(days=36500)


class AsksAnArchive(Protocol):
    """Knows what an archive holds; node.archive.Archive is one."""

    def holds(
        self, study_instance_uid: str, *, last_instance_at: datetime, now: datetime
    ) -> ArchiveList | None:
        """Return what the archive says it holds of a study; None while it is being asked."""

    def sweep(self, waiting: Collection[str], *, now: datetime) -> None:
        """Ask for what is wanted; forget studies that wait no more."""

    def close(self) -> None:
        """Ask no more."""


class Completion:
    """Judges the studies that are arriving, rings for those that wait, and frees those of silent workers.

    A study moves only from the state that was seen; the bell is rung after the commit, and a bell that is lost
    or doubled changes nothing.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        quiet_period: timedelta,
        longest_wait: timedelta,
        ring: Callable[[str], bool],
        most_claims: int = 3,
        ring_again_after: timedelta = RING_AGAIN_AFTER,
        archive: AsksAnArchive | None = None,
    ) -> None:
        self._ledger = ledger
        self._quiet_period = quiet_period
        self._longest_wait = longest_wait
        self._ring = ring
        self._most_claims = most_claims
        self._ring_again_after = ring_again_after
        self._archive = archive
        self._held_back: dict[tuple[str, datetime], datetime] = {}
        self._ringing = threading.Lock()
        self._broker_away_since: datetime | None = None

    def association_ended(self, study_instance_uid: str, *, now: datetime) -> None:
        """Judge a study at once, because nobody sends to it any more."""
        self._judge_at_once(study_instance_uid, association_ended=True, now=now)

    def listed(self, study_instance_uid: str, *, now: datetime) -> None:
        """Judge a study at once, because its sender has said what it holds; it may not have arrived yet."""
        self._judge_at_once(study_instance_uid, association_ended=False, now=now)

    def sweep(self, *, now: datetime) -> int:
        """Judge what waited long enough, expire leases, ring for what is QUEUED; return how much was done."""
        with self._ledger.read() as session:
            arriving = in_state(session, StudyState.RECEIVING, limit=_STUDIES_A_SWEEP)
        waiting = [
            seen
            for seen in arriving
            if waited(
                first_at=seen.state_since,
                last_at=seen.last_instance_at,
                now=now,
                quiet_period=self._quiet_period,
                longest_wait=self._longest_wait,
            )
        ]
        judged = [self._judge_in_turn(seen, now=now) for seen in waiting if not self._rests(seen, now)]
        expired = self._expire_leases(now)
        rung = self._ring_for(self._to_be_rung(now), now=now)
        if self._archive is not None:
            for key in self._held_back.keys() - {_as_seen(seen) for seen in waiting}:
                del self._held_back[key]
            self._archive.sweep({seen.study_instance_uid for seen in waiting}, now=now)
        return sum(state is not None for state in judged) + expired + rung

    def close(self) -> None:
        """Ask nobody any more."""
        if self._archive is not None:
            self._archive.close()

    def _judge_at_once(self, study_instance_uid: str, *, association_ended: bool, now: datetime) -> None:
        """Judge a study, and ring for it; where the ledger is away, the sweep does later: what was said to us is written down already."""
        try:
            with self._ledger.read() as session:
                seen = study(session, study_instance_uid)
            if seen is None:
                return
            if self._judge(seen, association_ended=association_ended, now=now) is StudyState.QUEUED:
                self._ring_for([study_instance_uid], now=now)
        except SQLAlchemyError as failure:
            _log.error("ledger-away", study_instance_uid=study_instance_uid, reason=type(failure).__name__)

    def _judge_in_turn(self, seen: StudyRow, *, now: datetime) -> StudyState | None:
        """Judge a study that waited; one that is locked, or that the database cannot look up, keeps no other from its turn."""
        try:
            return self._judge(seen, association_ended=False, now=now, asks=True)
        except SQLAlchemyError as failure:
            if _is_away(failure):  # for all of them
                raise
            _log.error(
                "study-not-judged", study_instance_uid=seen.study_instance_uid, reason=type(failure).__name__
            )
            return None

    def _judge(
        self, seen: StudyRow, *, association_ended: bool, now: datetime, asks: bool = False
    ) -> StudyState | None:
        """Judge a study, and move it where it is complete; None where it stays or somebody else moved it.

        `asks`: what an archive holds is part of the judgement, which waits for that a little.
        """
        if seen.state is not StudyState.RECEIVING:
            return None
        with self._ledger.read() as session:
            images = {
                instance.sop_instance_uid: arrived_view(instance)
                for instance in instances_of(session, seen.study_instance_uid)
            }
            listed = _all_listed(session, seen.study_instance_uid, images)
        archive = None
        if (
            asks
            and not listed
            and self._archive is not None
            and any(image.is_mammogram for image in images.values())
        ):
            archive = self._archive.holds(
                seen.study_instance_uid, last_instance_at=seen.last_instance_at, now=now
            )
            if archive is None and now - seen.state_since < self._longest_wait:
                return None
        verdict = judge(
            images.values(),
            first_at=seen.state_since,
            last_at=seen.last_instance_at,
            association_ended=association_ended,
            now=now,
            quiet_period=self._quiet_period,
            longest_wait=self._longest_wait,
            listed=listed,
            archive=compare(images, archive) if archive else None,
        )
        if not verdict.complete:
            if asks:
                self._hold_back(seen, verdict, now)
            return None
        return self._move(seen, verdict, now)

    def _rests(self, seen: StudyRow, now: datetime) -> bool:
        """Return whether a study that waits on was looked at a moment ago, and may wait longer."""
        at = self._held_back.get(_as_seen(seen))
        looked_at = at is not None and at <= now < at + _LOOK_AGAIN_AFTER
        return looked_at and now - seen.state_since < self._longest_wait

    def _hold_back(self, seen: StudyRow, verdict: Verdict, now: datetime) -> None:
        """Show why a study that was quiet for long enough waits on."""
        self._held_back[_as_seen(seen)] = now
        reason = f"{verdict.reason[0].upper()}{verdict.reason[1:]}."
        if reason != seen.reason:
            with self._ledger.begin() as session:
                explain_wait(
                    session, seen.study_instance_uid, last_instance_at=seen.last_instance_at, reason=reason
                )

    def _move(self, seen: StudyRow, verdict: Verdict, now: datetime) -> StudyState | None:
        """Move a complete study, unless another image came since it was seen."""
        event = StudyEvent.JUDGED_COMPLETE if verdict.readable else StudyEvent.JUDGED_UNREADABLE
        try:
            with self._ledger.begin() as session:
                return advance(
                    session,
                    seen.study_instance_uid,
                    seen=StudyState.RECEIVING,
                    event=event,
                    now=now,
                    reason=f"{verdict.reason[0].upper()}{verdict.reason[1:]}.",
                    where={"state_since": seen.state_since, "last_instance_at": seen.last_instance_at},
                )
        except LostRace as lost:
            _log.debug("race-lost", study_instance_uid=seen.study_instance_uid, reason=str(lost))
            return None

    def _expire_leases(self, now: datetime) -> int:
        """Take studies from silent workers; the lock of a writer is asked for only where there are any."""
        with self._ledger.read() as session:
            reading = in_state(session, StudyState.READING, limit=_STUDIES_A_SWEEP)
        if not any(row.lease_until is not None and row.lease_until <= now for row in reading):
            return 0
        with self._ledger.begin() as session:
            return len(expire_leases(session, now=now, most_claims=self._most_claims))

    def _to_be_rung(self, now: datetime) -> list[str]:
        """Return the QUEUED studies that were never rung for, and of the oldest those that nobody came for."""
        with self._ledger.read() as session:
            never = unrung(session, now=now, again_after=_NEVER, limit=_STUDIES_A_SWEEP)
            front = in_state(session, StudyState.QUEUED, limit=_FRONT_OF_THE_QUEUE)
        again = [
            row.study_instance_uid
            for row in front
            if row.rung_at is not None and row.rung_at <= now - self._ring_again_after
        ]
        return never + again

    def _ring_for(self, study_instance_uids: Collection[str], *, now: datetime) -> int:
        """Ring, and remember for which studies; stop at the first bell that the broker does not take."""
        with self._ringing:  # who waited here while the broker was found away does not ask it once more
            rung = self._rung(study_instance_uids, now)
        if rung:
            with self._ledger.begin() as session:
                mark_rung(session, rung, now=now)
        return len(rung)

    def _rung(self, study_instance_uids: Collection[str], now: datetime) -> list[str]:
        away_since = self._broker_away_since
        if away_since is not None and abs(now - away_since) < _BROKER_PAUSE:
            return []
        rung = []
        for uid in study_instance_uids:
            if not self._ring(uid):
                self._broker_away_since = now
                break
            rung.append(uid)
        return rung


def _as_seen(seen: StudyRow) -> tuple[str, datetime]:
    """Return what tells a study with another image from the study that was seen."""
    return seen.study_instance_uid, seen.last_instance_at


def _all_listed(session: Session, study_instance_uid: str, images: Mapping[str, ArrivedView]) -> str:
    """Return why the sender's own lists say that a study is here whole."""
    lists = [
        SenderList(
            is_commitment=row.source == SignalSource.STORAGE_COMMITMENT,
            finished=row.finished,
            instances=frozenset(row.instances),
        )
        for row in signals_of(session, study_instance_uid)
    ]
    others = {uid for one in lists for uid in one.instances} - images.keys()
    return all_listed(images, lists, held(session, others))


def arrived_view(instance: InstanceRow) -> ArrivedView:
    """Return what completeness asks of a row of the ledger."""
    view = None
    if instance.laterality and instance.view_position:
        view = View(
            laterality=Laterality(instance.laterality),
            position=ViewPosition(instance.view_position),
            modifiers=frozenset(ViewModifier(name) for name in instance.view_modifiers.split(",") if name),
        )
    return ArrivedView(sop_class_uid=instance.sop_class_uid, modality=instance.modality, view=view)


def _is_away(failure: SQLAlchemyError) -> bool:
    """Whether the ledger itself is away, not one study locked by another transaction or looked up in vain."""
    if not isinstance(failure, OperationalError):
        return False
    return getattr(failure.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE
