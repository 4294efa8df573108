"""The last look at a study's objects, on the bytes that are sent: what is wrong with them, in sentences."""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset

from mammography.coordinates import ImagePoint
from mammography.results import codes
from mammography.results.check_cad_sr import report_faults
from mammography.results.check_gsps import graphics, referenced_images, state_faults
from mammography.results.composed import ComposedObject
from mammography.results.source import EXPECTED, value_of
from mammography.results.written_report import Place, WrittenFinding, WrittenReport, points_of

TOLERANCE = 0.01
"""Pixels by which coordinates of the same mark may differ between objects."""


def check(objects: Sequence[ComposedObject], headers: Sequence[Dataset]) -> list[str]:
    """Return a sentence for each thing that the objects say wrongly of the images; none when all is well.

    The objects are encoded and read back, so that what is judged is what a receiver sees.
    """
    by_uid = {str(header.SOPInstanceUID): header for header in headers}
    written = [(item.kind, pydicom.dcmread(BytesIO(item.encode()))) for item in objects]
    reports = [WrittenReport(dataset) for kind, dataset in written if kind == "cad-sr"]
    states = [dataset for kind, dataset in written if kind == "gsps"]
    sentences: list[str] = [] if len(reports) == 1 else [f"There are {len(reports)} reports, not one."]
    for report in reports:
        sentences += report_faults(report, by_uid)
        sentences += _agreement_faults(report, states)
    for state in states:
        sentences += state_faults(state, by_uid)
    for _, dataset in written:
        sentences += _identity_faults(dataset, headers)
    return sentences


def _identity_faults(dataset: Dataset, headers: Sequence[Dataset]) -> Iterator[str]:
    """Patient and study are those of an image, byte for byte as far as text goes."""
    for keyword in EXPECTED:
        stated = {str(value_of(header, keyword) or "") for header in headers}
        if str(value_of(dataset, keyword) or "") not in stated:
            yield f"{keyword} of object {dataset.SOPInstanceUID} is none of the images'."
    if "SpecificCharacterSet" in dataset and not any("SpecificCharacterSet" in h for h in headers):
        yield f"Object {dataset.SOPInstanceUID} has a character set that no image has."


def _agreement_faults(report: WrittenReport, states: Sequence[Dataset]) -> Iterator[str]:
    """Report and presentation states mark the same lesions, at the same place, as strongly; one state per image."""
    library = report.library()
    read = sorted(
        library[place] for place in set(report.detected(codes.SUCCESSFUL_DETECTIONS)) if place in library
    )
    if sorted(uid for state in states for uid in referenced_images(state)) != read:
        yield "There is not one presentation state for each image that was read."
    drawn: dict[str, tuple[str, str, tuple[ImagePoint, ...]]] = {}
    for state in states:
        for layer, graphic in graphics(state):
            tracking_uid = str(graphic.get("TrackingUID", ""))
            if tracking_uid in drawn:
                yield f"The tracking UID {tracking_uid} is drawn twice."
            drawn[tracking_uid] = (referenced_images(state)[0], layer, points_of(graphic.GraphicData))
    tracked = [finding for finding in report.findings if finding.tracking_uid is not None]
    if sorted(str(finding.tracking_uid) for finding in tracked) != sorted(drawn):
        yield "Report and presentation states do not mark the same lesions."
    for finding in tracked:
        yield from _mark_faults(finding, library, drawn)


def _mark_faults(
    finding: WrittenFinding,
    library: Mapping[Place, str],
    drawn: Mapping[str, tuple[str, str, tuple[ImagePoint, ...]]],
) -> Iterator[str]:
    """One lesion has the same image, outline and strength in both objects."""
    mark = drawn.get(str(finding.tracking_uid))
    if mark is None or finding.outline is None or finding.outline.image is None:
        return
    image, layer, points = mark
    name = f"lesion {finding.tracking_uid}"
    if library.get(finding.outline.image) != image:
        yield f"The {name} lies on different images in report and presentation state."
    if len(points) != len(finding.outline.points) or any(
        abs(a.column - b.column) > TOLERANCE or abs(a.row - b.row) > TOLERANCE
        for a, b in zip(points, finding.outline.points, strict=True)
    ):
        yield f"The {name} has different outlines in report and presentation state."
    required = finding.intent == codes.PRESENTATION_REQUIRED.value
    if (layer == "CALC_SUSPICIOUS") != required:
        yield f"The {name} is drawn on {layer}, which is not its rendering intent."
