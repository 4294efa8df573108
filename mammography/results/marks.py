"""What is marked on each image: the one source of report, presentation state, picture and text.

Because all four are made from the same marks, they cannot disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pydicom.dataset import Dataset

from mammography.coordinates import ImagePoint, inside
from mammography.finding import (
    Assessment,
    Finding,
    FindingAssessment,
    FindingKind,
    ImageReading,
    ReadStatus,
)
from mammography.results.composed import InvalidResult
from mammography.uid import UidRole, mint


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One finding as it is marked.

    `number` counts from 1 on its image. `outline` is closed (its first point stands again at the end) and lies on the
    image; `center` lies inside it. `tracking_identifier` and `tracking_uid` name the lesion in every object.
    """

    number: int
    finding: Finding
    center: ImagePoint
    outline: tuple[ImagePoint, ...]
    tracking_identifier: str
    tracking_uid: str

    @property
    def label(self) -> str:
        """The few words beside the outline."""
        return label_of(self.number, self.finding)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredImage:
    """One image with what is said of it; `name` is its view, or its place among the study's images."""

    name: str
    header: Dataset
    reading: ImageReading
    marks: tuple[Mark, ...]

    @property
    def read(self) -> bool:
        """Whether the image was read."""
        return self.reading.status is ReadStatus.READ


def answered_images(
    headers: Sequence[Dataset], assessment: Assessment, *, study_instance_uid: str, revision: int
) -> tuple[AnsweredImage, ...]:
    """Return every image of the assessment with its header and marks, in the assessment's order.

    Raises:
        InvalidResult: if the assessment names an image that has no header.
    """
    by_uid = {str(header.SOPInstanceUID): header for header in headers}
    missing = [image.sop_instance_uid for image in assessment.images if image.sop_instance_uid not in by_uid]
    if missing:
        raise InvalidResult([f"The assessment names image {uid}, which has no header." for uid in missing])
    return tuple(
        _answered(by_uid[reading.sop_instance_uid], reading, place, study_instance_uid, revision)
        for place, reading in enumerate(assessment.images, start=1)
    )


def _answered(
    header: Dataset, reading: ImageReading, place: int, study_instance_uid: str, revision: int
) -> AnsweredImage:
    """Return one image with its marks; a tracking UID names study, image, revision and place of the finding."""
    name = f"image {place}" if reading.view is None else str(reading.view)
    marks: list[Mark] = []
    for number, finding in enumerate(reading.findings, start=1):
        if not finding.specks:
            raise InvalidResult([f"Finding {number} of {name} holds no calcification."])
        outline = closed_outline(finding.outline, columns=int(header.Columns), rows=int(header.Rows))
        marks.append(
            Mark(
                number=number,
                finding=finding,
                center=center_within(finding, outline),
                outline=outline,
                tracking_identifier=f"Mammocalc {name} (image {place}) finding {number}",
                tracking_uid=mint(
                    UidRole.TRACKING, study_instance_uid, reading.sop_instance_uid, str(revision), str(number)
                ),
            )
        )
    return AnsweredImage(name=name, header=header, reading=reading, marks=tuple(marks))


def shown(image: AnsweredImage, *, benign: bool) -> AnsweredImage:
    """Return an image with the marks that a person is to see: all, or without those that are called benign.

    Numbers and tracking UIDs stay what they are, so that a mark has the same name wherever it is shown.
    """
    if benign:
        return image
    marks = tuple(mark for mark in image.marks if mark.finding.assessment is not FindingAssessment.BENIGN)
    return replace(image, marks=marks)


def label_of(number: int, finding: Finding) -> str:
    """Return the few words beside an outline: number on its image, and the call or what a large one is.

    No percentage: the certainty of detection beside "benign" would be taken for that of the call.
    """
    return f"{number} {called(finding)}"


def called(finding: Finding) -> str:
    """Return what a finding is called: the call on a cluster, or "large benign calcification (vascular)"."""
    if finding.kind is FindingKind.CLUSTER:
        return str(finding.assessment)
    kind = f" ({finding.morphology})" if finding.morphology else ""
    return f"large {finding.assessment} calcification{kind}"


def closed_outline(outline: Sequence[ImagePoint], *, columns: int, rows: int) -> tuple[ImagePoint, ...]:
    """Return an outline cut to the image, without repeated points, closed by its first point."""
    within = [
        ImagePoint(min(max(float(point.column), 0.0), columns), min(max(float(point.row), 0.0), rows))
        for point in outline
    ]
    if within and within[0] != within[-1]:
        within.append(within[0])
    return (*within[:1], *(after for before, after in pairwise(within) if after != before))


def center_within(finding: Finding, outline: Sequence[ImagePoint]) -> ImagePoint:
    """Return the mean of the specks; where a bent outline leaves that outside, the speck nearest to it inside."""
    mean = ImagePoint(*map(float, finding.center))
    if inside(mean, outline):
        return mean
    centers = [ImagePoint(*map(float, speck.center)) for speck in finding.specks]
    return min(
        (center for center in centers if inside(center, outline)),
        key=lambda center: (center.column - mean.column) ** 2 + (center.row - mean.row) ** 2,
        default=mean,
    )
