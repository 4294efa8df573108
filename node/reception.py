"""One instance from the network into the store: begun, looked at, accepted; or refused, with the reason (PS3.4 annex B)."""

import itertools
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from mammography.ledger.engine import Ledger
from mammography.ledger.studies import Recorded, record_refusal
from mammography.uid import lawful
from node.acceptance import Acceptance, Examined, in_one_line
from node.arrival import Arrival, exhausted
from node.attempt import attempt
from node.dimse_status import InstanceMismatch, InstanceRefused, Refusal, StorageExhausted
from node.disk import MINIMUM_FREE_BYTES
from node.instance_header import InstanceHeader, read_instance_header
from node.journal_replay import RECEIVERS, replay_journals
from node.metrics import INSTANCES, KEEPING_SECONDS
from node.part10 import Announcement
from node.presence import Presence
from node.quarantine import Quarantine
from node.survival import Survives

_log = structlog.get_logger()

QUARANTINE = "quarantine"
"""The folder, below the data folder, of what was refused for its content."""

_COUNTED = {recorded: INSTANCES.labels(recorded.value) for recorded in Recorded}


class Reception:
    """The store of arriving instances below `data_dir`; threads and processes may share one.

    What several associations bring at the same moment becomes ours together (node/acceptance).
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        data_dir: Path,
        minimum_free_bytes: int = MINIMUM_FREE_BYTES,
        survives: Survives = Survives.POWER_CUT,
    ) -> None:
        self._ledger = ledger
        self._data_dir = data_dir
        self._minimum_free_bytes = minimum_free_bytes
        self._incoming = data_dir / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._presence, self._numbers = Presence(data_dir / RECEIVERS), itertools.count()
        self._syncs = survives is Survives.POWER_CUT
        self._quarantine = Quarantine(data_dir / QUARANTINE)
        self._acceptance = Acceptance(ledger, data_dir, self._presence.name, sync=self._syncs)
        self._log = _log.bind()  # once: its levels are decided then

    def begin(self, announced: Announcement) -> Arrival:
        """Begin to take an instance in; it never fails: what is wrong is an outcome of `accept`."""
        path = self._incoming / f"{self._presence.name}-{next(self._numbers)}.part"
        return Arrival(announced, path, self._objection(announced), sync=self._syncs)

    def accept(self, arrivals: Sequence[Arrival], *, now: datetime) -> Sequence[str | Exception]:
        """Make arrivals durable together: synced, named and in the ledger.

        Returns of each its Study Instance UID, or why it is not kept: a Refusal, or a fault that nobody foresaw, which is nobody else's.

        The same bytes again change nothing; other bytes under a known SOP Instance UID are kept beside the
        first, and the history says so. The arrivals are the caller's to discard; of a refused one, `refuse` has to be told first.
        """
        with KEEPING_SECONDS.time():
            outcomes = [attempt(partial(self._sealed, arrival)) for arrival in arrivals]
            whole = [outcome for outcome in outcomes if isinstance(outcome, Examined)]
            recorded = self._acceptance.accept(whole, received_at=now)
        for became, count in Counter(each for each in recorded if isinstance(each, Recorded)).items():
            _COUNTED[became].inc(count)
        became_of_whole = iter(recorded)
        return [
            self._kept(outcome, next(became_of_whole)) if isinstance(outcome, Examined) else outcome
            for outcome in outcomes
        ]

    def refuse(self, arrival: Arrival, refusal: Refusal, *, now: datetime) -> None:
        """Record and log that an instance is not kept; what is refused for its content goes into the quarantine."""
        if isinstance(refusal, StorageExhausted):
            INSTANCES.labels("exhausted").inc()
            self._record_refusal(arrival, refusal, now)
        else:
            INSTANCES.labels("refused").inc()
            self._record_refusal(arrival, refusal, now, quarantined=self._quarantine.keep(arrival, now=now))

    def sweep_incoming(self) -> int:
        """Remove what a killed process left half received, and return how many files that were.

        Nobody was answered for any of them. What other processes receive that live is left alone.
        """
        alive = self._presence.others() | {self._presence.name}
        orphans = [path for path in self._incoming.glob("*.part") if path.name.partition("-")[0] not in alive]
        for orphan in orphans:
            orphan.unlink(missing_ok=True)
        if orphans:
            _log.info("incoming-swept", files=len(orphans))
        return len(orphans)

    def replay_journals(self) -> int:
        """Put back what a power cut took of what small instances other processes promised that ended; return how many were looked at."""
        return replay_journals(self._ledger, self._data_dir)

    def close(self) -> None:
        """Settle what only the journal makes durable; nothing may be kept after that."""
        self._acceptance.close()

    def _objection(self, announced: Announcement) -> Refusal | None:
        """Return why an instance is refused before its data set comes."""
        for name, uid in (
            ("SOP Class UID", announced.sop_class_uid),
            ("SOP Instance UID", announced.sop_instance_uid),
            ("Transfer Syntax UID", announced.transfer_syntax_uid),
        ):
            if not lawful(uid):
                return InstanceRefused(f"The {name} of the command is not lawful.")
        try:
            free = shutil.disk_usage(self._data_dir).free
        except OSError as failure:
            return exhausted(failure)
        if free < self._minimum_free_bytes:
            return StorageExhausted("The disk is full: nothing more is accepted.")
        return None

    def _sealed(self, arrival: Arrival) -> Examined:
        """Seal an arrival and read its header.

        Raises:
            InstanceRefused, StorageExhausted: if it is not to be kept.
        """
        arrival.seal()
        if not arrival.bytes:
            raise InstanceRefused("The command came without a data set.")
        return Examined(arrival, self._examine(arrival))

    def _kept(self, examined: Examined, outcome: Recorded | Exception) -> str | Exception:
        """Log what became of an instance; return its Study Instance UID, or why it is not kept."""
        if isinstance(outcome, Exception):
            return outcome
        header = examined.header
        self._log.debug(
            "instance-stored",
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            bytes=examined.arrival.bytes,
            recorded=outcome.value,
        )
        return header.study_instance_uid

    def _examine(self, arrival: Arrival) -> InstanceHeader:
        """Read the header, and refuse an instance that is not the announced one."""
        announced = arrival.announced
        with closing(arrival.data_set()) as data_set:
            header = read_instance_header(
                data_set,
                transfer_syntax_uid=announced.transfer_syntax_uid,
                sop_class_uid=announced.sop_class_uid,
            )
        if header.sop_instance_uid != announced.sop_instance_uid:
            raise InstanceMismatch("SOP Instance UID differs between command and data set.")
        if header.sop_class_uid != announced.sop_class_uid:
            raise InstanceMismatch("SOP Class UID differs between command and data set.")
        return header

    def _record_refusal(
        self,
        arrival: Arrival,
        refusal: Refusal,
        now: datetime,
        *,
        quarantined: str = "",
    ) -> None:
        """Say once in the log and once in the ledger what the sender is told."""
        announced = arrival.announced
        _log.warning(
            "instance-refused",
            sop_instance_uid=announced.sop_instance_uid,
            reason=str(refusal),
            quarantined=quarantined,
        )
        try:
            with self._ledger.begin() as session:
                record_refusal(
                    session,
                    at=now,
                    calling_ae_title=announced.calling_ae_title,
                    sop_instance_uid=announced.sop_instance_uid,
                    reason=str(refusal),
                    path=f"{QUARANTINE}/{quarantined}" if quarantined else "",
                )
        except SQLAlchemyError as failure:
            _log.error("ledger-away", reason=in_one_line(failure))
