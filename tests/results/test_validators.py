"""The public validators as judges of what we write: none of them is ours."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from mammography.finding import Distribution, FindingAssessment, Morphology
from mammography.results.compose import compose
from mammography.results.composed import Predecessor
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

JARS = [
    Path("/usr/share/java") / f"{name}.jar"
    for name in ("pixelmed", "slf4j-api", "slf4j-nop", "vecmath", "commons-codec")
]
CLASSPATH = ":".join(map(str, JARS))
JVM = [
    "java",
    "-Xmx3g",
    "-Xss16m",
    "-XX:+UseSerialGC",
    "-Djava.awt.headless=true",
    "-Djdk.xml.xpathExprGrpLimit=0",
    "-Djdk.xml.xpathExprOpLimit=0",
    "-Djdk.xml.xpathTotalOpLimit=0",
]
BATCH = """
import com.pixelmed.validate.DicomSRValidator;
public class ValidateAll {
    public static void main(String[] files) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String file : files) {
            System.out.println("== " + file);
            System.out.println(validator.validate(file));
        }
    }
}
"""
CLEAN = [
    "Found MammographyCADSR IOD",
    "Found Root Template TID_4000 (MammographyCADDocumentRoot)",
    "Root Template Validation Complete",
    "IOD validation complete",
]
ALL_TREES = ("every-word", "no-findings", "none-read")
"""Cases that hold every kind of content item between them: PixelMed takes ten seconds for a report."""
MISSPELT = re.compile(r'Warning: Template 4015\S* .*has different code meaning \("Failed Detections"\)')
"""PixelMed's own template says "Failed  Detections", with two spaces."""


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
    headers = [header_of(each) for each in images]
    readings = reading(headers[0], *clusters, unstated), unread(headers[1])
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


def run(program: str, *arguments: str | Path) -> tuple[int, str]:
    """Run a validator; return its exit code and all it says."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: `apt-get install dcmtk dicom3tools` brings it.")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, errors="replace", check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_dciodvfy_finds_no_error_in_images_and_objects(studies, case):
    images, objects = studies[case]
    for path in (*images, *objects):
        code, said = run("dciodvfy", "-new", path)
        assert (code, "Error" in said) == (0, False), said
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
    code, said = run("dsrdump", "-q", report)
    assert (code, re.findall(r"^[EF]: .*", said, re.MULTILINE)) == (0, []), said


@pytest.mark.parametrize("case", CASES)
def test_dcmtk_passes_every_presentation_state(studies, case):
    _, (_, *states) = studies[case]
    assert bool(states) == (case != "none-read")
    for path in states:
        _, said = run("dcmpschk", path)
        assert "Test passed." in said, said
        assert "Test failed" not in said


@pytest.mark.slow
def test_pixelmed_finds_reports_true_to_tid_4000(studies, tmp_path):
    missing = [path.name for path in JARS if not path.exists()]
    if missing or shutil.which("java") is None:
        pytest.skip(
            f"{', '.join(missing) or 'java'} is not installed: `apt-get install libpixelmed-java` brings it."
        )
    reports = [studies[case][1][0] for case in ALL_TREES]
    said = validated_at_once(reports, tmp_path) if shutil.which("javac") else validated_one_by_one(reports)
    assert len(said) == len(ALL_TREES)
    for case, lines in zip(ALL_TREES, said, strict=True):
        assert [line for line in lines if line.strip() and not MISSPELT.match(line)] == CLEAN, (
            f"{case}: {lines}"
        )


def validated_at_once(reports: list[Path], folder: Path) -> list[list[str]]:
    """Return what the validator says of each report, in one JVM: it starts for seconds."""
    source = folder / "ValidateAll.java"
    source.write_text(BATCH)
    subprocess.run(["javac", "-cp", CLASSPATH, "-d", folder, source], check=True, capture_output=True)
    done = subprocess.run(
        [*JVM, "-cp", f"{folder}:{CLASSPATH}", "ValidateAll", *reports],
        capture_output=True,
        text=True,
        check=True,
    )
    return [part.splitlines()[1:] for part in done.stdout.split("== ")[1:]]


def validated_one_by_one(reports: list[Path]) -> list[list[str]]:
    """Return what the validator says of each report, where no compiler is at hand."""
    validator = [*JVM, "-cp", CLASSPATH, "com.pixelmed.validate.DicomSRValidator"]
    return [
        subprocess.run([*validator, report], capture_output=True, text=True, check=True).stdout.splitlines()
        for report in reports
    ]
