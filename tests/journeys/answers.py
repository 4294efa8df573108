"""What the PACS holds of an answer, read back with pydicom."""

from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset

from lab.demo.orthanc import Orthanc
from mammography.coordinates import ImagePoint, inside

CAD_SR = "1.2.840.10008.5.1.4.1.1.88.50"
GSPS = "1.2.840.10008.5.1.4.1.1.11.1"


@dataclass(frozen=True)
class Answer:
    """The objects of ours that a PACS holds of one study."""

    cad_sr: list[Dataset]
    gsps: list[Dataset]


def answer_in(pacs: Orthanc, study_instance_uid: str) -> Answer:
    """Return what answers a study."""
    objects = [pydicom.dcmread(BytesIO(pacs.file_of(uid))) for uid in pacs.instances()]
    ours = [thing for thing in objects if thing.StudyInstanceUID == study_instance_uid]
    return Answer(
        cad_sr=[thing for thing in ours if thing.SOPClassUID == CAD_SR],
        gsps=[thing for thing in ours if thing.SOPClassUID == GSPS],
    )


def outlines_in_gsps(gsps: list[Dataset]) -> dict[str, list[list[ImagePoint]]]:
    """Return the closed polylines by the SOP Instance UID of their image."""
    found: dict[str, list[list[ImagePoint]]] = {}
    for state in gsps:
        for annotation in state.get("GraphicAnnotationSequence", []):
            uid = annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID
            for graphic in annotation.get("GraphicObjectSequence", []):
                if graphic.GraphicType == "POLYLINE":
                    found.setdefault(uid, []).append(points(graphic.GraphicData))
    return found


def outlines_in_cad_sr(report: Dataset) -> dict[str, list[list[ImagePoint]]]:
    """Return the outlines (111041, DCM) of every cluster by the SOP Instance UID of their image."""
    found: dict[str, list[list[ImagePoint]]] = {}
    for item in walk(report):
        for child in item.get("ContentSequence", []):
            name = child.get("ConceptNameCodeSequence")
            if child.get("ValueType") == "SCOORD" and name and name[0].CodeValue == "111041":
                target = by_reference(report, child.ContentSequence[0].ReferencedContentItemIdentifier)
                uid = target.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
                found.setdefault(uid, []).append(points(child.GraphicData))
    return found


def by_reference(report: Dataset, path: list[int]) -> Dataset:
    """Return the content item at a path of 1-based positions that starts with the root (PS3.3 C.17.3)."""
    item = report
    for position in list(path)[1:]:
        item = item.ContentSequence[position - 1]
    return item


def walk(item: Dataset):
    """Yield a content item and everything below it."""
    yield item
    for child in item.get("ContentSequence", []):
        yield from walk(child)


def points(data: list[float]) -> list[ImagePoint]:
    """Return column\\row pairs as points."""
    return [ImagePoint(column, row) for column, row in zip(data[::2], data[1::2], strict=True)]


def easy_groups(truth: dict) -> list[tuple[str, list[ImagePoint]]]:
    """Return (SOP Instance UID, specks) of every cluster of the easy class."""
    return [
        (
            image["sop_instance_uid"],
            [ImagePoint(*s["center"]) for s in image["specks"] if s["group"] == group["number"]],
        )
        for image in truth["images"]
        for group in image["groups"]
        if group["easy"]
    ]


def share_inside(specks: list[ImagePoint], outlines: list[list[ImagePoint]]) -> float:
    """Return the largest share of specks that lie inside one outline."""
    return max(
        (sum(inside(speck, outline) for speck in specks) / len(specks) for outline in outlines), default=0.0
    )
