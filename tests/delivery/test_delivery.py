"""Our objects reach every destination exactly once, whatever happens on the way."""

import hashlib
import socket
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress
from datetime import timedelta

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from sqlalchemy import event, update
from sqlalchemy.exc import OperationalError

from lab.demo.free_ports import free_port
from mammography.ledger.deliveries import WrittenResult, add_results
from mammography.ledger.studies import advance, history_of
from mammography.ledger.tables import DeliveryRow, DeliveryState
from mammography.study import StudyEvent, StudyState
from node.delivery import BACK_OFF, GIVE_UP_AFTER, Delivery, back_off
from tests.delivery.peers import destination
from tests.delivery.small_studies import NOW, VIEWS, Node, uid
from tests.servers import wait_for

CAD_SR = "1.2.840.10008.5.1.4.1.1.88.50"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"


def delivery(node):
    return Delivery(
        ledger=node.ledger,
        data_dir=node.data_dir,
        calling_ae_title="MAMMOCALC",
        destinations=node.destinations,
    )


def deliver(node, *, now=NOW):
    sending = delivery(node)
    count = sending.sweep(now=now)
    sending.wait()
    sending.close()
    return count


def sent_again(node, study):
    """Forget that a study was sent: what a power cut leaves between a C-STORE's response and its row."""
    with node.ledger.begin() as session:
        session.execute(
            update(DeliveryRow)
            .where(DeliveryRow.study_instance_uid == study)
            .values(state=DeliveryState.PENDING, next_attempt_at=NOW, sent_at=None)
        )


def states(node, study, name=None):
    return {row.state for row in node.deliveries(study, name)}


def reasons(node, study, name=None):
    return {row.reason for row in node.deliveries(study, name)}


@contextmanager
def storage(handler, *sop_classes, syntaxes=(ExplicitVRLittleEndian, ImplicitVRLittleEndian)):
    """A PACS whose C-STORE answer is a function of the event; yields its port."""
    entity = AE(ae_title="ANYBODY")
    for sop_class in sop_classes or (CAD_SR, GSPS):
        entity.add_supported_context(sop_class, list(syntaxes))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handler)])
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.mark.orthanc
def test_every_object_lies_in_orthanc_once_and_the_study_is_delivered(node, pacs):
    node.destinations.append(pacs.destination())
    study = node.reported_study()
    assert deliver(node) == 5
    held = pacs.orthanc.instances()
    assert [row.sop_instance_uid for row in node.deliveries(study) if row.sop_instance_uid not in held] == []
    assert states(node, study) == {DeliveryState.SENT}
    assert node.state(study) == StudyState.DELIVERED
    assert deliver(node, now=NOW + timedelta(hours=1)) == 0


@pytest.mark.orthanc
def test_what_orthanc_holds_says_the_same_as_what_was_written(node, pacs):
    node.destinations.append(pacs.destination())
    study = node.reported_study(views=VIEWS[:1])
    deliver(node)
    for row in node.deliveries(study):
        kind = "cad-sr" if dcmread_of(node, row).SOPClassUID == CAD_SR else "gsps"
        there = node.data_dir / f"{kind}.dcm"
        there.write_bytes(pacs.orthanc.file_of(row.sop_instance_uid))
        assert dcmread(there) == dcmread_of(node, row)


def dcmread_of(node, row):
    folder = node.data_dir / "studies" / row.study_instance_uid / "results" / "r1"
    return dcmread(next(folder.glob(f"*-{row.sop_instance_uid}.dcm")))


@pytest.mark.orthanc
def test_an_object_that_is_sent_again_after_a_crash_stays_one_instance(node, pacs):
    node.destinations.append(pacs.destination())
    study = node.reported_study()
    deliver(node)
    before = pacs.orthanc.instances()
    sent_again(node, study)
    assert deliver(node) == 5
    assert pacs.orthanc.instances() == before
    assert states(node, study) == {DeliveryState.SENT}


@pytest.mark.orthanc
def test_a_dead_destination_is_tried_again_and_delays_no_other(node, pacs):
    dead_port = free_port()
    node.destinations.extend([destination("dead", dead_port), pacs.destination()])
    study = node.reported_study()
    deliver(node)
    assert states(node, study, "pacs") == {DeliveryState.SENT}
    assert states(node, study, "dead") == {DeliveryState.PENDING}
    assert all("cannot be reached" in reason for reason in reasons(node, study, "dead"))
    assert node.state(study) == StudyState.REPORTED


def test_a_destination_that_comes_back_gets_what_waited(node, storescp):
    port, folder = storescp()
    node.destinations.append(destination("pacs", free_port()))
    study = node.reported_study()
    deliver(node)
    node.destinations[:] = [destination("pacs", port)]
    assert deliver(node, now=NOW + timedelta(seconds=10)) == 5
    assert len(list(folder.iterdir())) == 5
    assert node.state(study) == StudyState.DELIVERED
    assert {row.attempts for row in node.deliveries(study)} == {1}


def test_a_destination_that_is_away_is_called_now_and_then_and_gets_all_at_once_when_it_is_back(
    node, storescp
):
    """Six hours away: called some 75 times, not once for each object, and five minutes after its return all is there."""
    port = free_port()
    node.destinations.append(destination("pacs", port))
    studies = [node.reported_study(views=VIEWS[:1]) for _ in range(3)]
    sending, now, calls = delivery(node), NOW, 0
    while now < NOW + timedelta(hours=6):
        calls += bool(sending.sweep(now=now))
        sending.wait()
        now += timedelta(seconds=20)
    assert 60 < calls < 100
    assert all("cannot be reached" in reason for study in studies for reason in reasons(node, study))
    _, folder = storescp(port=port)
    back = now
    while any(node.state(study) != StudyState.DELIVERED for study in studies):
        sending.sweep(now=now)
        sending.wait()
        now += timedelta(seconds=20)
        assert now - back < timedelta(minutes=7)
    assert len(list(folder.iterdir())) == 6
    sending.close()


def test_a_destination_that_hangs_up_on_everything_is_called_less_and_less(node, storescp):
    aborting, _ = storescp("--abort-during")
    node.destinations.append(destination("pacs", aborting))
    node.reported_study()
    sending, calls = delivery(node), 0
    for second in range(60):
        calls += bool(sending.sweep(now=NOW + timedelta(seconds=second)))
        sending.wait()
    assert calls in (4, 5)  # at once, and after 1, 5 and 30 seconds
    sending.close()


@pytest.mark.parametrize("jump", [timedelta(days=-1), timedelta(days=1)])
def test_a_clock_that_jumps_holds_up_no_delivery(node, storescp, jump):
    port = free_port()
    node.destinations.append(destination("pacs", port))
    study = node.reported_study(views=VIEWS[:1], now=NOW - timedelta(days=1))
    sending = delivery(node)
    for second in range(120):
        sending.sweep(now=NOW + timedelta(seconds=second))
        sending.wait()
    _, folder = storescp(port=port)
    assert sending.sweep(now=NOW + jump) == 2
    sending.wait()
    sending.close()
    assert len(list(folder.iterdir())) == 2
    assert node.state(study) == StudyState.DELIVERED


def test_a_silent_destination_delays_no_other(node, storescp):
    port, folder = storescp()
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        node.destinations.append(destination("silent", silent.getsockname()[1], timeout=timedelta(seconds=3)))
        node.destinations.append(destination("pacs", port))
        study = node.reported_study()
        sending = delivery(node)
        began = time.monotonic()
        sending.sweep(now=NOW)
        wait_for(lambda: states(node, study, "pacs") == {DeliveryState.SENT}, seconds=2.5)
        later = node.reported_study()
        sending.sweep(now=NOW)
        wait_for(lambda: states(node, later, "pacs") == {DeliveryState.SENT}, seconds=2.5)
        assert time.monotonic() - began < 3
        assert states(node, study, "silent") == {DeliveryState.PENDING}
        sending.wait()
        assert all("did not answer" in reason for reason in reasons(node, study, "silent"))
        sending.close()
    assert len(list(folder.iterdir())) == 10


@contextmanager
def unwritable(node, word):
    """A ledger that takes nothing in which this word is."""

    def refuse(_connection, _cursor, statement, parameters, *_):
        if statement.startswith("UPDATE delivery") and word in str(parameters):
            raise OperationalError(statement, None, OSError("database or disk is full"))

    event.listen(node.ledger._engine, "before_cursor_execute", refuse)
    yield
    event.remove(node.ledger._engine, "before_cursor_execute", refuse)


def test_what_cannot_be_written_down_of_one_destination_delays_no_other(node):
    with storage(lambda _: 0xA700) as broken, storage(lambda _: 0x0000) as port:
        node.destinations.extend([destination("broken", broken), destination("pacs", port)])
        study = node.reported_study(views=VIEWS[:1])
        sending = delivery(node)
        with unwritable(node, "broken answered"):
            sending.sweep(now=NOW)
            with pytest.raises(OperationalError):
                sending.wait()
            later = node.reported_study(views=VIEWS[:1])
            sending.sweep(now=NOW + timedelta(seconds=10))
            wait_for(lambda: all(each.done() for each in sending._lanes._running.values()))
            last = node.reported_study(views=VIEWS[:1])
            with pytest.raises(OperationalError):
                sending.sweep(now=NOW + timedelta(seconds=13))
            sending.wait()
        sending.close()
    for each in (study, later, last):
        assert states(node, each, "broken") == {DeliveryState.PENDING}
        assert states(node, each, "pacs") == {DeliveryState.SENT}


def test_what_cannot_be_written_down_is_not_sent_again_without_pause(node):
    came = []
    with storage(lambda event: came.append(event) or 0xA700) as port:
        node.destinations.append(destination("pacs", port))
        study = node.reported_study(views=VIEWS[:1])
        sending = delivery(node)
        with unwritable(node, "pacs answered"):
            for seconds, times in ((0, 1), (10, 2), (13, 2), (30, 3), (45, 3)):
                sending.sweep(now=NOW + timedelta(seconds=seconds))
                with suppress(OperationalError):
                    sending.wait()
                assert len(came) == 2 * times
        sending.sweep(now=NOW + timedelta(minutes=2))
        sending.wait()
        sending.close()
    assert {row.attempts for row in node.deliveries(study)} == {1}


def test_a_destination_that_is_not_reached_is_away_once_though_it_cannot_be_written_down(node):
    """The pause after one failure, not after two."""
    node.destinations.append(destination("pacs", free_port()))
    node.reported_study(views=VIEWS[:1])
    sending = delivery(node)
    with unwritable(node, "cannot be reached"):
        sending.sweep(now=NOW)
        with pytest.raises(OperationalError):
            sending.wait()
        assert sending.sweep(now=NOW + timedelta(seconds=2))
        with pytest.raises(OperationalError):
            sending.wait()
    sending.close()


def test_a_sop_class_that_is_not_accepted_gets_a_sentence_and_the_others_arrive(node):
    with storage(lambda _: 0x0000, CAD_SR) as port:
        node.destinations.append(destination("pacs", port, fallback=False))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    report, state = sorted(node.deliveries(study), key=lambda row: row.state == DeliveryState.PENDING)
    assert report.state == DeliveryState.SENT
    assert state.reason == (
        "pacs does not accept Grayscale Softcopy Presentation State Storage: allow it there, or take "
        '"gsps" out of the objects of this destination.'
    )


def test_a_destination_that_accepts_nothing_gets_a_sentence_for_each_object(node):
    with storage(lambda _: 0x0000, "1.2.840.10008.5.1.4.1.1.7") as port:
        node.destinations.append(destination("pacs", port, fallback=False))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    assert sorted(reason.split(":")[0] for reason in reasons(node, study)) == [
        "pacs does not accept Grayscale Softcopy Presentation State Storage",
        "pacs does not accept Mammography CAD SR Storage",
    ]


def test_a_destination_that_takes_implicit_vr_alone_is_served(node):
    got = []
    with storage(
        lambda event: got.append(event.dataset) or 0x0000, syntaxes=[ImplicitVRLittleEndian]
    ) as port:
        node.destinations.append(destination("pacs", port))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    assert node.state(study) == StudyState.DELIVERED
    assert sorted(dataset.SOPClassUID for dataset in got) == sorted([CAD_SR, GSPS])


def test_a_warning_counts_as_stored_and_is_remembered(node):
    with storage(lambda _: 0xB000) as port:
        node.destinations.append(destination("pacs", port))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    assert node.state(study) == StudyState.DELIVERED
    assert all("B000H (Warning" in row.warning for row in node.deliveries(study))


def test_a_refusal_is_postponed_with_what_the_destination_said(node):
    with storage(lambda _: 0xA700) as port:
        node.destinations.append(destination("pacs", port))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    assert states(node, study) == {DeliveryState.PENDING}
    assert all("A700H (Failure" in reason for reason in reasons(node, study))
    assert node.state(study) == StudyState.REPORTED


@pytest.mark.parametrize("status", [0xA700, 0xB000])
def test_words_of_a_destination_with_a_nul_within_are_written_down(ledger, tmp_path, status):
    answer, came = Dataset(), []
    answer.Status, answer.ErrorComment = status, "no room\0left"
    with storage(lambda event: came.append(event) or answer) as port:
        node = Node(ledger=ledger, data_dir=tmp_path / "data", destinations=[destination("pacs", port)])
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
        deliver(node)
    rows = node.deliveries(study)
    assert len(came) == len(rows), "each went once"
    assert {row.attempts for row in rows} == {1}
    assert all("no roomleft" in (row.reason or row.warning) for row in rows)


@pytest.mark.parametrize("habit", ["--abort-during", "--abort-after"])
def test_an_association_that_is_aborted_is_tried_again(node, storescp, habit):
    aborting, _ = storescp(habit)
    port, folder = storescp()
    node.destinations.append(destination("pacs", aborting))
    study = node.reported_study(views=VIEWS[:2])
    now, began = NOW, time.monotonic()
    deliver(node, now=now)
    assert time.monotonic() - began < 4, "waited for the answer of a destination that had hung up"
    first, *rest = sorted(node.deliveries(study), key=lambda row: -row.attempts)
    assert first.attempts == 1
    assert "ended the association" in first.reason
    # an object that its destination dies of holds up no other: those behind it are still due
    assert {row.attempts for row in rest} == {0}
    node.destinations[:] = [destination("pacs", port)]
    while node.state(study) != StudyState.DELIVERED:
        now += timedelta(seconds=2)
        deliver(node, now=now)
        assert now < NOW + timedelta(seconds=10)
    assert len(list(folder.iterdir())) in (2, 3)


def test_a_file_that_was_damaged_on_our_disk_is_not_sent(node, storescp):
    port, folder = storescp()
    node.destinations.append(destination("pacs", port))
    study = node.reported_study(views=VIEWS[:1])
    report = next((node.data_dir / "studies" / study / "results" / "r1").glob("cad-sr-*.dcm"))
    report.write_bytes(report.read_bytes()[:-2] + b"!!")
    deliver(node)
    assert len(list(folder.iterdir())) == 1
    assert any("checksum differs" in reason for reason in reasons(node, study))


def test_after_three_days_a_study_waits_for_a_person_who_is_told_what_to_do(node):
    node.destinations.append(destination("dead", free_port()))
    study = node.reported_study(views=VIEWS[:1])
    deliver(node, now=NOW + GIVE_UP_AFTER - timedelta(minutes=1))
    assert node.state(study) == StudyState.REPORTED
    deliver(node, now=NOW + GIVE_UP_AFTER + timedelta(hours=2))
    assert states(node, study) == {DeliveryState.FAILED}
    assert node.state(study) == StudyState.FAILED
    assert "cannot be reached" in node.study(study).reason
    assert f"mammocalc study retry {study}" in node.study(study).reason
    with node.ledger.read() as session:
        assert history_of(session, study)[-1].to_state == StudyState.FAILED


def test_the_pauses_grow_from_a_second_to_an_hour_and_never_fall_together():
    for attempts in range(20):
        pause = BACK_OFF[min(attempts, 5)]
        tries = {back_off(attempts) for _ in range(50)}
        assert len(tries) > 1
        assert all(0.8 * pause <= one <= 1.2 * pause for one in tries)
    assert BACK_OFF[0] == timedelta(seconds=1)
    assert BACK_OFF[-1] == timedelta(hours=1)


@contextmanager
def busy_machine():
    """Threads that fight for the interpreter: what made pynetdicom's own thread take our responses."""
    stop, interval = threading.Event(), sys.getswitchinterval()

    def spin():
        while not stop.is_set():
            sum(range(500))

    threads = [threading.Thread(target=spin) for _ in range(2)]
    sys.setswitchinterval(0.0001)
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)


def outbox_of(node, count):
    """A study with `count` reports in the outbox, all but their UIDs the same."""
    study = node.read_study(views=VIEWS[:1])
    node.reporting.sweep(now=NOW)
    original = next((node.data_dir / "studies" / study / "results" / "r1").glob("cad-sr-*.dcm"))
    big = node.read_study(views=VIEWS[:1])
    written = []
    for number in range(count):
        dataset = dcmread(original)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(big, str(number))
        path = original.with_name(f"{number}.dcm")
        dataset.save_as(path)
        written.append(
            WrittenResult(
                sop_instance_uid=dataset.SOPInstanceUID,
                kind="cad-sr",
                sop_class_uid=CAD_SR,
                path=str(path.relative_to(node.data_dir)),
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                destinations=("pacs",),
            )
        )
    with node.ledger.begin() as session:
        add_results(session, big, revision=1, results=written, destinations=["pacs"], now=NOW)
        seen = StudyState.READ
        advance(session, big, seen=seen, event=StudyEvent.COMPOSED, now=NOW, reason="-")
    return big


def test_two_hundred_objects_go_over_one_association_once_each_while_the_machine_is_busy(node, storescp):
    port, folder = storescp()
    study = outbox_of(node, 200)
    node.destinations.append(destination("pacs", port))
    with busy_machine():
        deliver(node)
    rows = node.deliveries(study)
    assert states(node, study) == {DeliveryState.SENT}
    assert {row.attempts for row in rows} == {1}
    held = [path.name.split(".", 1)[1] for path in folder.iterdir()]
    assert sorted(held) == sorted(row.sop_instance_uid for row in rows)
    assert node.state(study) == StudyState.DELIVERED
