"""What must be true of a presentation state beyond what any public validator looks at (PS3.3 A.33.1)."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain

from pydicom.dataset import Dataset

from mammography.results.gsps import LAYERS, voi_of
from mammography.results.image_library import side_of
from mammography.results.written_report import points_of
from mammography.view import Laterality

Headers = Mapping[str, Dataset]
"""The images' headers by SOP Instance UID."""

_LABEL = re.compile(r"[A-Z0-9 _]{1,16}")
_PRESENT = (
    "InstanceNumber",
    "SeriesNumber",
    "PresentationCreationDate",
    "PresentationCreationTime",
    "DisplayedAreaSelectionSequence",
    "GraphicAnnotationSequence",
    "GraphicLayerSequence",
)


def state_faults(state: Dataset, headers: Headers) -> Iterator[str]:
    """Yield a sentence for everything that is wrong with a presentation state of one of these images."""
    name = f"presentation state {state.SOPInstanceUID}"
    images = referenced_images(state)
    header = headers.get(images[0]) if len(images) == 1 else None
    if header is None:
        yield f"The {name} does not refer to exactly one image of the assessment."
        return
    if str(state.ReferencedSeriesSequence[0].SeriesInstanceUID) != str(header.SeriesInstanceUID):
        yield f"The {name} names another series than its image's."
    faults = chain(
        _module_faults(state),
        _annotation_faults(state, images[0]),
        _graphic_faults(state, header),
        _text_faults(state, header),
        _display_faults(state, header),
        *([_pixel_faults(state, header)] if "PhotometricInterpretation" in header else []),
        _side_faults(state, header),
    )
    yield from (f"In the {name}, {fault}" for fault in faults)


def referenced_images(state: Dataset) -> list[str]:
    """Return the SOP Instance UIDs of the images that a presentation state is for."""
    return [
        str(reference.ReferencedSOPInstanceUID)
        for series in state.get("ReferencedSeriesSequence") or []
        for reference in series.get("ReferencedImageSequence") or []
    ]


def graphics(state: Dataset) -> Iterator[tuple[str, Dataset]]:
    """Yield every graphic object with the name of its layer."""
    for annotation in state.get("GraphicAnnotationSequence") or []:
        for graphic in annotation.get("GraphicObjectSequence") or []:
            yield str(annotation.GraphicLayer), graphic


def _module_faults(state: Dataset) -> Iterator[str]:
    """Attributes without which no viewer takes the state are there (PS3.3 C.11.9, C.11.10, C.10.4)."""
    yield from (f"{keyword} is missing." for keyword in _PRESENT if not state.get(keyword))
    if state.get("Modality") != "PR":
        yield f"the Modality is {state.get('Modality')!r}."
    if _LABEL.fullmatch(str(state.get("ContentLabel") or "")) is None:
        yield f"the Content Label is {state.get('ContentLabel')!r}, which is no CS."


def _annotation_faults(state: Dataset, image: str) -> Iterator[str]:
    """Annotations, area and VOI are for the image itself, and annotations lie on layers that exist."""
    layers = [str(layer.GraphicLayer) for layer in state.get("GraphicLayerSequence") or []]
    if sorted(layers) != sorted(layer.name for layer in LAYERS):
        yield "the layers are not those that a radiologist can switch: suspicious, benign, technical."
    for annotation in state.get("GraphicAnnotationSequence") or []:
        if annotation.GraphicLayer not in layers:
            yield f"an annotation lies on the layer {annotation.GraphicLayer}, which does not exist."
        words, marks = (len(annotation.get(f"{kind}ObjectSequence") or []) for kind in ("Text", "Graphic"))
        if marks and words != marks:
            yield f"the layer {annotation.GraphicLayer} has {marks} outlines and {words} texts."
    for keyword in ("GraphicAnnotationSequence", "DisplayedAreaSelectionSequence", "SoftcopyVOILUTSequence"):
        for item in state.get(keyword) or []:
            named = [str(r.ReferencedSOPInstanceUID) for r in item.get("ReferencedImageSequence") or []]
            if named != [image]:
                yield f"an item of {keyword} refers to another image."


def _graphic_faults(state: Dataset, header: Dataset) -> Iterator[str]:
    """Outlines are in pixels, as many points as stated, closed, and lie on the image."""
    columns, rows = int(header.Columns), int(header.Rows)
    for _, graphic in graphics(state):
        numbers = graphic.get("GraphicData") or []
        points = points_of(numbers)
        if graphic.GraphicAnnotationUnits != "PIXEL":
            yield "a graphic is not in pixels."
        if len(points) != int(graphic.NumberOfGraphicPoints) or len(
            graphic.get("GraphicData") or []
        ) != 2 * len(points):
            yield "a graphic states another number of points than it has."
        if not points or points[0] != points[-1]:
            yield "an outline is not closed."
        if not graphic.get("TrackingUID"):
            yield "an outline has no tracking UID."
        if not all(0 <= point.column <= columns and 0 <= point.row <= rows for point in points):
            yield "a graphic leaves the image."


def _text_faults(state: Dataset, header: Dataset) -> Iterator[str]:
    """Words stand on the image."""
    columns, rows = int(header.Columns), int(header.Rows)
    for annotation in state.get("GraphicAnnotationSequence") or []:
        for text in annotation.get("TextObjectSequence") or []:
            (left, top), (right, bottom) = (
                text.BoundingBoxTopLeftHandCorner,
                text.BoundingBoxBottomRightHandCorner,
            )
            if not (0 <= left < right <= columns and 0 <= top < bottom <= rows):
                yield f"the text {text.UnformattedTextValue!r} leaves the image."


def _display_faults(state: Dataset, header: Dataset) -> Iterator[str]:
    """The whole image is shown, and not turned."""
    for area in state.get("DisplayedAreaSelectionSequence") or []:
        corners = (*area.DisplayedAreaTopLeftHandCorner, *area.DisplayedAreaBottomRightHandCorner)
        if corners != (1, 1, header.Columns, header.Rows):
            yield "the displayed area is not the whole image."
        if "PixelOriginInterpretation" in area:
            yield "a Pixel Origin Interpretation is stated, which belongs to whole slides."
    if state.get("ImageRotation") or state.get("ImageHorizontalFlip", "N") != "N":
        yield "the image is turned, which hanging is for."


def _pixel_faults(state: Dataset, header: Dataset) -> Iterator[str]:
    """The image is shown through its own modality LUT and VOI, and as bright as it means."""
    shape = "INVERSE" if header.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
    if state.get("PresentationLUTShape") != shape:
        yield f"the Presentation LUT Shape is not {shape}."
    written = [_without_reference(item) for item in state.get("SoftcopyVOILUTSequence") or []]
    voi = voi_of(header)
    if written != ([] if voi is None else [_without_reference(voi)]):
        yield "the VOI is not the image's."
    if "ModalityLUTSequence" not in header and _rescale(state) != _rescale(header):
        yield f"the rescaling is {_rescale(state)}, the image's is {_rescale(header)}."
    if bool(state.get("ModalityLUTSequence")) != bool(header.get("ModalityLUTSequence")):
        yield "the modality LUT is not the image's."


def _rescale(dataset: Dataset) -> tuple[float, float]:
    """Return slope and intercept; an image that states none is shown as it is."""
    slope = dataset.get("RescaleSlope")
    return (1.0, 0.0) if slope is None else (float(slope), float(dataset.get("RescaleIntercept") or 0))


def _without_reference(voi: Dataset) -> dict[str, str]:
    """Return a VOI item's values as text, which compares equal whatever types pydicom gave them."""
    return {
        element.keyword: str(element.value)
        for element in voi.iterall()
        if element.VR != "SQ" and not element.keyword.startswith("ReferencedSOP")
    }


def _side_faults(state: Dataset, header: Dataset) -> Iterator[str]:
    """Laterality is the image's."""
    side = side_of(header)
    expected = "" if side in {None, Laterality.BOTH} else str(side)
    if str(state.get("Laterality") or "") != expected:
        yield f"the Laterality is {state.get('Laterality')!r}, the image's is {expected!r}."
