"""What must be true of a measurement report on these images (PS3.16 TID 1500, 1410, 1419)."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset

from mammography.coordinates import ImagePoint
from mammography.results.check_content import at, document_faults
from mammography.results.codes import TRACKING_UID, Code
from mammography.results.written_report import Place, WrittenReport, points_of

Headers = Mapping[str, Dataset]
"""The images' headers by SOP Instance UID."""

_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
_GROUP = Code("125007", "DCM", "Measurement Group")
_REGION = Code("111030", "DCM", "Image Region")
_FEWEST_POINTS = {"POINT": 1, "CIRCLE": 2, "ELLIPSE": 4, "POLYLINE": 4}
"""Of a region: a polyline that encloses something has three corners and comes back to the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRegion:
    """Coordinates with the SOP Instance UIDs of the images below them: those that they are selected from."""

    place: Place
    graphic_type: str
    points: tuple[ImagePoint, ...]
    numbers: int
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenGroup:
    """One measurement group with its regions."""

    place: Place
    whole_image: bool
    """Whether it says something of an image, and not of a region (TID 1501)."""
    tracking_uid: str | None
    regions: tuple[WrittenRegion, ...]


def measurement_groups(report: WrittenReport) -> list[WrittenGroup]:
    """Return the measurement groups of a report in document order."""
    return [
        WrittenGroup(
            place=place,
            whole_image=any(
                template.get("TemplateIdentifier") == "1501"
                for template in group.get("ContentTemplateSequence") or []
            ),
            tracking_uid=report.value_below(place, TRACKING_UID),
            regions=tuple(
                _region(report, below, item)
                for below, item in report.named(_REGION, place)
                if item.get("ValueType") == "SCOORD"
            ),
        )
        for section, _ in report.named(_MEASUREMENTS)
        for place, group in report.named(_GROUP, section)
    ]


def referenced_by(report: WrittenReport) -> list[str]:
    """Return the images that any content item refers to, each once."""
    return sorted(
        {
            str(reference.ReferencedSOPInstanceUID)
            for item in report.items.values()
            if item.get("ValueType") == "IMAGE"
            for reference in item.get("ReferencedSOPSequence") or []
        }
    )


def measurement_faults(report: WrittenReport, headers: Headers) -> Iterator[str]:
    """Yield a sentence for everything that is wrong with a measurement report on these images."""
    name = f"measurement report {report.dataset.SOPInstanceUID}"
    yield from document_faults(report.dataset, "1500")
    title = (report.dataset.get("ConceptNameCodeSequence") or [Dataset()])[0]
    if title.get("CodeValue") != _REPORT.value:
        yield f"The {name} is not titled {_REPORT.meaning}."
    evidence = sorted(
        {
            str(reference.ReferencedSOPInstanceUID)
            for study in report.dataset.get("CurrentRequestedProcedureEvidenceSequence") or []
            for series in study.get("ReferencedSeriesSequence") or []
            for reference in series.get("ReferencedSOPSequence") or []
        }
    )
    missing = [uid for uid in referenced_by(report) if uid not in evidence]
    if missing:
        yield f"The {name} refers to {missing[0]}, which is not in its evidence sequence."
    strangers = [uid for uid in evidence if uid not in headers]
    if strangers:
        yield f"The {name} has the evidence {strangers[0]}, which is no image of the assessment."
    groups = measurement_groups(report)
    tracked = Counter(group.tracking_uid for group in groups)
    for group in groups:
        faults = [*_group_faults(group, tracked), *_coordinate_faults(report, group, headers)]
        yield from (f"In the {name}, group {at(group.place)} {fault}" for fault in faults)


def _region(report: WrittenReport, place: Place, item: Dataset) -> WrittenRegion:
    """Return coordinates as they stand."""
    numbers = item.get("GraphicData") or []
    return WrittenRegion(
        place=place,
        graphic_type=str(item.get("GraphicType", "")),
        points=points_of(numbers),
        numbers=len(numbers),
        images=tuple(
            str(reference.ReferencedSOPInstanceUID)
            for _, child in report.children(place)
            if child.get("RelationshipType") == "SELECTED FROM"
            for reference in child.get("ReferencedSOPSequence") or []
        ),
    )


def _group_faults(group: WrittenGroup, tracked: Mapping[str | None, int]) -> Iterator[str]:
    """A group is one lesion, or one image: it has a tracking UID of its own, and a lesion has one region."""
    if group.tracking_uid is None:
        yield "has no tracking UID."
    elif tracked[group.tracking_uid] > 1:
        yield f"has the tracking UID {group.tracking_uid} of another group."
    if len(group.regions) != (0 if group.whole_image else 1):
        yield f"has {len(group.regions)} image regions, not {0 if group.whole_image else 1}."


def _coordinate_faults(report: WrittenReport, group: WrittenGroup, headers: Headers) -> Iterator[str]:
    """Every coordinate below a group lies on the one image that its region is selected from."""
    regions = [
        _region(report, place, item)
        for place, item in report.items.items()
        if place[: len(group.place)] == group.place and item.get("ValueType") == "SCOORD"
    ]
    images = {region.images for region in regions}
    if len(images) > 1:
        yield "has coordinates on different images."
    for region in regions:
        yield from _shape_faults(region)
        if len(region.images) != 1:
            yield f"has coordinates {at(region.place)} that are not selected from one image."
            continue
        header = headers.get(region.images[0])
        if header is None:
            yield f"lies on {region.images[0]}, which is no image of the assessment."
        elif header.get("Rows") and not all(
            0 <= point.column <= header.Columns and 0 <= point.row <= header.Rows for point in region.points
        ):
            yield f"has coordinates {at(region.place)} that leave the image."


def _shape_faults(region: WrittenRegion) -> Iterator[str]:
    """The graphic has the points of its type, and a polyline closes."""
    fewest = _FEWEST_POINTS.get(region.graphic_type)
    if fewest is None:
        yield f"has coordinates {at(region.place)} of the type {region.graphic_type!r}."
    elif region.numbers % 2 or len(region.points) < fewest:
        yield f"has coordinates {at(region.place)} with {region.numbers} numbers."
    elif region.graphic_type == "POLYLINE" and region.points[0] != region.points[-1]:
        yield f"has an outline {at(region.place)} that is not closed."
