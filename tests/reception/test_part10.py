"""Whether a file of ours is there and whole, to the byte."""

from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from node.part10 import Announcement, data_set_begin, holds, part10_header
from tests.reception.mammograms import FOR_PRESENTATION, encoded, mammogram


@pytest.fixture
def image() -> pydicom.Dataset:
    return mammogram("part 10", "L CC")


def header_for(image: pydicom.Dataset, *, calling_ae_title: str = "MODALITY1") -> bytes:
    return part10_header(
        Announcement(
            sop_class_uid=FOR_PRESENTATION,
            sop_instance_uid=str(image.SOPInstanceUID),
            transfer_syntax_uid=ExplicitVRLittleEndian,
            calling_ae_title=calling_ae_title,
        )
    )


@pytest.mark.parametrize("calling_ae_title", ["M", "A_LONG_AE_TITLE"])
def test_a_data_set_begins_where_another_program_finds_it(image: pydicom.Dataset, calling_ae_title: str):
    file = BytesIO(header_for(image, calling_ae_title=calling_ae_title) + encoded(image))
    begin = data_set_begin(file)
    file.seek(0)
    whole = pydicom.dcmread(file)
    assert whole.SOPInstanceUID == image.SOPInstanceUID
    assert begin == 144 + whole.file_meta.FileMetaInformationGroupLength


@pytest.mark.parametrize("missing", [1, 300, 5000])
def test_a_file_is_whole_to_the_byte(tmp_path: Path, image: pydicom.Dataset, missing: int):
    path, data_set = tmp_path / "image.dcm", encoded(image)
    file = header_for(image) + data_set
    path.write_bytes(file)
    assert holds(path, len(data_set))
    path.write_bytes(file[:-missing])
    assert not holds(path, len(data_set))
    path.write_bytes(file + bytes(missing))
    assert not holds(path, len(data_set))


@pytest.mark.parametrize("left", [0, 100, 143, 144])
def test_of_a_file_that_ends_in_its_header_nothing_is_held(tmp_path: Path, image: pydicom.Dataset, left: int):
    path = tmp_path / "image.dcm"
    path.write_bytes(header_for(image)[:left])
    assert not holds(path, 0)


def test_a_file_that_begins_otherwise_is_none_of_ours(tmp_path: Path, image: pydicom.Dataset):
    path, data_set = tmp_path / "image.dcm", encoded(image)
    path.write_bytes(bytes(len(header_for(image))) + data_set)
    assert not holds(path, len(data_set))
    assert data_set_begin(BytesIO(path.read_bytes())) is None


def test_a_file_that_is_not_there_holds_nothing(tmp_path: Path):
    assert not holds(tmp_path / "none.dcm", 0)
