"""A picture of one image with its marks, for the console and for people without a DICOM viewer."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mammography import __version__
from mammography.coordinates import ImagePoint
from mammography.finding import Finding, FindingAssessment, ImageReading, ReaderIdentity, ReadStatus
from mammography.mammogram import Mammogram, display_values
from mammography.results.marks import closed_outline, label_of
from mammography.results.source import plain
from mammography.results.text import counted

COLOURS: dict[FindingAssessment, tuple[int, int, int]] = {
    FindingAssessment.SUSPICIOUS: (255, 122, 69),
    FindingAssessment.BENIGN: (64, 214, 226),
}
"""Orange and cyan: apart from each other, and from grey, for colour-blind eyes too."""

NOTICE = "AI result - not for diagnosis"
"""What stands on every picture, and in the description of its series."""

_WHITE, _GREY, _BLACK = (238, 238, 238), (176, 176, 176), (0, 0, 0)
_SMALLEST_TEXT = 11
_UNKNOWN_SIZE = (2560, 3328)
"""Columns and rows of an image that cannot be opened: a common mammogram's."""


class _Sheet:
    """The picture while it is drawn: the scaled image above, a strip for words below."""

    def __init__(self, mammogram: Mammogram | None, height: int) -> None:
        self.text_size = max(_SMALLEST_TEXT, height // 62)
        self.strip = round(3.6 * self.text_size)
        self.columns, self.rows = _UNKNOWN_SIZE
        if mammogram is not None:
            self.columns, self.rows = mammogram.columns, mammogram.rows
        self.scale = (height - self.strip) / self.rows
        self.width = max(1, round(self.columns * self.scale))
        self.font = ImageFont.load_default(self.text_size)
        self.image = Image.new("RGB", (self.width, height), _BLACK)
        if mammogram is not None:
            shown = Image.fromarray(np.ascontiguousarray(display_values(mammogram)))
            size = (self.width, height - self.strip)
            scaled = shown.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
            self.image.paste(scaled.convert("RGB"), (0, 0))
        self.pen = ImageDraw.Draw(self.image)

    def at(self, point: ImagePoint) -> tuple[float, float]:
        """Return where a point of the stored matrix lies on the picture."""
        return point.column * self.scale, point.row * self.scale

    def write(self, left: float, top: float, words: str, colour: tuple[int, int, int]) -> None:
        """Write one line on the image, dark around the letters, moved as far as needed to lie inside."""
        wide = self.pen.textlength(words, font=self.font)
        left = min(max(left, 2.0), self.width - wide - 2.0)
        top = min(max(top, 0.0), self.image.height - self.strip - 1.3 * self.text_size)
        self.pen.text((left, top), words, fill=colour, font=self.font, stroke_width=2, stroke_fill=_BLACK)


def draw(
    mammogram: Mammogram | None,
    reading: ImageReading,
    *,
    height: int = 1400,
    reader: ReaderIdentity | None = None,
    benign: bool = True,
) -> Image.Image:
    """Return an RGB picture `height` pixels high: the image as displayed, outlines, specks, labels and a footer.

    Without `mammogram`, which could not be opened, the sheet is black and its footer says why. With `reader`, the
    footer says what the weights were trained on. With `benign` False, findings that are called benign are left out;
    the others keep their numbers.
    """
    sheet = _Sheet(mammogram, height)
    numbered = [
        (number, finding)
        for number, finding in enumerate(reading.findings, start=1)
        if benign or finding.assessment is not FindingAssessment.BENIGN
    ]
    for _, finding in numbered:
        _draw_finding(sheet, finding)
    for number, finding in numbered:
        _draw_label(sheet, number, finding)
    _draw_words(sheet, reading, [finding for _, finding in numbered], reader)
    return sheet.image


def _draw_finding(sheet: _Sheet, finding: Finding) -> None:
    """Draw an outline in the colour of its call, and a dot at each speck."""
    colour = COLOURS[finding.assessment]
    outline = closed_outline(finding.outline, columns=sheet.columns, rows=sheet.rows)
    line, width = [sheet.at(point) for point in outline], max(2, sheet.text_size // 9)
    sheet.pen.line(line, fill=_BLACK, width=width + 2, joint="curve")
    sheet.pen.line(line, fill=colour, width=width, joint="curve")
    for speck in finding.specks:
        column, row = sheet.at(speck.center)
        sheet.pen.ellipse((column - 1.5, row - 1.5, column + 1.5, row + 1.5), fill=colour)


def _draw_label(sheet: _Sheet, number: int, finding: Finding) -> None:
    """Write number, call and certainty beside the outline, on the side that has room."""
    words = label_of(number, finding)
    corners = [sheet.at(point) for point in finding.outline]
    left, right = min(x for x, _ in corners), max(x for x, _ in corners)
    wide = sheet.pen.textlength(words, font=sheet.font)
    beside = right + 6 if right + 6 + wide < sheet.width else left - 6 - wide
    sheet.write(beside, min(y for _, y in corners) - 4, words, COLOURS[finding.assessment])


def _draw_words(
    sheet: _Sheet, reading: ImageReading, marked: Sequence[Finding], reader: ReaderIdentity | None
) -> None:
    """Write below the image what it is, how much is marked, and who says so."""
    view = "view not stated" if reading.view is None else str(reading.view)
    said = f"{counted(marked)} marked"
    if reading.status is ReadStatus.NOT_READ:
        said = f"not read: {reading.reason}"
    trained = "" if reader is None else f" - {reader.trained_on}"
    footer = f"Mammocalc {__version__} - research use, not a medical device{trained}"
    top = sheet.image.height - sheet.strip + 0.3 * sheet.text_size
    for line, (words, colour) in enumerate(((f"{NOTICE}: {view}, {said}", _WHITE), (footer, _GREY))):
        font = _fitting(sheet, plain(words))
        sheet.pen.text((6, top + 1.6 * line * sheet.text_size), plain(words), fill=colour, font=font)


def _fitting(sheet: _Sheet, words: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the footer's font, smaller where the words would not fit the width."""
    for size in range(sheet.text_size, 5, -1):
        font = ImageFont.load_default(size)
        if sheet.pen.textlength(words, font=font) <= sheet.width - 12:
            return font
    return ImageFont.load_default(6)
