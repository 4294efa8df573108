"""What each data set's own files say is what a case says."""

import plistlib

import numpy as np
import pytest

from lab.datasets import catalogue_of
from lab.datasets.annotation import annotation_of
from lab.datasets.case import DatasetKind, Pathology, SpacingSource, Split, UnusableDataset
from lab.datasets.cbis_ddsm import estimated_spacing
from lab.datasets.pictures import open_case
from mammography.coordinates import ImagePoint
from mammography.finding import Distribution, Morphology
from mammography.view import ViewPosition
from tests.datasets.layouts import (
    BMCD_COLUMNS,
    CBIS_COLUMNS,
    CMMD_COLUMNS,
    INBREAST_COLUMNS,
    TINY,
    VINDR_FINDING_COLUMNS,
    VINDR_IMAGE_COLUMNS,
    cbis_line,
    dicom_file,
    inbreast_contours,
    inbreast_image,
    red_marks,
    table,
    viewed,
)

TRAIN, TEST = "calc_case_description_train_set.csv", "calc_case_description_test_set.csv"


def mask_of(top: int, left: int, side: int, shape: tuple[int, int] = TINY.shape) -> np.ndarray:
    """A mask with one square in it."""
    mask = np.zeros(shape, dtype=np.uint8)
    mask[top : top + side, left : left + side] = 255
    return mask


@pytest.fixture
def cbis(tmp_path):
    """Two films of one patient with three abnormalities, and one film of another in the test set."""
    said = ("PLEOMORPHIC-FINE_LINEAR_BRANCHING", "CLUSTERED-SEGMENTAL", 4, "MALIGNANT")
    benign = ("LUCENT_CENTERED", "N/A", 2, "BENIGN_WITHOUT_CALLBACK")
    table(
        tmp_path / TRAIN,
        CBIS_COLUMNS,
        cbis_line("P_00005", "RIGHT", "CC", 1, *said),
        cbis_line("P_00005", "RIGHT", "CC", 2, *benign),
        cbis_line("P_00005", "RIGHT", "MLO", 1, *benign),
    )
    table(tmp_path / TEST, CBIS_COLUMNS, cbis_line("P_00038", "LEFT", "CC", 1, *benign, part="Test"))
    films = tmp_path / "manifest-1" / "CBIS-DDSM"
    full, roi = (
        "08-07-2016-DDSM-23157/1.000000-full mammogram images-38548",
        "08-30-2017-DDSM-09081/1.000000-",
    )
    for name in (
        "Calc-Training_P_00005_RIGHT_CC",
        "Calc-Training_P_00005_RIGHT_MLO",
        "Calc-Test_P_00038_LEFT_CC",
    ):
        dicom_file(films / name / full / "1-1.dcm", TINY)
    crop = np.full((12, 12), 700, dtype=np.uint16)
    first = films / "Calc-Training_P_00005_RIGHT_CC_1" / f"{roi}cropped images-94682"
    dicom_file(first / "1-1.dcm", mask_of(40, 20, 12), SeriesDescription="cropped images")
    dicom_file(first / "1-2.dcm", crop, SeriesDescription="cropped images")
    second = films / "Calc-Training_P_00005_RIGHT_CC_2"
    dicom_file(second / f"{roi}ROI mask images-1" / "1-1.dcm", crop)
    dicom_file(second / f"{roi}cropped images-2" / "1-1.dcm", mask_of(10, 10, 6, (84, 56)))
    dicom_file(films / "Calc-Training_P_00005_RIGHT_MLO_1" / f"{roi}ROI mask images-3" / "1-1.dcm", crop)
    dicom_file(
        films / "Calc-Test_P_00038_LEFT_CC_1" / f"{roi}ROI mask images-4" / "1-2.dcm", mask_of(0, 0, 8)
    )
    return tmp_path


def test_a_mask_is_the_file_of_the_films_size_whatever_its_series_is_called(cbis):
    case = next(c for c in catalogue_of(DatasetKind.CBIS_DDSM, cbis).cases if len(c.regions) == 2)
    assert [region.mask.parent.name[:23] for region in case.regions] == ["1.000000-cropped images"] * 2
    annotation = annotation_of(case, rows=96, columns=64, spacing_mm=0.05)
    inside = [(annotation.regions == number) for number in annotation.bags]
    assert inside[0][10:13, 5:8].all()
    assert inside[0].sum() == 9
    assert inside[1][3, 3]  # resampled from a smaller scan of the same film
    assert annotation.clear


def test_what_the_table_says_of_an_abnormality_stands_in_its_region(cbis):
    case = next(c for c in catalogue_of(DatasetKind.CBIS_DDSM, cbis).cases if len(c.regions) == 2)
    pleomorphic, lucent = case.regions
    assert pleomorphic.morphologies == (Morphology.FINE_PLEOMORPHIC, Morphology.FINE_LINEAR)
    assert pleomorphic.distributions == (Distribution.GROUPED, Distribution.SEGMENTAL)
    assert pleomorphic.pathology is Pathology.MALIGNANT
    assert (lucent.morphologies, lucent.distributions) == ((Morphology.RIM,), ())
    assert lucent.pathology is Pathology.BENIGN
    assert (case.pathology, case.birads, case.density, str(case.view)) == (
        Pathology.MALIGNANT,
        "4",
        3,
        "R CC",
    )


def test_a_film_whose_mask_is_missing_is_not_clear_elsewhere(cbis):
    catalogue = catalogue_of(DatasetKind.CBIS_DDSM, cbis)
    case = next(c for c in catalogue.cases if c.view.position is ViewPosition.MLO)
    assert not case.regions
    assert not case.elsewhere_clear
    assert catalogue.skipped == ("The mask of Calc-Training_P_00005_RIGHT_MLO_1 is missing.",)


def test_a_patient_of_both_official_sets_is_for_the_test_alone(cbis):
    split = {c.patient: c.split for c in catalogue_of(DatasetKind.CBIS_DDSM, cbis).cases}
    assert sorted(split.values()) != [Split.TEST, Split.TEST]
    with (cbis / TEST).open("a", encoding="utf-8", newline="") as file:
        line = cbis_line(
            "P_00005", "LEFT", "CC", 1, "ROUND_AND_REGULAR", "REGIONAL", 3, "BENIGN", part="Test"
        )
        file.write(",".join(f'"{value}"' for value in line) + "\n")
    cases = catalogue_of(DatasetKind.CBIS_DDSM, cbis).cases
    assert len({c.patient for c in cases}) == 2
    assert {c.split for c in cases} == {Split.TEST}


@pytest.mark.parametrize(
    ("rows", "pitch"), [(4696, 0.05), (5041, 0.0435), (5386, 0.0435), (5700, 0.042), (6880, 0.0435)]
)
def test_a_film_is_no_longer_than_films_were(rows, pitch):
    assert estimated_spacing(rows).mm == pitch
    assert estimated_spacing(rows).source is SpacingSource.ESTIMATE


@pytest.fixture
def inbreast(tmp_path):
    """Three images of two patients: points, contours and a cluster; a mass; nothing."""
    root = tmp_path / "INbreast Release 1.0"
    inbreast_image(root, 20586908, "6c613a14b80a8591", "R", "CC")
    inbreast_image(root, 20586934, "6c613a14b80a8591", "L", "MLO")
    inbreast_image(root, 20586960, "5fb370d4c1c71974", "R", "MLO")
    inbreast_contours(
        root,
        20586908,
        ("Calcification", [(10.5, 20.5)]),
        ("Calcifications", [(30, 40), (34, 40), (34, 44), (30, 44)]),
        ("Cluster", [(8, 8), (48, 8), (48, 48), (8, 48)]),
        ("Mass", [(1, 1), (5, 1), (5, 5)]),
        ("Unnamed", []),
    )
    inbreast_contours(root, 20586934, ("Mass", [(1, 1), (5, 1), (5, 5)]))
    lines = [
        ["removed", "removed", "R", "CC", "201001", "20586908", "3", "4c"],
        ["removed", "removed", "L", "MLO", "201001", "20586934", "   ", "2"],
        ["removed", "removed", "R", "MLO", "201001", "20586960", "1", "1"],
        ["removed", "removed", "R", "MLO", "201001", "99999999", "1", "1"],
        ["", "", "", "", "", "", "", "total 410"],
    ]
    table(root / "INbreast.csv", INBREAST_COLUMNS, *lines, delimiter=";")
    return tmp_path


def test_points_and_contours_become_calcifications_and_clusters_become_regions(inbreast):
    case = catalogue_of(DatasetKind.INBREAST, inbreast).cases[0]
    assert [mark.center for mark in case.marks] == [ImagePoint(10.5, 20.5), ImagePoint(32.0, 42.0)]
    assert case.marks[0].diameter_px is None
    assert case.marks[1].diameter_px == pytest.approx(2 * np.sqrt(16 / np.pi))
    assert len(case.regions) == 1
    assert (case.birads, case.density, case.calcified, str(case.view)) == ("4c", 3, True, "R CC")
    annotation = annotation_of(case, rows=96, columns=64, spacing_mm=0.07)
    assert annotation.regions[2:12, 2:12].all()
    assert annotation.regions[13:].sum() == 0


def test_the_patient_of_a_file_name_keeps_images_together_and_an_image_without_lesions_is_clear(inbreast):
    catalogue = catalogue_of(DatasetKind.INBREAST, inbreast)
    first, second, third = catalogue.cases
    assert first.patient == second.patient != third.patient
    assert "6c613a14" not in first.patient
    assert (second.calcified, second.density, str(second.view)) == (False, None, "L MLO")
    assert (third.marks, third.elsewhere_clear, third.birads) == ((), True, "1")
    assert catalogue.skipped == (
        f"The image 99999999 of INbreast.csv is not in {inbreast / 'INbreast Release 1.0' / 'AllDICOMs'}.",
    )


def test_a_silent_header_takes_the_pitch_of_the_documentation(inbreast):
    mammogram, source = open_case(catalogue_of(DatasetKind.INBREAST, inbreast).cases[0])
    assert (mammogram.spacing_mm, source) == (0.07, SpacingSource.DOCUMENTATION)
    assert np.array_equal(mammogram.pixels, TINY)


DAMAGED = {
    "cut": b"<plist><dict><key>Images",
    "empty": b"",
    "binary": bytes(range(256)),
    "without images": plistlib.dumps({"Images": []}),
    "without regions": plistlib.dumps({"Images": [{"NumberOfROIs": 3}]}),
    "one number": plistlib.dumps({"Images": [{"ROIs": [{"Name": "Calcification", "Point_px": ["(3.0)"]}]}]}),
    "no numbers": plistlib.dumps({"Images": [{"ROIs": [{"Name": "Cluster", "Point_px": ["(a, b)"]}]}]}),
    "a list": plistlib.dumps([1, 2]),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_annotations_leave_their_image_out(inbreast, damage):
    (inbreast / "INbreast Release 1.0" / "AllXML" / "20586934.xml").write_bytes(DAMAGED[damage])
    catalogue = catalogue_of(DatasetKind.INBREAST, inbreast)
    assert len(catalogue.cases) == 2
    assert any(told.startswith("The annotations 20586934.xml cannot be read: ") for told in catalogue.skipped)


def test_a_table_without_a_column_is_refused_with_the_names_it_should_have(inbreast):
    path = inbreast / "INbreast Release 1.0" / "INbreast.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("Laterality", "Side"), encoding="utf-8")
    with pytest.raises(UnusableDataset, match="has not all of the columns Laterality, View, File Name"):
        catalogue_of(DatasetKind.INBREAST, inbreast)
    path.write_bytes(b"\xff\xfe\x00" * 40)
    with pytest.raises(UnusableDataset, match="cannot be read"):
        catalogue_of(DatasetKind.INBREAST, inbreast)


@pytest.fixture
def vindr(tmp_path):
    """Four images: two calcification boxes, a mass, nothing at all, and one whose file is missing."""
    images = [
        ["s1", "x", "i1", "L", "CC", 96, 64, "BI-RADS 4", "DENSITY C", "training"],
        ["s1", "x", "i2", "R", "MLO", 96, 64, "BI-RADS 3", "DENSITY C", "training"],
        ["s2", "x", "i3", "R", "MLO", 96, 64, "BI-RADS 1", "DENSITY A", "test"],
        ["s2", "x", "i4", "R", "CC", 96, 64, "BI-RADS 1", "DENSITY A", "test"],
    ]
    findings = [
        [*images[0][:-1], "['Suspicious Calcification']", "BI-RADS 4", -5.1627, 8.0, 20.0, 24.5, "training"],
        [
            *images[0][:-1],
            "['Suspicious Calcification', 'Mass']",
            "BI-RADS 4",
            40.0,
            60.0,
            80.0,
            90.0,
            "training",
        ],
        [*images[1][:-1], "['Mass']", "BI-RADS 3", 4.0, 4.0, 10.0, 10.0, "training"],
        [*images[2][:-1], "['No Finding']", "", "", "", "", "", "test"],
    ]
    table(tmp_path / "1.0.0" / "breast-level_annotations.csv", VINDR_IMAGE_COLUMNS, *images)
    table(tmp_path / "1.0.0" / "finding_annotations.csv", VINDR_FINDING_COLUMNS, *findings)
    for study, image in (("s1", "i1"), ("s1", "i2"), ("s2", "i3")):
        path = tmp_path / "1.0.0" / "images" / study / f"{image}.dicom"
        dicom_file(path, PhotometricInterpretation="MONOCHROME1", ImagerPixelSpacing=[0.085, 0.085])
    return tmp_path


def test_boxes_of_calcifications_are_regions_within_the_image(vindr):
    catalogue = catalogue_of(DatasetKind.VINDR, vindr)
    boxed, mass, clear = catalogue.cases
    assert [region.outline[0] for region in boxed.regions] == [ImagePoint(0.0, 8.0), ImagePoint(40.0, 60.0)]
    assert boxed.regions[1].outline[2] == ImagePoint(64.0, 90.0)
    assert (boxed.calcified, mass.calcified, clear.calcified) == (True, None, False)
    assert (boxed.density, boxed.birads, str(boxed.view)) == (3, "4", "L CC")
    assert len(catalogue.skipped) == 1
    assert "i4.dicom" in catalogue.skipped[0]


def test_only_a_breast_of_birads_1_is_clear_of_unboxed_calcifications(vindr):
    assert [case.elsewhere_clear for case in catalogue_of(DatasetKind.VINDR, vindr).cases] == [
        False,
        False,
        True,
    ]


def test_the_official_split_holds_for_all_images_of_a_study(vindr):
    boxed, mass, clear = catalogue_of(DatasetKind.VINDR, vindr).cases
    assert boxed.patient == mass.patient
    assert boxed.split == mass.split != Split.TEST
    assert clear.split is Split.TEST
    mammogram, source = open_case(boxed)
    assert (mammogram.inverted, mammogram.spacing_mm, source) == (True, 0.085, SpacingSource.HEADER)


@pytest.fixture
def cmmd(tmp_path):
    """Two patients: both sides with a line for one; a mass."""
    table(
        tmp_path / "CMMD_clinicaldata_revision.csv",
        CMMD_COLUMNS,
        ["D1-0001", "R", 44, 2, "calcification", "Benign", ""],
        ["D2-0005", "L", 59, 2, "mass", "Malignant", "Luminal A"],
        ["D2-0006", "L", 59, 2, "both", "Malignant", "Luminal A"],
    )
    pixels = (TINY % 251).astype(np.uint8)
    series = "07-18-2010-NA-NA-79377/1.000000-NA-70244"
    files = [
        ("D1-0001", "R", ViewPosition.CC),
        ("D1-0001", "L", ViewPosition.CC),
        ("D2-0005", "L", ViewPosition.MLO),
    ]
    for number, (patient, side, position) in enumerate(files, start=1):
        path = tmp_path / "CMMD" / patient / series / f"1-{number}.dcm"
        dicom_file(path, pixels, ImagerPixelSpacing=[0.094090909] * 2, **viewed(side, position))
    return tmp_path


def test_a_line_speaks_of_the_images_of_its_side_alone(cmmd):
    catalogue = catalogue_of(DatasetKind.CMMD, cmmd)
    calcified, mass = catalogue.cases
    assert (str(calcified.view), calcified.calcified, calcified.pathology) == ("R CC", True, Pathology.BENIGN)
    assert (str(mass.view), mass.calcified, mass.pathology) == ("L MLO", None, Pathology.MALIGNANT)
    assert not calcified.elsewhere_clear
    assert catalogue.skipped == ("The patient D2-0006 of CMMD_clinicaldata_revision.csv has no folder.",)


def test_an_excel_sheet_alone_is_refused_with_what_to_do(cmmd):
    (cmmd / "CMMD_clinicaldata_revision.csv").rename(cmmd / "CMMD_clinicaldata_revision.xlsx")
    with pytest.raises(
        UnusableDataset, match=r"is an Excel sheet: save it .* as CMMD_clinicaldata_revision\.csv"
    ):
        catalogue_of(DatasetKind.CMMD, cmmd)


@pytest.fixture
def bmcd(tmp_path):
    """A normal and a suspicious case of the same number; one file in capitals, one without its marks."""
    for group, ending in (("Normal_cases", "dcm"), ("Suspicious_cases", "DCM")):
        place = tmp_path / "Dataset" / group / "7"
        for name in ("CC_prior", "CC_recent", "MLO_recent"):
            dicom_file(place / f"{name}.{ending}", ImageLaterality="L", ImagerPixelSpacing=[0.07, 0.07])
        red_marks(place / "CC_recent_GT.jpg", TINY.shape, (20.0, 30.5, 2.0), (40.0, 60.0, 1.6))
        red_marks(place / "CC_prior_GT.jpg", TINY.shape)
        (place / f"._CC_recent.{ending}").write_bytes(b"left by a Mac")
    table(
        tmp_path / "Dataset" / "Suspicious_cases.csv",
        ["Suspicious cases"],
        [],
        BMCD_COLUMNS,
        [7, "Left", "b", "4b"],
    )
    return tmp_path


def test_red_marks_become_calcifications_at_their_places(bmcd):
    catalogue = catalogue_of(DatasetKind.BMCD, bmcd)
    for case in catalogue.cases:
        annotation = annotation_of(case, rows=96, columns=64, spacing_mm=0.07)
        if case.image.stem == "CC_prior":
            assert annotation.marks == ()
            continue
        first, second = annotation.marks
        assert first.center == pytest.approx((20.0, 30.5), abs=0.5)
        assert second.center == pytest.approx((40.0, 60.0), abs=0.5)
        assert first.diameter_px == pytest.approx(4.0, abs=1.0)
        assert annotation.clear


def test_a_ring_around_a_group_is_a_region_and_no_calcification(bmcd):
    case = next(c for c in catalogue_of(DatasetKind.BMCD, bmcd).cases if c.image.stem == "CC_recent")
    red_marks(case.marks_picture, TINY.shape, (30.0, 40.0, 18.0))
    annotation = annotation_of(case, rows=96, columns=64, spacing_mm=0.07)
    assert annotation.marks == ()
    assert annotation.regions[10, 7] > 0
    assert annotation.regions[0, 0] == 0


def test_rounds_of_a_case_share_a_patient_and_groups_do_not(bmcd):
    cases = catalogue_of(DatasetKind.BMCD, bmcd).cases
    assert len(cases) == 4
    assert len({case.patient for case in cases}) == 2
    assert {case.birads for case in cases if "Suspicious" in str(case.image)} == {"4b", None}
    assert {str(case.view) for case in cases} == {"L CC"}


def test_images_without_marks_are_left_out_with_a_sentence(bmcd):
    skipped = catalogue_of(DatasetKind.BMCD, bmcd).skipped
    assert len(skipped) == 2
    assert all("MLO_recent_GT.jpg are missing" in sentence for sentence in skipped)


@pytest.mark.parametrize("kind", list(DatasetKind))
def test_a_folder_that_is_something_else_is_refused_by_name(tmp_path, kind):
    with pytest.raises(UnusableDataset, match=str(tmp_path)):
        catalogue_of(kind, tmp_path)
    with pytest.raises(UnusableDataset, match="There is no folder"):
        catalogue_of(kind, tmp_path / "nowhere")
