"""What is left when the trouble is over: every image, every answer once, nothing under way, nobody needed."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from pydicom import dcmread
from pydicom.dataset import Dataset

from mammography.ledger.deliveries import deliveries_of, results_of
from mammography.ledger.studies import history_of, instances_of, studies
from mammography.ledger.tables import DeliveryState, StudyRow
from mammography.study import TRANSITIONS, StudyEvent, StudyState
from node.data_set_digest import data_set_digest
from tests.faults.site import Site

BY_HAND = {StudyEvent.RETRIED, StudyEvent.DELIVERY_RETRIED}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found wrong, each a sentence; and what was counted."""

    wrong: list[str]
    studies: int
    images: int
    revisions: Counter[int]
    """How many studies ended with how many revisions."""
    attempts: int
    """C-STOREs of ours to the PACS and the archive, counted by the ledger."""


def wait_until_settled(site: Site, uids: Iterable[str], *, seconds: float) -> None:
    """Return when every study is where it ends, or no longer gets on; the verdict says what is wrong then."""
    wanted, end = set(uids), time.monotonic() + seconds
    while time.monotonic() < end:
        with site.ledger.read() as session:
            states = {row.study_instance_uid: row.state for row in studies(session, limit=100_000)}
        if all(states.get(uid) in (StudyState.COMMITTED, StudyState.FAILED) for uid in wanted):
            return
        time.sleep(1.0)


def judge(site: Site, sent: list[str], acknowledged: set[str], sources: Iterable[Dataset]) -> Verdict:
    """Compare what the ledger, the disk, the PACS and the archive hold with what was sent."""
    wrong, revisions, attempts, ours = [], Counter(), 0, set()
    with site.ledger.read() as session:
        rows = studies(session, limit=100_000)
        kept = {
            one.sop_instance_uid: one for row in rows for one in instances_of(session, row.study_instance_uid)
        }
        for row in rows:
            uid = row.study_instance_uid
            results, deliveries = results_of(session, uid), deliveries_of(session, uid)
            answers = {one.sop_instance_uid for one in results if one.revision == row.revision}
            ours |= {one.sop_instance_uid for one in results}
            wrong += _wrong_of_study(row, [line.event for line in history_of(session, uid)])
            wrong += _wrong_walk(uid, history_of(session, uid))
            kinds = Counter(one.kind for one in results if one.revision == row.revision)
            if kinds != {"cad-sr": 1, "gsps": 4}:
                wrong.append(f"study {uid} is answered by {dict(kinds)}")
            states = {one.state for one in deliveries if one.sop_instance_uid in answers}
            if states != {DeliveryState.COMMITTED}:
                wrong.append(f"the answer of study {uid} is {sorted(states)}")
            revisions[row.revision] += 1
            attempts += sum(one.attempts for one in deliveries)
    held = set(site.orthanc.instances())
    unknown = set(sent) - {row.study_instance_uid for row in rows}
    wrong += [f"study {uid} was sent, and is not known" for uid in sorted(unknown)]
    wrong += _wrong_images(site, acknowledged, kept, sources)
    wrong += [f"the PACS holds {uid}, which the ledger does not know" for uid in sorted(held - ours)]
    wrong += _missing_answers(site, rows, held)
    wrong += [
        f"{len(contents)} contents came to the archive as {uid}"
        for uid, contents in site.archive.taken.items()
        if len(contents) > 1
    ]
    left = [path.name for path in site.data_dir.rglob("*.part")]
    wrong += [f"{name} is left half-written" for name in left]
    return Verdict(wrong=wrong, studies=len(rows), images=len(kept), revisions=revisions, attempts=attempts)


def _wrong_of_study(row: StudyRow, events: list[StudyEvent]) -> list[str]:
    """Return what is wrong with where a study is, and how it came there."""
    wrong = []
    if row.state is not StudyState.COMMITTED:
        wrong.append(f"study {row.study_instance_uid} is {row.state}: {row.reason}")
    if BY_HAND & set(events):
        wrong.append(f"study {row.study_instance_uid} needed a person")
    return wrong


def _wrong_walk(uid: str, history) -> list[str]:
    """Return the steps in a study's history that the table of its states does not have."""
    return [
        f"study {uid} went from {line.from_state} to {line.to_state} by {line.event}"
        for before, line in pairwise(history)
        if line.from_state is not before.to_state
        or (
            TRANSITIONS.get((line.from_state, line.event)) is not line.to_state
            and not (line.event is StudyEvent.INSTANCE_STORED and line.from_state is line.to_state)
        )
    ]


def _wrong_images(site: Site, acknowledged: set[str], kept: dict, sources: Iterable[Dataset]) -> list[str]:
    """Return the acknowledged images that are not there as they were sent."""
    wrong = []
    for source in sources:
        uid = str(source.SOPInstanceUID)
        if uid not in acknowledged:
            continue
        row = kept.get(uid)
        if row is None:
            wrong.append(f"image {uid} was acknowledged, and is not in the ledger")
            continue
        path = site.data_dir / row.path
        if not path.is_file():
            wrong.append(f"image {uid} was acknowledged, and is not on the disk")
        elif row.digest not in ("", data_set_digest(path)):
            wrong.append(f"image {uid} has another digest than its row")
        elif dcmread(path) != source:
            wrong.append(f"image {uid} is not what was sent")
    missing = acknowledged - set(kept)
    wrong += [f"image {uid} was acknowledged, and is not in the ledger" for uid in sorted(missing)]
    return wrong


def _missing_answers(site: Site, rows: list[StudyRow], held: set[str]) -> list[str]:
    """Return what of the valid answers does not lie at both destinations."""
    wrong = []
    with site.ledger.read() as session:
        for row in rows:
            for one in results_of(session, row.study_instance_uid, row.revision):
                for name, there in (("PACS", held), ("archive", site.archive.taken)):
                    if one.sop_instance_uid not in there:
                        wrong.append(f"the {name} lacks {one.kind} {one.sop_instance_uid}")
    return wrong
