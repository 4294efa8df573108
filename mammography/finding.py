"""What one reading says: specks, findings, images, and the assessment of a study."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mammography.coordinates import ImagePoint
from mammography.view import Laterality, View


class Morphology(StrEnum):
    """BI-RADS 5th edition calcification morphology."""

    PUNCTATE = "punctate"
    ROUND = "round"
    AMORPHOUS = "amorphous"
    COARSE_HETEROGENEOUS = "coarse-heterogeneous"
    FINE_PLEOMORPHIC = "fine-pleomorphic"
    FINE_LINEAR = "fine-linear"
    VASCULAR = "vascular"
    COARSE = "coarse"
    ROD_LIKE = "rod-like"
    RIM = "rim"
    DYSTROPHIC = "dystrophic"
    MILK_OF_CALCIUM = "milk-of-calcium"
    SUTURE = "suture"
    SKIN = "skin"


SUSPICIOUS_MORPHOLOGIES = frozenset(
    {
        Morphology.AMORPHOUS,
        Morphology.COARSE_HETEROGENEOUS,
        Morphology.FINE_PLEOMORPHIC,
        Morphology.FINE_LINEAR,
    }
)
"""BI-RADS 5th edition: suspicious morphology; all others are typically or probably benign."""
LARGE_MORPHOLOGIES = (
    Morphology.VASCULAR,
    Morphology.COARSE,
    Morphology.ROD_LIKE,
    Morphology.RIM,
    Morphology.DYSTROPHIC,
    Morphology.SUTURE,
    Morphology.SKIN,
)
"""Typically benign morphologies that show as large structures rather than as groups of small specks."""
METAL = "metal"
"""Clips, BBs and markers: bright, sharp, and no calcification."""
LARGE_KINDS: tuple[str, ...] = (*(morphology.value for morphology in LARGE_MORPHOLOGIES), METAL)
"""What a large bright structure can be, in the order in which class maps count."""


class FindingKind(StrEnum):
    """What a finding consists of."""

    CLUSTER = "cluster"
    """Specks that belong together."""
    LARGE = "large"
    """A large, typically benign calcification, told by its shape; its one speck is the whole of it."""


class NonLesionKind(StrEnum):
    """What a bright thing is that is no calcification (PS3.16 CID 6040)."""

    METAL = "metal"
    """A clip, a ball or a marker: which of them the reader does not say."""


class Distribution(StrEnum):
    """BI-RADS 5th edition calcification distribution."""

    DIFFUSE = "diffuse"
    REGIONAL = "regional"
    GROUPED = "grouped"
    LINEAR = "linear"
    SEGMENTAL = "segmental"


class FindingAssessment(StrEnum):
    """The reader's call on one finding."""

    BENIGN = "benign"
    SUSPICIOUS = "suspicious"


class ReadStatus(StrEnum):
    """Whether an image was read."""

    READ = "read"
    NOT_READ = "not-read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speck:
    """One calcification: its centre, its detection score (0 to 1) and its diameter at the detector plane."""

    center: ImagePoint
    score: float
    diameter_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cluster of calcifications on one image.

    `outline` is a simple polygon of at least three points around all specks, the first point not repeated.
    `detection` and `suspicion` are 0 to 1. `morphology` and `distribution` are None where the reader does not
    state them; they are never invented.
    """

    outline: tuple[ImagePoint, ...]
    specks: tuple[Speck, ...]
    detection: float
    suspicion: float
    assessment: FindingAssessment
    morphology: Morphology | None = None
    distribution: Distribution | None = None
    kind: FindingKind = FindingKind.CLUSTER

    @property
    def center(self) -> ImagePoint:
        """The mean of the specks' centres."""
        count = len(self.specks)
        return ImagePoint(
            sum(speck.center.column for speck in self.specks) / count,
            sum(speck.center.row for speck in self.specks) / count,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NonLesion:
    """A bright thing that the reader took for no lesion; `outline` is a simple polygon, its first point not repeated."""

    kind: NonLesionKind
    outline: tuple[ImagePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReading:
    """What the reader says of one image: its findings, or why it was not read."""

    sop_instance_uid: str
    view: View | None
    status: ReadStatus
    reason: str | None = None
    """A sentence; given when and only when the image was not read."""
    findings: tuple[Finding, ...] = ()
    non_lesions: tuple[NonLesion, ...] = ()
    remarks: tuple[str, ...] = ()
    """Sentences on what lowers the trust in this reading, such as a laterality that the image contradicts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderIdentity:
    """Which reader said it: name, version, weights and operating point; carried by every report."""

    name: str
    version: str
    weights_sha256: str
    operating_point: str
    trained_on: str
    """One sentence, such as "Synthetic images (phantom) alone"."""


class FindingPlace(NamedTuple):
    """Where a finding stands in an assessment: the index of its image, and its index among that image's."""

    image: int
    finding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Correspondence:
    """Two findings that show the same lesion in two views of one breast; `score` is 0 to 1."""

    first: FindingPlace
    second: FindingPlace
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BreastScore:
    """The highest suspicion of a breast, 0 to 1; it never falls when a finding is added."""

    laterality: Laterality
    suspicion: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Everything that one reading says of one study."""

    reader: ReaderIdentity
    read_at: datetime
    """Aware, with the offset of the clock where it was read: an object's date and time are these, or the same moment in
    the offset that its image states, so that a rebuild anywhere and at any time is byte for byte."""
    images: tuple[ImageReading, ...]
    correspondences: tuple[Correspondence, ...] = ()
    """Each finding stands in at most one."""
    breasts: tuple[BreastScore, ...] = ()
    """One for each breast of which an image was read."""
