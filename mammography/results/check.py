"""The last look at a study's objects, on the bytes that are sent: what is wrong with them, in sentences."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset

from mammography.coordinates import ImagePoint
from mammography.results import codes
from mammography.results.check_cad_sr import report_faults
from mammography.results.check_content import content_faults, document_faults
from mammography.results.check_gsps import graphics, referenced_images, state_faults
from mammography.results.check_measurements import measurement_faults, measurement_groups
from mammography.results.composed import GRAYSCALE_PRESENTATION_STATE, MAMMOGRAPHY_CAD_SR, ComposedObject
from mammography.results.source import EXPECTED, identity_of, value_of
from mammography.results.written_report import WrittenReport, points_of

TOLERANCE = 0.01
"""Pixels by which coordinates of the same mark may differ between objects."""
MEASUREMENT_REPORTS = frozenset({"1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34"})
"""Comprehensive SR and Comprehensive 3D SR, which hold TID 1500."""
PICTURES = frozenset({"1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.4"})
"""Secondary Capture, single and multi-frame true colour."""

DAMAGED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading an object raises that lacks what every such object has."""

_NON_LESION = "111102"
"""A Single Image Finding (CID 6014) of what is no lesion, which no picture draws."""
_REPORT, _STATE, _MEASUREMENTS = "report", "presentation state", "measurement report"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """One lesion as one object marks it; `required` is whether it must be shown, None where the object does not say."""

    image: str
    outline: tuple[ImagePoint, ...]
    required: bool | None
    layer: str = ""


_Marks = dict[str, _Mark]
"""By tracking UID."""


def check(objects: Sequence[ComposedObject], headers: Sequence[Dataset]) -> list[str]:
    """Return a sentence for each thing that the objects say wrongly of the images; none when all is well.

    The objects are encoded and read back, so that what is judged is what a receiver sees. `headers` are those of
    all images of the assessment.
    """
    written = [pydicom.dcmread(BytesIO(item.encode())) for item in objects]
    identities = [identity_of(header) for header in headers]  # the headers' own text must stay undecoded
    return list(answer_faults(written, headers, identities=identities))


def answer_faults(
    objects: Sequence[Dataset], headers: Sequence[Dataset], *, identities: Sequence[Dataset]
) -> Iterator[str]:
    """Yield a sentence for each thing that is wrong with the objects that answer one revision of one study.

    `headers` are those of all images that the answer is about. `identities` are the data sets whose patient and
    study the objects must have.
    """
    by_uid = {str(header.SOPInstanceUID): header for header in headers}
    reports, states, measurements = (
        [each for each in objects if str(each.SOPClassUID) in classes]
        for classes in ({MAMMOGRAPHY_CAD_SR}, {GRAYSCALE_PRESENTATION_STATE}, MEASUREMENT_REPORTS)
    )
    if len(reports) > 1:
        yield f"There are {len(reports)} reports, not one."
    walked, gaps = _walked(reports)
    measured, more_gaps = _walked(measurements)
    yield from (*gaps, *more_gaps)
    for report in walked:
        yield from _followed(report.dataset, partial(_cad_sr_faults, report, by_uid))
    for state in states:
        yield from _followed(state, partial(state_faults, state, by_uid))
    for report in measured:
        yield from _followed(report.dataset, partial(measurement_faults, report, by_uid))
    for each in objects:
        yield from _followed(each, partial(_identity_faults, each, identities))
    for first in objects[:1]:
        yield from _followed(first, partial(_agreement_faults, walked, states, measured))


def _walked(datasets: Sequence[Dataset]) -> tuple[list[WrittenReport], list[str]]:
    """Return the content trees of reports, and a sentence for each report that is too damaged to have one."""
    trees: list[WrittenReport] = []
    sentences: list[str] = []
    for each in datasets:
        try:
            trees.append(WrittenReport(each))
        except DAMAGED as gap:
            sentences.append(f"Object {each.SOPInstanceUID} has a content item that lacks its value: {gap}.")
    return trees, sentences


def _followed(dataset: Dataset, look: Callable[[], Iterable[str]]) -> Iterator[str]:
    """Yield the faults of an object, and one more where it is too damaged to be looked at to the end."""
    try:
        yield from look()
    except DAMAGED as gap:
        yield f"Object {dataset.SOPInstanceUID} lacks what every such object has: {gap}."


def _cad_sr_faults(report: WrittenReport, headers: Mapping[str, Dataset]) -> Iterator[str]:
    """Yield what is wrong with a CAD report: its modules, its template, and what it says of the images."""
    yield from document_faults(report.dataset, "4000")
    yield from content_faults(report)
    yield from report_faults(report, headers)


def _identity_faults(dataset: Dataset, identities: Sequence[Dataset]) -> Iterator[str]:
    """Patient and study are those of an image, byte for byte as far as text goes."""
    for keyword in EXPECTED:
        stated = {str(value_of(header, keyword) or "") for header in identities}
        if str(value_of(dataset, keyword) or "") not in stated:
            yield f"{keyword} of object {dataset.SOPInstanceUID} is none of the images'."
    if "SpecificCharacterSet" in dataset and not any("SpecificCharacterSet" in h for h in identities):
        yield f"Object {dataset.SOPInstanceUID} has a character set that no image has."


def _agreement_faults(
    reports: Sequence[WrittenReport], states: Sequence[Dataset], measurements: Sequence[WrittenReport]
) -> Iterator[str]:
    """All objects mark the same lesions, at the same place, as strongly; each image that was read has one state."""
    reported: _Marks = {}
    for report in reports:
        reported |= _reported(report)
    for report in reports[:1]:
        read = sorted(
            uid
            for place, uid in report.library().items()
            if place in set(report.detected(codes.SUCCESSFUL_DETECTIONS))
        )
        if states and sorted(uid for state in states for uid in referenced_images(state)) != read:
            yield "There is not one presentation state for each image that was read."
    drawn: _Marks = {}
    for state in states:
        for uid, mark in _drawn(state):
            if uid in drawn:
                yield f"The tracking UID {uid} is drawn twice."
            drawn[uid] = mark
    measured = {
        str(group.tracking_uid): _Mark(image=region.images[0], outline=region.points, required=None)
        for report in measurements
        for group in measurement_groups(report)
        for region in group.regions[:1]
        if group.tracking_uid is not None and region.images
    }
    said = [
        (name, marks)
        for name, marks, present in (
            (_REPORT, reported, reports),
            (_STATE, drawn, states),
            (_MEASUREMENTS, measured, measurements),
        )
        if present
    ]
    for name, marks in said[1:]:
        yield from _same_lesions(said[0], (name, marks))


def _reported(report: WrittenReport) -> _Marks:
    """Return the lesions of a CAD report that may be presented."""
    library = report.library()
    return {
        finding.tracking_uid: _Mark(
            image=library.get(finding.outline.image, "") if finding.outline.image else "",
            outline=finding.outline.points,
            required=finding.intent == codes.PRESENTATION_REQUIRED.value,
        )
        for finding in report.findings
        if finding.tracking_uid is not None
        and finding.outline is not None
        and finding.intent != codes.NOT_FOR_PRESENTATION.value
        and finding.kind != _NON_LESION
    }


def _drawn(state: Dataset) -> Iterator[tuple[str, _Mark]]:
    """Yield every outline of a presentation state with its tracking UID."""
    for layer, graphic in graphics(state):
        mark = _Mark(
            image=referenced_images(state)[0],
            outline=points_of(graphic.get("GraphicData") or []),
            required=layer == "CALC_SUSPICIOUS",
            layer=layer,
        )
        yield str(graphic.get("TrackingUID", "")), mark


def _same_lesions(one: tuple[str, _Marks], other: tuple[str, _Marks]) -> Iterator[str]:
    """Two kinds of objects have the same lesions, each on the same image, with the same outline and strength."""
    (first, here), (second, there) = one, other
    if sorted(here) != sorted(there):
        yield f"{first.capitalize()} and {second}s do not mark the same lesions."
    for uid in sorted(set(here) & set(there)):
        mark, twin = here[uid], there[uid]
        if mark.image != twin.image:
            yield f"The lesion {uid} lies on different images in {first} and {second}."
        if not _same_outline(mark.outline, twin.outline, boxed=second == _MEASUREMENTS):
            yield f"The lesion {uid} has different outlines in {first} and {second}."
        if None not in {mark.required, twin.required} and mark.required != twin.required:
            yield f"The lesion {uid} is drawn on {twin.layer}, which is not its rendering intent."


def _same_outline(outline: Sequence[ImagePoint], twin: Sequence[ImagePoint], *, boxed: bool) -> bool:
    """Return whether two outlines are the same, or, where a box will do, whether the second is the first one's box."""
    if len(outline) == len(twin) and all(
        abs(a.column - b.column) <= TOLERANCE and abs(a.row - b.row) <= TOLERANCE
        for a, b in zip(outline, twin, strict=True)
    ):
        return True
    return (
        boxed
        and len(twin) == 5
        and all(abs(a - b) <= TOLERANCE for a, b in zip(_extent(outline), _extent(twin), strict=True))
    )


def _extent(points: Sequence[ImagePoint]) -> tuple[float, float, float, float]:
    """Return the box around points: left, top, right, bottom."""
    across, down = [point.column for point in points], [point.row for point in points]
    return min(across), min(down), max(across), max(down)
