"""A phantom study with squares in its images' corners, an assessment after its truth, and the objects that answer it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from lab.phantom.dicom import study_uid, to_dicom
from lab.phantom.study import draw_study
from lab.phantom.truth import Scene
from mammography.coordinates import ImagePoint
from mammography.finding import (
    Assessment,
    Finding,
    FindingAssessment,
    ImageReading,
    NonLesion,
    NonLesionKind,
    ReaderIdentity,
    ReadStatus,
    Speck,
)
from mammography.results.compose import compose
from mammography.results.composed import Kind
from mammography.results.options import ComposeOptions

SEED = 79
ROWS, COLUMNS = 1664, 1280
READER = ReaderIdentity(
    name="Mammocalc reader",
    version="1",
    weights_sha256="ab" * 32,
    operating_point="0.5 false marks per image",
    trained_on="Synthetic images (phantom) alone",
)
SQUARE, BLACK_AROUND, FROM_EDGE = 30, 50, 150
"""Half the side of a white square, of the black one behind it, and how far its middle lies from the edges (pixels)."""

Outline = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStudy:
    """Images with squares, their files by view ("R CC"), and what an assessment says of each image.

    `outlines` are those of findings, in pixels from the top left corner of the top left pixel, column first.
    """

    files: Mapping[str, Path]
    images: Mapping[str, Dataset]
    assessment: Assessment
    outlines: Mapping[str, tuple[Outline, ...]]

    def view_of(self, sop_instance_uid: str) -> str:
        """Return the view of an image."""
        return next(view for view, image in self.images.items() if image.SOPInstanceUID == sop_instance_uid)

    @property
    def study_instance_uid(self) -> str:
        """The Study Instance UID of all images."""
        return study_uid(SEED)

    def answer(
        self, folder: Path, *kinds: Kind, assessment: Assessment | None = None, benign: bool = True
    ) -> list[Path]:
        """Write the objects of these kinds that answer the study, as they would be sent, and return their files."""
        objects = compose(
            headers=list(self.images.values()),
            assessment=assessment or self.assessment,
            study_instance_uid=self.study_instance_uid,
            revision=1,
            options=ComposeOptions(kinds=frozenset(kinds), benign=benign),
        )
        folder.mkdir()
        files = [folder / f"{each.kind}-{number}.dcm" for number, each in enumerate(objects, start=1)]
        for each, file in zip(objects, files, strict=True):
            file.write_bytes(each.encode())
        return files


def squares_of(columns: int, rows: int) -> list[tuple[int, int]]:
    """Return the middles of the four squares: top left, top right, bottom left, bottom right."""
    return [
        (column, row) for row in (FROM_EDGE, rows - FROM_EDGE) for column in (FROM_EDGE, columns - FROM_EDGE)
    ]


def stamp(image: Dataset) -> None:
    """Draw the four squares into an image's pixels: white on black, as it is displayed."""
    pixels = np.frombuffer(image.PixelData, np.uint16).reshape(image.Rows, image.Columns).copy()
    dark, bright = 0, (1 << image.BitsStored) - 1
    if image.PhotometricInterpretation == "MONOCHROME1":
        dark, bright = bright, dark
    for column, row in squares_of(image.Columns, image.Rows):
        for half, value in ((BLACK_AROUND, dark), (SQUARE, bright)):
            pixels[row - half : row + half, column - half : column + half] = value
    image.PixelData = pixels.tobytes()


def draw(folder: Path) -> ShownStudy:
    """Draw the study: suspicious marks in both right views, a benign one in L MLO, none in L CC but a marker."""
    images, files, readings = {}, {}, []
    for scene in draw_study(SEED, easy=True, rows=ROWS, columns=COLUMNS):
        view = str(scene.view)
        image = to_dicom(scene, seed=SEED, syntax="explicit")
        stamp(image)
        # OHIF 3.13.2 shows no image that states a VOI LUT Function; LINEAR is what is meant without (PS3.3 C.11.2.1.2)
        assert image.pop("VOILUTFunction").value == "LINEAR"
        images[view], files[view] = image, folder / f"{view.replace(' ', '_')}.dcm"
        image.save_as(files[view], enforce_file_format=True)
        readings.append(_reading(image, scene))
    return ShownStudy(
        files=files,
        images=images,
        assessment=Assessment(
            reader=READER, read_at=datetime(2026, 11, 22, 19, 30, 5, tzinfo=UTC), images=tuple(readings)
        ),
        outlines={str(each.view): tuple(_pairs(f.outline) for f in each.findings) for each in readings},
    )


def _reading(image: Dataset, scene: Scene) -> ImageReading:
    unmarked = str(scene.view) == "L CC"
    return ImageReading(
        sop_instance_uid=str(image.SOPInstanceUID),
        view=scene.view,
        status=ReadStatus.READ,
        findings=() if unmarked else tuple(_findings(scene)),
        non_lesions=(_marker(),) if unmarked else (),
    )


def _findings(scene: Scene) -> Iterable[Finding]:
    for group in scene.groups:
        specks = [speck for speck in scene.specks if speck.group == group.number]
        yield Finding(
            outline=_around([speck.center for speck in specks]),
            specks=tuple(
                Speck(center=ImagePoint(*speck.center), score=0.9, diameter_mm=speck.diameter_mm)
                for speck in specks
            ),
            detection=0.93,
            suspicion=0.8 if group.suspicious else 0.1,
            assessment=FindingAssessment.SUSPICIOUS if group.suspicious else FindingAssessment.BENIGN,
        )


def _around(points: Sequence[tuple[float, float]]) -> tuple[ImagePoint, ...]:
    """Return a pentagon around points that no mirror or turn brings onto itself."""
    left, top = np.min(points, axis=0) - 24
    right, bottom = np.max(points, axis=0) + 24
    corners = (left, top), (right + 30, top), (right, bottom), (left, bottom), (left - 20, (top + bottom) / 2)
    return tuple(ImagePoint(float(column), float(row)) for column, row in corners)


def _marker() -> NonLesion:
    corners = (500.0, 800.0), (700.0, 800.0), (700.0, 950.0), (500.0, 950.0)
    return NonLesion(kind=NonLesionKind.METAL, outline=tuple(ImagePoint(*corner) for corner in corners))


def _pairs(outline: Iterable[ImagePoint]) -> Outline:
    return tuple((point.column, point.row) for point in outline)


def otherwise(
    assessment: Assessment, *, shifts: Mapping[str, float], left_out: Collection[str] = ()
) -> Assessment:
    """Return an assessment that is wrong: marks of some views shifted by pixels to the right and down, or left out."""
    return replace(
        assessment,
        images=tuple(
            replace(
                reading,
                findings=()
                if str(reading.view) in left_out
                else tuple(
                    _moved(finding, shifts.get(str(reading.view), 0.0)) for finding in reading.findings
                ),
            )
            for reading in assessment.images
        ),
    )


def _moved(finding: Finding, by: float) -> Finding:
    return replace(
        finding,
        outline=tuple(ImagePoint(point.column + by, point.row + by) for point in finding.outline),
        specks=tuple(
            replace(speck, center=ImagePoint(speck.center.column + by, speck.center.row + by))
            for speck in finding.specks
        ),
    )
