"""A report as pages: one HTML file that needs nothing beside it, and a PDF to file."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import matplotlib as mpl
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    Flowable,
    Image,
    LongTable,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    TableStyle,
)
from reportlab.platypus import Table as PlainTable

from lab.readerstudy.plots import png, svg
from lab.readerstudy.report import Section, Table

TITLE = "Reader study: what the model does for its readers"
FONT, BOLD = "DejaVuSans", "DejaVuSans-Bold"
BODY = ParagraphStyle("body", fontName=FONT, fontSize=8.5, leading=12, spaceAfter=2 * mm)
CELL = ParagraphStyle("cell", fontName=FONT, fontSize=6.4, leading=8)
HEAD_CELL = ParagraphStyle("head-cell", parent=CELL, fontName=BOLD)
HEADING = ParagraphStyle(
    "heading", fontName=BOLD, fontSize=12, leading=15, spaceBefore=5 * mm, spaceAfter=2 * mm, keepWithNext=1
)
SMALL_HEADING = ParagraphStyle("small", parent=HEADING, fontSize=8.5, leading=11, spaceBefore=2 * mm)
NARROWEST, WIDEST = 6, 30
"""Letters that decide how wide a column of a PDF's table becomes."""


def write_html(sections: Sequence[Section], path: Path) -> None:
    """Write a report as a page."""
    environment = Environment(
        loader=PackageLoader("lab.readerstudy", "."), autoescape=True, undefined=StrictUndefined
    )
    drawn = {title: svg(figure) for section in sections for title, figure in section.plots.items()}
    page = environment.get_template("report.html.j2").render(title=TITLE, sections=sections, drawn=drawn)
    path.write_text(page, encoding="utf-8")


def write_pdf(sections: Sequence[Section], path: Path) -> None:
    """Write a report as a PDF on A4, landscape; the same report is the same file, byte for byte."""
    _register_fonts()
    width = landscape(A4)[0] - 30 * mm
    story: list[Flowable] = [
        Paragraph(TITLE, ParagraphStyle("title", parent=HEADING, fontSize=16, leading=20))
    ]
    for section in sections:
        if not (section.paragraphs or section.tables or section.plots):
            continue
        story.append(Paragraph(escape(section.title), HEADING))
        story += [Paragraph(escape(text), BODY) for text in section.paragraphs]
        if section.plots:
            story.append(_row_of_plots(section.plots, width))
        for table in section.tables:
            story += [Paragraph(escape(table.title), SMALL_HEADING), _table(table, width), Spacer(0, 3 * mm)]
    document = SimpleDocTemplate(
        str(path),
        pagesize=landscape(A4),
        leftMargin=15 * mm,
        rightMargin=15 * mm,
        topMargin=14 * mm,
        bottomMargin=16 * mm,
        title=TITLE,
        author="mammocalc",
        invariant=1,
    )
    document.build(story, onFirstPage=_number, onLaterPages=_number)


def _register_fonts() -> None:
    """Make the letters of matplotlib's own font known: Greek, Cyrillic and signs, of one look with the plots."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for name in (FONT, BOLD):
        pdfmetrics.registerFont(TTFont(name, folder / f"{name}.ttf"))


def _row_of_plots(plots: Mapping[str, Figure], width: float) -> PlainTable:
    """Return plots side by side with their titles above them, as large as the page is wide."""
    inches = [figure.get_size_inches() for figure in plots.values()]
    scale = min(width / sum(size[0] for size in inches), 25 * mm)
    pictures = [
        Image(io.BytesIO(png(figure)), width=0.97 * size[0] * scale, height=0.97 * size[1] * scale)
        for figure, size in zip(plots.values(), inches, strict=True)
    ]
    titles = [Paragraph(escape(title), SMALL_HEADING) for title in plots]
    drawn = PlainTable([titles, pictures], colWidths=[size[0] * scale for size in inches], hAlign="LEFT")
    drawn.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)]))
    return drawn


def _table(table: Table, width: float) -> LongTable:
    """Return a table whose columns are as wide as their words want, over all of the page where they fill it."""
    longest = [
        min(max(*(len(row[column]) for row in (table.head, *table.rows)), NARROWEST), WIDEST)
        for column in range(len(table.head))
    ]
    letter = min(width / sum(longest), 1.9 * mm)
    cells = [[Paragraph(escape(cell), HEAD_CELL) for cell in table.head]]
    cells += [[Paragraph(escape(cell), CELL) for cell in row] for row in table.rows]
    drawn = LongTable(cells, colWidths=[letter * letters for letters in longest], repeatRows=1, hAlign="LEFT")
    drawn.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, -1), 0.3, colors.HexColor("#d8dbdf")),
                ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.HexColor("#565d66")),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
                ("TOPPADDING", (0, 0), (-1, -1), 1),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
            ]
        )
    )
    return drawn


def _number(canvas: Canvas, document: SimpleDocTemplate) -> None:
    """Write the page's number, and what this is not, below it."""
    canvas.setFont(FONT, 7)
    canvas.drawString(15 * mm, 8 * mm, "mammocalc reader-study analyze. Not a medical device.")
    canvas.drawRightString(landscape(A4)[0] - 15 * mm, 8 * mm, str(document.page))
