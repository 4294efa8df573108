"""Whatever happens to a study, in whatever order: each step is one of the table, and it reaches an end."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count, pairwise

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mammography.ledger.deliveries import (
    add_results,
    commitment_reported,
    deliveries_of,
    due,
    mark_failed,
    mark_sent,
    postpone,
    request_commitment,
    results_of,
    settle,
    uncommitted,
)
from mammography.ledger.engine import Ledger
from mammography.ledger.retention import give_up_images
from mammography.ledger.studies import (
    LostRace,
    Recorded,
    advance,
    claim,
    expire_leases,
    give_back,
    history_of,
    instances_of,
    record_instance,
    retry,
    study,
)
from mammography.ledger.tables import DeliveryState, StudyRow
from mammography.study import TRANSITIONS, ImpossibleTransition, StudyEvent, StudyState
from tests.ledger.given import ARCHIVE, NOW, PACS, image, result

LEASE = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)
ENDS = {StudyState.DELIVERED, StudyState.COMMITTED, StudyState.UNREADABLE, StudyState.FAILED}
WANTS_IMAGES = {StudyState.RECEIVING, StudyState.QUEUED, StudyState.READING, StudyState.FAILED}
"""Where a study is not read yet, or could not be."""
TOLD_OF = {StudyEvent.INSTANCE_STORED, StudyEvent.IMAGES_DELETED}
"""What the history tells of without a step."""
_studies = count()


class StudyLife(RuleBasedStateMachine):
    """One study in a real ledger, and all that senders, workers, destinations, clocks and persons do to it.

    PACS commits to what it gets; ARCHIVE offers no commitment.
    """

    ledger: Ledger

    def __init__(self) -> None:
        super().__init__()
        self.uid = f"1.2.840.{next(_studies)}"
        self.now = NOW
        self.images = 0
        self.seen: StudyRow | None = None
        self.digests: dict[int, str] = {}
        self.received: dict[int, datetime] = {}
        self.deleted: set[int] = set()

    def row(self) -> StudyRow:
        with self.ledger.read() as session:
            row = study(session, self.uid)
        assert row is not None
        return row

    def state(self) -> StudyState | None:
        return self.row().state if self.images else None

    def step(self, seen: StudyState, event: StudyEvent) -> None:
        with self.ledger.begin() as session:
            advance(session, self.uid, seen=seen, event=event, now=self.now, reason="Because.")

    @rule(seconds=st.sampled_from([1, 59, 3600]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def an_image_arrives(self) -> None:
        """It opens the study again: the next revision, where this one was answered."""
        with self.ledger.begin() as session:
            before = study(session, self.uid)
            revision = before.revision if before else 1
            answered = bool(results_of(session, self.uid, revision))
            arrived = image(self.images, study=self.uid, received_at=self.now)
            assert record_instance(session, arrived) is Recorded.NEW
        self.digests[self.images], self.received[self.images] = arrived.digest, self.now
        self.images += 1
        after = self.row()
        assert (after.state, after.revision) == (StudyState.RECEIVING, revision + answered)

    @precondition(lambda self: self.images)
    @rule(number=st.integers(0, 2), other_bytes=st.booleans())
    def an_image_arrives_again(self, number: int, other_bytes: bool) -> None:
        """Nothing is left of a deleted one that it could differ from: it is kept again, and read where it is wanted."""
        number %= self.images
        before, expected, opened = self.row(), Recorded.SAME, False
        arrived = image(number, study=self.uid, received_at=self.now)
        if other_bytes:
            arrived = replace(arrived, digest="other")
        if number in self.deleted:
            expected = Recorded.RESTORED
            opened = arrived.digest != self.digests[number] or before.state in WANTS_IMAGES
            self.deleted.remove(number)
            self.digests[number], self.received[number] = arrived.digest, self.now
        elif arrived.digest != self.digests[number]:
            expected = Recorded.CONFLICT
        with self.ledger.begin() as session:
            answered = bool(results_of(session, self.uid, before.revision))
            assert record_instance(session, arrived) is expected
        state = StudyState.RECEIVING if opened else before.state
        assert (self.row().state, self.row().revision) == (state, before.revision + (opened and answered))

    @precondition(lambda self: self.images)
    @rule()
    def its_old_images_are_deleted(self) -> None:
        """Of a committed study alone, and only what is old since then."""
        before, until = self.row(), self.now - MINUTE
        with self.ledger.begin() as session:
            given_up = give_up_images(
                session, self.uid, states={StudyState.COMMITTED}, until=until, now=self.now
            )
        ripe = before.state is StudyState.COMMITTED and before.state_since <= until
        expected = {number for number, at in self.received.items() if at <= until} - self.deleted
        assert {each.sop_instance_uid for each in given_up} == {
            image(number, study=self.uid).sop_instance_uid for number in (expected if ripe else ())
        }
        self.deleted |= expected if ripe else set()
        assert (self.row().state, self.row().revision) == (before.state, before.revision)

    @precondition(lambda self: self.state() is StudyState.RECEIVING)
    @rule(readable=st.booleans())
    def it_is_judged(self, readable: bool) -> None:
        event = StudyEvent.JUDGED_COMPLETE if readable else StudyEvent.JUDGED_UNREADABLE
        self.step(StudyState.RECEIVING, event)

    @precondition(lambda self: self.images)
    @rule(owner=st.sampled_from(["worker-1", "worker-2"]))
    def a_worker_comes(self, owner: str) -> None:
        waits = self.state() is StudyState.QUEUED
        with self.ledger.begin() as session:
            taken = claim(session, self.uid, owner=owner, now=self.now, lease=LEASE)
        assert (taken is not None) == waits
        self.seen = taken or self.seen

    @precondition(lambda self: self.seen is not None)
    @rule()
    def a_worker_comes_back_with_an_assessment(self) -> None:
        """It may be of an older revision, or of a claim that it lost: then it changes nothing."""
        assert self.seen is not None
        before = self.row()
        mine = (before.state, before.lease_owner, before.claims, before.revision) == (
            StudyState.READING,
            self.seen.lease_owner,
            self.seen.claims,
            self.seen.revision,
        )
        try:
            with self.ledger.begin() as session:
                advance(
                    session,
                    self.uid,
                    seen=StudyState.READING,
                    event=StudyEvent.ASSESSED,
                    now=self.now,
                    reason="It was read.",
                    where={
                        "lease_owner": self.seen.lease_owner,
                        "claims": self.seen.claims,
                        "revision": self.seen.revision,
                    },
                )
            assert mine
        except LostRace:
            assert not mine
        self.seen = None

    @precondition(lambda self: self.seen is not None)
    @rule()
    def a_worker_gives_up(self) -> None:
        assert self.seen is not None
        before = self.row()
        try:
            with self.ledger.begin() as session:
                after = give_back(session, self.seen, now=self.now, reason="It died.", most_claims=3)
            assert after is (StudyState.FAILED if before.claims >= 3 else StudyState.QUEUED)
        except LostRace:
            assert self.row().state is before.state
        self.seen = None

    @rule()
    def leases_expire(self) -> None:
        with self.ledger.begin() as session:
            expire_leases(session, now=self.now, most_claims=3)

    @precondition(lambda self: self.state() is StudyState.READ)
    @rule(destinations=st.sampled_from([(), (PACS,), (ARCHIVE,), (PACS, ARCHIVE)]))
    def its_answer_is_composed(self, destinations: tuple[str, ...]) -> None:
        revision = self.row().revision
        with self.ledger.begin() as session:
            add_results(
                session,
                self.uid,
                revision=revision,
                results=[result(self.uid, revision, kind, destinations) for kind in ("cad-sr", "gsps")],
                destinations=[PACS, ARCHIVE],
                now=self.now,
            )
            advance(
                session,
                self.uid,
                seen=StudyState.READ,
                event=StudyEvent.COMPOSED,
                now=self.now,
                reason="It is written.",
            )

    @precondition(lambda self: self.images)
    @rule(destination=st.sampled_from([PACS, ARCHIVE]), takes_it=st.sampled_from(["yes", "later", "never"]))
    def a_destination_is_sent_to(self, destination: str, takes_it: str) -> None:
        with self.ledger.begin() as session:
            waiting = [
                each
                for each in due(session, destination=destination, now=self.now)
                if each.study_instance_uid == self.uid
            ]
            for each in waiting[:1]:
                if takes_it == "yes":
                    mark_sent(session, each.number, now=self.now)
                    settle(session, self.uid, now=self.now, commitment_destinations={PACS})
                elif takes_it == "later":
                    until = self.now + MINUTE
                    postpone(session, each.number, now=self.now, until=until, reason="It is busy.")
                else:
                    mark_failed(session, each.number, now=self.now, reason="It never takes it.")
                    row = study(session, self.uid)
                    assert row is not None
                    if row.state in (StudyState.REPORTED, StudyState.DELIVERED):
                        advance(
                            session,
                            self.uid,
                            seen=row.state,
                            event=StudyEvent.GAVE_UP,
                            now=self.now,
                            reason="It never takes it.",
                        )

    @precondition(lambda self: self.images)
    @rule(keeps_it=st.booleans())
    def the_pacs_is_asked_to_commit_and_reports(self, keeps_it: bool) -> None:
        with self.ledger.begin() as session:
            owed = [
                each
                for each in uncommitted(session, destination=PACS, now=self.now)
                if each.study_instance_uid == self.uid
            ]
            if not owed:
                return
            transaction = f"{self.uid}.5.{self.now.timestamp():.0f}"
            request_commitment(
                session,
                [each.number for each in owed],
                transaction_uid=transaction,
                now=self.now,
                ask_again_at=self.now + MINUTE,
            )
            uids = [each.sop_instance_uid for each in owed]
            for moved in commitment_reported(
                session,
                transaction_uid=transaction,
                committed=uids if keeps_it else [],
                failed={} if keeps_it else dict.fromkeys(uids, "It lost them."),
                now=self.now,
                send_again_at=self.now + MINUTE,
            ):
                settle(session, moved, now=self.now, commitment_destinations={PACS})

    @precondition(lambda self: self.images)
    @rule()
    def a_person_retries_it(self) -> None:
        before = self.state()
        try:
            with self.ledger.begin() as session:
                retry(session, self.uid, now=self.now, by="anna")
            assert before in (StudyState.FAILED, StudyState.UNREADABLE)
        except ImpossibleTransition:
            assert before not in (StudyState.FAILED, StudyState.UNREADABLE)

    @precondition(lambda self: self.images)
    @rule(steps=st.integers(1, 6))
    def it_goes_on(self, steps: int) -> None:
        for _ in range(steps):
            self._go_on()

    @precondition(lambda self: self.images)
    @rule(again=st.sampled_from(["no", "same", "other"]))
    def it_is_answered_and_grows_old(self, again: str) -> None:
        """To where images are deleted it is a long way; this is the short cut."""
        for _ in range(8):
            self._go_on()
        self.the_pacs_is_asked_to_commit_and_reports(True)
        self.now += 2 * MINUTE
        self.its_old_images_are_deleted()
        if again != "no":
            self.an_image_arrives_again(0, again == "other")

    @precondition(lambda self: self.state() is StudyState.QUEUED)
    @rule(workers=st.integers(1, 4))
    def workers_die_of_it(self, workers: int) -> None:
        for number in range(workers):
            if self.state() is StudyState.QUEUED:
                self.a_worker_comes(f"worker-{number}")
                self.a_worker_gives_up()

    @precondition(lambda self: self.images)
    @rule(event=st.sampled_from(StudyEvent), seen=st.sampled_from(StudyState))
    def anything_is_tried(self, event: StudyEvent, seen: StudyState) -> None:
        """A step from a state in which it is not is refused; so is one that the table does not list."""
        before = self.row()
        if seen is before.state and (seen, event) in TRANSITIONS:
            return  # the rules above take it, with what belongs to it
        try:
            self.step(seen, event)
        except ImpossibleTransition:
            assert (seen, event) not in TRANSITIONS
        except LostRace:
            assert seen is not before.state
        else:
            raise AssertionError(f"{event} moved a study that is {before.state} as if it were {seen}")
        assert self.row().state is before.state

    @invariant()
    def its_history_is_a_walk_through_the_table(self) -> None:
        if not self.images:
            return
        with self.ledger.read() as session:
            row, lines = study(session, self.uid), history_of(session, self.uid)
        assert row is not None
        assert (lines[0].from_state, lines[0].to_state) == (None, StudyState.RECEIVING)
        for before, line in pairwise(lines):
            assert line.from_state is before.to_state
            told_again = line.event in TOLD_OF and line.from_state is line.to_state
            assert told_again or TRANSITIONS[line.from_state, line.event] is line.to_state
            assert line.revision >= before.revision
            assert line.reason
        assert (lines[-1].to_state, lines[-1].revision) == (row.state, row.revision)

    @invariant()
    def it_has_the_images_that_were_not_deleted(self) -> None:
        with self.ledger.read() as session:
            rows = instances_of(session, self.uid)
        gone = {image(number, study=self.uid).sop_instance_uid for number in self.deleted}
        assert len(rows) == self.images
        assert {row.sop_instance_uid for row in rows if row.deleted_at is not None} == gone

    @invariant()
    def it_has_one_answer_at_a_time(self) -> None:
        if not self.images:
            return
        with self.ledger.read() as session:
            row = study(session, self.uid)
            results = results_of(session, self.uid)
            deliveries = deliveries_of(session, self.uid)
        assert row is not None
        revision_of = {one.sop_instance_uid: one.revision for one in results}
        assert len(revision_of) == len(results)
        assert all(number <= row.revision for number in revision_of.values())
        for each in deliveries:
            if revision_of[each.sop_instance_uid] < row.revision:
                assert each.state not in (DeliveryState.PENDING, DeliveryState.REFUSED)

    @invariant()
    def it_is_delivered_and_committed_only_when_all_of_it_is(self) -> None:
        """What a destination acknowledged and could not commit to is sent again, and stays delivered meanwhile."""
        state = self.state()
        if state not in (StudyState.DELIVERED, StudyState.COMMITTED):
            return
        row = self.row()
        with self.ledger.read() as session:
            answers = {one.sop_instance_uid for one in results_of(session, self.uid, row.revision)}
            deliveries = deliveries_of(session, self.uid)
        owed = [
            each
            for each in deliveries
            if each.sop_instance_uid in answers and each.state is not DeliveryState.SUPERSEDED
        ]
        assert all(each.sent_at is not None for each in owed)
        of_pacs = [each.state for each in owed if each.destination == PACS]
        committed = bool(of_pacs) and set(of_pacs) == {DeliveryState.COMMITTED}
        assert committed == (state is StudyState.COMMITTED)

    def teardown(self) -> None:
        """Left alone with a node that works, it comes to an end."""
        if not self.images:
            return
        for _ in range(12):
            if self.row().state in ENDS:
                break
            self._go_on()
        assert self.row().state in ENDS

    def _go_on(self) -> None:
        """Take the step that a node takes which works."""
        state = self.row().state
        if state is StudyState.RECEIVING:
            self.it_is_judged(True)
        elif state is StudyState.QUEUED:
            self.a_worker_comes("worker-3")
        elif state is StudyState.READING and self.seen is not None:
            self.a_worker_comes_back_with_an_assessment()
        elif state is StudyState.READING:
            self.now += LEASE
            self.leases_expire()
        elif state is StudyState.READ:
            self.its_answer_is_composed((PACS, ARCHIVE))
        elif state is StudyState.REPORTED:
            self._deliver_all()

    def _deliver_all(self) -> None:
        self.now += MINUTE
        with self.ledger.begin() as session:
            for destination in (PACS, ARCHIVE):
                for each in due(session, destination=destination, now=self.now):
                    if each.study_instance_uid == self.uid:
                        mark_sent(session, each.number, now=self.now)
            settle(session, self.uid, now=self.now, commitment_destinations={PACS})


def test_every_step_is_one_of_the_table_and_every_study_comes_to_an_end(ledger: Ledger) -> None:
    class Life(StudyLife):
        pass

    Life.ledger = ledger
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=70,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
