"""From our own Mammography CAD SR back to the assessment that it was written from."""

import re
from collections.abc import Iterator
from datetime import datetime

from pydicom.dataset import Dataset

from mammography.finding import (
    Assessment,
    BreastScore,
    Correspondence,
    Distribution,
    Finding,
    FindingAssessment,
    FindingKind,
    FindingPlace,
    ImageReading,
    NonLesion,
    ReaderIdentity,
    ReadStatus,
    Speck,
)
from mammography.results import codes
from mammography.results.composed import MAMMOGRAPHY_CAD_SR
from mammography.results.content import code_dataset
from mammography.results.parameters import Parameter, values
from mammography.results.written_report import (
    Place,
    WrittenFinding,
    WrittenReport,
)
from mammography.view import Laterality, View, view_of

_TRACKED = re.compile(r"\(image (\d+)\) finding (\d+)$")
_TYPES = {code.value: morphology for morphology, code in codes.TYPES.items()}
_DISTRIBUTIONS = {code.value: distribution for distribution, code in codes.DISTRIBUTIONS.items()}
_SIDES = {code.value: side for side, code in codes.SIDES.items()}
_OBJECTS = {code.value: kind for kind, code in codes.OBJECT_TYPES.items()}
_BROKEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class ForeignReport(Exception):
    """A data set is no report that this software wrote, so that no assessment can be read from it."""


def assessment_of(dataset: Dataset) -> Assessment:
    """Return the assessment that a Mammography CAD SR of ours was written from.

    All of it comes back, with these roundings: points are single precision, outlines cut to the image and without
    repeated points; detection, speck and correspondence scores have three decimals, suspicions four, diameters six
    digits; texts are ASCII, without space at their end. A view is the one that the image's header states; a view
    modifier from outside CID 4015 is not in the report.

    Raises:
        ForeignReport: if the data set is no such report, or another software's.
    """
    if str(dataset.get("SOPClassUID")) != MAMMOGRAPHY_CAD_SR:
        raise ForeignReport("The object is no Mammography CAD SR.")
    try:
        return _assessment(WrittenReport(dataset))
    except _BROKEN as gap:
        raise ForeignReport(
            f"The Mammography CAD SR {dataset.get('SOPInstanceUID')} was not written by this software: {gap}."
        ) from gap


def _assessment(report: WrittenReport) -> Assessment:
    """Return the assessment of a report whose items are all there."""
    ((summary, _),) = report.named(codes.FINDINGS_SUMMARY)
    said = report.texts(codes.ALGORITHM_PARAMETERS, summary)
    findings = dict(sorted(_findings(report)))
    library = report.library()
    if not library or any(at.image >= len(library) for at in findings):
        raise ValueError("a finding lies on no image of the library")
    (read_at,) = values(said, Parameter.READ_AT)
    return Assessment(
        reader=_reader(report, summary, said),
        read_at=datetime.fromisoformat(read_at),
        images=tuple(
            _image(report, place, uid, tuple(found for at, found in findings.items() if at.image == number))
            for number, (place, uid) in enumerate(library.items())
        ),
        correspondences=tuple(_correspondences(report)),
        breasts=tuple(
            BreastScore(laterality=Laterality(side), suspicion=float(suspicion))
            for side, suspicion in (text.split() for text in values(said, Parameter.BREAST))
        ),
    )


def _reader(report: WrittenReport, summary: Place, said: tuple[str, ...]) -> ReaderIdentity:
    """Return whose the answer is (TID 4019)."""
    (name,), (version,) = (
        report.texts(concept, summary) for concept in (codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION)
    )
    (weights,), (operating_point,), (trained_on,) = (
        values(said, parameter)
        for parameter in (Parameter.WEIGHTS, Parameter.OPERATING_POINT, Parameter.TRAINED_ON)
    )
    return ReaderIdentity(
        name=name,
        version=version,
        weights_sha256=weights,
        operating_point=operating_point,
        trained_on=trained_on,
    )


def _image(report: WrittenReport, place: Place, uid: str, findings: tuple[Finding, ...]) -> ImageReading:
    """Return what is said of one image of the library."""
    reasons, remarks = (
        [
            text
            for performed in report.performed(codes.SUMMARY_OF_DETECTIONS, container)
            if place in performed.images and performed.kind == codes.CALCIFICATION_CLUSTER.value
            for text in values(performed.parameters, parameter)
        ]
        for container, parameter in (
            (codes.FAILED_DETECTIONS, Parameter.REASON),
            (codes.SUCCESSFUL_DETECTIONS, Parameter.REMARK),
        )
    )
    read = place in report.detected(codes.SUCCESSFUL_DETECTIONS)
    if read == bool(reasons):
        raise ValueError(f"image {uid} was neither read nor not read")
    return ImageReading(
        sop_instance_uid=uid,
        view=_view(report, place),
        status=ReadStatus.READ if read else ReadStatus.NOT_READ,
        reason=None if read else reasons[0],
        findings=findings,
        non_lesions=tuple(_non_lesions(report, place)),
        remarks=tuple(remarks),
    )


def _view(report: WrittenReport, place: Place) -> View | None:
    """Return the view of an image of the library, as a header with the same codes would say it (TID 4020)."""
    header = Dataset()
    side = report.value_below(place, codes.IMAGE_LATERALITY)
    header.ImageLaterality = "" if side is None else _SIDES[side].value
    for view_place, view in report.named(codes.IMAGE_VIEW, place):
        (stated,) = view.ConceptCodeSequence
        code = code_dataset(codes.Code(stated.CodeValue, stated.CodingSchemeDesignator, stated.CodeMeaning))
        code.ViewModifierCodeSequence = [
            item.ConceptCodeSequence[0] for _, item in report.named(codes.IMAGE_VIEW_MODIFIER, view_place)
        ]
        header.ViewCodeSequence = [code]
    return view_of(header)


def _findings(report: WrittenReport) -> Iterator[tuple[FindingPlace, Finding]]:
    """Yield every finding with its place in the assessment."""
    for written in report.findings:
        if written.tracking_uid is not None:
            yield _place(report, written), _finding(report, written)


def _place(report: WrittenReport, written: WrittenFinding) -> FindingPlace:
    """Return where a finding stood in the assessment; its Tracking Identifier says so."""
    tracked = _TRACKED.search(report.value_below(written.place, codes.TRACKING_IDENTIFIER) or "")
    if tracked is None:
        raise ValueError(f"finding {written.place} does not say which of its image it is")
    return FindingPlace(int(tracked[1]) - 1, int(tracked[2]) - 1)


def _finding(report: WrittenReport, written: WrittenFinding) -> Finding:
    """Return one finding with its calcifications (TID 4006, 4009, 4010)."""
    said = report.texts(codes.ALGORITHM_PARAMETERS, written.place)
    (suspicion,) = values(said, Parameter.SUSPICION)
    kinds = values(said, Parameter.STRUCTURE)
    required = written.intent == codes.PRESENTATION_REQUIRED.value
    morphology = report.value_below(written.place, codes.CALCIFICATION_TYPE)
    distribution = report.value_below(written.place, codes.CALCIFICATION_DISTRIBUTION)
    distributions = [Distribution(word) for word in values(said, Parameter.DISTRIBUTION)]
    if distribution is not None:
        distributions.append(_DISTRIBUTIONS[distribution])
    return Finding(
        outline=() if written.outline is None else written.outline.points[:-1],
        specks=tuple(_specks(report, written, said)),
        detection=_fraction(written.certainty),
        suspicion=_first_number(suspicion),
        assessment=FindingAssessment.SUSPICIOUS if required else FindingAssessment.BENIGN,
        morphology=None if morphology is None else _TYPES.get(morphology),
        distribution=distributions[0] if distributions else None,
        kind=FindingKind(kinds[0]) if kinds else FindingKind.CLUSTER,
    )


def _specks(report: WrittenReport, written: WrittenFinding, said: tuple[str, ...]) -> Iterator[Speck]:
    """Yield the calcifications of a finding; where it is one, its parameters hold what is said of that one."""
    if written.kind == codes.INDIVIDUAL_CALCIFICATION.value and written.center is not None:
        (certainty,), (extent,) = (
            values(said, name) for name in (Parameter.SPECK_CERTAINTY, Parameter.SPECK_DIAMETER)
        )
        yield Speck(
            center=written.center.points[0],
            score=_fraction(_first_number(certainty)),
            diameter_mm=_first_number(extent),
        )
        return
    for inner in report.inner(written):
        if inner.center is None:
            raise ValueError(f"calcification {inner.place} lies nowhere")
        diameter = report.value_below(inner.place, codes.DIAMETER)
        yield Speck(
            center=inner.center.points[0],
            score=_fraction(inner.certainty),
            diameter_mm=0.0 if diameter is None else float(diameter),
        )


def _non_lesions(report: WrittenReport, image: Place) -> Iterator[NonLesion]:
    """Yield what is bright on an image and no lesion (TID 4012)."""
    for written in report.findings:
        outline = written.outline
        if written.kind == codes.NON_LESION.value and outline is not None and outline.image == image:
            kind = _OBJECTS[report.value_below(written.place, codes.OBJECT_TYPE) or ""]
            yield NonLesion(kind=kind, outline=outline.points[:-1])


def _correspondences(report: WrittenReport) -> Iterator[Correspondence]:
    """Yield which findings are one lesion in two views (TID 4004)."""
    for place, (first, second) in report.composites():
        certainty = report.value_below(place, codes.CERTAINTY_OF_FEATURE)
        yield Correspondence(
            first=_place(report, first),
            second=_place(report, second),
            score=_fraction(None if certainty is None else float(certainty)),
        )


def _fraction(percent: float | None) -> float:
    """Return a percentage with one decimal as a number from 0 to 1."""
    if percent is None:
        raise ValueError("a certainty is missing")
    return round(percent / 100, 3)


def _first_number(text: str) -> float:
    """Return the number with which a parameter's value begins."""
    return float(text.split(maxsplit=1)[0])
