"""How instances arrive in the ledger, and what a late one does."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from mammography.ledger.deliveries import deliveries_of, due, mark_sent, previous_reports, results_of
from mammography.ledger.engine import Ledger
from mammography.ledger.studies import (
    Recorded,
    history_of,
    instances_of,
    record_instance,
    record_instances,
    record_refusal,
    refusals,
    studies,
    study,
)
from mammography.ledger.tables import DeliveryState
from mammography.study import StudyEvent, StudyState
from tests.ledger.given import (
    NOW,
    PACS,
    STUDY,
    answered,
    claimed,
    complete,
    image,
    move,
    queued,
    received,
    reported,
)

LATER = NOW + timedelta(minutes=5)


def test_the_first_image_makes_its_study(ledger: Ledger) -> None:
    with ledger.begin() as session:
        assert record_instance(session, image(0)) == Recorded.NEW
    with ledger.read() as session:
        row = study(session, STUDY)
        history = history_of(session, STUDY)
    assert row is not None
    assert (row.state, row.revision, row.claims) == (StudyState.RECEIVING, 1, 0)
    assert (row.accession_number, row.study_date) == ("A1", "20260304")
    assert row.first_instance_at == row.last_instance_at == NOW
    assert [(line.from_state, line.to_state, line.reason) for line in history] == [
        (None, StudyState.RECEIVING, "R CC arrived from MODALITY1.")
    ]


def test_every_image_has_its_row_and_its_line_in_the_history(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session)
    with ledger.read() as session:
        assert len(instances_of(session, STUDY)) == 4
        assert [line.reason.split(" arrived")[0] for line in history_of(session, STUDY)] == [
            "R CC",
            "L CC",
            "R MLO",
            "L MLO",
        ]


def test_the_same_image_twice_changes_nothing(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
    with ledger.begin() as session:
        before = study(session, STUDY)
        assert before is not None
        seen = (before.state, before.state_since, before.revision, before.last_instance_at)
        lines = len(history_of(session, STUDY))
        assert record_instance(session, image(0, received_at=LATER)) == Recorded.SAME
    with ledger.read() as session:
        after = study(session, STUDY)
        assert after is not None
        assert (after.state, after.state_since, after.revision, after.last_instance_at) == seen
        assert len(history_of(session, STUDY)) == lines


def test_other_bytes_under_the_same_uid_are_a_conflict_that_the_history_tells(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session)
        assert record_instance(session, image(1, digest="f" * 32, path="other.dcm")) == Recorded.CONFLICT
    with ledger.read() as session:
        row = study(session, STUDY)
        assert row is not None
        assert row.state == StudyState.RECEIVING
        assert [each.path for each in instances_of(session, STUDY) if "other" in each.path] == []
        assert "the first is kept" in history_of(session, STUDY)[-1].reason


class Digests:
    """Digests of files by path; those that were asked for are remembered."""

    def __init__(self, **known: str) -> None:
        self.known, self.asked = known, list[str]()

    def __call__(self, path: str, _bytes: int) -> str:
        self.asked.append(path)
        return self.known.get(path, "")


@pytest.mark.parametrize(
    ("again", "known", "becomes", "asked"),
    [
        ({"path": "first"}, {}, Recorded.SAME, []),
        ({"path": "first", "digest": "a"}, {}, Recorded.SAME, []),
        ({"path": "other"}, {"first": "a", "other": "a"}, Recorded.SAME, ["first", "other"]),
        ({"path": "other"}, {"first": "a", "other": "b"}, Recorded.CONFLICT, ["first", "other"]),
        ({"path": "other", "digest": "b"}, {"first": "a"}, Recorded.CONFLICT, ["first"]),
        ({"path": "other", "bytes": 3}, {}, Recorded.CONFLICT, []),
        ({"path": "first", "bytes": 3}, {}, Recorded.CONFLICT, []),
        ({"path": "other"}, {"other": "b"}, Recorded.SAME, ["first", "other"]),
    ],
)
def test_digests_are_taken_once_the_same_uid_comes_again(
    ledger: Ledger, again: dict[str, object], known: dict[str, str], becomes: Recorded, asked: list[str]
) -> None:
    """Two names of one file need none; where the first is lost, nothing says that this is another."""
    digests = Digests(**known)
    with ledger.begin() as session:
        first = image(0, path="first", digest="")
        assert record_instance(session, first, digest_of=digests) == Recorded.NEW
        assert digests.asked == []
        repeated = image(0, **({"digest": ""} | again))
        assert record_instance(session, repeated, digest_of=digests) == becomes
        assert digests.asked == asked
    with ledger.read() as session:
        (row,) = instances_of(session, STUDY)
    assert row.digest == known.get("first", again.get("digest", "") if again["path"] == "first" else "")


def test_an_image_of_another_study_under_the_same_uid_is_a_conflict(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session)
        stolen = image(1, study="1.2.999", sop_instance_uid=image(1).sop_instance_uid)
        assert record_instance(session, stolen) == Recorded.CONFLICT
        assert f"in study {STUDY}" in history_of(session, "1.2.999")[-1].reason


def test_a_late_image_before_the_answer_stays_in_the_revision(ledger: Ledger) -> None:
    with ledger.begin() as session:
        queued(session)
        claimed(session)
        assert record_instance(session, image(7, received_at=LATER)) == Recorded.NEW
        row = study(session, STUDY)
    assert row is not None
    assert (row.state, row.revision, row.claims) == (StudyState.RECEIVING, 1, 0)
    assert (row.lease_owner, row.lease_until, row.last_instance_at) == (None, None, LATER)


def test_a_late_image_after_the_answer_opens_the_next_revision_and_supersedes_what_was_not_sent(
    ledger: Ledger,
) -> None:
    with ledger.begin() as session:
        reported(session)
        sent, unsent = due(session, destination=PACS, now=NOW)
        mark_sent(session, sent.number, now=NOW)
    with ledger.begin() as session:
        assert record_instance(session, image(7, received_at=LATER)) == Recorded.NEW
    with ledger.read() as session:
        row = study(session, STUDY)
        assert row is not None
        assert (row.state, row.revision, row.claims) == (StudyState.RECEIVING, 2, 0)
        states = {each.number: each.state for each in deliveries_of(session, STUDY)}
        assert states == {sent.number: DeliveryState.SENT, unsent.number: DeliveryState.SUPERSEDED}
        assert due(session, destination=PACS, now=LATER) == []
        assert "revision 2 begins" in history_of(session, STUDY)[-1].reason


def test_the_next_revision_knows_the_report_before_it(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        assert previous_reports(session, STUDY, 1) == []
        record_instance(session, image(7))
        complete(session)
        answered(session, revision=2)
        (before,) = previous_reports(session, STUDY, 2)
        assert before is not None
        assert (before.revision, before.kind) == (1, "cad-sr")
        assert [each.revision for each in results_of(session, STUDY)] == [1, 1, 2, 2]
        assert [each.revision for each in results_of(session, STUDY, 2)] == [2, 2]


def test_an_object_that_was_on_its_way_when_it_was_superseded_counts_as_sent(ledger: Ledger) -> None:
    with ledger.begin() as session:
        reported(session)
        on_its_way = due(session, destination=PACS, now=NOW)[0].number
        record_instance(session, image(7))
        mark_sent(session, on_its_way, now=LATER)
        states = {each.number: each.state for each in deliveries_of(session, STUDY)}
    assert states[on_its_way] == DeliveryState.SENT


def test_an_unreadable_study_wakes_up_when_another_image_arrives(ledger: Ledger) -> None:
    with ledger.begin() as session:
        received(session, images=1)
        move(session, StudyState.RECEIVING, StudyEvent.JUDGED_UNREADABLE)
        record_instance(session, image(1))
        row = study(session, STUDY)
    assert row is not None
    assert row.state == StudyState.RECEIVING


def test_eight_threads_store_the_first_images_of_one_study_at_once(ledger: Ledger) -> None:
    start = threading.Barrier(8)

    def store(number: int) -> Recorded:
        start.wait()
        with ledger.begin() as session:
            return record_instance(session, image(number))

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(store, range(8))) == [Recorded.NEW] * 8
    with ledger.read() as session:
        assert len(instances_of(session, STUDY)) == 8
        assert [line.from_state for line in history_of(session, STUDY)].count(None) == 1


def test_the_same_image_from_eight_threads_is_new_once(ledger: Ledger) -> None:
    def store(_: int) -> Recorded:
        with ledger.begin() as session:
            return record_instance(session, image(0))

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(store, range(8))) == [Recorded.NEW] + [Recorded.SAME] * 7


def _store_in_another_process(url: str, first: int, done: object) -> None:
    ledger = Ledger(url)
    for number in range(first, first + 20):
        with ledger.begin() as session:
            record_instance(session, image(number))
    ledger.close()


def test_processes_store_into_one_study_and_nothing_is_lost(ledger: Ledger) -> None:
    spawn = multiprocessing.get_context("spawn")
    url = ledger.url.render_as_string(hide_password=False)
    senders = [spawn.Process(target=_store_in_another_process, args=(url, n * 20, None)) for n in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    assert [sender.exitcode for sender in senders] == [0, 0, 0]
    with ledger.read() as session:
        assert len(instances_of(session, STUDY)) == 60
        assert len(history_of(session, STUDY)) == 60


def test_more_instances_than_one_statement_takes_are_recorded_at_once(ledger: Ledger) -> None:
    again = [image(number) for number in (3, 249)]
    with ledger.transaction() as transaction:
        images = [image(number) for number in range(250)] + again
        became = record_instances(transaction, images, digest_of=lambda path, _bytes: path)
    assert became == [Recorded.NEW] * 250 + [Recorded.SAME] * 2
    with ledger.read() as session:
        assert len(instances_of(session, STUDY)) == len(history_of(session, STUDY)) == 250


def test_a_moment_of_another_zone_is_kept_in_utc(ledger: Ledger) -> None:
    here = NOW.astimezone(timezone(timedelta(hours=-7)))
    with ledger.begin() as session:
        record_instance(session, image(0, received_at=here))
        record_instance(session, image(1, received_at=here + timedelta(minutes=5)))
    with ledger.read() as session:
        (first, _), row = instances_of(session, STUDY), study(session, STUDY)
        lines = history_of(session, STUDY)
    assert row is not None
    assert (first.received_at, first.received_at.utcoffset()) == (NOW, timedelta(0))
    assert (row.first_instance_at, row.last_instance_at) == (NOW, LATER)
    assert [line.at for line in lines] == [NOW, LATER]


def test_a_naive_moment_is_refused(ledger: Ledger) -> None:
    naive = datetime(2026, 3, 4)
    with pytest.raises(ValueError, match="is naive"), ledger.begin() as session:
        record_instance(session, image(0, received_at=naive))
    with ledger.read() as session:
        assert studies(session) == []


def test_what_fails_leaves_nothing_behind(ledger: Ledger) -> None:
    def power_cut() -> None:
        with ledger.begin() as session:
            received(session)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        power_cut()
    with ledger.read() as session:
        assert studies(session) == []


def test_a_header_that_says_too_much_is_shortened(ledger: Ledger) -> None:
    with ledger.begin() as session:
        record_instance(
            session, image(0, accession_number="A\0" * 200, laterality="RIGHT SIDE", modality="\ud800" * 40)
        )
        row = study(session, STUDY)
        (instance,) = instances_of(session, STUDY)
    assert row is not None
    assert row.accession_number == "A" * 64
    assert (instance.laterality, instance.modality) == ("RIGH", "?" * 16)


def test_refusals_are_remembered_newest_first(ledger: Ledger) -> None:
    with ledger.begin() as session:
        for reason in ("too large", "no pixels\0"):
            record_refusal(
                session, at=NOW, calling_ae_title="A" * 40, sop_instance_uid="9" * 300, reason=reason
            )
        assert [each.reason for each in refusals(session)] == ["no pixels", "too large"]
        assert [each.reason for each in refusals(session, limit=1)] == ["no pixels"]
