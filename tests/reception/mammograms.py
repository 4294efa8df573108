"""Small mammograms and other objects, as senders hand them over."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mammography.uid import UidRole, mint

FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
PRIVATE_STORAGE = "1.3.46.670589.11.0.0.12.1"
NEWER_THAN_THE_LIBRARY = "1.2.840.10008.5.1.4.1.1.999.7"

VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}
SCREENING_SET = ("R CC", "L CC", "R MLO", "L MLO")


def uid(*identity: str) -> str:
    return mint(UidRole.PHANTOM, "reception", *identity)


def mammogram(
    study: str, view: str = "R CC", *, pixels: bytes = b"", side: int = 8, **values: Any
) -> Dataset:
    """A mammogram of a study that is named by a word, with `side` x `side` pixels."""
    laterality, position = view.split()[:2]
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID = FOR_PRESENTATION
    image.SOPInstanceUID = uid(study, view)
    image.StudyDate = "20261122"
    image.AccessionNumber = "A-17"
    image.Modality = "MG"
    image.PresentationIntentType = "FOR PRESENTATION"
    image.PatientName = "Müller^Änne"
    image.PatientID = "4711"
    image.StudyInstanceUID = uid(study)
    image.SeriesInstanceUID = uid(study, "series", view)
    image.ImageLaterality = laterality
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows = image.Columns = side
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = 0
    code = Dataset()
    code.CodeValue, code.CodeMeaning = VIEW_CODES[position]
    code.CodingSchemeDesignator = "SCT"
    code.ViewModifierCodeSequence = Sequence()
    image.ViewCodeSequence = Sequence([code])
    image.PixelData = pixels or bytes(range(256)) * (side * side // 128 + 1)
    image.PixelData = image.PixelData[: side * side * 2]
    for keyword, value in values.items():
        setattr(image, keyword, value)
    return image


def screening_set(study: str) -> Iterator[Dataset]:
    for view in SCREENING_SET:
        yield mammogram(study, view)


def with_meta(image: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Dataset:
    """The same object, ready to be sent or saved."""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def saved(image: Dataset, path: Path, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Path:
    with_meta(image, transfer_syntax_uid)
    image.save_as(path, enforce_file_format=True)
    return path


def encoded(image: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set in a little-endian transfer syntax."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == ImplicitVRLittleEndian, True
    write_dataset(buffer, image)
    return bytes(buffer.getvalue())


def data_set_of(part10: bytes) -> bytes:
    """What follows preamble and File Meta Information in a file."""
    file = BytesIO(part10)
    pydicom.filereader.read_preamble(file, force=False)
    pydicom.filereader._read_file_meta_info(file)
    return file.read()
