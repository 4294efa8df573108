"""What a reader said of synthetic studies beside their truth: plain values, one line of JSON a study."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from lab.evaluation.matching import Verdict
from mammography.finding import Distribution, Morphology
from mammography.view import Laterality, ViewPosition


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionRecord:
    """One lesion of one image, whether it is to be found or not.

    `visibility`: the highest d' that three of its specks within one square centimetre reach, 0 where there are
    no three. `specks`: how many reach d' of 5; `diameter_mm`, `extent_mm`: their median size and their span.
    `outlined`: the best detection score of a mark whose outline holds at least half of its specks.
    """

    number: int
    morphology: Morphology
    distribution: Distribution | None
    suspicious: bool
    easy: bool
    visibility: float
    specks: int
    diameter_mm: float
    extent_mm: float
    outlined: float | None
    picture: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRecord:
    """One cluster that the reader found, whatever its score, and what it really is.

    `lesions`: numbers of the lesions that it marks. `near`: the kind of distractor within 3 mm of its centre.
    """

    detection: float
    suspicion: float
    morphology: Morphology | None
    distribution: Distribution | None
    specks: int
    column: float
    row: float
    verdict: Verdict
    lesions: tuple[int, ...]
    near: str | None
    picture: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeRecord:
    """One large benign calcification of an image, and what the reader called it where it marked it."""

    kind: Morphology
    marked: bool
    called: Morphology | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One image. `reason`: why it was withheld; `marks` are then those that would have been shown.

    `specks`: d' and best score of every speck of d' 5 or more that lies in no large calcification, 0 on a
    withheld image. `false_specks`: scores of points on nothing. `false_large`: what marks on nothing large were called.
    `empty`: it shows no calcification at all.
    """

    laterality: Laterality
    position: ViewPosition
    vendor: str
    density: int
    spacing_mm: float
    empty: bool
    reason: str | None
    points: int
    lesions: tuple[LesionRecord, ...]
    marks: tuple[MarkRecord, ...]
    specks: tuple[tuple[float, float], ...]
    false_specks: tuple[float, ...]
    large: tuple[LargeRecord, ...]
    false_large: tuple[str, ...]

    @property
    def shown(self) -> tuple[MarkRecord, ...]:
        """The marks that count: none of a withheld image."""
        return self.marks if self.reason is None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BreastRecord:
    """One breast: its score at the operating point, None where no image of it was read."""

    laterality: Laterality
    suspicion: float | None
    suspicious: bool
    """Whether a suspicious lesion that can be seen lies in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """One study. `seconds`: from files to findings, on one processor thread.

    `pairs`, `right_pairs`: clusters that the reader took for one lesion in two views, and how many are one.
    """

    study: int
    seconds: float
    images: tuple[ImageRecord, ...]
    breasts: tuple[BreastRecord, ...]
    pairs: int
    right_pairs: int


STUDY_LINE: TypeAdapter[StudyRecord] = TypeAdapter(StudyRecord)
"""A study record to and from one line of JSON."""
