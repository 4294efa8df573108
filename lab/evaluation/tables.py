"""Where lesions are found and where they are missed: the same figures for every kind of lesion and of image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.evaluation.matching import Verdict
from lab.evaluation.records import ImageRecord, LesionRecord
from lab.evaluation.statistics import Interval, wilson

VISIBILITY_BANDS = (5.0, 8.0, 15.0, 25.0)
SIZE_BANDS_MM = (0.0, 0.2, 0.3, 0.4, 0.6)
SPECK_COUNT_BANDS = (3, 5, 11, 21)
SUBTLE_SPECKS, SUBTLE_D_PRIME = 10, 15.0
"""A lesion of at most so many visible specks, no three of them together above that d', is subtle."""

Lesion = tuple[ImageRecord, LesionRecord, float]
"""A lesion on its image, and the detection score of the best mark on it, minus infinity without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind. `found`: sensitivity at the operating point; `found_at_half`: where 0.5 false marks are made.

    `false_marks`: per image of this kind at the operating point, None where lesions are sorted and not images.
    """

    name: str
    lesions: int
    found: Interval
    found_at_half: Interval
    images: int | None = None
    false_marks: float | None = None


def tables_of(
    lesions: Sequence[Lesion], images: Sequence[ImageRecord], threshold: float, threshold_at_half: float
) -> dict[str, list[Row]]:
    """Return a table for every way of sorting lesions and images.

    `threshold`: the operating point's; `threshold_at_half`: above it lie 0.5 false marks on an image.
    """
    by_lesion: dict[str, Callable[[LesionRecord], str]] = {
        "visibility (d' of the third best speck)": lambda lesion: _band(lesion.visibility, VISIBILITY_BANDS),
        "subtlety": _subtlety,
        "morphology": lambda lesion: lesion.morphology.value,
        "distribution": lambda lesion: lesion.distribution.value if lesion.distribution else "none",
        "median speck diameter in mm": lambda lesion: _band(lesion.diameter_mm, SIZE_BANDS_MM),
        "visible specks": lambda lesion: _band(lesion.specks, SPECK_COUNT_BANDS, last=1),
    }
    by_image: dict[str, Callable[[ImageRecord], str]] = {
        "density": lambda image: "ABCD"[image.density] if image.density in range(4) else str(image.density),
        "vendor": lambda image: image.vendor,
        "view": lambda image: image.position.value,
        "pitch in mm": lambda image: f"{image.spacing_mm:g}",
    }
    tables = {
        title: [
            _row(name, [each for each in lesions if kind(each[1]) == name], threshold, threshold_at_half)
            for name in sorted({kind(lesion) for _, lesion, _ in lesions}, key=_in_order)
        ]
        for title, kind in by_lesion.items()
    }
    for title, image_kind in by_image.items():
        tables[title] = [
            _image_row(
                name,
                [each for each in lesions if image_kind(each[0]) == name],
                [image for image in images if image_kind(image) == name],
                threshold,
                threshold_at_half,
            )
            for name in sorted({image_kind(image) for image in images}, key=_in_order)
        ]
    return tables


def _row(name: str, lesions: Sequence[Lesion], threshold: float, threshold_at_half: float) -> Row:
    """Return the row of some lesions."""
    return Row(
        name=name,
        lesions=len(lesions),
        found=wilson(sum(score >= threshold for _, _, score in lesions), len(lesions)),
        found_at_half=wilson(sum(score > threshold_at_half for _, _, score in lesions), len(lesions)),
    )


def _image_row(
    name: str,
    lesions: Sequence[Lesion],
    images: Sequence[ImageRecord],
    threshold: float,
    threshold_at_half: float,
) -> Row:
    """Return the row of some images and of the lesions on them."""
    row = _row(name, lesions, threshold, threshold_at_half)
    false = sum(
        mark.verdict is Verdict.FALSE and mark.detection >= threshold
        for image in images
        for mark in image.shown
    )
    return Row(
        name=name,
        lesions=row.lesions,
        found=row.found,
        found_at_half=row.found_at_half,
        images=len(images),
        false_marks=false / max(len(images), 1),
    )


def _subtlety(lesion: LesionRecord) -> str:
    """Return how hard a lesion is to see."""
    if lesion.easy:
        return "easy: anyone would see it"
    subtle = lesion.specks <= SUBTLE_SPECKS and lesion.visibility < SUBTLE_D_PRIME
    return (
        f"subtle: at most {SUBTLE_SPECKS} visible specks, d' under {SUBTLE_D_PRIME:g}"
        if subtle
        else "between"
    )


def _band(value: float, bounds: Sequence[float], *, last: int = 0) -> str:
    """Return the band that a value lies in, in words; `last` is 1 for counts, whose bands end one lower."""
    number = max(sum(value >= bound for bound in bounds) - 1, 0)
    if number == len(bounds) - 1:
        return f"{bounds[number]:g} and more"
    return f"{bounds[number]:g} to {bounds[number + 1] - last:g}"


def _in_order(name: str) -> tuple[float, str]:
    """Return what puts bands in the order of their numbers, and other names in that of the alphabet."""
    first = name.split(maxsplit=1)[0]
    return (float(first), name) if first.replace(".", "").isdigit() else (0.0, name)
