from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from mammography.coordinates import ImagePoint
from mammography.finding import FindingAssessment
from mammography.results import codes
from mammography.results.compose import compose
from mammography.results.written_report import WrittenReport, points_of
from tests.results.mammograms import (
    COLUMNS,
    L_CC,
    L_MLO,
    R_CC,
    R_MLO,
    ROWS,
    STUDY,
    answered,
    assessment,
    cluster,
    header_of,
    image,
    reading,
    screening_images,
    unread,
)


def states_of(*images: Dataset, findings=()) -> list[Dataset]:
    headers = [header_of(each) for each in images]
    objects = compose(
        headers=headers,
        assessment=assessment(*(reading(header, *findings) for header in headers)),
        study_instance_uid=STUDY,
        revision=1,
    )
    return [pydicom.dcmread(BytesIO(each.encode())) for each in objects if each.kind == "gsps"]


def texts(state: Dataset) -> dict[str, list[str]]:
    return {
        annotation.GraphicLayer: [text.UnformattedTextValue for text in annotation.TextObjectSequence]
        for annotation in state.GraphicAnnotationSequence
    }


def test_each_image_that_was_read_has_one_state_in_a_series_of_its_side():
    objects = answered(screening_images())
    states = [each.dataset for each in objects if each.kind == "gsps"]
    by_side: dict[str, set[str]] = {}
    for state in states:
        by_side.setdefault(state.Laterality, set()).add(state.SeriesInstanceUID)
    assert [state.Laterality for state in states] == ["R", "L", "R", "L"]
    assert {side: len(series) for side, series in by_side.items()} == {"R": 1, "L": 1}
    assert by_side["R"] != by_side["L"]


def test_an_image_that_was_not_read_has_no_state():
    headers = [header_of(image(view)) for view in (R_CC, L_CC)]
    objects = compose(
        headers=headers,
        assessment=assessment(reading(headers[0]), unread(headers[1])),
        study_instance_uid=STUDY,
        revision=1,
    )
    assert [each.kind for each in objects] == ["cad-sr", "gsps"]


def test_marks_lie_on_the_layer_of_their_call_and_the_technical_layer_counts_them():
    benign = cluster(110, 120, call=FindingAssessment.BENIGN)
    (state,) = states_of(image(L_MLO), findings=(cluster(50, 60), benign))
    assert texts(state) == {
        "CALC_BENIGN": ["2 benign"],
        "CALC_SUSPICIOUS": ["1 suspicious"],
        "TECHNICAL": ["Mammocalc: 1 suspicious, 1 benign marked"],
    }
    assert [layer.GraphicLayer for layer in state.GraphicLayerSequence] == [
        "CALC_BENIGN",
        "CALC_SUSPICIOUS",
        "TECHNICAL",
    ]


def test_an_image_without_findings_says_so():
    (state,) = states_of(image(L_MLO))
    assert texts(state) == {"TECHNICAL": ["Mammocalc: no calcifications marked"]}


def test_outlines_and_tracking_are_those_of_the_report():
    objects = answered(screening_images())
    report = WrittenReport(pydicom.dcmread(BytesIO(objects[0].encode())))
    said = {found.tracking_uid: found.outline.points for found in report.findings if found.tracking_uid}
    names = {
        report.value_below(found.place, codes.TRACKING_UID): report.value_below(
            found.place, codes.TRACKING_IDENTIFIER
        )
        for found in report.findings
        if found.tracking_uid
    }
    drawn = {
        graphic.TrackingUID: graphic
        for each in objects[1:]
        for annotation in each.dataset.GraphicAnnotationSequence
        for graphic in annotation.get("GraphicObjectSequence", [])
    }
    assert set(said) == set(drawn)
    assert len(drawn) == 4
    for uid, graphic in drawn.items():
        points = points_of(graphic.GraphicData)
        assert len(points) == len(said[uid]) == graphic.NumberOfGraphicPoints
        assert all(a == pytest.approx(tuple(b), abs=0.01) for a, b in zip(points, said[uid], strict=True))
        assert points[0] == points[-1]
        assert graphic.GraphicAnnotationUnits == "PIXEL"
        assert graphic.TrackingID == names[uid]


@pytest.mark.parametrize("column", [16, 80, 144])
@pytest.mark.parametrize("row", [13, 100, 187])
def test_labels_stay_on_the_image(column, row):
    (state,) = states_of(image(R_MLO), findings=(cluster(column, row),))
    for annotation in state.GraphicAnnotationSequence:
        for text in annotation.TextObjectSequence:
            left, top = text.BoundingBoxTopLeftHandCorner
            right, bottom = text.BoundingBoxBottomRightHandCorner
            assert 0 <= left < right <= COLUMNS
            assert 0 <= top < bottom <= ROWS


def test_an_outline_that_leaves_the_image_is_cut_to_it():
    (state,) = states_of(image(R_CC), findings=(cluster(8, 195, specks=1),))
    (annotation, _) = state.GraphicAnnotationSequence
    points = points_of(annotation.GraphicObjectSequence[0].GraphicData)
    assert min(point.column for point in points) == 0.0
    assert max(point.row for point in points) == ROWS


def test_monochrome1_is_shown_inverted():
    inverted = image(R_CC, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    shapes = [state.PresentationLUTShape for state in states_of(inverted, image(L_CC))]
    assert shapes == ["INVERSE", "IDENTITY"]


def test_the_window_that_the_image_is_shown_through_is_kept_with_its_function():
    (state,) = states_of(
        image(
            R_CC,
            WindowCenter=["2048", "1800"],
            WindowWidth=["4095.5", "900.5"],
            WindowCenterWidthExplanation=["NORMAL", "HARD"],
            VOILUTFunction="SIGMOID",
        )
    )
    (voi,) = state.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth) == (2048, 4095.5)
    assert (voi.VOILUTFunction, voi.WindowCenterWidthExplanation) == ("SIGMOID", "NORMAL")


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_a_voi_lut_is_kept_and_shows_the_same(bits, vr):
    entries = [round(place * (2**bits - 1) / 15) for place in range(16)]
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [16, 0, bits])
    lut.LUTExplanation = "Standard"
    lut.add_new("LUTData", vr, entries if vr == "US" else np.array(entries, "<u2").tobytes())
    (state,) = states_of(image(R_CC, VOILUTSequence=[lut]))
    (voi,) = state.SoftcopyVOILUTSequence
    (kept,) = voi.VOILUTSequence
    assert (list(kept.LUTDescriptor), kept.LUTExplanation) == ([16, 0, 16], "Standard")
    assert "WindowCenter" not in voi
    shown = np.frombuffer(kept.LUTData, "<u2") / 65_535
    assert shown == pytest.approx(np.array(entries) / (2**bits - 1), abs=1e-5)


def test_an_image_without_a_voi_gets_none():
    source = image(R_CC)
    del source.WindowCenter, source.WindowWidth
    (state,) = states_of(source)
    assert "SoftcopyVOILUTSequence" not in state


def test_the_image_is_shown_whole_and_never_turned():
    (state,) = states_of(image(R_CC))
    (area,) = state.DisplayedAreaSelectionSequence
    assert (area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner) == (
        [1, 1],
        [COLUMNS, ROWS],
    )
    assert "PixelOriginInterpretation" not in area
    assert "ImageRotation" not in state
    assert "ImageHorizontalFlip" not in state


def test_pixels_that_are_not_square_keep_their_aspect():
    (state,) = states_of(image(R_CC, ImagerPixelSpacing=[0.07, 0.0702]))
    assert state.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio == [700, 702]


def test_coordinates_are_those_of_the_stored_matrix():
    finding = cluster(60, 80)
    (state,) = states_of(image(R_CC), findings=(finding,))
    points = points_of(state.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicData)
    assert points[0] == pytest.approx(tuple(ImagePoint(46.0, 68.0)))
