"""What a worker does with a study: it reads it once, keeps it whole, and loses every race politely."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from mammography.ledger.engine import Ledger
from mammography.ledger.findings import assessment_of
from mammography.ledger.studies import expire_leases, history_of, record_instance, study
from mammography.ledger.tables import StudyRow
from mammography.study import StudyEvent, StudyState
from tests.ledger.given import STUDY, claimed, complete, image, queued, received
from tests.servers import wait_for
from tests.worker.at_work import PatientReader, fail, workplace
from tests.worker.conftest import DataFolder
from worker.app import now
from worker.tasks import read_study


def filled(data_folder: DataFolder) -> Path:
    """Return the data folder with every image in it."""
    data_folder.fill()
    return data_folder.path


def row_of(ledger: Ledger) -> StudyRow:
    with ledger.read() as session:
        row = study(session, STUDY)
    assert row is not None
    return row


def in_the_ledger(ledger: Ledger, *steps: Callable[[Session], object]) -> Callable[[Path], None]:
    """Return what does something to the ledger while the first image is read."""
    left = [steps]

    def during(_: Path) -> None:
        if left:
            with ledger.begin() as session:
                for step in left.pop():
                    step(session)

    return during


def test_a_study_is_read_and_its_findings_are_kept_with_the_step(
    ledger: Ledger, data_folder: DataFolder
) -> None:
    with ledger.begin() as session:
        queued(session)
        row = study(session, STUDY)
        assert row is not None
    read_study(workplace(ledger, filled(data_folder), PatientReader()), STUDY)
    assert row_of(ledger).state == StudyState.READ
    with ledger.read() as session:
        assessment = assessment_of(session, STUDY, 1)
        events = [line.event for line in history_of(session, STUDY)]
        reason = history_of(session, STUDY)[-1].reason
    assert assessment is not None
    assert [each.sop_instance_uid for each in assessment.images] == ["0", "1", "2", "3"]
    assert events[-2:] == [StudyEvent.CLAIMED, StudyEvent.ASSESSED]
    assert reason == "4 of 4 images read, 0 findings."


def test_only_mammograms_are_given_to_the_reader(ledger: Ledger, data_folder: DataFolder) -> None:
    with ledger.begin() as session:
        received(session)
        record_instance(session, image(7, modality="SR"))
        complete(session)
    read_study(workplace(ledger, filled(data_folder), PatientReader()), STUDY)
    with ledger.read() as session:
        assessment = assessment_of(session, STUDY, 1)
    assert assessment is not None
    assert len(assessment.images) == 4


@pytest.mark.parametrize("uid", [STUDY, "1.2.3.4"])
def test_a_bell_for_a_study_that_is_not_queued_changes_nothing(
    ledger: Ledger, data_folder: DataFolder, uid: str
) -> None:
    with ledger.begin() as session:
        received(session)
    read_study(workplace(ledger, filled(data_folder), PatientReader()), uid)
    assert row_of(ledger).state == StudyState.RECEIVING


def test_two_workers_and_one_bell_each_make_one_reading(ledger: Ledger, data_folder: DataFolder) -> None:
    with ledger.begin() as session:
        queued(session)
    places = [
        workplace(ledger, filled(data_folder), PatientReader(0.05), owner=f"worker-{number}")
        for number in range(4)
    ]
    threads = [threading.Thread(target=read_study, args=(place, STUDY)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with ledger.read() as session:
        events = [line.event for line in history_of(session, STUDY)]
    assert (events.count(StudyEvent.CLAIMED), events.count(StudyEvent.ASSESSED)) == (1, 1)


def test_a_late_image_makes_the_reading_worthless(ledger: Ledger, data_folder: DataFolder) -> None:
    with ledger.begin() as session:
        queued(session)
    late = in_the_ledger(ledger, lambda session: record_instance(session, image(7)))
    read_study(workplace(ledger, filled(data_folder), PatientReader(during=late)), STUDY)
    assert row_of(ledger).state == StudyState.RECEIVING
    with ledger.read() as session:
        assert assessment_of(session, STUDY, 1) is None


def test_a_reading_loses_against_the_next_claim_of_the_same_worker(
    ledger: Ledger, data_folder: DataFolder
) -> None:
    with ledger.begin() as session:
        queued(session)
    again = in_the_ledger(
        ledger,
        lambda session: record_instance(session, image(7)),
        complete,
        lambda session: claimed(session, owner="worker-2"),
    )
    read_study(workplace(ledger, filled(data_folder), PatientReader(during=again), owner="worker-1"), STUDY)
    row = row_of(ledger)
    assert (row.state, row.lease_owner) == (StudyState.READING, "worker-2")


def test_a_reading_stops_between_two_images_when_the_study_was_taken_away(
    ledger: Ledger, data_folder: DataFolder
) -> None:
    with ledger.begin() as session:
        queued(session)
    read: list[str] = []
    taken = in_the_ledger(ledger, lambda session: record_instance(session, image(7)))

    def during(path: Path) -> None:
        read.append(path.name)
        taken(path)

    read_study(workplace(ledger, filled(data_folder), PatientReader(0.4, during), lease=0.3), STUDY)
    assert len(read) < 4


def test_the_lease_is_renewed_for_as_long_as_the_reading_takes(
    ledger: Ledger, data_folder: DataFolder
) -> None:
    with ledger.begin() as session:
        queued(session)
    expired: list[list[str]] = []

    def sweep(_: Path) -> None:
        with ledger.begin() as session:
            expired.append(expire_leases(session, now=now()))

    read_study(workplace(ledger, filled(data_folder), PatientReader(0.5, sweep), lease=1.0), STUDY)
    assert expired == [[], [], [], []]
    assert row_of(ledger).state == StudyState.READ


def test_a_study_that_crashes_its_reading_is_read_again_and_then_waits_for_a_person(
    ledger: Ledger, data_folder: DataFolder
) -> None:
    with ledger.begin() as session:
        record_instance(session, image(0, path="images/crash"))
        complete(session)
    place = workplace(ledger, filled(data_folder), PatientReader(during=fail))
    states = []
    for _ in range(4):
        read_study(place, STUDY)
        states.append(row_of(ledger).state)
    assert states == [StudyState.QUEUED, StudyState.QUEUED, StudyState.FAILED, StudyState.FAILED]
    row = row_of(ledger)
    assert row.reason.startswith("The reading crashed with Crash; the worker's log has the details.")
    assert row.claims == 3


def test_a_crash_after_the_study_was_taken_away_harms_nobody(ledger: Ledger, data_folder: DataFolder) -> None:
    with ledger.begin() as session:
        record_instance(session, image(0, path="images/crash"))
        complete(session)

    def during(path: Path) -> None:
        with ledger.begin() as session:
            expire_leases(session, now=now() + timedelta(days=1))
            claimed(session, owner="worker-2")
        fail(path)

    read_study(workplace(ledger, filled(data_folder), PatientReader(during=during)), STUDY)
    assert row_of(ledger).lease_owner == "worker-2"


def test_a_missing_image_makes_its_study_wait_for_a_person_at_once(
    ledger: Ledger, data_folder: DataFolder
) -> None:
    with ledger.begin() as session:
        queued(session)
    (filled(data_folder) / "studies" / STUDY / "images" / "2.dcm").unlink()
    read_study(workplace(ledger, data_folder.path, PatientReader()), STUDY)
    row = row_of(ledger)
    assert row.state == StudyState.FAILED
    assert "images/2.dcm: let its data folder be the node's" in row.reason


def test_the_threads_of_the_lease_end_with_the_reading(ledger: Ledger, data_folder: DataFolder) -> None:
    with ledger.begin() as session:
        queued(session)
    read_study(workplace(ledger, filled(data_folder), PatientReader()), STUDY)
    wait_for(lambda: not [each for each in threading.enumerate() if each.name == "lease"])
