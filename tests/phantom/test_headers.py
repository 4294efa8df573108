"""The files that invented vendors write: valid, each in its own way, and one picture for the reader."""

import json
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from lab.phantom.dicom import SYNTAXES, to_dicom
from lab.phantom.habits import HABITS
from lab.phantom.presentation import VENDORS, vendor_named
from lab.phantom.scene import make_scene
from mammography.command_line import command_line
from mammography.mammogram import UnreadableMammogram, open_mammogram
from mammography.reader.reader import Reader
from mammography.view import Laterality, View, ViewModifier, ViewPosition, view_of
from tests.judges import dciodvfy

R_CC = View(laterality=Laterality.RIGHT, position=ViewPosition.CC)
SMALL = {"rows": 640, "columns": 512}


@pytest.fixture(scope="module")
def scene():
    return make_scene(5, view=R_CC, vendor=VENDORS[0], **SMALL)


def saved(data_set, path):
    data_set.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.validators
@pytest.mark.parametrize("vendor", sorted(HABITS))
@pytest.mark.parametrize("for_processing", [False, True])
def test_every_vendor_writes_valid_mammograms(scene, tmp_path, vendor, for_processing):
    data_set = to_dicom(replace(scene, vendor=vendor), seed=5, for_processing=for_processing)
    assert dciodvfy(saved(data_set, tmp_path / "image.dcm")) == []


def test_the_reader_sees_one_picture_behind_every_vendors_header(scene, tmp_path):
    reader = Reader.load()
    seen = {}
    for vendor in HABITS:
        data_set = to_dicom(replace(scene, vendor=vendor), seed=5)
        opened = open_mammogram(saved(data_set, tmp_path / "image.dcm"))
        seen[vendor] = reader.prepared(opened).image.numpy()
    for picture in seen.values():
        assert picture.shape == seen["alpha"].shape
        assert np.abs(picture - seen["alpha"]).max() < 0.01


def test_vendors_differ_in_what_readers_trip_over(scene):
    headers = {name: to_dicom(replace(scene, vendor=name), seed=5) for name in HABITS}
    assert {header.PhotometricInterpretation for header in headers.values()} == {"MONOCHROME1", "MONOCHROME2"}
    assert {header.BitsStored for header in headers.values()} == {12, 14, 16}
    functions = {header.get("VOILUTFunction") for header in headers.values()}
    assert functions == {"LINEAR", "LINEAR_EXACT", "SIGMOID", None}
    assert {len(header.get("VOILUTSequence", [])) for header in headers.values()} == {0, 1}
    assert {"PixelSpacing" in header for header in headers.values()} == {True, False}
    assert {"PixelPaddingValue" in header for header in headers.values()} == {True, False}
    schemes = {header.ViewCodeSequence[0].CodingSchemeDesignator for header in headers.values()}
    assert schemes == {"SCT", "SRT"}
    assert {header.file_meta.TransferSyntaxUID.is_implicit_VR for header in headers.values()} == {True, False}


def test_padding_covers_air_and_of_the_breast_only_the_very_skin():
    scene = make_scene(5, view=R_CC, vendor=vendor_named("gamma"), **SMALL)
    breast = np.kron(scene.breast, np.ones((4, 4), bool))
    for vendor in ("gamma", "delta", "zeta"):
        header = to_dicom(replace(scene, vendor=vendor), seed=5)
        limit = int(header.PixelPaddingRangeLimit)
        low, high = sorted((int(header.PixelPaddingValue), limit))
        padded = (header.pixel_array >= low) & (header.pixel_array <= high)
        assert padded[breast].mean() < 0.03
        assert padded[~breast].mean() > 0.5


@pytest.mark.validators
@pytest.mark.parametrize("syntax", sorted(SYNTAXES))
def test_every_syntax_decodes_to_the_same_pixels(scene, tmp_path, syntax):
    data_set = to_dicom(scene, seed=5, syntax=syntax)
    path = saved(data_set, tmp_path / "image.dcm")
    assert dciodvfy(path) == []
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == SYNTAXES[syntax]
    plain = open_mammogram(saved(to_dicom(scene, seed=5, syntax="explicit"), tmp_path / "plain.dcm"))
    assert np.array_equal(open_mammogram(path).pixels, plain.pixels)


@pytest.mark.validators
@pytest.mark.parametrize(
    ("position", "modifiers"),
    [
        (ViewPosition.ML, ()),
        (ViewPosition.XCCL, ()),
        (ViewPosition.MLO, (ViewModifier.IMPLANT_DISPLACED,)),
        (ViewPosition.CC, (ViewModifier.MAGNIFICATION, ViewModifier.SPOT_COMPRESSION)),
    ],
)
def test_odd_views_say_what_they_are(tmp_path, position, modifiers):
    view = View(laterality=Laterality.LEFT, position=position, modifiers=frozenset(modifiers))
    implant = ViewModifier.IMPLANT_DISPLACED in modifiers
    odd = make_scene(6, view=view, implant=implant, **SMALL)
    for vendor in ("alpha", "eta"):
        header = to_dicom(replace(odd, vendor=vendor), seed=6)
        assert dciodvfy(saved(header, tmp_path / "image.dcm")) == []
        assert view_of(header) == view
        assert header.BreastImplantPresent == ("YES" if implant else "NO")
        assert float(header.ImagerPixelSpacing[0]) == pytest.approx(0.07)
        factor = 1.8 if ViewModifier.MAGNIFICATION in modifiers else 1.0
        assert float(header.EstimatedRadiographicMagnificationFactor) == factor
        assert odd.spacing_mm == pytest.approx(0.07 / factor)


def test_an_implant_is_bright_and_even_and_the_calcifications_lie_beside_it():
    view = View(laterality=Laterality.LEFT, position=ViewPosition.CC)
    size = {"rows": 832, "columns": 640, "spacing_mm": 0.28, "vendor": VENDORS[0]}
    with_implant, without = (
        make_scene(5, view=view, implant=implant, lesions=(), singles=12 * implant, **size)
        for implant in (True, False)
    )
    middle = np.s_[380:440, 20:80]
    tissue = np.median(with_implant.pixels[::4, ::4][with_implant.breast])
    assert with_implant.pixels[middle].mean() > max(without.pixels[middle].mean(), tissue)
    assert with_implant.pixels[middle].std() < 0.4 * without.pixels[middle].std()
    assert with_implant.raw[middle].mean() < 0.5 * without.raw[middle].mean()
    assert len(with_implant.specks) > 4
    for speck in with_implant.specks:
        assert np.hypot(speck.center.row - 410, speck.center.column - 50) > 60


def test_both_pictures_of_an_exposure_are_written_side_by_side(tmp_path):
    arguments = ["phantom", str(tmp_path / "out"), "--view", "R CC", "--rows", "640", "--columns", "512"]
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(
        command_line(), [*arguments, "--processing", "--syntax", "jpeg", "--sheet", str(sheet)]
    )
    assert done.exit_code == 0, done.output
    folder = tmp_path / "out" / "study-1"
    shown, linear = (pydicom.dcmread(folder / f"R_CC{end}.dcm") for end in ("", "_processing"))
    assert (shown.PresentationIntentType, linear.PresentationIntentType) == (
        "FOR PRESENTATION",
        "FOR PROCESSING",
    )
    assert shown.IrradiationEventUID == linear.IrradiationEventUID
    assert shown.SOPInstanceUID != linear.SOPInstanceUID
    assert shown.file_meta.TransferSyntaxUID == SYNTAXES["jpeg"]
    truth = json.loads((folder / "truth.json").read_text())
    assert [image["view"] for image in truth["images"]] == ["CC"]
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_a_normal_study_says_so_in_its_truth(tmp_path):
    arguments = ["--condition", "normal", "--view", "L MLO displaced", "--implants"]
    sizes = ["--rows", "640", "--columns", "512"]
    done = CliRunner().invoke(command_line(), ["phantom", str(tmp_path / "out"), *arguments, *sizes])
    assert done.exit_code == 0, done.output
    image = json.loads((tmp_path / "out" / "study-1" / "truth.json").read_text())["images"][0]
    assert image["file"] == "L_MLO_implant-displaced.dcm"
    assert image["specks"] == image["groups"] == []
    assert image["implant"] is True


def test_a_magnified_view_is_one_that_the_reader_refuses(tmp_path):
    view = View(
        laterality=Laterality.LEFT,
        position=ViewPosition.CC,
        modifiers=frozenset({ViewModifier.MAGNIFICATION}),
    )
    path = saved(to_dicom(make_scene(6, view=view, **SMALL), seed=6), tmp_path / "image.dcm")
    with pytest.raises(UnreadableMammogram, match="magni"):
        open_mammogram(path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--view", "X CC"], "no view that is drawn"),
        (["--view", "R"], "no view that is drawn"),
        (["--view", "R CC tilted"], "no view that is drawn"),
        (["--condition", "odd"], "none of usual, shifted, normal"),
        (["--syntax", "zip"], "none of explicit"),
        (["--easy", "--condition", "normal"], "no easy cluster"),
        (["--sheet", "sheet.txt"], "neither .jpg nor .png"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_sentence(tmp_path, arguments, sentence):
    done = CliRunner().invoke(command_line(), ["phantom", str(tmp_path / "out"), *arguments])
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()
