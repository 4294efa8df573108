"""What must be true of a report beyond what any public validator looks at (PS3.3 A.35.5, PS3.16 TID 4000)."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from mammography.coordinates import inside
from mammography.results import codes
from mammography.results.cad_sr_summaries import outcome, status
from mammography.results.image_library import side_of, spacing_of_entry
from mammography.results.source import value_of
from mammography.results.written_report import (
    CODE_MEANING,
    CODE_VALUE,
    CODING_SCHEME,
    TYPE,
    Place,
    WrittenFinding,
    WrittenGraphic,
    WrittenReport,
    items_of,
    target_of,
    text_of,
    value_of_item,
)

_NAME, _VALUE = BaseTag(0x0040A043), BaseTag(0x0040A168)

Headers = Mapping[str, Dataset]
"""The images' headers by SOP Instance UID."""

_STRENGTH = {
    codes.PRESENTATION_REQUIRED.value: 2,
    codes.PRESENTATION_OPTIONAL.value: 1,
    codes.NOT_FOR_PRESENTATION.value: 0,
}


def report_faults(report: WrittenReport, headers: Headers) -> Iterator[str]:
    """Yield a sentence for everything that is wrong with a report on these images."""
    library = report.library()
    yield from _reference_faults(report, library)
    yield from _library_faults(report, library, headers)
    yield from _evidence_faults(report, library)
    findings = report.findings
    for finding in findings:
        yield from _geometry_faults(finding, library, headers)
        yield from _statement_faults(report, finding)
    yield from _intent_faults(report)
    yield from _operating_point_faults(report)
    yield from _composite_faults(report, library)
    yield from _analysis_faults(report)
    yield from _summary_faults(report, library, findings)
    yield from _wording_faults(report)


def _at(place: Place) -> str:
    """Return a place as the standard writes it."""
    return ".".join(map(str, place))


def _reference_faults(report: WrittenReport, library: Mapping[Place, str]) -> Iterator[str]:
    """Every reference points at an image of the library, and images stand nowhere else."""
    for place, item in report.items.items():
        target = target_of(item)
        if target is not None and target not in library:
            yield f"Item {_at(place)} points at {_at(target)}, which is no image of the library."
        if text_of(item, TYPE) == "IMAGE" and place not in library:
            yield f"Item {_at(place)} holds an image by value outside the library."


def _library_faults(report: WrittenReport, library: Mapping[Place, str], headers: Headers) -> Iterator[str]:
    """The library holds every image once, with the size, spacing and side of its header."""
    if sorted(library.values()) != sorted(headers):
        yield "The image library is not the set of images of the assessment."
    for place, uid in library.items():
        header = headers.get(uid)
        if header is None:
            continue
        spacing = spacing_of_entry(header)
        vertical, horizontal = spacing or (None, None)
        side = side_of(header)
        for concept, expected in (
            (codes.PIXEL_DATA_ROWS, value_of(header, "Rows")),
            (codes.PIXEL_DATA_COLUMNS, value_of(header, "Columns")),
            (codes.VERTICAL_PIXEL_SPACING, vertical),
            (codes.HORIZONTAL_PIXEL_SPACING, horizontal),
            (codes.IMAGE_LATERALITY, None if side is None else float(codes.SIDES[side].value)),
        ):
            stated = report.value_below(place, concept)
            if stated is not None and (expected is None or abs(float(stated) - float(expected)) > 1e-4):
                yield f"{concept.meaning} of library entry {_at(place)} is {stated}, the image's is {expected}."


def _evidence_faults(report: WrittenReport, library: Mapping[Place, str]) -> Iterator[str]:
    """The evidence is what the content refers to."""
    evidence = sorted(
        str(reference.ReferencedSOPInstanceUID)
        for study in report.dataset.get("CurrentRequestedProcedureEvidenceSequence") or []
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    )
    if evidence != sorted(library.values()):
        yield "The evidence sequence is not the set of images that the report refers to."


def _geometry_faults(
    finding: WrittenFinding, library: Mapping[Place, str], headers: Headers
) -> Iterator[str]:
    """Centre and outline lie on the same image, inside it, and the centre inside the outline."""
    name = f"finding {_at(finding.place)}"
    if finding.center is None or len(finding.center.points) != 1:
        yield f"The {name} has no centre."
        return
    yield from _outside(f"centre of {name}", finding.center, library, headers)
    outline = finding.outline
    if outline is None:
        return
    yield from _outside(f"outline of {name}", outline, library, headers)
    if outline.image != finding.center.image:
        yield f"Centre and outline of {name} lie on different images."
    if len(outline.points) < 4 or outline.points[0] != outline.points[-1]:
        yield f"The outline of {name} is not closed."
    elif not inside(finding.center.points[0], outline.points):
        yield f"The centre of {name} lies outside its outline."


def _outside(
    name: str, graphic: WrittenGraphic, library: Mapping[Place, str], headers: Headers
) -> Iterator[str]:
    """Coordinates are selected from an image by reference and lie on its matrix (PS3.3 C.18.6)."""
    if graphic.image is None:
        yield f"The {name} is not selected from an image by reference."
        return
    header = headers.get(library.get(graphic.image, ""))
    if header is None:
        return
    columns, rows = int(header.Columns), int(header.Rows)
    if not all(0 <= point.column <= columns and 0 <= point.row <= rows for point in graphic.points):
        yield f"The {name} leaves the image."


def _statement_faults(report: WrittenReport, finding: WrittenFinding) -> Iterator[str]:
    """Numbers agree, scores are percentages, and nothing is claimed that the reader does not claim."""
    name = f"finding {_at(finding.place)}"
    inner = len(report.inner(finding))
    if inner and finding.number != inner:
        yield f"The {name} states {finding.number} calcifications and lists {inner}."
    if finding.certainty is not None and not 0 <= finding.certainty <= 100:
        yield f"The certainty of {name} is {finding.certainty} percent."
    if finding.kind == codes.CALCIFICATION_CLUSTER.value and finding.tracking_uid is None:
        yield f"The {name} has no tracking UID."
    for claim in (codes.PROBABILITY_OF_CANCER, codes.ASSESSMENT_CATEGORY):
        if report.named(claim, finding.place):
            yield f"The {name} states {claim.meaning}, which the reader does not claim."


def _intent_faults(report: WrittenReport) -> Iterator[str]:
    """No item is to be presented more strongly than the one that holds it: a viewer prunes there (PS3.4 O.2.2.1)."""
    strengths = {
        place[:-1]: _STRENGTH.get(value_of_item(item), -1)
        for place, item in report.called(codes.RENDERING_INTENT)
    }
    for place, strength in strengths.items():
        if strength > strengths.get(place[:-1], 2):
            yield f"Item {_at(place)} has a stronger rendering intent than the one that holds it."


def _operating_point_faults(report: WrittenReport) -> Iterator[str]:
    """Findings have a CAD Operating Point exactly when they are optional, up to the stated maximum (TID 4006, 4023)."""
    performed = report.performed(codes.SUMMARY_OF_DETECTIONS, codes.SUCCESSFUL_DETECTIONS)
    highest = {report.value_below(each.place, codes.MAXIMUM_OPERATING_POINT) for each in performed}
    if len(highest) > 1:
        yield "The detections state different maximum operating points."
    most = int(float(next(iter(highest), None) or 0))
    for finding in report.findings:
        for place, _ in report.named(codes.RENDERING_INTENT, finding.place):
            stated = report.value_below(place, codes.OPERATING_POINT)
            optional = finding.intent == codes.PRESENTATION_OPTIONAL.value
            if (stated is not None) != (optional and most > 0):
                yield f"The finding {_at(finding.place)} states the operating point {stated}."
            elif stated is not None and not 1 <= int(float(stated)) <= most:
                yield f"The operating point {stated} of finding {_at(finding.place)} is not one of 1 to {most}."


def _composite_faults(report: WrittenReport, library: Mapping[Place, str]) -> Iterator[str]:
    """A lesion in several views lies in one breast and in different views, and is shown as its strongest part is."""
    for place, parts in report.composites():
        name = f"composite feature {_at(place)}"
        images = [part.center.image for part in parts if part.center and part.center.image in library]
        entries = [image for image in images if image is not None]
        sides = {report.value_below(entry, codes.IMAGE_LATERALITY) for entry in entries}
        views = [report.value_below(entry, codes.IMAGE_VIEW) for entry in entries]
        if len(parts) < 2 or len(entries) != len(parts):
            yield f"The {name} is not made of two findings or more."
            continue
        if len(sides) != 1 or None in sides:
            yield f"The {name} joins findings of different breasts."
        if len(set(views)) != len(views):
            yield f"The {name} joins findings of the same view."
        strengths = [_STRENGTH.get(part.intent, -1) for part in parts]
        if _STRENGTH.get(report.value_below(place, codes.RENDERING_INTENT) or "", -1) != max(strengths):
            yield f"The {name} has not the rendering intent of its strongest part."
        certainty = report.value_below(place, codes.CERTAINTY_OF_FEATURE)
        if certainty is not None and not 0 <= float(certainty) <= 100:
            yield f"The certainty of {name} is {certainty} percent."
    tracked = [finding.tracking_uid for finding in report.findings if finding.tracking_uid is not None]
    tracked += [uid for place, _ in report.composites() for uid in report.texts(codes.TRACKING_UID, place)]
    for uid in sorted(uid for uid, times in Counter(tracked).items() if times > 1):
        yield f"The tracking UID {uid} names two lesions."


def _analysis_faults(report: WrittenReport) -> Iterator[str]:
    """Analyses are said to be what the tree shows: two views each, read where they succeeded (TID 4016, 4018)."""
    read = set(report.detected(codes.SUCCESSFUL_DETECTIONS))
    succeeded, failed = (
        report.performed(codes.SUMMARY_OF_ANALYSES, container)
        for container in (codes.SUCCESSFUL_ANALYSES, codes.FAILED_ANALYSES)
    )
    went = status(succeeded=bool(succeeded), failed=bool(failed))
    if report.value_below((1,), codes.SUMMARY_OF_ANALYSES) != went.value:
        yield f"The summary of analyses is not {went.meaning!r}, which the tree shows."
    for analysis in (*succeeded, *failed):
        name = f"analysis {_at(analysis.place)}"
        if len(set(analysis.images)) < 2:
            yield f"The {name} names fewer than two images."
        if read.issuperset(analysis.images) != (analysis in succeeded):
            yield f"Whether the {name} succeeded is not whether its images were read."
    analysed = [set(analysis.images) for analysis in succeeded]
    for place, parts in report.composites():
        if not any({part.center.image for part in parts if part.center} <= images for images in analysed):
            yield f"The composite feature {_at(place)} follows from no analysis that succeeded."


def _summary_faults(
    report: WrittenReport, library: Mapping[Place, str], findings: list[WrittenFinding]
) -> Iterator[str]:
    """Outcome and summaries say what the tree shows; findings lie on images that were read."""
    succeeded = report.detected(codes.SUCCESSFUL_DETECTIONS)
    failed = report.detected(codes.FAILED_DETECTIONS)
    if set(succeeded) & set(failed) or set(succeeded) | set(failed) != set(library):
        yield "Successful and failed detections do not divide the image library."
    expected = outcome(succeeded=bool(succeeded), failed=bool(failed), findings=bool(findings))
    if report.value_below((1,), codes.FINDINGS_SUMMARY) != expected.value:
        yield f"The findings summary is not {expected.meaning!r}, which the tree shows."
    went = status(succeeded=bool(succeeded), failed=bool(failed))
    if report.value_below((1,), codes.SUMMARY_OF_DETECTIONS) != went.value:
        yield f"The summary of detections is not {went.meaning!r}, which the tree shows."
    for finding in findings:
        if finding.center is not None and finding.center.image in failed:
            yield f"The finding {_at(finding.place)} lies on an image that was not read."


def _wording_faults(report: WrittenReport) -> Iterator[str]:
    """Code meanings are short, without invisible characters (LO, PS3.5 6.2); values are short, and of one scheme."""
    schemes = set()
    for place, item in report.items.items():
        for code in chain(items_of(item, _NAME), items_of(item, _VALUE)):
            meaning = text_of(code, CODE_MEANING)
            schemes.add(text_of(code, CODING_SCHEME))
            if not meaning.isascii() or meaning != meaning.strip() or not 0 < len(meaning) <= 64:
                yield f"Item {_at(place)} has the code meaning {meaning!r}, which is no clean LO."
            if not 0 < len(text_of(code, CODE_VALUE)) <= 16:
                yield f"Item {_at(place)} has a code value that is no SH."
    if {"SCT", "SRT"} <= schemes:
        yield "The report mixes SNOMED CT with the codes that it replaced."
