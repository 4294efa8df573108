"""The answer in words, for people: the report's impression, and the whole assessment as plain text."""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from mammography import __version__
from mammography.finding import (
    Assessment,
    Finding,
    FindingAssessment,
    FindingKind,
    ImageReading,
    ReaderIdentity,
)
from mammography.results.marks import AnsweredImage, called
from mammography.results.source import value_of

DISCLAIMER = "Research use only. Not a medical device, not for diagnosis."


def impression(images: Sequence[AnsweredImage], reader: ReaderIdentity) -> str:
    """Return the report's Impression Description: what was found, what was not read and why, and by which weights."""
    findings = [mark.finding for image in images for mark in image.marks]
    read = sum(image.read for image in images)
    sentences = [f"Mammocalc read {read} of {len(images)} images and marked {counted(findings)}."]
    if not read:
        sentences = [
            f"Mammocalc read none of the {len(images)} images, so nothing is said of calcifications."
        ]
    things = sum(len(image.reading.non_lesions) for image in images)
    if things:
        sentences.append(
            f"{things} bright {'object is' if things == 1 else 'objects are'} metal and no calcification."
        )
    sentences += [f"Not read: {image.name}: {_reason(image.reading)}" for image in images if not image.read]
    return " ".join([*sentences, f"Weights trained on: {_sentence(reader.trained_on)}", DISCLAIMER])


def counted(findings: Sequence[Finding]) -> str:
    """Return how many findings there are, by call."""
    if not findings:
        return "no calcifications"
    clusters = [finding for finding in findings if finding.kind is FindingKind.CLUSTER]
    suspicious = sum(finding.assessment is FindingAssessment.SUSPICIOUS for finding in clusters)
    parts = [
        f"{count} {call} {'finding' if count == 1 else 'findings'}"
        for count, call in ((suspicious, "suspicious"), (len(clusters) - suspicious, "benign"))
        if count
    ]
    said = [" and ".join(parts) + " of calcifications"] if parts else []
    large = len(findings) - len(clusters)
    if large:
        said.append(f"{large} large benign {'calcification' if large == 1 else 'calcifications'}")
    return " and ".join(said)


def report_text(assessment: Assessment, headers: Sequence[Dataset]) -> str:
    """Return the whole answer as plain text, image by image, findings in pixels of the stored matrix."""
    by_uid = {str(header.SOPInstanceUID): header for header in headers}
    reader = assessment.reader
    lines = [
        f"Mammocalc {__version__}: calcifications in mammograms",
        DISCLAIMER,
        "",
        f"Read at: {assessment.read_at:%Y-%m-%d %H:%M:%S %Z}",
        f"Reader: {reader.name} {reader.version}, operating point {reader.operating_point}",
        f"Weights: sha256 {reader.weights_sha256}",
        f"Weights trained on: {_sentence(reader.trained_on)}",
    ]
    for place, image in enumerate(assessment.images, start=1):
        lines += ["", *_image_lines(place, image, by_uid.get(image.sop_instance_uid))]
    together = list(_breast_lines(assessment))
    if together:
        lines += ["", "Both views together:", *together]
    return "\n".join(lines) + "\n"


def _image_lines(place: int, image: ImageReading, header: Dataset | None) -> Iterator[str]:
    """Yield what is said of one image."""
    name = "view not stated" if image.view is None else str(image.view)
    yield f"Image {place}: {name}{_size(header)}"
    yield f"  SOP Instance UID {image.sop_instance_uid}"
    if image.reason is not None:
        yield f"  Not read: {_reason(image)}"
        return
    yield from (f"  Remark: {_sentence(remark)}" for remark in image.remarks)
    yield f"  Marked: {counted(image.findings)}."
    for number, finding in enumerate(image.findings, start=1):
        yield f"  {number}. {_finding_line(finding)}"
    for thing in image.non_lesions:
        corner = thing.outline[0]
        yield f"  No lesion: {thing.kind} near column {corner.column:.0f}, row {corner.row:.0f}."


def _breast_lines(assessment: Assessment) -> Iterator[str]:
    """Yield which findings are one lesion in two views, and how suspicious each breast is at most."""
    for pair in assessment.correspondences:
        names = [
            f"finding {place.finding + 1} of image {place.image + 1}" for place in (pair.first, pair.second)
        ]
        yield f"  Probably one lesion: {' and '.join(names)} (likeness {pair.score:.2f})."
    for breast in assessment.breasts:
        said = f"highest suspicion {breast.suspicion:.2f}" if breast.suspicion else "nothing marked"
        yield f"  Breast {breast.laterality}: {said}."
    yield "  Suspicion is a scale from 0 to 1 by the literature, never a probability of cancer."


def _finding_line(finding: Finding) -> str:
    """Return one finding in one line."""
    if finding.kind is FindingKind.LARGE:
        return (
            f"{called(finding)} (detection {finding.detection:.2f}), as large as a disc of "
            f"{finding.specks[0].diameter_mm:.1f} mm around column {finding.center.column:.0f}, "
            f"row {finding.center.row:.0f}"
        )
    stated = [word.value for word in (finding.morphology, finding.distribution) if word is not None]
    specks = len(finding.specks)
    return (
        f"{finding.assessment} (detection {finding.detection:.2f}, suspicion {finding.suspicion:.2f})"
        f", {specks} {'calcification' if specks == 1 else 'calcifications'}"
        f" around column {finding.center.column:.0f}, row {finding.center.row:.0f}"
        + (f", {', '.join(stated)}" if stated else "")
    )


def _size(header: Dataset | None) -> str:
    """Return the size of the stored matrix, where it is known."""
    columns, rows = (
        (None, None) if header is None else (value_of(header, "Columns"), value_of(header, "Rows"))
    )
    return f", {columns} columns x {rows} rows" if columns and rows else ""


def _reason(image: ImageReading) -> str:
    """Return why an image was not read, as a sentence."""
    return _sentence(image.reason or "No reason is recorded")


def _sentence(text: str) -> str:
    """Return a text with a full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
