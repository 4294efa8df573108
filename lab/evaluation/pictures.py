"""What was missed and what was marked falsely, as pictures: the plain cut beside the one with truth and marks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lab.evaluation.matching import VISIBLE_D_PRIME, Verdict
from lab.evaluation.observation import Observation
from lab.evaluation.records import ImageRecord, StudyRecord
from lab.phantom.truth import Scene
from mammography.coordinates import ImagePoint
from mammography.finding import Finding
from mammography.reader.plan import ReaderPlan

SIDE_MM = 20.0
"""Width and height of what a picture shows."""
SIDE_PIXELS = 400
FALSE_MARKS_AN_IMAGE = 2
"""As many false marks of one image are drawn, the surest first."""
QUALITY = 80
TRUTH, FAINT, MARK, TRAP = (92, 214, 120), (90, 130, 190), (255, 150, 60), (220, 110, 230)
"""Green for specks to be found, blue for fainter ones, orange for marks, violet for distractors."""


def with_pictures(
    observation: Observation, scenes: Sequence[Scene], plan: ReaderPlan, folder: Path
) -> StudyRecord:
    """Return a study's record with the names of its pictures, which are written to the folder."""
    record = observation.record
    images = [
        _illustrated(f"{record.study}-{number}", image, scene, findings, plan, folder)
        for number, (image, scene, findings) in enumerate(
            zip(record.images, scenes, observation.findings, strict=True)
        )
    ]
    return replace(record, images=tuple(images))


def _illustrated(
    name: str,
    image: ImageRecord,
    scene: Scene,
    findings: Sequence[Finding],
    plan: ReaderPlan,
    folder: Path,
) -> ImageRecord:
    """Return an image's record with pictures of its misses and of its surest false marks."""
    lowest = min(plan.operating_points.values())
    shown = [finding for finding in findings if finding.detection >= lowest]
    false = sorted(
        (
            n
            for n, mark in enumerate(image.marks)
            if mark.verdict is Verdict.FALSE and mark.detection >= lowest
        ),
        key=lambda n: -image.marks[n].detection,
    )[:FALSE_MARKS_AN_IMAGE]
    marks, lesions = list(image.marks), list(image.lesions)
    for number in false:
        file = f"{name}-false-{number}.jpg"
        center = ImagePoint(marks[number].column, marks[number].row)
        picture(scene, center, shown).save(folder / file, quality=QUALITY, subsampling=0)
        marks[number] = replace(marks[number], picture=file)
    for number, lesion in enumerate(lesions):
        marked = any(
            lesion.number in mark.lesions and mark.detection >= plan.detection_score for mark in marks
        )
        if lesion.visibility < VISIBLE_D_PRIME or marked:
            continue
        file = f"{name}-missed-{number}.jpg"
        picture(scene, _densest(scene, lesion.number), shown).save(
            folder / file, quality=QUALITY, subsampling=0
        )
        lesions[number] = replace(lesion, picture=file)
    return replace(image, marks=tuple(marks), lesions=tuple(lesions))


def picture(scene: Scene, center: ImagePoint, findings: Sequence[Finding]) -> Image.Image:
    """Return 20 mm of a scene around a point: as a viewer shows it, and again with truth and marks."""
    side = SIDE_MM / scene.spacing_mm
    left, top = center.column - side / 2, center.row - side / 2
    plain = _shown(scene, left, top, side)
    drawn = plain.convert("RGB")
    pen, scale = ImageDraw.Draw(drawn), SIDE_PIXELS / side
    font = ImageFont.load_default(13)

    def at(point: ImagePoint) -> tuple[float, float]:
        return (point.column - left) * scale, (point.row - top) * scale

    for speck in scene.specks:
        (x, y), reach = at(speck.center), speck.diameter_mm / scene.spacing_mm * scale / 2 + 5
        colour = TRUTH if speck.d_prime >= VISIBLE_D_PRIME else FAINT
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), outline=colour)
    for trap in scene.distractors:
        x, y = at(trap.center)
        pen.line((x - 6, y, x + 6, y), fill=TRAP)
        pen.line((x, y - 6, x, y + 6), fill=TRAP)
        pen.text((x + 8, y - 8), trap.kind, fill=TRAP, font=font)
    for finding in findings:
        corners = [at(point) for point in finding.outline]
        pen.line([*corners, corners[0]], fill=MARK, width=2)
        pen.text(min(corners, key=lambda corner: corner[1]), f"{finding.detection:.2f}", fill=MARK, font=font)
    both = Image.new("RGB", (2 * SIDE_PIXELS + 4, SIDE_PIXELS))
    both.paste(plain, (0, 0))
    both.paste(drawn, (SIDE_PIXELS + 4, 0))
    return both


def _shown(scene: Scene, left: float, top: float, side: float) -> Image.Image:
    """Return a square of a scene in 8 bit, its local grey values spread; outside the image it is black."""
    rows, columns = scene.pixels.shape
    first_row, first_column = max(int(top), 0), max(int(left), 0)
    last_row, last_column = min(int(top + side) + 1, rows), min(int(left + side) + 1, columns)
    cut = scene.pixels[first_row:last_row, first_column:last_column].astype(np.float32)
    low, high = np.quantile(cut[cut > cut.min()], (0.01, 0.998)) if np.ptp(cut) else (0.0, 1.0)
    grey = np.clip((cut - low) / max(float(high - low), 1.0) * 235 + 10, 0, 255).astype(np.uint8)
    scale = SIDE_PIXELS / side
    size = round(grey.shape[1] * scale), round(grey.shape[0] * scale)
    sheet = Image.new("L", (SIDE_PIXELS, SIDE_PIXELS))
    place = round((first_column - left) * scale), round((first_row - top) * scale)
    sheet.paste(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC), place)
    return sheet


def _densest(scene: Scene, group: int) -> ImagePoint:
    """Return the place of a lesion around which most of its specks lie within the picture."""
    places = np.array([speck.center for speck in scene.specks if speck.group == group])
    near = np.abs(places[:, None] - places[None]).max(axis=2) < SIDE_MM / scene.spacing_mm / 2
    middle = places[near[int(near.sum(axis=1).argmax())]].mean(axis=0)
    return ImagePoint(float(middle[0]), float(middle[1]))
