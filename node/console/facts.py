"""What the console shows, as values: the pages and the API are made from the same facts."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from mammography.finding import FindingAssessment, ReadStatus
from mammography.ledger.tables import DeliveryState
from mammography.study import StudyEvent, StudyState


class Fact(BaseModel):
    """A value that is shown and never changed."""

    model_config = ConfigDict(frozen=True)


class FindingCounts(Fact):
    """How much the newest reading of a study says."""

    revision: int
    suspicious: int
    benign: int
    not_read: int
    """Images that were not read."""
    trained_on: str
    """What the reader's weights were trained on."""


class ViewCount(Fact):
    """How many images of one view have arrived."""

    view: str
    """The radiographer's name, such as "R CC"."""
    images: int


class StudyLine(Fact):
    """One study on the list."""

    study_instance_uid: str
    accession_number: str
    state: StudyState
    state_since: datetime
    reason: str
    revision: int
    first_instance_at: datetime
    last_instance_at: datetime
    instances: int
    views: list[ViewCount]
    calling_ae_titles: list[str]
    findings: FindingCounts | None
    """None until a reading is in the ledger."""


class AlarmFacts(Fact):
    """Something that a person has to look at."""

    number: int
    kind: str
    subject: str
    """A Study Instance UID, or a destination."""
    sentence: str
    raised_at: datetime
    last_at: datetime
    times: int


class StudyList(Fact):
    """One page of the list of studies."""

    node: str
    at: datetime
    counts: dict[StudyState, int]
    """Studies per state over the whole ledger; a state without studies is 0."""
    states: list[StudyState]
    """What the list is filtered by; empty: all."""
    page: int
    """From 1."""
    more: bool
    """Whether there is a next page."""
    studies: list[StudyLine]
    alarms: list[AlarmFacts]
    """Those that are raised, on the first page alone; the newest first."""
    trained_on: list[str]
    """What the weights behind the readings on this page were trained on."""


class FindingFacts(Fact):
    """One finding; its centre is on the stored image, column then row (PS3.3 C.18.6)."""

    number: int
    """From 1, within its image."""
    assessment: FindingAssessment
    detection: float
    suspicion: float
    morphology: str | None
    distribution: str | None
    specks: int
    center_column: float
    center_row: float
    other_views: list[str]
    """Where the same lesion was found in another view of the breast, such as "R MLO 1"."""


class ImageFacts(Fact):
    """What was said of one image."""

    sop_instance_uid: str
    view: str | None
    status: ReadStatus | None
    """None until a reading names the image."""
    reason: str | None
    remarks: list[str]
    """Sentences on what lowers the trust in the reading."""
    findings: list[FindingFacts]
    picture: str | None
    """Where the console serves its picture; None where there is none."""


class Step(Fact):
    """One step of a study's way."""

    state: StudyState
    reached_at: datetime | None
    """When this revision came to it; None where it has not."""
    current: bool


class InstanceFacts(Fact):
    """One stored SOP instance."""

    sop_instance_uid: str
    view: str
    sop_class: str
    modality: str
    presentation_intent: str
    transfer_syntax: str
    bytes: int
    calling_ae_title: str
    received_at: datetime
    deleted_at: datetime | None
    """When retention deleted its file."""
    status: ReadStatus | None
    reason: str | None


class DeliveryFacts(Fact):
    """One object on its way to one destination."""

    destination: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime | None
    sent_at: datetime | None
    committed_at: datetime | None
    reason: str
    warning: str
    """What the destination warned of when it stored the object."""


class ObjectFacts(Fact):
    """One DICOM object that answers the study."""

    sop_instance_uid: str
    kind: str
    sop_class: str
    revision: int
    deliveries: list[DeliveryFacts]


class HistoryFacts(Fact):
    """One change of the study."""

    at: datetime
    event: StudyEvent
    from_state: StudyState | None
    to_state: StudyState
    revision: int
    reason: str


class ReaderFacts(Fact):
    """Which reader made the reading, and when."""

    name: str
    version: str
    weights_sha256: str
    operating_point: str
    trained_on: str
    read_at: datetime
    revision: int


class StudyFacts(Fact):
    """Everything that the ledger knows of one study."""

    study: StudyLine
    study_date: str
    way: list[Step]
    turnaround_seconds: float | None
    """From the last image to the written answer of this revision."""
    reader: ReaderFacts | None
    images: list[ImageFacts]
    instances: list[InstanceFacts]
    objects: list[ObjectFacts]
    history: list[HistoryFacts]
    cut: bool
    """Whether instances or history are longer than what is shown."""


class RefusalFacts(Fact):
    """One instance that was not accepted."""

    at: datetime
    calling_ae_title: str
    sop_instance_uid: str
    reason: str
    path: str
    """Of its bytes in the quarantine, relative to the data folder; empty where they were not kept, or made room."""


class StrangerFacts(Fact):
    """Somebody who was turned away before an association began."""

    calling_ae_title: str
    address: str
    called_ae_title: str
    reason: str
    """As PS3.8 table 9-21 words it."""
    attempts: int
    first_at: datetime
    last_at: datetime


class RefusalList(Fact):
    """One page of refused instances, newest first; the first page has the callers that were turned away, too."""

    at: datetime
    page: int
    more: bool
    refusals: list[RefusalFacts]
    strangers: list[StrangerFacts]
