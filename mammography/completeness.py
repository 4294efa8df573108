"""When a study has arrived, and why: a pure function of what is here and of how long nothing came."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
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

_FEWEST_COMMITTED = 2
"""Mammograms that a request for Storage Commitment must list before it says anything of the study."""


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
class SenderList:
    """What a sender says a study holds."""

    is_commitment: bool
    """A request for Storage Commitment, and not a performed procedure step."""
    finished: bool
    """The list is final."""
    instances: frozenset[str]
    """SOP Instance UIDs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveList:
    """What an archive that was asked says it holds of a study's mammograms: their UIDs, or their number, or nothing."""

    name: str
    classes: Mapping[str, str] | None = None
    """SOP Instance UID -> SOP Class UID, which is empty where it does not say."""
    count: int | None = None
    """Of the images in its mammography series."""
    silence: str = ""
    """Why it says neither, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is here beside what an archive holds."""

    more: bool
    """The archive has mammograms that have yet to come."""
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be done with a study that is arriving."""

    complete: bool
    """Nothing more is waited for."""
    readable: bool
    """It holds a mammogram."""
    reason: str
    """Why, in words for the study's history."""


def judge(  # noqa: PLR0913  all that a verdict rests on
    images: Collection[ArrivedView],
    *,
    first_at: datetime,
    last_at: datetime,
    association_ended: bool,
    now: datetime,
    quiet_period: timedelta,
    longest_wait: timedelta,
    listed: str = "",
    archive: Comparison | None = None,
) -> Verdict:
    """Return whether a study has arrived.

    It has when all four views of the screening set are here, in either presentation intent, and no sender is
    still sending (`association_ended`); or when its sender says so (`listed`, in words); or when nothing arrived for `quiet_period` since `last_at`; or when
    `longest_wait` has passed since `first_at`, the first instance of this round. Where an `archive` has more than is
    here, the quiet period alone ends nothing. A study without a mammogram
    is not readable, which is known only when nothing more is waited for.
    """
    missing = _missing(images)
    mammograms = [image for image in images if image.is_mammogram]
    if not missing and association_ended:
        return Verdict(complete=True, readable=True, reason="all four views of the screening set are here")
    wait = listed or waited(
        first_at=first_at, last_at=last_at, now=now, quiet_period=quiet_period, longest_wait=longest_wait
    )
    if not mammograms:
        return Verdict(complete=bool(wait), readable=False, reason=_contents(images))
    here = _presence(mammograms, missing)
    if not wait:
        return Verdict(complete=False, readable=True, reason=f"may be sent more; {here}")
    if archive is None or listed:
        return Verdict(complete=True, readable=True, reason=f"{wait}; {here}")
    held_back = archive.more and now - first_at < longest_wait
    return Verdict(complete=not held_back, readable=True, reason=f"{wait}; {archive.words}; {here}")


def all_listed(
    images: Mapping[str, ArrivedView], lists: Collection[SenderList], elsewhere: Collection[str] = ()
) -> str:
    """Return, in words, why the sender's own lists say that a study is here whole; nothing where they do not.

    `images` are those that are here, by SOP Instance UID; `elsewhere` are instances of the lists that are here in other
    studies. The lists of performed procedure steps add up, and none may be in progress. A request for Storage
    Commitment counts alone, and only from two mammograms on: some modalities ask for each image as they send it.
    """
    steps = [one for one in lists if not one.is_commitment]
    if not images or any(not one.finished for one in steps):
        return ""
    here = {*images, *elsewhere}
    made = {uid for one in steps for uid in one.instances}
    if set(images) <= made <= here:
        return "the modality's performed procedure step is over, and all that it lists is here"
    if sum(image.is_mammogram for image in images.values()) < _FEWEST_COMMITTED:
        return ""
    for one in lists:
        if one.is_commitment and set(images) <= set(one.instances) <= here:
            return "the sender's request for Storage Commitment lists all that is here"
    return ""


def compare(images: Mapping[str, ArrivedView], archive: ArchiveList) -> Comparison:
    """Return what an archive has that has yet to come; `images` are those that are here, by SOP Instance UID.

    Only the SOP classes of mammograms that came count: an archive may get For Processing images that we never do.
    """
    if archive.classes is not None:
        expected = {image.sop_class_uid for image in images.values() if image.is_mammogram} | {""}
        there = {uid for uid, sop_class_uid in archive.classes.items() if sop_class_uid in expected}
        has = f"{archive.name} has {_count(len(there), 'image', 'images')} of it"
        missing = len(there - images.keys())
        if missing:
            return Comparison(more=True, words=f"{has}, {missing} of them not here")
        return Comparison(more=False, words=f"{has}, and none that is not here")
    if archive.count is not None:
        here = sum(image.modality == "MG" for image in images.values())
        has = f"{archive.name} counts {_count(archive.count, 'image', 'images')} of it"
        return Comparison(more=archive.count > here, words=f"{has}, and {here} came")
    return Comparison(more=False, words=archive.silence)


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
