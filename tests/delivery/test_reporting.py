"""A study that was read gets its objects: written, the same at every attempt, and in the outbox."""

import dataclasses
import hashlib
from datetime import timedelta
from io import BytesIO

import pytest
from PIL import Image
from pydicom import dcmread

from lab.demo.free_ports import free_port
from mammography.coordinates import ImagePoint
from mammography.finding import Speck
from mammography.ledger.deliveries import results_of
from mammography.ledger.studies import instances_of
from mammography.ledger.tables import DeliveryState
from mammography.study import StudyState
from node.reporting import MOST_CRASHES
from tests.delivery.peers import destination
from tests.delivery.small_studies import NOW, VIEWS, assessment, finding, uid

EVERYWHERE = destination("pacs", 104)


def files_of(node, study, revision=1):
    folder = node.data_dir / "studies" / study / "results" / f"r{revision}"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def results(node, study, revision=None):
    with node.ledger.read() as session:
        return results_of(session, study, revision)


def test_a_read_study_is_reported_with_one_report_and_a_presentation_state_for_each_image(node):
    node.destinations.append(EVERYWHERE)
    study = node.reported_study()
    assert node.state(study) == StudyState.REPORTED
    assert sorted(result.kind for result in results(node, study)) == [
        "cad-sr",
        "gsps",
        "gsps",
        "gsps",
        "gsps",
    ]
    for result in results(node, study):
        content = (node.data_dir / result.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == result.sha256
        dataset = dcmread(BytesIO(content))
        assert dataset.SOPInstanceUID == result.sop_instance_uid
        assert dataset.SOPClassUID == result.sop_class_uid
        assert dataset.StudyInstanceUID == study
    assert [row.state for row in node.deliveries(study)] == [DeliveryState.PENDING] * 5


def test_a_study_has_a_picture_of_each_image_and_a_text_for_people(node):
    files = files_of(node, node.reported_study())
    pictures = [Image.open(BytesIO(content)) for name, content in files.items() if name.endswith(".png")]
    assert len(pictures) == 4
    assert "ynthetic images" in files["report.txt"].decode()
    assert not [name for name in files if name.endswith(".part")]


def test_a_rebuild_after_a_crash_gives_the_same_bytes(node, monkeypatch):
    study = node.read_study()

    class PowerCut(BaseException):
        pass

    def cut(*_args, **_facts):
        raise PowerCut

    reporting = node.reporting
    monkeypatch.setattr(reporting, "_promise", cut)
    try:
        reporting.sweep(now=NOW)
    except PowerCut:
        before = files_of(node, study)
    assert node.state(study) == StudyState.READ
    assert results(node, study) == []
    node.reporting.sweep(now=NOW + timedelta(days=1))
    assert node.state(study) == StudyState.DELIVERED
    assert len(before) == 10
    assert files_of(node, study) == before


def test_a_destination_gets_only_the_kinds_of_objects_that_it_wants(node):
    node.destinations.extend([EVERYWHERE, destination("archive", 105, objects=("cad-sr",))])
    study = node.reported_study()
    assert len(node.deliveries(study, "pacs")) == 5
    assert len(node.deliveries(study, "archive")) == 1
    report = next(result for result in results(node, study) if result.kind == "cad-sr")
    assert node.deliveries(study, "archive")[0].sop_instance_uid == report.sop_instance_uid


def test_without_a_destination_a_study_is_delivered_at_once_and_says_so(node):
    study = node.reported_study()
    assert node.state(study) == StudyState.DELIVERED
    assert "No destination is configured" in node.study(study).reason


def test_a_late_image_gives_a_second_revision_that_names_the_first(node):
    node.destinations.append(EVERYWHERE)
    study = node.read_study(views=VIEWS[:3])
    node.reporting.sweep(now=NOW)
    first = next(result for result in results(node, study, 1) if result.kind == "cad-sr")
    node.arrive(study, VIEWS[3])
    node.read(study, assessment({uid(study, str(view), ""): view for view in VIEWS}))
    node.reporting.sweep(now=NOW)
    second = next(result for result in results(node, study, 2) if result.kind == "cad-sr")
    predecessor = dcmread(node.data_dir / second.path).PredecessorDocumentsSequence[0]
    series = predecessor.ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.sop_instance_uid
    assert series.SeriesInstanceUID == dcmread(node.data_dir / first.path).SeriesInstanceUID
    states = {row.sop_instance_uid: row.state for row in node.deliveries(study)}
    assert states[first.sop_instance_uid] == DeliveryState.SUPERSEDED
    assert states[second.sop_instance_uid] == DeliveryState.PENDING


def test_a_late_image_during_composing_discards_the_objects_of_the_smaller_study(node, monkeypatch):
    node.destinations.append(EVERYWHERE)
    study = node.read_study(views=VIEWS[:3])
    reporting = node.reporting
    promise = reporting._promise

    def late(*arguments):
        node.arrive(study, VIEWS[3])
        promise(*arguments)

    monkeypatch.setattr(reporting, "_promise", late)
    reporting.sweep(now=NOW)
    assert node.state(study) == StudyState.RECEIVING
    assert results(node, study) == []
    assert node.deliveries(study) == []


def test_an_object_that_fails_the_checker_is_never_sent_and_the_study_says_why(node):
    node.destinations.append(EVERYWHERE)
    study = node.read_study(
        views=VIEWS[:1], change=lambda said: marked(said, dataclasses.replace(finding(), specks=OUTSIDE))
    )
    other = node.read_study(views=VIEWS[:1])
    node.reporting.sweep(now=NOW)
    assert node.state(study) == StudyState.FAILED
    assert results(node, study) == node.deliveries(study) == []
    assert not list((node.data_dir / "studies" / study).rglob("*-2.25.*.dcm"))
    assert "leave the image" in node.study(study).reason.replace("leaves", "leave")
    assert f"mammocalc study retry {study}" in node.study(study).reason
    assert node.state(other) == StudyState.REPORTED


OUTSIDE = (Speck(center=ImagePoint(9999.0, 50.0), score=0.9, diameter_mm=0.3),) * 2


def marked(said, *findings):
    return dataclasses.replace(
        said, images=(dataclasses.replace(said.images[0], findings=findings), *said.images[1:])
    )


def test_a_study_whose_image_vanished_waits_for_a_person_and_says_which(node):
    study = node.read_study()
    image = next((node.data_dir / "studies" / study / "images").iterdir())
    image.unlink()
    other = node.read_study(views=VIEWS[:1])
    node.reporting.sweep(now=NOW)
    assert node.state(study) == StudyState.FAILED
    assert image.name in node.study(study).reason
    assert f"mammocalc study retry {study}" in node.study(study).reason
    assert node.state(other) == StudyState.DELIVERED


def test_a_study_whose_image_was_deleted_before_it_was_answered_asks_for_it_again(node):
    study = node.read_study()
    with node.ledger.begin() as session:
        first = min(instances_of(session, study), key=lambda row: row.view_position + row.laterality)
        first.deleted_at = NOW
    node.reporting.sweep(now=NOW)
    assert node.state(study) == StudyState.FAILED
    assert "1 of its 4 images were deleted by retention until 20" in node.study(study).reason
    assert f"({first.laterality} {first.view_position})" in node.study(study).reason
    assert "Have the images sent again" in node.study(study).reason
    assert results(node, study) == []


def test_a_picture_that_cannot_be_drawn_stops_no_report(node):
    study = node.read_study()
    image = next((node.data_dir / "studies" / study / "images").iterdir())
    image.write_bytes(image.read_bytes()[:-1000])
    node.reporting.sweep(now=NOW)
    assert node.state(study) == StudyState.DELIVERED
    assert len([name for name in files_of(node, study) if name.endswith(".png")]) == 3


def test_a_study_that_breaks_the_sweep_holds_up_no_other_and_ends_failed(node, monkeypatch):
    broken, reporting = node.read_study(views=VIEWS[:1]), node.reporting
    others = []
    write = reporting._write

    def break_one(folder, composed, options):
        if composed.dataset.StudyInstanceUID == broken:
            raise ZeroDivisionError
        return write(folder, composed, options)

    monkeypatch.setattr(reporting, "_write", break_one)
    for _ in range(3):
        try:
            reporting.sweep(now=NOW)
        except ZeroDivisionError:
            others.append(node.read_study(views=VIEWS[:1]))
    reporting.sweep(now=NOW)
    assert [node.state(study) for study in others] == [StudyState.DELIVERED] * 3
    assert node.state(broken) == StudyState.FAILED
    assert "log" in node.study(broken).reason


def test_a_disk_that_takes_nothing_is_waited_for_and_not_held_against_the_study(node):
    node.destinations.append(destination("pacs", free_port()))
    study = node.read_study(views=VIEWS[:1])
    in_the_way = node.data_dir / "studies" / study / "results"
    in_the_way.write_text("no folder can be made here")
    reporting = node.reporting
    for _ in range(MOST_CRASHES + 2):
        with pytest.raises(OSError, match="results"):
            reporting.sweep(now=NOW)
    in_the_way.unlink()
    reporting.sweep(now=NOW)
    assert node.state(study) is StudyState.REPORTED
