"""All DICOM objects that answer one study, made from one assessment and checked before they are returned."""

from collections.abc import Sequence
from hashlib import sha256

from pydicom.dataset import Dataset
from pydicom.uid import UID

from mammography.finding import Assessment
from mammography.results.cad_sr import compose_cad_sr
from mammography.results.check import check
from mammography.results.composed import ComposedObject, InvalidResult, Kind, Predecessor, finished
from mammography.results.gsps import compose_gsps
from mammography.results.marks import AnsweredImage, answered_images, shown
from mammography.results.options import USUAL, ComposeOptions
from mammography.results.secondary_capture import OpenImage, compose_pictures
from mammography.results.tid1500 import compose_tid1500
from mammography.uid import UidRole, mint

__all__ = ["ComposeOptions", "ComposedObject", "InvalidResult", "Predecessor", "compose", "variant"]


def compose(
    *,
    headers: Sequence[Dataset],
    assessment: Assessment,
    study_instance_uid: str,
    revision: int,
    predecessor: tuple[str, str, str, str] | None = None,
    options: ComposeOptions = USUAL,
    open_image: OpenImage | None = None,
) -> list[ComposedObject]:
    """Return the objects of the kinds that `options` name; nothing for no mammogram at all.

    `headers` are the headers of all images that the assessment names, in any order. `predecessor` is the report of the
    revision before: SOP class, SOP instance, series and study UID. `open_image` opens an image by its SOP Instance
    UID; only pictures need it. Report and presentation states are made and checked against each other whatever kinds
    are wanted. The same input gives the same bytes, and what differs between two destinations has two UIDs.

    Raises:
        InvalidResult: if an image lacks what references need, or an object would say something wrong.
    """
    images = answered_images(headers, assessment, study_instance_uid=study_instance_uid, revision=revision)
    if not images:
        return []
    report = compose_cad_sr(
        images,
        assessment,
        study_instance_uid=study_instance_uid,
        revision=revision,
        predecessor=None if predecessor is None else Predecessor(*predecessor),
        options=options,
    )
    states = _presentation_states(
        images, assessment, study_instance_uid=study_instance_uid, revision=revision, options=options
    )
    others = _others(
        images,
        assessment,
        study_instance_uid=study_instance_uid,
        revision=revision,
        options=options,
        open_image=open_image,
    )
    objects = [_for_destination(each, options) for each in (report, *states, *others)]
    sentences = check(objects, [image.header for image in images])
    if sentences:
        raise InvalidResult(sentences)
    return [each for each in objects if each.kind in options.kinds]


def _others(
    images: Sequence[AnsweredImage],
    assessment: Assessment,
    *,
    study_instance_uid: str,
    revision: int,
    options: ComposeOptions,
    open_image: OpenImage | None,
) -> list[ComposedObject]:
    """Return what is made only where it is wanted: TID 1500 reports and pictures."""
    objects: list[ComposedObject] = []
    if "tid1500" in options.kinds:
        objects += compose_tid1500(
            images, assessment, study_instance_uid=study_instance_uid, revision=revision, options=options
        )
    if "picture" in options.kinds:
        objects += compose_pictures(
            images,
            assessment,
            study_instance_uid=study_instance_uid,
            revision=revision,
            options=options,
            open_image=open_image,
        )
    return objects


def _presentation_states(
    images: Sequence[AnsweredImage],
    assessment: Assessment,
    *,
    study_instance_uid: str,
    revision: int,
    options: ComposeOptions,
) -> list[ComposedObject]:
    """Return the presentation state of each image that was read, with the marks that are shown."""
    return [
        compose_gsps(
            shown(image, benign=options.benign),
            assessment,
            study_instance_uid=study_instance_uid,
            revision=revision,
            number=number,
        )
        for number, image in enumerate((image for image in images if image.read), start=1)
    ]


_DIFFERENCES: dict[Kind, tuple[str, ...]] = {
    "cad-sr": ("scheme", "manufacturer", "benign"),
    "gsps": ("manufacturer", "benign"),
    "tid1500": ("manufacturer", "benign", "tid1500", "tid1500_per_image"),
    "picture": ("manufacturer", "benign"),
}
"""Which options each kind of object shows."""


def variant(kind: Kind, options: ComposeOptions) -> str:
    """Return a short name of the way in which a kind of object is written; empty for the usual one."""
    differences = _differences(kind, options)
    return sha256("\n".join(differences).encode()).hexdigest()[:8] if differences else ""


def _differences(kind: Kind, options: ComposeOptions) -> list[str]:
    """Return which of the options that an object of a kind shows are not the usual ones."""
    return [
        f"{name}={getattr(options, name)}"
        for name in _DIFFERENCES[kind]
        if getattr(options, name) != getattr(USUAL, name)
    ]


def _for_destination(composed: ComposedObject, options: ComposeOptions) -> ComposedObject:
    """Return an object signed as its destination wants it, under UIDs that no other way of writing it has.

    With the default options it stays as it is; so does an object that shows none of the options that differ.
    """
    differences = _differences(composed.kind, options)
    if not differences:
        return composed
    dataset = composed.dataset
    if options.manufacturer is not None:
        dataset.Manufacturer = options.manufacturer
    dataset.SOPInstanceUID = UID(mint(UidRole.VARIANT, dataset.SOPInstanceUID, *differences))
    dataset.SeriesInstanceUID = UID(mint(UidRole.VARIANT, dataset.SeriesInstanceUID, *differences))
    return finished(composed.kind, dataset)
