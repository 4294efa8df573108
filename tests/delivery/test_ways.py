"""What each destination gets: the kinds and the way that it wants, and the next best of what it does not accept."""

import dataclasses
from contextlib import contextmanager
from datetime import timedelta

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt

from mammography.ledger.deliveries import results_of
from mammography.ledger.studies import history_of
from mammography.ledger.tables import DeliveryState
from mammography.settings_file import SettingsRefused, load_settings
from mammography.study import StudyState
from node.composition import destinations_of
from node.delivery import Delivery
from node.settings import NodeSettings
from tests.delivery.peers import destination
from tests.delivery.small_studies import NOW, VIEWS, assessment, uid

CAD_SR, GSPS, SR, SR_3D, SC = (
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("88.50", "11.1", "88.33", "88.34", "7")
)


@contextmanager
def pacs(*sop_classes, answer=lambda _: 0x0000):
    """A PACS that accepts these SOP classes; yields its port and the list of what it got."""
    got = []

    def store(event):
        status = answer(event)
        if status == 0x0000:
            got.append(event.dataset)
        return status

    entity = AE(ae_title="ANYBODY")
    for sop_class in sop_classes:
        entity.add_supported_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield server.server_address[1], got
    finally:
        server.shutdown()


def deliver(node, *, rounds=4):
    """Take turns as the node's roles do: send what is due, and make what must go instead."""
    reporting = node.reporting
    for turn in range(rounds):
        now = NOW + timedelta(milliseconds=turn)
        sending = Delivery(
            ledger=node.ledger,
            data_dir=node.data_dir,
            calling_ae_title="MAMMOCALC",
            destinations=node.destinations,
        )
        sending.sweep(now=now)
        sending.wait()
        sending.close()
        reporting.sweep(now=now)


def classes(got):
    return sorted(str(dataset.SOPClassUID) for dataset in got)


def states(node, study, name=None):
    return sorted(row.state for row in node.deliveries(study, name))


def history(node, study):
    with node.ledger.read() as session:
        return [line.reason for line in history_of(session, study)]


def results(node, study, revision=None):
    with node.ledger.read() as session:
        return results_of(session, study, revision)


def test_a_pacs_that_knows_no_cad_report_gets_a_measurement_report_instead(node):
    with pacs(GSPS, SR) as (port, got):
        node.destinations.append(destination("pacs", port))
        study = node.reported_study(views=VIEWS[:2])
        deliver(node)
    assert classes(got) == [GSPS, GSPS, SR]
    assert node.state(study) == StudyState.DELIVERED
    assert states(node, study) == [DeliveryState.SENT] * 3 + [DeliveryState.SUPERSEDED]
    (said,) = [line for line in history(node, study) if "instead" in line]
    assert "pacs does not accept Mammography CAD SR Storage" in said
    assert "It gets tid1500 instead of cad-sr." in said


def test_a_pacs_that_takes_pictures_alone_gets_each_picture_once(node):
    with pacs(SC) as (port, got):
        node.destinations.append(destination("pacs", port))
        study = node.reported_study(views=VIEWS[:2])
        deliver(node, rounds=6)
    assert classes(got) == [SC, SC]
    assert len({dataset.SOPInstanceUID for dataset in got}) == 2
    assert node.state(study) == StudyState.DELIVERED
    assert len([line for line in history(node, study) if "It gets picture" in line]) >= 1


def test_a_status_that_refuses_the_class_is_a_refusal_too(node):
    def refuse_reports(event):
        return 0x0122 if event.dataset.SOPClassUID == CAD_SR else 0x0000

    with pacs(CAD_SR, GSPS, SR, answer=refuse_reports) as (port, got):
        node.destinations.append(destination("pacs", port))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    assert classes(got) == [GSPS, SR]
    assert node.state(study) == StudyState.DELIVERED


def test_a_pacs_that_accepts_nothing_is_told_and_tried_again_with_the_last_resort(node):
    with pacs("1.2.840.10008.1.1") as (port, got):
        node.destinations.append(destination("pacs", port))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node, rounds=6)
    assert got == []
    assert node.state(study) == StudyState.REPORTED
    (waiting,) = [row for row in node.deliveries(study) if row.state == DeliveryState.PENDING]
    assert waiting.next_attempt_at > NOW
    assert "does not accept Secondary Capture Image Storage: allow it there" in waiting.reason


def test_what_goes_anyway_is_no_second_object(node):
    with pacs(GSPS, SR) as (port, got):
        node.destinations.append(destination("pacs", port, objects=("cad-sr", "tid1500")))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    assert classes(got) == [SR]
    assert node.state(study) == StudyState.DELIVERED
    assert len(node.deliveries(study)) == 2


def test_another_destination_keeps_what_it_accepts(node):
    with pacs(GSPS, SR) as (poor, _), pacs(CAD_SR, GSPS, SR) as (rich, got):
        node.destinations.extend([destination("poor", poor), destination("rich", rich)])
        study = node.reported_study(views=VIEWS[:1])
        deliver(node)
    assert classes(got) == [GSPS, CAD_SR]
    assert node.state(study) == StudyState.DELIVERED
    assert states(node, study, "rich") == [DeliveryState.SENT] * 2


def test_a_late_image_ends_the_search_for_a_substitute(node):
    with pacs(GSPS, SR) as (port, _):
        node.destinations.append(destination("pacs", port))
        study = node.reported_study(views=VIEWS[:1])
        deliver(node, rounds=0)
        sending = Delivery(
            ledger=node.ledger,
            data_dir=node.data_dir,
            calling_ae_title="MAMMOCALC",
            destinations=node.destinations,
        )
        sending.sweep(now=NOW)
        sending.wait()
        sending.close()
    assert DeliveryState.REFUSED in states(node, study)
    node.arrive(study, VIEWS[1])
    assert DeliveryState.REFUSED not in states(node, study)
    node.reporting.sweep(now=NOW)
    assert {result.kind for result in results(node, study)} == {"cad-sr", "gsps"}


def test_a_substitute_that_cannot_be_made_lets_the_study_wait_for_a_person(node):
    with pacs(CAD_SR) as (port, _):
        node.destinations.append(destination("pacs", port))
        study = node.reported_study(views=VIEWS[:1])
        image = next((node.data_dir / "studies" / study / "images").iterdir())
        image.write_bytes(image.read_bytes()[:-1000])
        deliver(node)
    assert node.state(study) == StudyState.FAILED
    assert "No picture can be made" in node.study(study).reason
    assert f"mammocalc study retry {study}" in node.study(study).reason


def test_each_destination_gets_its_own_kinds_written_its_own_way(node):
    node.destinations.extend(
        [
            destination("pacs", 104),
            destination("viewer", 105, objects=("tid1500", "picture")),
            destination("station", 106, objects=("cad-sr",), manufacturer="Somebody Else"),
            destination("archive", 107, objects=("tid1500",), tid1500="comprehensive-3d"),
        ]
    )
    study = node.reported_study(views=VIEWS[:2])
    sent = {
        name: sorted(
            (result.kind, dcmread(node.data_dir / result.path).get("Manufacturer"), result.sop_class_uid)
            for result in results(node, study)
            for row in node.deliveries(study, name)
            if row.sop_instance_uid == result.sop_instance_uid
        )
        for name in ("pacs", "viewer", "station", "archive")
    }
    assert [kind for kind, _, _ in sent["pacs"]] == ["cad-sr", "gsps", "gsps"]
    assert [kind for kind, _, _ in sent["viewer"]] == ["picture", "picture", "tid1500"]
    assert sent["station"] == [("cad-sr", "Somebody Else", CAD_SR)]
    assert sent["archive"] == [("tid1500", "Mammocalc", SR_3D)]


def test_a_later_report_names_the_one_before_that_was_written_alike(node):
    node.destinations.extend(
        [destination("pacs", 104), destination("station", 105, objects=("cad-sr",), manufacturer="Else")]
    )
    study = node.read_study(views=VIEWS[:1])
    node.reporting.sweep(now=NOW)
    node.arrive(study, VIEWS[1])
    node.read(study, assessment({uid(study, str(view), ""): view for view in VIEWS[:2]}))
    node.reporting.sweep(now=NOW)
    for name in ("pacs", "station"):
        first, second = (
            next(
                result
                for result in results(node, study, revision)
                if result.kind == "cad-sr"
                and any(
                    row.sop_instance_uid == result.sop_instance_uid for row in node.deliveries(study, name)
                )
            )
            for revision in (1, 2)
        )
        item = dcmread(node.data_dir / second.path).PredecessorDocumentsSequence[0]
        named = item.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert named == first.sop_instance_uid


SETTINGS = """
[[destinations]]
name = "station"
ae_title = "STATION"
host = "localhost"
port = 104
objects = ["tid1500", "picture"]
scheme = "SRT"
manufacturer = "Somebody Else"
benign = false
tid1500 = "comprehensive-3d"
tid1500_per_image = true
fallback = false
"""


def test_the_settings_say_what_a_destination_gets_and_how(tmp_path):
    file = tmp_path / "node.toml"
    file.write_text(SETTINGS)
    (station,) = destinations_of(load_settings(NodeSettings, file))
    assert dataclasses.asdict(station.options) == {
        "kinds": frozenset({"tid1500", "picture"}),
        "scheme": "SRT",
        "manufacturer": "Somebody Else",
        "benign": False,
        "tid1500": "comprehensive-3d",
        "tid1500_per_image": True,
    }
    assert station.fallback is False


@pytest.mark.parametrize("text", ["", "x" * 65, "M\u00fcller", "a\\\\b"])
def test_a_manufacturer_that_no_object_can_hold_is_refused(tmp_path, text):
    file = tmp_path / "node.toml"
    file.write_text(SETTINGS.replace("Somebody Else", text), encoding="utf-8")
    with pytest.raises(SettingsRefused, match="manufacturer"):
        load_settings(NodeSettings, file)
