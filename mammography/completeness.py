"""When a study has arrived, and why: a pure function of what is here and of how long nothing came."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydicom.uid import (
    UID,
    BreastTomosynthesisImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
)

from mammography.view import SCREENING_SET, Laterality, View, ViewModifier, ViewPosition

MAMMOGRAM_CLASSES = frozenset(
    {
        str(DigitalMammographyXRayImageStorageForPresentation),
        str(DigitalMammographyXRayImageStorageForProcessing),
    }
)
"""The SOP classes that hold a mammogram (PS3.3 A.26); everything else is kept and listed as not read."""

_DETAILS = frozenset({ViewModifier.MAGNIFICATION, ViewModifier.SPOT_COMPRESSION})
"""Views of a part of the breast: they come beside the screening set, never in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedView:
    """What completeness asks of one stored instance."""

    sop_class_uid: str
    modality: str
    """Modality (0008,0060); empty where the object does not say."""
    view: View | None
    """None where it states no laterality or no view that we know."""

    @property
    def is_mammogram(self) -> bool:
        """Whether it is of a class that we may read."""
        return self.sop_class_uid in MAMMOGRAM_CLASSES


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be done with a study that is arriving."""

    complete: bool
    """Nothing more is waited for."""
    readable: bool
    """It holds a mammogram."""
    reason: str
    """Why, in words for the study's history."""


def judge(
    images: Collection[ArrivedView],
    *,
    first_at: datetime,
    last_at: datetime,
    association_ended: bool,
    now: datetime,
    quiet_period: timedelta,
    longest_wait: timedelta,
) -> Verdict:
    """Return whether a study has arrived.

    It has when all four views of the screening set are here, in either presentation intent, and no sender is
    still sending (`association_ended`); or when nothing arrived for `quiet_period` since `last_at`; or when
    `longest_wait` has passed since `first_at`, the first instance of this round. A study without a mammogram
    is not readable, which is known only when nothing more is waited for.
    """
    missing = _missing(images)
    mammograms = [image for image in images if image.is_mammogram]
    if not missing and association_ended:
        return Verdict(complete=True, readable=True, reason="all four views of the screening set are here")
    wait = waited(
        first_at=first_at, last_at=last_at, now=now, quiet_period=quiet_period, longest_wait=longest_wait
    )
    if not mammograms:
        return Verdict(complete=bool(wait), readable=False, reason=_contents(images))
    here = _presence(mammograms, missing)
    if not wait:
        return Verdict(complete=False, readable=True, reason=f"may be sent more; {here}")
    return Verdict(complete=True, readable=True, reason=f"{wait}; {here}")


def waited(
    *, first_at: datetime, last_at: datetime, now: datetime, quiet_period: timedelta, longest_wait: timedelta
) -> str:
    """Return which wait is over, in words; nothing while both go on."""
    if now - last_at >= quiet_period:
        return f"nothing arrived for {_seconds(quiet_period)}"
    if now - first_at >= longest_wait:
        return f"images have been arriving for {_seconds(longest_wait)}, the longest wait"
    return ""


def _missing(images: Iterable[ArrivedView]) -> list[str]:
    """Return the names of the screening set's views that no mammogram shows, right before left."""
    shown = {
        View(laterality=image.view.laterality, position=image.view.position)
        for image in images
        if image.is_mammogram and image.view is not None and not image.view.modifiers & _DETAILS
    }
    return _names(SCREENING_SET - shown)


def _presence(mammograms: Iterable[ArrivedView], missing: list[str]) -> str:
    """Return in words which views are here and which are missing."""
    if not missing:
        return "all four views of the screening set are here"
    here = _names({image.view for image in mammograms if image.view is not None})
    unstated = sum(image.view is None for image in mammograms)
    if unstated:
        here.append(_count(unstated, "image of no stated view", "images of no stated view"))
    return f"{_listing(here)} here, {_listing(missing)} missing"


def _contents(images: Iterable[ArrivedView]) -> str:
    """Return what a study without a mammogram holds: "holds 1 CT image and no mammogram"."""
    kinds = Counter(_kind(image) for image in images)
    parts = [_count(number, one, f"{one}s") for one, number in sorted(kinds.items())]
    return f"holds {', '.join(parts) or 'nothing'} and no mammogram"


def _kind(image: ArrivedView) -> str:
    """Return what an object is called in a sentence."""
    if image.sop_class_uid == BreastTomosynthesisImageStorage:
        return "tomosynthesis image"
    noun = "image" if "Image" in UID(image.sop_class_uid).name else "object"
    return f"{image.modality} {noun}" if image.modality else noun


def _names(views: Collection[View]) -> list[str]:
    """Return the views' names as a radiographer lists them: right before left, CC before MLO before others."""
    sides, positions = list(Laterality), list(ViewPosition)
    return [
        str(view)
        for view in sorted(
            views, key=lambda v: (sides.index(v.laterality), positions.index(v.position), str(v))
        )
    ]


def _listing(names: list[str]) -> str:
    """Return "R CC is", "R CC, R MLO are"."""
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _count(number: int, one: str, several: str) -> str:
    """Return "1 image", "2 images"."""
    return f"{number} {one if number == 1 else several}"


def _seconds(duration: timedelta) -> str:
    """Return a duration as "60 s"."""
    return f"{duration.total_seconds():g} s"
