"""Images go when their answer is where it belongs and old enough: not before, not without a word, not twice."""

from typing import Never

import pytest
import xxhash
from sqlalchemy.exc import OperationalError

from mammography.ledger.tables import InstanceRow
from mammography.settings_file import LONGEST
from mammography.study import StudyEvent, StudyState
from node.commitment_provider import NO_SUCH_OBJECT_INSTANCE, judge_commitment
from node.metrics import IMAGES_DELETED
from node.retention import STUDIES_A_LOOK
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram, screening_set, uid
from tests.retention.conftest import AGE, MINUTE, RECEIVED, Store
from tests.worker.at_work import PatientReader, workplace
from worker.tasks import read_study

KEPT = sorted(set(StudyState) - {StudyState.COMMITTED, StudyState.UNREADABLE})
LATER = RECEIVED + 2 * AGE


def rows(store: Store, name: str) -> dict[str, InstanceRow]:
    return {row.sop_instance_uid: row for row in store.instances(name)}


@pytest.mark.parametrize("state", [StudyState.COMMITTED, StudyState.UNREADABLE])
def test_images_of_an_answered_study_go_at_its_age_and_no_sooner(store: Store, state: StudyState):
    store.take_set("old")
    store.bring_to("old", state)
    retention, before = store.retention(), IMAGES_DELETED._value.get()
    assert retention.sweep(now=RECEIVED + AGE - MINUTE) == 0
    assert len(store.files("old")) == 4
    assert retention.sweep(now=RECEIVED + AGE) == 1
    assert store.files("old") == []
    assert IMAGES_DELETED._value.get() - before == 4
    assert {row.deleted_at for row in store.instances("old")} == {RECEIVED + AGE}
    assert store.row("old").state is state
    line = store.history("old")[-1]
    assert (line.event, line.from_state, line.to_state) == (StudyEvent.IMAGES_DELETED, state, state)
    assert line.reason.startswith("4 image(s) of it are deleted")
    assert retention.sweep(now=LATER) == 0
    assert len(store.instances("old")) == 4, "what was received is not forgotten"


@pytest.mark.parametrize("state", KEPT)
def test_no_other_study_loses_an_image(store: Store, state: StudyState):
    store.take_set("young")
    store.bring_to("young", state)
    assert store.row("young").state is state
    assert store.retention().sweep(now=LATER) == 0
    assert len(store.files("young")) == 4


def test_a_delivered_study_is_answered_where_no_destination_commits(store: Store):
    store.take_set("sent")
    store.bring_to("sent", StudyState.DELIVERED)
    assert store.retention(commitment=False).sweep(now=LATER) == 1
    assert store.files("sent") == []


def test_an_answer_that_came_late_is_waited_for(store: Store):
    """The age counts from the answer, not from the image."""
    store.take_set("slow")
    store.bring_to("slow", StudyState.DELIVERED)
    store.bring_to("slow", StudyState.COMMITTED, now=RECEIVED + AGE)
    assert store.retention().sweep(now=RECEIVED + AGE) == 0
    assert store.retention().sweep(now=RECEIVED + 2 * AGE) == 1


def test_images_may_be_kept_as_long_as_the_settings_allow(store: Store):
    store.answered("old")
    assert store.retention(age=LONGEST).sweep(now=RECEIVED + LONGEST - MINUTE) == 0
    assert store.retention(age=LONGEST).sweep(now=RECEIVED + LONGEST) == 1


def test_never_is_never(store: Store):
    store.answered("kept")
    assert store.retention(age=None).sweep(now=RECEIVED + 1000 * AGE) == 0
    assert len(store.files("kept")) == 4


def test_a_look_takes_a_few_studies_and_the_next_comes_at_once(store: Store):
    for number in range(STUDIES_A_LOOK + 1):
        store.take(mammogram(f"many-{number}"))
        store.bring_to(f"many-{number}", StudyState.COMMITTED)
    retention = store.retention()
    assert [retention.sweep(now=LATER) for _ in range(3)] == [STUDIES_A_LOOK, 1, 0]
    assert not list((store.data_dir / "studies").rglob("*.dcm"))


def test_between_looks_the_ledger_is_left_alone(store: Store):
    retention = store.retention()
    assert retention.sweep(now=LATER) == 0
    store.answered("waits")
    assert retention.sweep(now=LATER + MINUTE / 2) == 0
    assert retention.sweep(now=LATER + MINUTE) == 1


def test_our_own_objects_stay(store: Store):
    store.answered("results")
    report = store.folder("results").parent / "results" / "r1" / "cad-sr.dcm"
    report.parent.mkdir(parents=True)
    report.write_bytes(b"report")
    assert store.retention().sweep(now=LATER) == 1
    assert report.is_file()


def test_what_was_kept_beside_goes_with_its_image(store: Store):
    store.take_set("two")
    store.take(mammogram("two", "R CC", PatientID="other"))
    store.bring_to("two", StudyState.COMMITTED)
    assert len(store.files("two")) == 5
    assert store.retention().sweep(now=LATER) == 1
    assert store.files("two") == []


def test_what_was_deleted_is_not_promised(store: Store):
    store.deleted("promise")
    references = [(FOR_PRESENTATION, str(image.SOPInstanceUID)) for image in screening_set("promise")]
    verdict = judge_commitment("1.2.3", references, rows(store, "promise"), store.data_dir)
    assert verdict.committed == ()
    assert {reason for _, reason in verdict.failed} == {NO_SUCH_OBJECT_INSTANCE} == {0x0112}


def test_the_same_bytes_again_are_kept_again_and_the_answer_stands(store: Store):
    store.deleted("again")
    again = RECEIVED + AGE + MINUTE
    store.take_set("again", now=again)
    assert len(store.files("again")) == 4
    assert {(row.deleted_at, row.received_at) for row in store.instances("again")} == {(None, again)}
    assert (store.row("again").state, store.row("again").revision) == (StudyState.COMMITTED, 1)
    assert "is kept again" in store.history("again")[-1].reason
    references = [(FOR_PRESENTATION, str(image.SOPInstanceUID)) for image in screening_set("again")]
    assert not judge_commitment("1.2.3", references, rows(store, "again"), store.data_dir).failed
    assert store.retention().sweep(now=again + AGE - MINUTE) == 0, "its age counts anew"
    assert store.retention().sweep(now=again + AGE) == 1


def test_other_content_under_a_deleted_image_s_uid_is_new(store: Store):
    store.deleted("other")
    store.take(mammogram("other", "R CC", PatientID="corrected"), now=LATER)
    assert store.files("other") == [f"{uid('other', 'R CC')}.dcm"]
    assert store.row("other").state is StudyState.RECEIVING
    assert "with other content" in store.row("other").reason


def test_a_late_view_of_a_deleted_study_is_withheld_and_says_what_is_missing(store: Store):
    store.deleted("late")
    store.take(mammogram("late", "R CC", SOPInstanceUID=uid("late", "spot")), now=LATER)
    store.bring_to("late", StudyState.QUEUED, now=LATER)
    read_study(workplace(store.ledger, store.data_dir, PatientReader()), uid("late"))
    row = store.row("late")
    assert row.state is StudyState.FAILED
    assert "4 of its 5 images were deleted by retention until 2026-04-01" in row.reason
    assert "(L CC, L MLO, R CC, R MLO)" in row.reason


def test_it_is_read_when_its_images_have_come_again(store: Store):
    test_a_late_view_of_a_deleted_study_is_withheld_and_says_what_is_missing(store)
    store.take_set("late", now=LATER + MINUTE)
    assert store.row("late").state is StudyState.RECEIVING
    store.bring_to("late", StudyState.QUEUED, now=LATER + MINUTE)
    read_study(workplace(store.ledger, store.data_dir, PatientReader()), uid("late"))
    assert store.row("late").state is StudyState.READ
    assert store.row("late").reason.startswith("5 of 5 images read")


def test_what_an_image_was_is_remembered_when_it_goes(store: Store):
    store.take_set("known")
    assert {row.digest for row in store.instances("known")} == {""}
    store.bring_to("known", StudyState.COMMITTED)
    assert store.retention().sweep(now=LATER) == 1
    sent = {
        str(image.SOPInstanceUID): xxhash.xxh3_128(encoded(image)).hexdigest()
        for image in screening_set("known")
    }
    assert {row.sop_instance_uid: row.digest for row in store.instances("known")} == sent


def test_reading_them_leaves_other_work_its_turns(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("node.retention.BYTES_A_SWEEP", 1)
    store.answered("slow-disk")
    retention = store.retention()
    for _ in range(4):
        assert retention.sweep(now=LATER) == 0
        assert len(store.files("slow-disk")) == 4
    assert retention.sweep(now=LATER) == 1
    assert store.files("slow-disk") == []
    assert retention.sweep(now=LATER) == 0


def test_an_image_that_cannot_be_read_goes_too(store: Store):
    """Its file is lost: nothing tells what it was, and the same image is taken for the same."""
    store.answered("lost")
    lost = store.instances("lost")[0]
    (store.data_dir / lost.path).unlink()
    assert store.retention().sweep(now=LATER) == 1
    assert [
        row.digest for row in store.instances("lost") if row.sop_instance_uid == lost.sop_instance_uid
    ] == [""]
    assert store.files("lost") == []


def test_a_ledger_that_was_away_is_asked_again(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.answered("away")
    retention, ours = store.retention(), store.ledger.begin

    def away() -> Never:
        raise OperationalError("", {}, Exception("gone"))

    monkeypatch.setattr(store.ledger, "begin", away)
    with pytest.raises(OperationalError):
        retention.sweep(now=LATER)
    monkeypatch.setattr(store.ledger, "begin", ours)
    assert retention.sweep(now=LATER) == 1
    assert store.files("away") == []
