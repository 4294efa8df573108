"""A study's whole life, as one table of data."""

from collections.abc import Mapping
from enum import StrEnum


class StudyState(StrEnum):
    """Where a study is on its way."""

    RECEIVING = "receiving"
    """Instances arrive; it is not known yet whether all are here."""
    QUEUED = "queued"
    """Complete; waits for a worker."""
    READING = "reading"
    """A worker holds a lease on it."""
    READ = "read"
    """The assessment is in the ledger."""
    REPORTED = "reported"
    """The DICOM objects that answer it are written and in the outbox."""
    DELIVERED = "delivered"
    """Every destination has acknowledged every object."""
    COMMITTED = "committed"
    """Every destination that offers Storage Commitment has committed to every object."""
    UNREADABLE = "unreadable"
    """Holds no mammogram; nothing is said in DICOM. Another image wakes it up."""
    FAILED = "failed"
    """Waits for a person; the history says why and what to do next."""


class StudyEvent(StrEnum):
    """What moves a study from one state to the next."""

    INSTANCE_STORED = "instance-stored"
    JUDGED_COMPLETE = "judged-complete"
    JUDGED_UNREADABLE = "judged-unreadable"
    CLAIMED = "claimed"
    LEASE_EXPIRED = "lease-expired"
    ASSESSED = "assessed"
    COMPOSED = "composed"
    ALL_DELIVERED = "all-delivered"
    ALL_COMMITTED = "all-committed"
    GAVE_UP = "gave-up"
    RETRIED = "retried"
    DELIVERY_RETRIED = "delivery-retried"
    IMAGES_DELETED = "images-deleted"


_S, _E = StudyState, StudyEvent

TRANSITIONS: Mapping[tuple[StudyState, StudyEvent], StudyState] = {
    (_S.RECEIVING, _E.INSTANCE_STORED): _S.RECEIVING,
    (_S.RECEIVING, _E.JUDGED_COMPLETE): _S.QUEUED,
    (_S.RECEIVING, _E.JUDGED_UNREADABLE): _S.UNREADABLE,
    (_S.QUEUED, _E.CLAIMED): _S.READING,
    (_S.READING, _E.LEASE_EXPIRED): _S.QUEUED,
    (_S.READING, _E.ASSESSED): _S.READ,
    (_S.READ, _E.COMPOSED): _S.REPORTED,
    (_S.REPORTED, _E.ALL_DELIVERED): _S.DELIVERED,
    (_S.DELIVERED, _E.ALL_COMMITTED): _S.COMMITTED,
    # a late image opens the study again, wherever it is
    (_S.QUEUED, _E.INSTANCE_STORED): _S.RECEIVING,
    (_S.READING, _E.INSTANCE_STORED): _S.RECEIVING,
    (_S.READ, _E.INSTANCE_STORED): _S.RECEIVING,
    (_S.REPORTED, _E.INSTANCE_STORED): _S.RECEIVING,
    (_S.DELIVERED, _E.INSTANCE_STORED): _S.RECEIVING,
    (_S.COMMITTED, _E.INSTANCE_STORED): _S.RECEIVING,
    (_S.UNREADABLE, _E.INSTANCE_STORED): _S.RECEIVING,
    (_S.FAILED, _E.INSTANCE_STORED): _S.RECEIVING,
    # a step that cannot succeed waits for a person
    (_S.QUEUED, _E.GAVE_UP): _S.FAILED,
    (_S.READING, _E.GAVE_UP): _S.FAILED,
    (_S.READ, _E.GAVE_UP): _S.FAILED,
    (_S.REPORTED, _E.GAVE_UP): _S.FAILED,
    (_S.DELIVERED, _E.GAVE_UP): _S.FAILED,
    (_S.FAILED, _E.RETRIED): _S.RECEIVING,
    (_S.UNREADABLE, _E.RETRIED): _S.RECEIVING,
    # the answer stands, only its delivery failed
    (_S.FAILED, _E.DELIVERY_RETRIED): _S.REPORTED,
    # the answer is where it belongs, and the images are old: their files go
    (_S.DELIVERED, _E.IMAGES_DELETED): _S.DELIVERED,
    (_S.COMMITTED, _E.IMAGES_DELETED): _S.COMMITTED,
    (_S.UNREADABLE, _E.IMAGES_DELETED): _S.UNREADABLE,
}
"""Every step that a study can take; what is not here cannot happen."""


class ImpossibleTransition(Exception):
    """The event cannot happen to a study in this state: a defect of ours, not of the study."""


def next_state(state: StudyState, event: StudyEvent) -> StudyState:
    """Return the state that a study in `state` takes after `event`.

    Raises:
        ImpossibleTransition: if TRANSITIONS has no such row.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleTransition(f"A study that is {state} cannot be moved by {event}.") from None


def transition_table() -> str:
    """Return TRANSITIONS as a page of Markdown: docs/study-states.md."""
    states = list(StudyState)
    lines = [
        "# The states of a study",
        "",
        "Rendered from `mammography.study.TRANSITIONS` by `transition_table()`; a test keeps the two equal.",
        "What stands in no cell cannot happen. A study moves by a guarded step of the ledger and in no other way.",
        "",
        f"| event | {' | '.join(states)} |",
        f"|---|{'---|' * len(states)}",
    ]
    for event in StudyEvent:
        cells = (TRANSITIONS.get((state, event)) for state in states)
        lines.append(f"| {event} | {' | '.join(cell or '' for cell in cells)} |")
    return "\n".join(lines) + "\n"
