"""The last look at files: objects of ours, with their images beside them or without (mammocalc check)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from mammography.results import codes
from mammography.results.check import DAMAGED, MEASUREMENT_REPORTS, PICTURES, answer_faults
from mammography.results.check_gsps import referenced_images
from mammography.results.check_measurements import referenced_by
from mammography.results.codes import SIDES, Code
from mammography.results.composed import GRAYSCALE_PRESENTATION_STATE, MAMMOGRAPHY_CAD_SR
from mammography.results.source import EXPECTED, take_over
from mammography.results.written_report import Place, WrittenReport

CHECKED: Mapping[str, str] = {
    MAMMOGRAPHY_CAD_SR: "CAD report",
    GRAYSCALE_PRESENTATION_STATE: "presentation state",
    **dict.fromkeys(MEASUREMENT_REPORTS, "measurement report"),
    **dict.fromkeys(PICTURES, "picture"),
}
"""What can be checked, by SOP class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The objects that answer one revision of a study, and what the last look at them says, in sentences.

    `unchecked` says what could not be looked at. `replaced_by` is the SOP Instance UID of the report that replaces
    this answer's, where it lies among the files.
    """

    study_instance_uid: str
    objects: tuple[Dataset, ...]
    faults: tuple[str, ...]
    unchecked: tuple[str, ...]
    replaced_by: str | None


def judge(datasets: Sequence[Dataset]) -> list[Answer]:
    """Return one answer for each reading of a study whose objects are among the data sets.

    Data sets with Rows that are no objects of ours are images; any other is left alone. The objects of one reading
    have the same study and the same Instance Creation Date and Time, which are those of the reading.
    """
    images = {
        str(each.SOPInstanceUID): each
        for each in datasets
        if "Rows" in each and str(each.get("SOPClassUID")) not in CHECKED
    }
    readings: dict[tuple[str, str, str], list[Dataset]] = defaultdict(list)
    for each in datasets:
        if str(each.get("SOPClassUID")) in CHECKED:
            moment = str(each.get("InstanceCreationDate", "")), str(each.get("InstanceCreationTime", ""))
            readings[(str(each.get("StudyInstanceUID", "")), *moment)].append(each)
    replaced = {
        earlier: str(each.SOPInstanceUID)
        for objects in readings.values()
        for each in objects
        for earlier in predecessors_of(each)
    }
    return [_answer(objects, images, replaced) for _, objects in sorted(readings.items())]


def predecessors_of(report: Dataset) -> Iterator[str]:
    """Yield the SOP Instance UIDs of the reports that a report replaces (Predecessor Documents, PS3.3 C.17.2)."""
    for study in report.get("PredecessorDocumentsSequence") or []:
        for series in study.get("ReferencedSeriesSequence") or []:
            for earlier in series.get("ReferencedSOPSequence") or []:
                yield str(earlier.get("ReferencedSOPInstanceUID"))


def _answer(objects: Sequence[Dataset], images: Mapping[str, Dataset], replaced: Mapping[str, str]) -> Answer:
    """Return what the last look says of one reading's objects."""
    named = _named_images(objects)
    uids = sorted({uid for each in named.values() for uid in each})
    present = [images[uid] for uid in uids if uid in images]
    missing = [uid for uid in uids if uid not in images]
    sound = [each for each in objects if str(each.SOPInstanceUID) in named]
    stand_ins = [_stand_in(uid, sound) for uid in missing]
    return Answer(
        study_instance_uid=str(objects[0].get("StudyInstanceUID", "")),
        objects=tuple(objects),
        faults=tuple(answer_faults(objects, [*present, *stand_ins], identities=present or objects[:1])),
        unchecked=tuple(_unchecked(objects, missing, some=bool(present))),
        replaced_by=next(
            (replaced[uid] for each in objects if (uid := str(each.SOPInstanceUID)) in replaced), None
        ),
    )


def _unchecked(objects: Sequence[Dataset], missing: Sequence[str], *, some: bool) -> Iterator[str]:
    """Say what could not be looked at; `some` is whether any image is given."""
    for uid in missing:
        yield (
            f"The image {uid} is not given: its size is taken as the objects state it, "
            "its window and polarity are not compared."
        )
    if not some:
        yield "No image is given: patient and study are compared among the objects alone."
    for each in objects:
        if str(each.SOPClassUID) in PICTURES:
            yield f"Of the picture {each.SOPInstanceUID}, patient and study are checked, its pixels are not."


def _named_images(objects: Iterable[Dataset]) -> dict[str, list[str]]:
    """Return the images that each object is about, by its SOP Instance UID; without those too damaged to say."""
    named: dict[str, list[str]] = {}
    for each in objects:
        try:
            named[str(each.SOPInstanceUID)] = _named_by(each)
        except DAMAGED:  # answer_faults says so
            continue
    return named


def _named_by(dataset: Dataset) -> list[str]:
    """Return the images of one object."""
    if str(dataset.SOPClassUID) == GRAYSCALE_PRESENTATION_STATE:
        return referenced_images(dataset)
    if str(dataset.SOPClassUID) == MAMMOGRAPHY_CAD_SR:
        return list(WrittenReport(dataset).library().values())
    return referenced_by(WrittenReport(dataset)) if str(dataset.SOPClassUID) in MEASUREMENT_REPORTS else []


def _stand_in(uid: str, objects: Sequence[Dataset]) -> Dataset:
    """Return what the objects themselves say of an image that is not given: series, size, spacing and side.

    Coordinates and statements are then held against that, and objects against each other.
    """
    header = Dataset()
    header.SOPInstanceUID = uid
    for keyword in EXPECTED:
        take_over(header, objects[0], keyword)
    for each in objects:
        _learn_series(header, each)
        if str(each.SOPClassUID) == MAMMOGRAPHY_CAD_SR:
            report = WrittenReport(each)
            for place in (place for place, named in report.library().items() if named == uid):
                _learn_from_library(header, report, place)
        elif "Rows" not in header and uid in referenced_images(each):
            for area in (each.get("DisplayedAreaSelectionSequence") or [])[:1]:
                header.Columns, header.Rows = area.get("DisplayedAreaBottomRightHandCorner") or (0, 0)
            header.ImageLaterality = str(each.get("Laterality") or "")
    return header


def _learn_series(header: Dataset, source: Dataset) -> None:
    """Take the image's series from where an object refers to it."""
    studies = source.get("CurrentRequestedProcedureEvidenceSequence") or [source]
    for series in (series for study in studies for series in study.get("ReferencedSeriesSequence") or []):
        for keyword in ("ReferencedSOPSequence", "ReferencedImageSequence"):
            for reference in series.get(keyword) or []:
                if reference.get("ReferencedSOPInstanceUID") == header.SOPInstanceUID:
                    header.setdefault("SeriesInstanceUID", str(series.get("SeriesInstanceUID", "")))


def _learn_from_library(header: Dataset, report: WrittenReport, place: Place) -> None:
    """Take size, spacing and side from the image's entry in the report's library (TID 4020)."""

    def stated(concept: Code) -> str | None:
        return report.value_below(place, concept)

    rows, columns = stated(codes.PIXEL_DATA_ROWS), stated(codes.PIXEL_DATA_COLUMNS)
    if rows and columns:
        header.Rows, header.Columns = int(float(rows)), int(float(columns))
    spacing = [stated(codes.VERTICAL_PIXEL_SPACING), stated(codes.HORIZONTAL_PIXEL_SPACING)]
    if all(spacing):
        header.ImagerPixelSpacing = spacing
    for side, code in SIDES.items():
        if stated(codes.IMAGE_LATERALITY) == code.value:
            header.ImageLaterality = str(side)
