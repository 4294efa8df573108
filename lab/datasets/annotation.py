"""What is marked on an image, as points and as a map of its stored pixels."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from lab.datasets.case import Case, Mark, Region
from lab.datasets.pictures import UnusableImage, read_mask, read_red_marks
from mammography.coordinates import ImagePoint

STEP = 4
"""Stored pixels per element of a region map, in rows and in columns."""
LARGEST_MARK_MM = 2.0
"""A marked thing above this is no speck: a large calcification, or the outline of a group."""
SMALLEST_MARK_PX = 2
"""Stored pixels; less red than this is the compression's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Annotation:
    """Marks and regions of one image.

    `regions`: [rows / STEP, columns / STEP], rounded up, int16: 0 outside, from 1 on the number of the region
    that lies there. `bags`: the numbers of regions in which at least one calcification lies. `clear`: whether no
    calcification lies outside marks and regions. `broken`: a sentence for each part that could not be read.
    """

    marks: tuple[Mark, ...]
    regions: NDArray[np.int16]
    bags: tuple[int, ...]
    clear: bool
    broken: tuple[str, ...] = ()


def annotation_of(case: Case, *, rows: int, columns: int, spacing_mm: float) -> Annotation:
    """Return what is marked on a case's image, which has so many rows and columns of this pitch.

    A region that cannot be read is somewhere, so the rest of the image is no longer clear without it.

    Raises:
        UnusableImage: if the picture with the marks cannot be read.
    """
    marks = list(case.marks)
    pieces: list[NDArray[np.bool_]] = []
    if case.marks_picture is not None:
        red = read_red_marks(case.marks_picture, (rows, columns))
        drawn, pieces = _drawn(red, largest_px=LARGEST_MARK_MM / spacing_mm)
        marks += drawn
    specks = tuple(mark for mark in marks if (mark.diameter_px or 0.0) * spacing_mm <= LARGEST_MARK_MM)
    large = [mark for mark in marks if mark not in specks]
    map_ = np.zeros((-(-rows // STEP), -(-columns // STEP)), dtype=np.int16)
    broken: list[str] = []
    bags: list[int] = []
    for region in case.regions:
        try:
            inside = (
                _reduced(read_mask(region.mask, (rows, columns)))
                if region.mask
                else _filled(region, map_.shape)
            )
        except UnusableImage as unreadable:
            broken.append(str(unreadable))
            continue
        bags.append(len(bags) + 1)
        map_[inside] = bags[-1]
    number = len(bags)
    for inside in (*pieces, *(_disc(mark, map_.shape) for mark in large)):
        number += 1
        map_[inside] = number
    return Annotation(
        marks=specks,
        regions=map_,
        bags=tuple(bags),
        clear=case.elsewhere_clear and not broken,
        broken=tuple(broken),
    )


def whole_breast(annotation: Annotation) -> Annotation:
    """Return an annotation that says only: somewhere on this image lies a calcification."""
    return dataclasses.replace(
        annotation, regions=np.ones_like(annotation.regions), bags=(1,), clear=False, marks=()
    )


def _drawn(red: NDArray[np.bool_], *, largest_px: float) -> tuple[list[Mark], list[NDArray[np.bool_]]]:
    """Return the specks that are drawn in red, and a map for each larger thing; rings are filled."""
    numbers, _ = ndimage.label(ndimage.binary_fill_holes(red), structure=np.ones((3, 3)))
    marks, pieces = [], []
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        piece = numbers[box] == number
        area = int(piece.sum())
        if area < SMALLEST_MARK_PX:
            continue
        diameter = float(2 * np.sqrt(area / np.pi))
        if max(piece.shape) > largest_px:
            whole = np.zeros_like(red)
            whole[box] = piece
            pieces.append(_reduced(whole))
            continue
        row, column = ndimage.center_of_mass(piece)
        center = ImagePoint(box[1].start + float(column) + 0.5, box[0].start + float(row) + 0.5)
        marks.append(Mark(center=center, diameter_px=diameter))
    return marks, pieces


def _reduced(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a map of the stored image with an element per STEP pixels, true where any of them is."""
    rows, columns = mask.shape
    padded = np.pad(mask, ((0, -rows % STEP), (0, -columns % STEP)))
    return np.asarray(padded.reshape(padded.shape[0] // STEP, STEP, -1, STEP).any((1, 3)), dtype=np.bool_)


def _filled(region: Region, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a map with the inside of a region's polygon, its edge included."""
    picture = Image.new("1", (shape[1], shape[0]))
    outline = [(point.column / STEP - 0.5, point.row / STEP - 0.5) for point in region.outline]
    ImageDraw.Draw(picture).polygon(outline, fill=1, outline=1)
    return np.asarray(picture, dtype=np.bool_)


def _disc(mark: Mark, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a map with the disc of a mark."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(rows + 0.5 - mark.center.row / STEP, columns + 0.5 - mark.center.column / STEP)
    return np.asarray(distance <= (mark.diameter_px or 0.0) / 2 / STEP + 1, dtype=np.bool_)
