"""All DICOM objects that answer one study, made from one assessment and checked before they are returned."""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from mammography.finding import Assessment
from mammography.results.cad_sr import compose_cad_sr
from mammography.results.check import check
from mammography.results.composed import ComposedObject, InvalidResult, Predecessor
from mammography.results.gsps import compose_gsps
from mammography.results.marks import answered_images

__all__ = ["ComposedObject", "InvalidResult", "Predecessor", "compose"]


def compose(
    *,
    headers: Sequence[Dataset],
    assessment: Assessment,
    study_instance_uid: str,
    revision: int,
    predecessor: tuple[str, str, str, str] | None = None,
) -> list[ComposedObject]:
    """Return the report and one presentation state per image that was read; nothing for no mammogram at all.

    `headers` are the headers of all images that the assessment names, in any order. `predecessor` is the report of the
    revision before: SOP class, SOP instance, series and study UID. The same input gives the same bytes.

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
    )
    states = [
        compose_gsps(
            image,
            assessment,
            study_instance_uid=study_instance_uid,
            revision=revision,
            number=number,
        )
        for number, image in enumerate((image for image in images if image.read), start=1)
    ]
    objects = [report, *states]
    sentences = check(objects, [image.header for image in images])
    if sentences:
        raise InvalidResult(sentences)
    return objects
