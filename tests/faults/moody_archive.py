"""An archive of many moods: it refuses, fails, warns, hangs up, and commits or does not; and it remembers all it took."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt

from node.commitment import PUSH_MODEL
from node.requestor import NoAssociation, NothingAccepted, association

PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
CAD_SR = "1.2.840.10008.5.1.4.1.1.88.50"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"
NO_SUCH_INSTANCE = 0x0112


class Mood(StrEnum):
    """How it answers."""

    WELL = "well"
    FULL = "full"
    """A700H, out of resources."""
    BROKEN = "broken"
    """0110H, processing failure."""
    PICKY = "picky"
    """B000H: stored, with a warning."""
    SLOW = "slow"
    HANGING_UP = "hanging up"
    REJECTING = "rejecting"
    """Every association."""
    FORGETFUL = "forgetful"
    """It took objects, and cannot commit to them."""
    SILENT = "silent"
    """It never reports on what it was asked to commit to."""


class MoodyArchive:
    """The application entity ARCHIVE. `reports_to` are the ports of those who ask it to commit, by AE title."""

    def __init__(self, reports_to: Mapping[str, int]) -> None:
        self.mood = Mood.WELL
        self.taken: dict[str, set[bytes]] = defaultdict(set)
        """The different data sets that came under each SOP Instance UID."""
        self.answers: Counter[str] = Counter()
        self._reports_to = reports_to
        entity = AE(ae_title="ARCHIVE")
        for sop_class in (CAD_SR, GSPS, PUSH_MODEL):
            entity.add_supported_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        self._server = entity.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=[
                (evt.EVT_REQUESTED, self._on_request),
                (evt.EVT_C_STORE, self._on_store),
                (evt.EVT_N_ACTION, self._on_commitment),
            ],
        )
        self.port: int = self._server.server_address[1]

    def close(self) -> None:
        """Take no more associations."""
        self._server.shutdown()

    def _on_request(self, event: evt.Event) -> None:
        if self.mood is Mood.REJECTING:
            self.answers["association rejected"] += 1
            event.assoc.acse.send_reject(0x02, 0x03, 0x02)  # transient, local limit exceeded
            event.assoc.kill()

    def _on_store(self, event: evt.Event) -> int:
        mood = self.mood
        self.answers[f"store while {mood}"] += 1
        if mood is Mood.HANGING_UP:
            event.assoc.abort()
            return 0x0110
        if mood is Mood.SLOW:
            time.sleep(1.0)
        if mood in (Mood.FULL, Mood.BROKEN):
            return {Mood.FULL: 0xA700, Mood.BROKEN: 0x0110}[mood]
        self.taken[event.request.AffectedSOPInstanceUID].add(event.request.DataSet.getvalue())
        return 0xB000 if mood is Mood.PICKY else 0x0000

    def _on_commitment(self, event: evt.Event) -> tuple[int, None]:
        mood = self.mood
        self.answers[f"commitment while {mood}"] += 1
        if mood is not Mood.SILENT:
            asked, title = event.action_information, str(event.assoc.requestor.ae_title).strip()
            threading.Thread(target=self._report, args=(asked, title, mood), daemon=True).start()
        return 0x0000, None

    def _report(self, asked: Dataset, title: str, mood: Mood) -> None:
        """Report to whoever asked, over an association of our own; if that comes to nothing, we are asked again."""
        said = Dataset()
        said.TransactionUID = asked.TransactionUID
        committed, failed = [], []
        for item in asked.ReferencedSOPSequence:
            keeps = item.ReferencedSOPInstanceUID in self.taken and mood is not Mood.FORGETFUL
            if not keeps:
                item.FailureReason = NO_SUCH_INSTANCE
            (committed if keeps else failed).append(item)
        if committed:
            said.ReferencedSOPSequence = committed
        if failed:
            said.FailedSOPSequence = failed
        with (
            suppress(NoAssociation, NothingAccepted, RuntimeError),
            association(
                [build_context(PUSH_MODEL, ExplicitVRLittleEndian)],
                calling_ae_title="ARCHIVE",
                called_ae_title=title,
                host="127.0.0.1",
                port=self._reports_to[title],
                timeout=timedelta(seconds=10),
                roles=[build_role(PUSH_MODEL, scp_role=True)],
            ) as conversation,
        ):
            conversation.send_n_event_report(said, 2 if failed else 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
