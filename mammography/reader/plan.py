"""What a reader's weights need to be used as they were trained: scale, thresholds, widths; never torch."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mammography.finding import LARGE_KINDS, Morphology, ReaderIdentity

PLAN_FILE = "plan.json"
NETWORK_FILE = "network.safetensors"
CLASSIFICATION_FILE = "classification.json"
SECOND_STAGE_FILE = "second_stage.safetensors"
CARD_FILE = "card.md"


class UnusableWeights(Exception):
    """The folder holds no weights that may be used; str() is the sentence why and what to do."""


class QualityBounds(BaseModel):
    """Between which values an image is one that may be read; ranges include both ends.

    Mammograms of six vendors and digitised film have a `beta` of 2.1 to 3.2, a `noise` of 0.02 to 0.08, and of
    one of these vendors a `power` of 3e-4 to 9e-4 mm2 and a `fall` of 18 to 42. What lies outside the wide bounds is withheld at
    once. What lies outside the familiar ones, which are those of the images that the reader was taught on, is
    withheld as soon as it would get more than `most_marks`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: tuple[float, float] = (1.5, 4.4)
    power: tuple[float, float] = (2e-6, 5e-3)
    fall: tuple[float, float] = (0.7, 30_000.0)
    noise: float = 0.12
    edges: float = 500.0
    """Steps within one pixel, for each square centimetre."""
    blocks: float = 1.5
    flat: float = 0.35
    unread: float = 0.5
    least_area_mm2: float = 1000.0

    familiar_beta: tuple[float, float] = (1.8, 3.8)
    familiar_power: tuple[float, float] = (1e-5, 2e-3)
    familiar_fall: tuple[float, float] = (1.0, 10_000.0)
    familiar_noise: float = 0.1
    familiar_scatter: float = 0.3
    """Candidate points outside every mark, for each square centimetre."""
    most_marks: int = 6
    """An image that would get more is withheld unless it is familiar; what is shown of them is bounded elsewhere."""
    most_marks_at_all: int = 12
    """More than a breast full of diffuse calcifications gets, which is outlined in several pieces."""


class ReaderPlan(BaseModel):
    """Everything beside the weights that decides what a reader says; it travels with them as plan.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "mammocalc"
    version: str
    trained_on: str
    """One sentence that every report carries."""
    files: dict[str, str]
    """SHA-256, in hexadecimal, of every file that the plan was made for."""

    widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    """Channels at 1/2, 1/4, 1/8 and 1/16."""
    morphologies: tuple[Morphology, ...]
    """What the network's morphology channels stand for."""
    large: tuple[str, ...] = LARGE_KINDS
    """What the network's channels of large structures stand for, after the first, which is nothing large."""

    spacing_mm: float = 0.07
    """Pitch to which an image is resampled when its own lies outside the next two."""
    finest_mm: float = 0.06
    coarsest_mm: float = 0.105
    value_quantiles: tuple[float, float] = (0.01, 0.99)
    """In-breast quantiles that become 0 and 1 in the first channel."""
    noise_ceiling: float = 4.0
    """High-pass values above this many in-breast mean deviations are not counted as noise."""
    noise_gain: float = 1.5
    noise_floor: float = 0.15
    """The second channel is high-pass / (gain x local deviation + floor x in-breast deviation)."""
    high_pass_range: tuple[float, float] = (-4.0, 16.0)

    point_score: float = Field(gt=0, lt=1)
    """A peak of the centre map above this is a speck."""
    macro_score: float = Field(default=0.5, gt=0, lt=1)
    """A speck where something large lies with more than this probability does not belong to a cluster."""
    link_mm: float = 7.0
    """Specks nearer than this belong together."""
    fewest_specks: int = 3
    """As many must lie within one square centimetre to make a cluster."""
    most_points: int = 400
    """More specks than this on one image are noise or an artefact: its result is withheld."""
    quality: QualityBounds = QualityBounds()
    """Which images are withheld."""
    operating_point: str = "standard"
    operating_points: dict[str, float]
    """Lowest detection score of a finding that is reported, by name."""
    most_findings: int = Field(default=3, ge=1)
    """A view gets no more marks than this, the most suspicious and then the surest; a remark tells of the others."""
    suspicious_score: float = Field(gt=0, lt=1)
    """A finding of at least this suspicion is called suspicious."""
    large_score: float = Field(default=1.0, gt=0, le=1)
    """A large calcification is reported when its score is at least this; 1 reports none."""
    large_mm2: float = Field(default=1.0, gt=0)
    """Smaller ones are not reported."""
    morphology_score: float = Field(default=0.6, gt=0, lt=1)
    """A morphology is stated when its probability is at least this."""

    @property
    def detection_score(self) -> float:
        """The lowest detection score of the chosen operating point."""
        return self.operating_points[self.operating_point]

    def scale_of(self, spacing_mm: float) -> float:
        """Return by how much an image of a pitch is resampled: 1 where its pitch is near enough to the plan's."""
        return 1.0 if self.finest_mm <= spacing_mm <= self.coarsest_mm else spacing_mm / self.spacing_mm

    def identity(self) -> ReaderIdentity:
        """Return who this reader is, for every report."""
        return ReaderIdentity(
            name=self.name,
            version=self.version,
            weights_sha256=self.files[NETWORK_FILE],
            operating_point=self.operating_point,
            trained_on=self.trained_on,
        )


def read_plan(folder: Path) -> ReaderPlan:
    """Return the plan of a weights folder.

    Raises:
        UnusableWeights: if there is none, or it cannot be understood.
    """
    path = folder / PLAN_FILE
    try:
        return ReaderPlan.model_validate_json(path.read_bytes())
    except OSError as cause:
        raise UnusableWeights(
            f"The folder {folder} holds no {PLAN_FILE}: name a folder that mammocalc train wrote."
        ) from cause
    except ValidationError as cause:
        mistakes = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in cause.errors())
        raise UnusableWeights(f"The plan {path} cannot be used: {mistakes}.") from cause
