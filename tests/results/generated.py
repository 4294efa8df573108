"""Generated studies: mammograms' headers and assessments of them, in all that they can differ in."""

import dataclasses
import math
from datetime import datetime, timedelta, timezone
from random import Random

from pydicom.dataset import Dataset

from mammography.coordinates import ImagePoint
from mammography.finding import (
    Assessment,
    BreastScore,
    Correspondence,
    Distribution,
    Finding,
    FindingAssessment,
    FindingKind,
    FindingPlace,
    ImageReading,
    Morphology,
    NonLesion,
    NonLesionKind,
    ReadStatus,
    Speck,
)
from mammography.uid import UidRole, mint
from mammography.view import FROM_ABOVE, FROM_THE_SIDE, Laterality, View, ViewModifier, ViewPosition, view_of
from tests.results.mammograms import L_CC, L_MLO, R_CC, R_MLO, READER, header_of, image

COLUMNS, ROWS = 80, 96
NAMES: tuple[tuple[str | list[str], str], ...] = (
    ("ISO_IR 100", "M\u00fcller^\u00c4nne"),
    ("ISO_IR 192", "Delta^Alpha"),
    ("GB18030", "Wang^XiaoDong=\u738b^\u5c0f\u4e1c"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=\u6d2a^\u5409\u6d1e=\ud64d^\uae38\ub3d9"),
    ("ISO_IR 100", "Doe^Jane"),
)
REASONS = (
    "The pixel data is truncated.",
    "The image has 61 frames; a mammogram has one.",
    "The view is a magnification, which is not read",
    "Gr\u00f6\u00dfe 3\u00d74 \u2013 \u7121",
)
REMARKS = ("The image contradicts its laterality.", "The breast is cut off at the image's edge.")
DISPLACED = frozenset({ViewModifier.IMPLANT_DISPLACED})
SETS: tuple[tuple[View, ...], ...] = (
    (R_CC, L_CC, R_MLO, L_MLO),
    (R_CC, R_MLO),
    (L_MLO,),
    (L_CC, L_MLO, View(laterality=Laterality.LEFT, position=ViewPosition.ML)),
    (R_CC, R_MLO, View(laterality=Laterality.RIGHT, position=ViewPosition.CC, modifiers=DISPLACED)),
    (View(laterality=Laterality.RIGHT, position=ViewPosition.XCCL), R_MLO),
)
TOMOSYNTHESIS = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3",
    "NumberOfFrames": 61,
}


def generated_study(random: Random, name: str) -> tuple[list[Dataset], list[Dataset], Assessment]:
    """Return images, their headers and the assessment of one study; `name` makes its patient and UIDs its own."""
    study = mint(UidRole.PHANTOM, "generated", name)
    character_set, person = random.choice(NAMES)
    common = {
        "PatientID": f"P{name}",
        "PatientName": person,
        "SpecificCharacterSet": character_set,
        "Rows": ROWS,
        "Columns": COLUMNS,
        "TimezoneOffsetFromUTC": random.choice(["+0000", "+0530", "-0800", ""]),
    }
    images = [_image(random, view, study, common) for view in random.choice(SETS)]
    headers = [header_of(each) for each in images]
    readings = tuple(_reading(random, header) for header in headers)
    sides = sorted(
        {each.view.laterality for each in readings if each.view and each.status is ReadStatus.READ}
    )
    matched = random.random() < 0.8
    clock = timezone(timedelta(hours=random.choice([-8, 0, 9])))
    moment = datetime(2026, 11, 22, tzinfo=clock) + timedelta(seconds=random.randrange(10**7))
    assessment = Assessment(
        reader=dataclasses.replace(READER, operating_point=random.choice(["standard", "screening"])),
        read_at=moment,
        images=readings,
        correspondences=tuple(_correspondences(random, readings)) if matched else (),
        breasts=tuple(BreastScore(laterality=side, suspicion=random.random()) for side in sides)
        if matched
        else (),
    )
    return images, headers, assessment


def _image(random: Random, view: View, study: str, common: dict[str, object]) -> Dataset:
    modifiers = view.modifiers
    given = dict(common)
    if modifiers:
        given["BreastImplantPresent"] = "YES"
    if random.random() < 0.08:
        given |= TOMOSYNTHESIS
    made = image(view, study=study, **given)
    for _ in modifiers:
        displaced = Dataset()
        displaced.CodeValue, displaced.CodingSchemeDesignator, displaced.CodeMeaning = (
            "399209000",
            "SCT",
            "Implant Displaced",
        )
        made.ViewCodeSequence[0].ViewModifierCodeSequence = [displaced]
    return made


def _reading(random: Random, header: Dataset) -> ImageReading:
    common = {"sop_instance_uid": str(header.SOPInstanceUID), "view": view_of(header)}
    if random.random() < 0.1 or "NumberOfFrames" in header:
        return ImageReading(**common, status=ReadStatus.NOT_READ, reason=random.choice(REASONS))
    count = random.choices([0, 1, 2, 6], [4, 4, 2, 0.3])[0]
    return ImageReading(
        **common,
        status=ReadStatus.READ,
        findings=tuple(_finding(random) for _ in range(count)),
        non_lesions=tuple(_non_lesion(random) for _ in range(random.random() < 0.15)),
        remarks=tuple(remark for remark in REMARKS if random.random() < 0.1),
    )


def _polygon(random: Random, column: float, row: float, radius: float) -> tuple[ImagePoint, ...]:
    corners = random.randrange(3, 9)
    return tuple(
        ImagePoint(
            column + radius * math.cos(math.tau * corner / corners),
            row + radius * math.sin(math.tau * corner / corners),
        )
        for corner in range(corners)
    )


def _finding(random: Random) -> Finding:
    column, row, radius = random.uniform(0, COLUMNS), random.uniform(0, ROWS), random.uniform(3, 20)
    inner = min(column, COLUMNS - column, row, ROWS - row, 0.4 * radius)
    kind = random.choices(list(FindingKind), [6, 1])[0]
    count = 1 if kind is FindingKind.LARGE else random.choice([1, 2, 3, 5])
    specks = tuple(
        Speck(
            center=ImagePoint(
                column + random.uniform(-inner, inner) / 2, row + random.uniform(-inner, inner) / 2
            ),
            score=random.random(),
            diameter_mm=random.choice([0.0, random.uniform(0.05, 3)]),
        )
        for _ in range(count)
    )
    large = kind is FindingKind.LARGE
    return Finding(
        outline=_polygon(random, column, row, radius),
        specks=specks,
        detection=random.choice([0.0, 1.0, random.random()]),
        suspicion=random.random(),
        assessment=FindingAssessment.BENIGN if large else random.choice(list(FindingAssessment)),
        morphology=random.choice([None, *Morphology]),
        distribution=None if large else random.choice([None, *Distribution]),
        kind=kind,
    )


def _non_lesion(random: Random) -> NonLesion:
    column, row = random.uniform(10, COLUMNS - 10), random.uniform(10, ROWS - 10)
    return NonLesion(kind=NonLesionKind.METAL, outline=_polygon(random, column, row, random.uniform(1, 5)))


def _correspondences(random: Random, readings: tuple[ImageReading, ...]) -> list[Correspondence]:
    found = []
    for side in (Laterality.RIGHT, Laterality.LEFT):
        above, beside = (
            [
                FindingPlace(place, number)
                for place, each in enumerate(readings)
                if each.view and each.view.laterality is side and each.view.position in positions
                for number in range(len(each.findings))
            ]
            for positions in (FROM_ABOVE, FROM_THE_SIDE)
        )
        random.shuffle(beside)
        found += [
            Correspondence(first=first, second=second, score=random.random())
            for first, second in zip(above, beside, strict=False)
            if random.random() < 0.7
        ]
    return found
