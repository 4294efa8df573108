"""What a reader's weights need to be used as they were trained: scale, thresholds, widths; never torch."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mammography.finding import LARGE_KINDS, Morphology, ReaderIdentity

PLAN_FILE = "plan.json"
NETWORK_FILE = "network.safetensors"
CLASSIFICATION_FILE = "classification.json"
CARD_FILE = "card.md"


class UnusableWeights(Exception):
    """The folder holds no weights that may be used; str() is the sentence why and what to do."""


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
    operating_point: str = "standard"
    operating_points: dict[str, float]
    """Lowest detection score of a finding that is reported, by name."""
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
