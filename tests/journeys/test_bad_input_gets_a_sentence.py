"""What cannot be read gets a sentence, a DICOM answer where it is a mammogram, and holds nobody up."""

import copy

import pydicom
import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE

from mammography.study import StudyState
from mammography.uid import UidRole, mint
from tests.journeys.answers import answer_in, walk
from tests.reception.mammograms import FOR_PRESENTATION
from tests.reception.senders import calling, send_bytes

pytestmark = [pytest.mark.orthanc, pytest.mark.slow, pytest.mark.timeout(300)]

ENDED = {StudyState.COMMITTED, StudyState.FAILED, StudyState.UNREADABLE}


def one_image_study(phantom, folder, name, change):
    """Write the phantom's first view as a study of its own, changed, and return it with its path."""
    dataset = copy.deepcopy(pydicom.dcmread(phantom.files[0]))
    dataset.StudyInstanceUID = mint(UidRole.PHANTOM, "bad input", name, "study")
    dataset.SeriesInstanceUID = mint(UidRole.PHANTOM, "bad input", name, "series")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = mint(
        UidRole.PHANTOM, "bad input", name
    )
    change(dataset)
    path = folder / f"{name}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return dataset, path


def send(node, dataset):
    """Send one data set as it is, and return the status."""
    entity = AE("MODALITY1")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", node.port, ae_title="MAMMOCALC")
    assert association.is_established
    status = association.send_c_store(dataset)
    association.release()
    return status


def texts(report):
    """Return every text of a report."""
    return [str(item.TextValue) for item in walk(report) if item.get("ValueType") == "TEXT"]


def drop_pixels(dataset):
    del dataset.PixelData


def cut_pixels(dataset):
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 3 // 2 * 2]


def become_a_ct(dataset):
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.Modality = "CT"


def test_each_bad_input_gets_its_sentence_and_the_next_study_is_read(node, orthanc, phantom, tmp_path):
    no_pixels, _ = one_image_study(phantom, tmp_path, "no-pixels", drop_pixels)
    cut, _ = one_image_study(phantom, tmp_path, "cut", cut_pixels)
    tomography, _ = one_image_study(phantom, tmp_path, "ct", become_a_ct)
    for dataset in (no_pixels, cut, tomography):
        assert send(node, dataset).Status == 0x0000
    assert phantom.send(node.port).returncode == 0

    assert node.wait_for(phantom.study_instance_uid, ENDED).state is StudyState.COMMITTED
    for dataset, sentence in ((no_pixels, "has no pixel data"), (cut, "bytes")):
        assert node.wait_for(dataset.StudyInstanceUID, ENDED).state is StudyState.COMMITTED
        shown = node.command("study", "show", dataset.StudyInstanceUID).stdout
        assert "not-read" in shown
        assert sentence in shown
        answer = answer_in(orthanc, dataset.StudyInstanceUID)
        assert len(answer.cad_sr) == 1
        assert answer.gsps == []
        assert sentence in " ".join(texts(answer.cad_sr[0]))
    row = node.wait_for(tomography.StudyInstanceUID, ENDED)
    assert row.state is StudyState.UNREADABLE
    assert "CT" in row.reason
    assert "CT" in node.command("study", "show", tomography.StudyInstanceUID).stdout
    assert "no mammogram" in node.log.read_text()
    assert answer_in(orthanc, tomography.StudyInstanceUID).cad_sr == []


def test_what_is_no_data_set_is_refused_and_listed(node, phantom):
    with calling(node.port) as conversation:
        response = send_bytes(
            conversation,
            b"this is a shopping list, not a mammogram. " * 50,
            sop_class_uid=FOR_PRESENTATION,
            sop_instance_uid=mint(UidRole.PHANTOM, "garbage"),
        )
    assert response.Status & 0xF000 == 0xC000
    listed = node.command("study", "list").stdout
    assert "refused" in listed
    assert "MODALITY1" in listed
    assert phantom.send(node.port).returncode == 0
    assert node.wait_for(phantom.study_instance_uid, ENDED).state is StudyState.COMMITTED
