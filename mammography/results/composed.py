"""One finished DICOM object of ours, and its Part 10 bytes."""

from dataclasses import dataclass
from io import BytesIO
from typing import Literal, NamedTuple

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from mammography import __version__
from mammography.uid import UidRole, mint

MAMMOGRAPHY_CAD_SR = "1.2.840.10008.5.1.4.1.1.88.50"
GRAYSCALE_PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"

IMPLEMENTATION_CLASS_UID = mint(UidRole.DEVICE, "mammocalc", "implementation class")
"""Implementation Class UID (0002,0012): which software wrote the file; the same for all versions."""
IMPLEMENTATION_VERSION_NAME = f"MAMMOCALC_{__version__}"[:16]
"""Implementation Version Name (0002,0013), at most 16 characters."""

Kind = Literal["cad-sr", "gsps", "tid1500", "picture"]
"""What an object is: Mammography CAD SR, presentation state, TID 1500 report, or picture with its marks burned in."""


class InvalidResult(Exception):
    """An object of ours would say something wrong, so that nothing is returned; str() holds the sentences why."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


class Predecessor(NamedTuple):
    """The report that a new one replaces (Predecessor Documents Sequence (0040,A360))."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str

    @classmethod
    def of(cls, report: Dataset) -> "Predecessor":
        """Return the identity of a report that was read from its file."""
        return cls(
            str(report.SOPClassUID),
            str(report.SOPInstanceUID),
            str(report.SeriesInstanceUID),
            str(report.StudyInstanceUID),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComposedObject:
    """A finished object: `dataset` carries its file meta information."""

    kind: Kind
    sop_class_uid: str
    sop_instance_uid: str
    dataset: Dataset

    def encode(self) -> bytes:
        """Return the Part 10 file (PS3.10 section 7); the same object always gives the same bytes."""
        buffer = BytesIO()
        pydicom.dcmwrite(buffer, self.dataset, enforce_file_format=True)
        return buffer.getvalue()


def finished(kind: Kind, dataset: Dataset) -> ComposedObject:
    """Return a complete data set with its file meta information: explicit VR little endian, written by us."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    return ComposedObject(
        kind=kind,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        dataset=dataset,
    )
