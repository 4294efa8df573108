"""What must be true of a presentation state beyond what any public validator looks at (PS3.3 A.33.1)."""

from collections.abc import Iterator, Mapping
from itertools import chain

from pydicom.dataset import Dataset

from mammography.results.gsps import voi_of
from mammography.results.image_library import side_of
from mammography.results.written_report import points_of
from mammography.view import Laterality

Headers = Mapping[str, Dataset]
"""The images' headers by SOP Instance UID."""


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
        _annotation_faults(state, images[0]),
        _graphic_faults(state, header),
        _text_faults(state, header),
        _display_faults(state, header),
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


def _annotation_faults(state: Dataset, image: str) -> Iterator[str]:
    """Annotations, area and VOI are for the image itself, and annotations lie on layers that exist."""
    layers = {str(layer.GraphicLayer) for layer in state.get("GraphicLayerSequence") or []}
    for annotation in state.get("GraphicAnnotationSequence") or []:
        if annotation.GraphicLayer not in layers:
            yield f"an annotation lies on the layer {annotation.GraphicLayer}, which does not exist."
    for keyword in ("GraphicAnnotationSequence", "DisplayedAreaSelectionSequence", "SoftcopyVOILUTSequence"):
        for item in state.get(keyword) or []:
            named = [str(r.ReferencedSOPInstanceUID) for r in item.get("ReferencedImageSequence") or []]
            if named != [image]:
                yield f"an item of {keyword} refers to another image."


def _graphic_faults(state: Dataset, header: Dataset) -> Iterator[str]:
    """Outlines are in pixels, as many points as stated, closed, and lie on the image."""
    columns, rows = int(header.Columns), int(header.Rows)
    for _, graphic in graphics(state):
        points = points_of(graphic.GraphicData)
        if graphic.GraphicAnnotationUnits != "PIXEL":
            yield "a graphic is not in pixels."
        if len(points) != int(graphic.NumberOfGraphicPoints) or len(graphic.GraphicData) != 2 * len(points):
            yield "a graphic states another number of points than it has."
        if points[0] != points[-1]:
            yield "an outline is not closed."
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
    """The whole image is shown, not turned, through its own VOI, and as bright as the image means."""
    for area in state.get("DisplayedAreaSelectionSequence") or []:
        corners = (*area.DisplayedAreaTopLeftHandCorner, *area.DisplayedAreaBottomRightHandCorner)
        if corners != (1, 1, header.Columns, header.Rows):
            yield "the displayed area is not the whole image."
        if "PixelOriginInterpretation" in area:
            yield "a Pixel Origin Interpretation is stated, which belongs to whole slides."
    if state.get("ImageRotation") or state.get("ImageHorizontalFlip", "N") != "N":
        yield "the image is turned, which hanging is for."
    shape = "INVERSE" if header.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
    if state.get("PresentationLUTShape") != shape:
        yield f"the Presentation LUT Shape is not {shape}."
    written = [_without_reference(item) for item in state.get("SoftcopyVOILUTSequence") or []]
    voi = voi_of(header)
    if written != ([] if voi is None else [_without_reference(voi)]):
        yield "the VOI is not the image's."


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
