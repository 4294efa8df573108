"""Delivered means committed: asked for, reported at any moment and by any way, asked for again, sent again."""

import threading
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from mammography.ledger.tables import DeliveryState
from mammography.study import StudyState
from node.commitment import FAILURE_REASONS, PUSH_MODEL, PUSH_MODEL_INSTANCE, Commitment, CommitmentReport
from node.delivery import GIVE_UP_AFTER, Delivery
from tests.delivery.peers import destination, listening
from tests.delivery.small_studies import NOW, VIEWS
from tests.servers import wait_for

CAD_SR = "1.2.840.10008.5.1.4.1.1.88.50"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"


def commitment(node):
    return Commitment(ledger=node.ledger, calling_ae_title="MAMMOCALC", destinations=node.destinations)


def deliver(node, *, now=NOW):
    sending = Delivery(
        ledger=node.ledger,
        data_dir=node.data_dir,
        calling_ae_title="MAMMOCALC",
        destinations=node.destinations,
    )
    count = sending.sweep(now=now)
    sending.wait()
    sending.close()
    return count


def ask(node, *, now=NOW):
    asking = commitment(node)
    count = asking.sweep(now=now)
    asking.wait()
    asking.close()
    return count


def states(node, study):
    return {row.state for row in node.deliveries(study)}


def transactions(node, study):
    return {row.transaction_uid for row in node.deliveries(study)}


def reasons(node, study):
    return {row.reason for row in node.deliveries(study)}


@contextmanager
def archive(on_action, *, storing=True, status=0x0000):
    """A PACS that stores everything, with this status, and answers an N-ACTION by a function of the event; yields its port."""
    entity = AE(ae_title="ANYBODY")
    if storing:
        entity.add_supported_context(CAD_SR, ExplicitVRLittleEndian)
        entity.add_supported_context(GSPS, ExplicitVRLittleEndian)
    entity.add_supported_context(PUSH_MODEL)
    handlers = [(evt.EVT_C_STORE, lambda _: status), (evt.EVT_N_ACTION, on_action)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@contextmanager
def silent_archive(asked, *, status=0x0000):
    """A PACS that takes requests, remembers their transactions and objects in `asked`, and never reports."""

    def take(event):
        information = event.action_information
        uids = [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence]
        asked.append((information.TransactionUID, sorted(uids)))
        return status, None

    with archive(take) as port:
        yield port


def report(node, study, *, failed=None, committed=()):
    (transaction,) = transactions(node, study)
    return CommitmentReport(transaction_uid=transaction, committed=tuple(committed), failed=failed or {})


@pytest.mark.orthanc
def test_orthanc_commits_and_the_study_is_committed(node, pacs):
    node.destinations.append(pacs.destination(commitment=True))
    study = node.reported_study()
    deliver(node)
    assert node.state(study) == StudyState.DELIVERED
    asking = commitment(node)
    with listening(node, pacs.node_port, lambda said: asking.record(said, now=NOW)):
        assert asking.sweep(now=NOW) == 5
        wait_for(lambda: node.state(study) == StudyState.COMMITTED, what="the commitment")
        asking.wait()
    assert states(node, study) == {DeliveryState.COMMITTED}
    assert len(transactions(node, study)) == 1
    assert ask(node, now=NOW + timedelta(days=1)) == 0


@pytest.mark.orthanc
def test_what_orthanc_lost_is_sent_again_and_then_committed(node, pacs):
    node.destinations.append(pacs.destination(commitment=True))
    study = node.reported_study(views=VIEWS[:1])
    deliver(node)
    lost = node.deliveries(study)[0].sop_instance_uid
    pacs.orthanc.delete(f"/instances/{pacs.orthanc.instances()[lost]}")
    asking, now = commitment(node), NOW
    with listening(node, pacs.node_port, lambda said: asking.record(said, now=now)):
        asking.sweep(now=NOW)
        wait_for(lambda: DeliveryState.PENDING in states(node, study), what="the report of the loss")
        asking.wait()
        row = next(row for row in node.deliveries(study) if row.sop_instance_uid == lost)
        assert "does not hold the object (0112H)" in row.reason
        assert row.next_attempt_at > NOW
        now = NOW + timedelta(minutes=1)
        assert deliver(node, now=now) == 1
        assert lost in pacs.orthanc.instances()
        asking.sweep(now=now)
        wait_for(lambda: node.state(study) == StudyState.COMMITTED, what="the commitment")
        asking.wait()
    assert len(transactions(node, study)) == 2


def test_a_report_that_comes_before_the_response_is_not_lost(node):
    def hasty(event):
        information = event.action_information
        uids = [item.ReferencedSOPInstanceUID for item in information.ReferencedSOPSequence]
        said = CommitmentReport(transaction_uid=information.TransactionUID, committed=tuple(uids), failed={})
        asking.record(said, now=NOW)
        return 0x0000, None

    with archive(hasty) as port:
        node.destinations.append(destination("pacs", port, commitment=True))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
        asking = commitment(node)
        asking.sweep(now=NOW)
        asking.wait()
    assert node.state(study) == StudyState.COMMITTED
    assert reasons(node, study) == {""}


def test_a_report_over_the_same_association_is_taken(node):
    answered = []

    def reporting(event):
        said = Dataset()
        said.TransactionUID = event.action_information.TransactionUID
        said.ReferencedSOPSequence = event.action_information.ReferencedSOPSequence
        answers.append((event.assoc, said))
        return 0x0000, None

    def report_after_the_response(event):
        if answers and event.message.__class__.__name__ == "N_ACTION_RSP":
            assoc, said = answers.pop()

            def send():
                status, _ = assoc.send_n_event_report(said, 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
                answered.append(status.Status)

            threading.Timer(0.05, send).start()

    answers = []
    entity = AE(ae_title="ANYBODY")
    for sop_class in (CAD_SR, GSPS, PUSH_MODEL):
        entity.add_supported_context(sop_class, ExplicitVRLittleEndian)
    handlers = [
        (evt.EVT_C_STORE, lambda _: 0x0000),
        (evt.EVT_N_ACTION, reporting),
        (evt.EVT_DIMSE_SENT, report_after_the_response),
    ]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    node.destinations.append(destination("pacs", server.server_address[1], commitment=True))
    study = node.reported_study(views=VIEWS[:1])
    deliver(node)
    ask(node)
    assert node.state(study) == StudyState.COMMITTED
    wait_for(lambda: answered == [0x0000], what="our answer to the report")
    server.shutdown()


def test_a_silent_destination_is_asked_again_with_the_same_transaction_and_growing_pauses(node):
    asked = []
    with silent_archive(asked) as port:
        node.destinations.append(destination("pacs", port, commitment=True))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
        moments = [NOW]
        while moments[-1] < NOW + timedelta(hours=24):
            assert ask(node, now=moments[-1]) == 2
            assert ask(node, now=moments[-1] + timedelta(seconds=1)) == 0
            moments.append(max(row.next_attempt_at for row in node.deliveries(study)))
    pauses = [after - before for before, after in pairwise(moments)]
    assert 8 <= len(asked) <= 14
    assert len(asked) == len(moments) - 1
    assert len({transaction for transaction, _ in asked}) == 1
    assert pauses == sorted(pauses)
    assert node.state(study) == StudyState.DELIVERED
    assert all("has not reported" in reason for reason in reasons(node, study))


def test_a_destination_that_refuses_the_request_is_asked_again_later_and_the_reason_is_seen(node):
    with silent_archive([], status=0x0110) as port:
        node.destinations.append(destination("pacs", port, commitment=True))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
        ask(node)
    assert states(node, study) == {DeliveryState.COMMITMENT_REQUESTED}
    assert reasons(node, study) == {"pacs refused the request for commitment with 0110H."}
    assert all(row.next_attempt_at > NOW for row in node.deliveries(study))
    assert ask(node) == 0


def test_what_a_destination_warned_of_outlives_what_is_said_of_its_commitment(node):
    with archive(lambda _: (0x0110, None), status=0xB000) as port:
        node.destinations.append(destination("pacs", port, commitment=True))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
        ask(node)
    rows = node.deliveries(study)
    assert {row.reason for row in rows} == {"pacs refused the request for commitment with 0110H."}
    assert all("B000H (Warning" in row.warning for row in rows)


def test_what_nobody_foresaw_of_one_destination_keeps_no_other_from_being_asked(node, monkeypatch):
    asked = []

    def ask_or_break(self, destination, requests, clock):
        asked.append(destination.name)
        assert destination.name != "broken"

    monkeypatch.setattr(Commitment, "_ask", ask_or_break)
    with archive(lambda _: (0x0000, None)) as port:
        names = ("broken", "pacs")
        node.destinations.extend(destination(name, port, commitment=True) for name in names)
        node.reported_study(views=VIEWS[:1])
        deliver(node)
        asking = commitment(node)
        asking.sweep(now=NOW)
        wait_for(lambda: sorted(asked) == ["broken", "pacs"])
        wait_for(lambda: all(each.done() for each in asking._lanes._running.values()))
        with pytest.raises(AssertionError):
            asking.sweep(now=NOW + timedelta(minutes=1))
        asking.close()
    assert sorted(asked) == ["broken", "broken", "pacs", "pacs"]


def test_a_destination_without_storage_commitment_says_what_to_do(node, storescp):
    port, _ = storescp()
    node.destinations.append(destination("pacs", port, commitment=True))
    study = node.reported_study(views=VIEWS[:1])
    deliver(node)
    ask(node)
    assert node.state(study) == StudyState.DELIVERED
    assert reasons(node, study) == {
        "pacs offers no Storage Commitment: allow it there, or set commitment = false for this destination."
    }


def test_a_destination_that_died_after_the_store_is_asked_again(node):
    asked = []
    with silent_archive(asked) as port:
        node.destinations.append(destination("pacs", port, commitment=True))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    ask(node)
    assert asked == []
    assert all("cannot be reached" in reason for reason in reasons(node, study))
    with silent_archive(asked) as port:
        node.destinations[:] = [destination("pacs", port, commitment=True)]
        ask(node, now=NOW + timedelta(minutes=2))
    assert len(asked) == 1


def test_a_partial_report_commits_what_it_names_and_the_rest_is_asked_for_again(node):
    asked = []
    with silent_archive(asked) as port:
        node.destinations.append(destination("pacs", port, commitment=True))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
        ask(node)
        first, second = (row.sop_instance_uid for row in node.deliveries(study))
        commitment(node).record(report(node, study, committed=[first]), now=NOW)
        assert states(node, study) == {DeliveryState.COMMITTED, DeliveryState.COMMITMENT_REQUESTED}
        assert node.state(study) == StudyState.DELIVERED
        ask(node, now=NOW + timedelta(minutes=2))
    assert asked[1] == (asked[0][0], [second])
    commitment(node).record(report(node, study, committed=[second]), now=NOW)
    assert node.state(study) == StudyState.COMMITTED


def test_a_report_that_comes_twice_or_of_nobody_changes_nothing(node):
    with silent_archive([]) as port:
        node.destinations.append(destination("pacs", port, commitment=True))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
        ask(node)
    uids = [row.sop_instance_uid for row in node.deliveries(study)]
    said = report(node, study, committed=uids)
    commitment(node).record(said, now=NOW)
    commitment(node).record(said, now=NOW + timedelta(hours=1))
    foreign = CommitmentReport(transaction_uid="1.2.3", committed=(), failed=dict.fromkeys(uids, "lost"))
    commitment(node).record(foreign, now=NOW)
    assert states(node, study) == {DeliveryState.COMMITTED}
    assert {row.committed_at for row in node.deliveries(study)} == {NOW}


def test_a_destination_that_never_commits_is_given_up_after_three_days(node):
    with silent_archive([]) as port:
        node.destinations.append(destination("pacs", port, commitment=True))
        study = node.reported_study(views=VIEWS[:1])
        now = NOW
        while node.state(study) != StudyState.FAILED:
            assert now < NOW + GIVE_UP_AFTER + timedelta(hours=24)
            deliver(node, now=now)
            ask(node, now=now)
            (transaction,) = transactions(node, study)
            failed = {row.sop_instance_uid: FAILURE_REASONS[0x0213] for row in node.deliveries(study)}
            said = CommitmentReport(transaction_uid=transaction, committed=(), failed=failed)
            commitment(node).record(said, now=now)
            now += timedelta(hours=20)
    assert "no room for the object (0213H)" in node.study(study).reason
    assert states(node, study) == {DeliveryState.FAILED}


def test_an_event_report_is_understood_whatever_it_lacks():
    event = Dataset()
    assert CommitmentReport.from_event(event).transaction_uid == ""
    event.TransactionUID = "1.2.3"
    kept, lost, odd = Dataset(), Dataset(), Dataset()
    kept.ReferencedSOPInstanceUID = "1.2.4"
    lost.ReferencedSOPInstanceUID, lost.FailureReason = "1.2.5", 0x0112
    odd.ReferencedSOPInstanceUID, odd.FailureReason = "1.2.6", 0xABCD
    event.ReferencedSOPSequence, event.FailedSOPSequence = [kept, Dataset()], [lost, odd]
    assert CommitmentReport.from_event(event) == CommitmentReport(
        transaction_uid="1.2.3",
        committed=("1.2.4",),
        failed={"1.2.5": FAILURE_REASONS[0x0112], "1.2.6": "the destination gives the reason ABCDH"},
    )
