"""The picture: one Secondary Capture for each image (PS3.3 A.8.1), its marks burned in, for viewers that show nothing else.

It is a copy at reduced size in 8 bits and three colours, in series of its own, of modality OT so that no hanging
protocol takes it for a mammogram. It has no pixel spacing: nobody is to measure on it.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
from PIL.Image import Image
from pydicom.dataset import Dataset

from mammography.finding import Assessment
from mammography.mammogram import Mammogram, UnreadableMammogram
from mammography.results.codes import Code
from mammography.results.composed import ComposedObject, InvalidResult, finished
from mammography.results.content import code_dataset
from mammography.results.image_library import side_of
from mammography.results.marks import AnsweredImage
from mammography.results.options import ComposeOptions
from mammography.results.picture import NOTICE, draw
from mammography.results.source import (
    add_creation,
    add_equipment,
    identity_of,
    local_date_and_time,
    reference_to,
    take_over,
    value_of,
)
from mammography.uid import UidRole, mint
from mammography.view import Laterality

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SERIES_NUMBERS: dict[Laterality | None, int] = {Laterality.RIGHT: 9906, Laterality.LEFT: 9907, None: 9908}
"""Of the first revision's pictures, a series for each side; each revision adds ten."""

_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_RESAMPLING = Code("113085", "DCM", "Spatial resampling")

OpenImage = Callable[[str], Mammogram]
"""Opens an image that was read, by its SOP Instance UID."""


def compose_pictures(
    images: Sequence[AnsweredImage],
    assessment: Assessment,
    *,
    study_instance_uid: str,
    revision: int,
    options: ComposeOptions,
    open_image: OpenImage | None,
) -> list[ComposedObject]:
    """Return the picture of each image; that of one that was not read is black and says why.

    Raises:
        InvalidResult: if an image that was read cannot be opened again, or nothing opens images at all.
    """
    if open_image is None:
        raise InvalidResult(["Pictures are wanted, but nothing opens the images for them."])
    pictures = []
    for number, image in enumerate(images, start=1):
        mammogram = None
        if image.read:
            try:
                mammogram = open_image(image.reading.sop_instance_uid)
            except (UnreadableMammogram, OSError) as fault:
                raise InvalidResult([f"No picture can be made of {image.name}: {fault}"]) from fault
        dataset = compose_picture(image, mammogram, assessment, benign=options.benign)
        side = side_of(image.header)
        single = side if side is not Laterality.BOTH else None
        identity = (study_instance_uid, str(revision), assessment.reader.weights_sha256)
        dataset.SOPInstanceUID = mint(UidRole.PICTURE, *identity, image.reading.sop_instance_uid)
        dataset.SeriesInstanceUID = mint(UidRole.PICTURE_SERIES, *identity, single or "")
        dataset.SeriesDescription = NOTICE if revision == 1 else f"{NOTICE} - rev {revision}"
        dataset.SeriesNumber = SERIES_NUMBERS[single] + 10 * (revision - 1)
        dataset.InstanceNumber = number
        pictures.append(finished("picture", dataset))
    return pictures


def compose_picture(
    image: AnsweredImage, mammogram: Mammogram | None, assessment: Assessment, *, benign: bool
) -> Dataset:
    """Return the picture of one image without its UIDs and numbers; `mammogram` is None where it was not read."""
    header = image.header
    dataset = identity_of(header)
    dataset.SOPClassUID = SECONDARY_CAPTURE
    dataset.Modality = "OT"
    dataset.BodyPartExamined = "BREAST"
    add_equipment(dataset, assessment.reader)
    dataset.ConversionType = "WSD"
    date, time = local_date_and_time(assessment.read_at, header)
    add_creation(dataset, date, time)
    dataset.ContentDate, dataset.ContentTime = date, time
    dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = date, time
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = "Resized, shown through its own window, with marks of Mammocalc burned in"
    dataset.DerivationCodeSequence = [code_dataset(_RESAMPLING)]
    source = reference_to(header)
    source.PurposeOfReferenceCodeSequence = [code_dataset(_SOURCE_IMAGE)]
    dataset.SourceImageSequence = [source]
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.LossyImageCompression = "00"
    dataset.ImageComments = f"{NOTICE}. Research use only, not a medical device."
    _add_view(dataset, header)
    _add_pixels(dataset, draw(mammogram, image.reading, reader=assessment.reader, benign=benign))
    return dataset


def _add_view(dataset: Dataset, header: Dataset) -> None:
    """Say side, view and orientation as the image does, for hanging protocols that look for them in every object."""
    dataset.PatientOrientation = ""
    take_over(dataset, header, "PatientOrientation")
    side = side_of(header)
    if side is not None:
        dataset.ImageLaterality = side.value
    views = deepcopy(value_of(header, "ViewCodeSequence") or [])
    for view in views:
        if not view.get("ViewModifierCodeSequence"):
            view.pop("ViewModifierCodeSequence", None)
    if views:
        dataset.ViewCodeSequence = views


def _add_pixels(dataset: Dataset, drawing: Image) -> None:
    """Write a drawing uncompressed: rows x columns x red, green, blue (PS3.3 C.7.6.3)."""
    pixels = np.asarray(drawing)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    content = pixels.tobytes()
    dataset.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
