"""The public validators as judges of what we write: none of them is ours."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from mammography.finding import Distribution, FindingAssessment, FindingKind, Morphology
from mammography.results.compose import compose
from mammography.results.composed import Predecessor
from tests.judges import dciodvfy, dcmpschk, dsrdump, pixelmed, run
from tests.results.mammograms import (
    L_CC,
    R_CC,
    STUDY,
    TWO_VIEWS,
    answered,
    assessment,
    cluster,
    header_of,
    image,
    reading,
    screening_images,
    unread,
    written,
)

pytestmark = pytest.mark.validators

ALL_TREES = ("every-word", "no-findings", "none-read")
"""Cases that hold every kind of content item between them: PixelMed takes ten seconds for a report."""


def lut_image() -> Dataset:
    """Return an image with a VOI LUT, which came with a window too."""
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [16, 0, 12])
    lut.add_new("LUTData", "US", list(range(0, 4096, 256)))
    lut.LUTExplanation = "Standard"
    return image(R_CC, VOILUTSequence=[lut])


def bare_images() -> list[Dataset]:
    """Return images without a single optional attribute that we take over."""
    images = screening_images(AccessionNumber="", StudyID="", PatientBirthDate="", PatientSex="")
    for each in images:
        for keyword in (
            "SpecificCharacterSet",
            "StudyDescription",
            "ViewPosition",
        ):
            delattr(each, keyword)
    return images


def some_unread(images: list[Dataset], unread_places: set[int]) -> list[bytes]:
    headers = [header_of(each) for each in images]
    readings = [
        unread(header) if place in unread_places else reading(header, *TWO_VIEWS[place])
        for place, header in enumerate(headers)
    ]
    objects = compose(headers=headers, assessment=assessment(*readings), study_instance_uid=STUDY, revision=1)
    return [each.encode() for each in objects]


def bytes_of(images: list[Dataset], findings=TWO_VIEWS) -> list[bytes]:
    return [each.encode() for each in answered(images, findings)]


def every_word(images: list[Dataset]) -> list[bytes]:
    """Return an answer that states every morphology and distribution on one image, and could not read the other."""
    clusters = [
        cluster(
            30 + 25 * (place % 4),
            30 + 40 * (place // 4),
            call=list(FindingAssessment)[place % 2],
            morphology=word,
            distribution=list(Distribution)[place % len(Distribution)],
            specks=2 - place % 2,
        )
        for place, word in enumerate(Morphology)
    ]
    unstated = cluster(130, 180, specks=2)
    large = cluster(
        100,
        180,
        call=FindingAssessment.BENIGN,
        specks=1,
        kind=FindingKind.LARGE,
        morphology=Morphology.VASCULAR,
    )
    headers = [header_of(each) for each in images]
    readings = reading(headers[0], *clusters, unstated, large), unread(headers[1])
    objects = compose(headers=headers, assessment=assessment(*readings), study_instance_uid=STUDY, revision=1)
    return [each.encode() for each in objects]


def second_revision(images: list[Dataset]) -> list[bytes]:
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP1", "SPS1"
    for each in images:
        each.RequestAttributesSequence = [request]
        each.TimezoneOffsetFromUTC = "+0100"
    headers = [header_of(each) for each in images]
    earlier = answered(images)[0].dataset
    objects = compose(
        headers=headers,
        assessment=assessment(*map(reading, headers)),
        study_instance_uid=STUDY,
        revision=2,
        predecessor=Predecessor.of(earlier),
    )
    return [each.encode() for each in objects]


def named(character_set: str | list[str], name: str) -> list[Dataset]:
    return screening_images(SpecificCharacterSet=character_set, PatientName=name)


INVERSE = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
WINDOWS = {"WindowCenter": ["2048", "1800"], "WindowWidth": ["4096", "900.5"], "VOILUTFunction": "SIGMOID"}
JAPANESE = "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046"
CASES: dict[str, tuple[Callable[[], list[Dataset]], Callable[[list[Dataset]], list[bytes]]]] = {
    "two-views": (screening_images, bytes_of),
    "no-findings": (screening_images, lambda images: bytes_of(images, [()] * 4)),
    "one-not-read": (screening_images, lambda images: some_unread(images, {1})),
    "none-read": (screening_images, lambda images: some_unread(images, {0, 1, 2, 3})),
    "monochrome1": (lambda: screening_images(**INVERSE), bytes_of),
    "sigmoid-windows": (lambda: screening_images(**WINDOWS), bytes_of),
    "voi-lut": (lambda: [lut_image()], lambda images: bytes_of(images, TWO_VIEWS[:1])),
    "latin-1": (lambda: named("ISO_IR 100", "M\u00fcller^\u00c4nne"), bytes_of),
    "gb18030": (lambda: named("GB18030", "Wang^XiaoDong=\u738b^\u5c0f\u4e1c"), bytes_of),
    "japanese": (lambda: named(["", "ISO 2022 IR 87"], JAPANESE), bytes_of),
    "bare": (bare_images, bytes_of),
    "every-word": (lambda: [image(R_CC), image(L_CC)], every_word),
    "second-revision": (screening_images, second_revision),
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> dict[str, tuple[list[Path], list[Path]]]:
    """Write every case: its images, and the objects that answer them."""
    folder = tmp_path_factory.mktemp("studies")
    found = {}
    for case, (make_images, answer) in CASES.items():
        images = make_images()
        groups = ("image", [written(each) for each in images]), ("object", answer(images))
        paths = []
        for name, contents in groups:
            paths.append([folder / f"{case}-{name}-{number}.dcm" for number in range(len(contents))])
            for path, content in zip(paths[-1], contents, strict=True):
                path.write_bytes(content)
        found[case] = (paths[0], paths[1])
    return found


@pytest.mark.parametrize("case", CASES)
def test_dciodvfy_finds_no_error_in_images_and_objects(studies, case):
    images, objects = studies[case]
    for path in (*images, *objects):
        assert dciodvfy(path) == []
    for path in objects:
        _, said = run("dciodvfy", "-new", path)
        warnings = [line for line in said.splitlines() if "Warning" in line and "build DICOMDIR" not in line]
        assert warnings == []


@pytest.mark.parametrize("case", CASES)
def test_dcentvfy_finds_one_patient_and_study_in_images_and_objects(studies, case):
    images, objects = studies[case]
    code, said = run("dcentvfy", *images, *objects)
    assert (code, "Error" in said) == (0, False), said


@pytest.mark.parametrize("case", CASES)
def test_dcmtk_reads_the_report_without_complaint(studies, case):
    _, (report, *_) = studies[case]
    assert dsrdump(report) == []


@pytest.mark.parametrize("case", CASES)
def test_dcmtk_passes_every_presentation_state(studies, case):
    _, (_, *states) = studies[case]
    assert bool(states) == (case != "none-read")
    for path in states:
        assert dcmpschk(path) == []


@pytest.mark.slow
def test_pixelmed_finds_reports_true_to_tid_4000(studies, tmp_path):
    reports = [studies[case][1][0] for case in ALL_TREES]
    assert dict(zip(ALL_TREES, pixelmed(reports, tmp_path), strict=True)) == {case: [] for case in ALL_TREES}
