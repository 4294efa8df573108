"""What holds for every destination, whether it takes objects by C-STORE or by STOW-RS."""

from contextlib import ExitStack
from datetime import timedelta

import pytest
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from sqlalchemy import update

from lab.demo.free_ports import free_port
from mammography.ledger.tables import DeliveryRow, DeliveryState
from mammography.study import StudyState
from node.delivery import GIVE_UP_AFTER
from tests.delivery.peers import destination
from tests.delivery.sending import deliver, reasons, states
from tests.delivery.small_studies import NOW, VIEWS
from tests.delivery.web_service import failed, stored, web_destination, web_service

CAD_SR, GSPS, SR, SC = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("88.50", "11.1", "88.33", "7"))


class CStorePacs:
    """A PACS that answers each C-STORE with a status."""

    def __init__(self, running):
        self._running = running

    def destination(self, answer, got):
        def store(event):
            status = answer(event.dataset)
            if status == 0x0000:
                got.append(event.dataset)
            return status

        entity = AE(ae_title="ANYBODY")
        entity.supported_contexts = [build_context(sop_class) for sop_class in (CAD_SR, GSPS, SR, SC)]
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
        self._running.callback(server.shutdown)
        return destination("pacs", server.server_address[1])

    def dead(self):
        return destination("pacs", free_port())


class StowPacs:
    """A PACS that answers each STOW-RS request with what the same status is there."""

    def __init__(self, running):
        self._running = running

    def destination(self, answer, got):
        def store(request):
            status = answer(request.dataset)
            if status == 0x0000:
                got.append(request.dataset)
                return stored()
            return stored(status, status=202) if 0xB000 <= status < 0xC000 else failed(status)

        return self._running.enter_context(web_service(store)).destination("pacs")

    def dead(self):
        return web_destination(f"http://127.0.0.1:{free_port()}/dicom-web", "pacs")


@pytest.fixture(params=[CStorePacs, StowPacs], ids=["c-store", "stow-rs"])
def service(request):
    with ExitStack() as running:
        yield request.param(running)


def test_what_is_stored_is_delivered_once_and_stays_as_it_was_written(node, service):
    got = []
    node.destinations.append(service.destination(lambda _: 0x0000, got))
    study = node.reported_study()
    assert deliver(node) == 5
    assert states(node, study) == {DeliveryState.SENT}
    assert reasons(node, study) == {""}
    assert node.state(study) == StudyState.DELIVERED
    written = (node.data_dir / "studies" / study / "results" / "r1").glob("*.dcm")
    assert {each.SOPInstanceUID: each for each in got} == {
        each.SOPInstanceUID: each for each in map(dcmread, written)
    }
    assert deliver(node, now=NOW + timedelta(hours=1)) == 0
    assert len(got) == 5


def test_what_is_sent_again_after_a_crash_is_the_same_instance(node, service):
    got = []
    node.destinations.append(service.destination(lambda _: 0x0000, got))
    study = node.reported_study(views=VIEWS[:1])
    deliver(node)
    with node.ledger.begin() as session:
        session.execute(update(DeliveryRow).values(state=DeliveryState.PENDING, next_attempt_at=NOW))
    deliver(node)
    first, again = got[:2], got[2:]
    assert sorted(each.SOPInstanceUID for each in first) == sorted(each.SOPInstanceUID for each in again)
    assert states(node, study) == {DeliveryState.SENT}


def test_a_warning_counts_as_stored_and_is_remembered(node, service):
    node.destinations.append(service.destination(lambda _: 0xB000, []))
    study = node.reported_study(views=VIEWS[:1])
    deliver(node)
    assert node.state(study) == StudyState.DELIVERED
    assert all("B000H (Warning" in row.warning for row in node.deliveries(study))


def test_a_failure_is_postponed_with_what_the_destination_said(node, service):
    node.destinations.append(service.destination(lambda _: 0xA700, []))
    study = node.reported_study(views=VIEWS[:1])
    deliver(node)
    assert states(node, study) == {DeliveryState.PENDING}
    assert all("A700H (Failure" in reason for reason in reasons(node, study))
    assert node.state(study) == StudyState.REPORTED
    assert deliver(node) == 0
    assert deliver(node, now=NOW + timedelta(seconds=2)) == 2


def test_one_object_that_fails_holds_up_no_other(node, service):
    got = []
    answer = lambda dataset: 0xC000 if dataset.SOPClassUID == CAD_SR else 0x0000  # noqa: E731
    node.destinations.append(service.destination(answer, got))
    study = node.reported_study()
    deliver(node)
    assert {dataset.SOPClassUID for dataset in got} == {GSPS}
    assert len(got) == 4
    assert sorted(row.attempts for row in node.deliveries(study)) == [1, 1, 1, 1, 1]
    assert [row.state for row in node.deliveries(study)].count(DeliveryState.PENDING) == 1


def test_what_is_not_supported_is_replaced_by_the_next_best(node, service):
    got = []
    answer = lambda dataset: 0x0000 if dataset.SOPClassUID in (SR, SC) else 0x0122  # noqa: E731
    node.destinations.append(service.destination(answer, got))
    study = node.reported_study(views=VIEWS[:1])
    reporting = node.reporting
    for turn in range(3):
        deliver(node, now=NOW + timedelta(milliseconds=turn))
        reporting.sweep(now=NOW + timedelta(milliseconds=turn))
    assert sorted(dataset.SOPClassUID for dataset in got) == sorted([SR, SC])
    assert states(node, study) == {DeliveryState.SENT, DeliveryState.SUPERSEDED}
    assert node.state(study) == StudyState.DELIVERED


def test_where_nobody_is_everything_stays_due_and_after_three_days_a_person_is_called(node, service):
    node.destinations.append(service.dead())
    study = node.reported_study(views=VIEWS[:1])
    deliver(node)
    assert states(node, study) == {DeliveryState.PENDING}
    assert {row.attempts for row in node.deliveries(study)} == {0}
    assert all("cannot be reached: nobody answers there" in reason for reason in reasons(node, study))
    deliver(node, now=NOW + GIVE_UP_AFTER + timedelta(hours=2))
    assert states(node, study) == {DeliveryState.FAILED}
    assert f"mammocalc study retry {study}" in node.study(study).reason


def test_a_file_that_was_damaged_on_our_disk_is_not_sent(node, service):
    got = []
    node.destinations.append(service.destination(lambda _: 0x0000, got))
    study = node.reported_study(views=VIEWS[:1])
    report = next((node.data_dir / "studies" / study / "results" / "r1").glob("cad-sr-*.dcm"))
    report.write_bytes(report.read_bytes()[:-2] + b"!!")
    deliver(node)
    assert [dataset.SOPClassUID for dataset in got] == [GSPS]
    assert any("checksum differs" in reason for reason in reasons(node, study))
