"""Three hundred generated assessments, written and judged by validators that are not ours.

dicom3tools and dcmtk judge all of them. PixelMed takes seconds for a report, so that it judges as many as hold every
kind of content item between them; with MAMMOCALC_PIXELMED=all in the environment it judges all.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pydicom
import pytest

from mammography.finding import Distribution, Morphology, ReadStatus
from mammography.results.compose import compose
from mammography.results.read_back import assessment_of
from mammography.results.written_report import Place, WrittenReport
from tests.judges import dciodvfy, dcmpschk, dsrdump, pixelmed, run
from tests.results.generated import generated_study
from tests.results.mammograms import written

COUNT = 300
pytestmark = pytest.mark.validators


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One generated study: the files of its images, its report and its presentation states."""

    images: list[Path]
    report: Path
    states: list[Path]


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Answered]:
    """Write all studies."""
    folder = tmp_path_factory.mktemp("generated")
    return [_answered(folder, number) for number in range(COUNT)]


def _answered(folder: Path, number: int) -> Answered:
    images, headers, assessment = generated_study(Random(number), str(number))
    objects = compose(
        headers=headers,
        assessment=assessment,
        study_instance_uid=str(headers[0].StudyInstanceUID),
        revision=1,
    )
    contents = {f"image-{place}": written(image) for place, image in enumerate(images)}
    contents |= {f"{each.kind}-{place}": each.encode() for place, each in enumerate(objects)}
    paths = {name: folder / f"{number:03}-{name}.dcm" for name in contents}
    for name, path in paths.items():
        path.write_bytes(contents[name])
    images_of, reports, states = (
        [path for name, path in paths.items() if name.startswith(kind)]
        for kind in ("image", "cad-sr", "gsps")
    )
    (report,) = reports
    return Answered(images=images_of, report=report, states=states)


def complaints(judge: Callable[[Path], list[str]], paths: Sequence[Path]) -> dict[str, list[str]]:
    """Return what a judge holds against each file, for those with anything against them."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = zip(paths, threads.map(judge, paths), strict=True)
        return {path.name: said for path, said in found if said}


def test_the_generated_assessments_differ_in_all_that_reports_can(studies):
    assessments = [assessment_of(pydicom.dcmread(each.report)) for each in studies]
    readings = [reading for assessment in assessments for reading in assessment.images]
    findings = [finding for reading in readings for finding in reading.findings]
    assert len(studies) >= 300
    assert {finding.morphology for finding in findings} == {None, *Morphology}
    assert {finding.distribution for finding in findings} == {None, *Distribution}
    assert {reading.status for reading in readings} == set(ReadStatus)
    counts = {sum(len(reading.findings) for reading in assessment.images) for assessment in assessments}
    assert {0, 1} <= counts
    assert max(counts) >= 6
    for fact in ("non_lesions", "remarks", "reason"):
        assert any(getattr(reading, fact) for reading in readings)
    assert any(assessment.correspondences for assessment in assessments)
    assert any(not assessment.breasts for assessment in assessments)
    modifiers = {modifier for reading in readings if reading.view for modifier in reading.view.modifiers}
    assert modifiers
    headers = [pydicom.dcmread(each.report, stop_before_pixels=True) for each in studies]
    assert len({str(header.SpecificCharacterSet) for header in headers}) == 5
    classes = {
        str(item.ReferencedSOPClassUID)
        for header in headers
        for series in header.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert "1.2.840.10008.5.1.4.1.1.13.1.3" in classes


def test_dciodvfy_finds_no_error_in_any_object(studies):
    paths = [path for each in studies for path in (each.report, *each.states)]
    assert complaints(dciodvfy, paths) == {}


def test_dcentvfy_finds_each_patient_and_study_the_same_in_images_and_objects(studies):
    paths = [path for each in studies for path in (*each.images, each.report, *each.states)]
    code, said = run("dcentvfy", *paths)
    assert (code, [line for line in said.splitlines() if "Error" in line][:5]) == (0, [])


def test_dcmtk_reads_every_report(studies):
    assert complaints(dsrdump, [each.report for each in studies]) == {}


def test_dcmtk_passes_every_presentation_state(studies):
    assert complaints(dcmpschk, [path for each in studies for path in each.states]) == {}


def kinds_of_items(path: Path) -> set[tuple[str, ...]]:
    """Return each way of concept names and value types that leads from the root to a content item."""
    report = WrittenReport(pydicom.dcmread(path))
    ways: dict[Place, tuple[str, ...]] = {}
    for place, item in report.items.items():
        names = item.get("ConceptNameCodeSequence") or []
        step = f"{item.get('ValueType')} {names[0].CodeValue if names else ''}"
        ways[place] = (*ways.get(place[:-1], ()), step)
    return set(ways.values())


def covering(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield reports that hold every kind of content item between them, small ones first."""
    kinds = {path: kinds_of_items(path) for path in sorted(paths, key=lambda path: path.stat().st_size)}
    missing: set[tuple[str, ...]] = set().union(*kinds.values())
    while missing:
        best = max(kinds, key=lambda path: len(kinds[path] & missing) / path.stat().st_size)
        missing -= kinds[best]
        yield best


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_pixelmed_finds_every_kind_of_content_item_true_to_tid_4000(studies, tmp_path):
    reports = [each.report for each in studies]
    if os.environ.get("MAMMOCALC_PIXELMED") != "all":
        reports = list(covering(reports))
    judged = zip(reports, pixelmed(reports, tmp_path), strict=True)
    assert {path.name: said for path, said in judged if said} == {}


ANOTHER_PROCESS = """
import hashlib, sys
from random import Random
from mammography.results.compose import compose
from tests.results.generated import generated_study
for number in map(int, sys.argv[1:]):
    _, headers, assessment = generated_study(Random(number), str(number))
    study = str(headers[0].StudyInstanceUID)
    for each in compose(headers=headers, assessment=assessment, study_instance_uid=study, revision=1):
        print(hashlib.sha256(each.encode()).hexdigest())
"""


def test_another_process_elsewhere_writes_the_same_bytes():
    environments = ({"TZ": "UTC", "PYTHONHASHSEED": "1"}, {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "2"})
    said = [
        subprocess.run(
            [sys.executable, "-c", ANOTHER_PROCESS, *map(str, range(6))],
            env={**os.environ, **environment},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for environment in environments
    ]
    assert said[0] == said[1]
    assert len(said[0].split()) >= 12
