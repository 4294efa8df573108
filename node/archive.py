"""An archive that is asked what it holds of a study (C-FIND, Study Root, PS3.4 annex C), without anybody waiting for it."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association

from mammography.completeness import ArchiveList
from node.circuit import Circuit
from node.delivery import clock_from
from node.requestor import Lanes, NoAssociation, NothingAccepted, association, propose

STUDY_ROOT_FIND = UID("1.2.840.10008.5.1.4.1.2.2.1")
"""Study Root Query/Retrieve Information Model - FIND (PS3.4 C.6.2)."""

MODALITY = "MG"
"""Of the series that are asked for; our own results lie in series of others."""

MOST_MATCHES = 1000
"""Of one query; an archive that has more does not understand the keys."""

MOST_AT_ONCE = 100
"""How many studies are asked for over one association."""

log = structlog.get_logger()


class NoAnswer(Exception):
    """A query was not answered; str() is the sentence that says so."""


class QueryRefused(NoAnswer):
    """A query was answered with a failure; others may be answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The application entity that is asked."""

    ae_title: str
    host: str
    port: int
    timeout: timedelta
    """How long each of its answers is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A study as it was when its archive was asked."""

    study_instance_uid: str
    last_instance_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """An answer, and when it came."""

    at: datetime
    archive: ArchiveList


class Archive:
    """Asks an archive in a thread of its own, and remembers what it said of studies that wait."""

    def __init__(self, *, peer: Peer, calling_ae_title: str, ask_again_after: timedelta) -> None:
        self._peer = peer
        self._calling_ae_title = calling_ae_title
        self._ask_again_after = ask_again_after
        self._patience = 2 * peer.timeout
        self._lanes = Lanes(1)
        self._circuit = Circuit()
        self._silence = ""
        self._closing = threading.Event()
        self._said: dict[_Question, _Said] = {}
        self._wanted: dict[_Question, datetime] = {}

    def holds(
        self, study_instance_uid: str, *, last_instance_at: datetime, now: datetime
    ) -> ArchiveList | None:
        """Return what the archive says it holds of a study; None while it is being asked.

        An answer holds until another image comes, and is asked for again after a while. An archive that is away,
        or takes too long, is as good as one that says nothing.
        """
        question = _Question(study_instance_uid=study_instance_uid, last_instance_at=last_instance_at)
        said = self._said.get(question)
        if said is not None and said.at <= now < said.at + self._ask_again_after:
            self._wanted.pop(question, None)
            return said.archive
        since = self._wanted.setdefault(question, now)
        if said is not None:
            return said.archive
        if not self._circuit.closed(now):
            return self._says_nothing(self._silence)
        if not since <= now < since + self._patience:
            return self._says_nothing(f"{self._peer.ae_title} did not answer in time what it holds")
        return None

    def sweep(self, waiting: Collection[str], *, now: datetime) -> None:
        """Ask for what is wanted, unless the archive is still answering; forget studies that wait no more."""
        for remembered in (self._said, self._wanted):
            for question in list(remembered):
                if question.study_instance_uid not in waiting:
                    del remembered[question]
        asking = self._lanes.busy(self._peer.ae_title)
        self._lanes.raise_failures()
        questions = [one for one, since in self._wanted.items() if not self._answered(one, since)]
        if not questions or asking or not self._circuit.closed(now):
            return
        work = partial(self._ask, questions[:MOST_AT_ONCE], clock_from(now))
        self._lanes.start(self._peer.ae_title, work)

    def wait(self) -> None:
        """Return when the archive is not being asked."""
        self._lanes.wait()

    def close(self) -> None:
        """Finish the question that is being asked, and ask no more."""
        self._closing.set()
        self._lanes.close()

    def _answered(self, question: _Question, since: datetime) -> bool:
        """Return whether an answer came after it was wanted."""
        said = self._said.get(question)
        return said is not None and said.at >= since

    def _ask(self, questions: Collection[_Question], clock: Callable[[], datetime]) -> None:
        """Ask for studies over one association, and remember the answers; after the first that does not come, none does."""
        try:
            with association(
                propose(STUDY_ROOT_FIND),
                calling_ae_title=self._calling_ae_title,
                called_ae_title=self._peer.ae_title,
                host=self._peer.host,
                port=self._peer.port,
                timeout=self._peer.timeout,
            ) as conversation:
                for question in questions:
                    if self._closing.is_set():
                        break
                    archive = self._list_of(conversation, question.study_instance_uid)
                    self._said[question] = _Said(at=clock(), archive=archive)
                    self._circuit.succeeded()
        except (NoAssociation, NothingAccepted, NoAnswer) as reason:
            self._silence = str(reason)
            self._circuit.failed(clock())
            for question in questions:
                self._said.setdefault(question, _Said(at=clock(), archive=self._says_nothing(str(reason))))
            log.warning("archive-silent", ae_title=self._peer.ae_title, reason=str(reason))

    def _list_of(self, conversation: Association, study_instance_uid: str) -> ArchiveList:
        """Return the mammograms of a study: each by its UID, or their number where no UIDs are told."""
        series = [
            match
            for match in self._find(conversation, "SERIES", study_instance_uid, SERIES_KEYS)
            if match.get("Modality") == MODALITY
        ]
        name, classes = self._peer.ae_title, dict[str, str]()
        try:
            for one in series:
                keys = IMAGE_KEYS | {"SeriesInstanceUID": str(one.get("SeriesInstanceUID", ""))}
                for match in self._find(conversation, "IMAGE", study_instance_uid, keys):
                    if match.get("SOPInstanceUID"):
                        classes[str(match.SOPInstanceUID)] = str(match.get("SOPClassUID", ""))
        except QueryRefused:
            classes = {}
        if classes:
            return ArchiveList(name=name, classes=classes)
        counts = [_number(one) for one in series]
        if counts and None not in counts:
            return ArchiveList(name=name, count=sum(count or 0 for count in counts))
        return self._says_nothing(f"{name} knows of no mammogram in it")

    def _find(
        self, conversation: Association, level: str, study_instance_uid: str, keys: Mapping[str, str]
    ) -> Iterator[Dataset]:
        """Yield what matches a query.

        Raises:
            NoAnswer: if no final response comes in time, or one that says that it failed.
        """
        name, query = self._peer.ae_title, Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID = level, study_instance_uid
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        try:
            for number, (status, match) in enumerate(conversation.send_c_find(query, STUDY_ROOT_FIND)):
                if "Status" not in status:
                    raise NoAnswer(f"{name} did not answer what it holds")
                if status.Status not in (0x0000, 0xFF00, 0xFF01):
                    raise QueryRefused(f"{name} answered a query with {status.Status:04X}H")
                if number > MOST_MATCHES:
                    raise NoAnswer(f"{name} answers a query for one study with more than {MOST_MATCHES}")
                if match is not None and match.get("StudyInstanceUID") in (None, "", study_instance_uid):
                    yield match
        except RuntimeError as ended:  # the association ended since we looked
            raise NoAnswer(f"{name} ended the association") from ended

    def _says_nothing(self, words: str) -> ArchiveList:
        return ArchiveList(name=self._peer.ae_title, silence=words)


SERIES_KEYS = {"SeriesInstanceUID": "", "Modality": MODALITY, "NumberOfSeriesRelatedInstances": ""}
IMAGE_KEYS = {"SOPInstanceUID": "", "SOPClassUID": ""}


def _number(series: Dataset) -> int | None:
    """Return Number of Series Related Instances (0020,1209); None where there is none."""
    try:
        return int(series.get("NumberOfSeriesRelatedInstances", ""))
    except (TypeError, ValueError):
        return None
