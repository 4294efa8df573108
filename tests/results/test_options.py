"""What destinations may ask for: other kinds of objects, another signature; and what UIDs that gives."""

import pytest
from typer.testing import CliRunner

from mammography.command_line import command_line
from mammography.finding import FindingAssessment
from mammography.offline import write_answer
from mammography.results.compose import InvalidResult, compose
from mammography.results.options import USUAL, ComposeOptions
from tests.results.mammograms import (
    STUDY,
    TWO_VIEWS,
    assessment,
    cluster,
    header_of,
    reading,
    screening_images,
    written,
)

HEADERS = [header_of(each) for each in screening_images()]
EVERY_REPORT = frozenset({"cad-sr", "gsps", "tid1500"})


def answer(options=USUAL, findings=TWO_VIEWS):
    readings = [reading(header, *found) for header, found in zip(HEADERS, findings, strict=True)]
    return compose(
        headers=HEADERS,
        assessment=assessment(*readings),
        study_instance_uid=STUDY,
        revision=1,
        options=options,
    )


def uids(objects):
    return {each.sop_instance_uid for each in objects}


def series(objects):
    return {str(each.dataset.SeriesInstanceUID) for each in objects}


@pytest.mark.parametrize("kind", sorted(EVERY_REPORT))
def test_only_the_kinds_that_are_wanted_are_returned(kind):
    objects = answer(ComposeOptions(kinds=frozenset({kind})))
    assert {each.kind for each in objects} == {kind}
    everything = answer(ComposeOptions(kinds=EVERY_REPORT))
    assert uids(objects) == uids(each for each in everything if each.kind == kind)


def test_another_manufacturer_signs_other_objects():
    usual, other = (
        answer(ComposeOptions(kinds=EVERY_REPORT, manufacturer=name)) for name in (None, "Somebody Else")
    )
    assert {each.dataset.Manufacturer for each in other} == {"Somebody Else"}
    assert not uids(usual) & uids(other)
    assert not series(usual) & series(other)
    for each in other:
        assert each.dataset.file_meta.MediaStorageSOPInstanceUID == each.dataset.SOPInstanceUID
        assert each.sop_instance_uid == each.dataset.SOPInstanceUID


def test_an_object_that_shows_no_difference_stays_the_same_object():
    usual, other = (answer(ComposeOptions(kinds=EVERY_REPORT, tid1500=form)) for form in
                    ("comprehensive", "comprehensive-3d"))  # fmt: skip
    same = uids(usual) & uids(other)
    assert {each.kind for each in usual if each.sop_instance_uid in same} == {"cad-sr", "gsps"}
    by_uid = {each.sop_instance_uid: each.encode() for each in usual}
    assert all(
        by_uid[each.sop_instance_uid] == each.encode() for each in other if each.sop_instance_uid in same
    )


def test_legacy_codes_change_the_cad_report_alone():
    usual, legacy = (answer(ComposeOptions(kinds=EVERY_REPORT, scheme=scheme)) for scheme in ("SCT", "SRT"))
    other = uids(legacy) - uids(usual)
    assert [each.kind for each in legacy if each.sop_instance_uid in other] == ["cad-sr"]
    assert "SRT" in legacy[0].dataset.to_json()
    assert "SRT" not in usual[0].dataset.to_json()


def test_benign_findings_stay_in_the_cad_report_but_are_not_for_presentation():
    report = answer(ComposeOptions(benign=False))[0].dataset.to_json()
    usual = answer()[0].dataset.to_json()
    assert ("111152" in report, "111152" in usual) == (True, False)


def test_the_presentation_state_draws_no_benign_finding_where_they_are_not_to_be_shown():
    objects = answer(ComposeOptions(benign=False))
    layers = {
        annotation.GraphicLayer
        for each in objects
        if each.kind == "gsps"
        for annotation in each.dataset.GraphicAnnotationSequence
    }
    assert layers == {"CALC_SUSPICIOUS", "TECHNICAL"}
    assert not uids(objects) & uids(answer())


def test_a_mark_keeps_its_number_where_benign_ones_before_it_are_not_shown():
    findings = [(cluster(60, 80, call=FindingAssessment.BENIGN), cluster(110, 150)), (), (), ()]
    state = answer(ComposeOptions(kinds=frozenset({"gsps"}), benign=False), findings)[0].dataset
    labels = [
        text.UnformattedTextValue
        for annotation in state.GraphicAnnotationSequence
        for text in annotation.TextObjectSequence
    ]
    assert "2 suspicious" in labels


def test_pictures_without_images_are_refused_in_a_sentence():
    with pytest.raises(InvalidResult, match="nothing opens the images"):
        answer(ComposeOptions(kinds=frozenset({"picture"})))


def test_offline_reading_writes_the_objects_that_are_asked_for(tmp_path):
    large = screening_images(Rows=1000, Columns=800)
    headers = [header_of(each) for each in large]
    paths = {tmp_path / f"{place}.dcm": each for place, each in enumerate(large)}
    for path, each in paths.items():
        path.write_bytes(written(each))
    readings = [reading(header, *found) for header, found in zip(headers, TWO_VIEWS, strict=True)]
    write_answer(
        tmp_path / "out",
        STUDY,
        dict(zip(paths, headers, strict=True)),
        assessment(*readings),
        kinds=frozenset({"tid1500", "picture"}),
    )
    kinds = sorted(path.name.partition("-")[0] for path in (tmp_path / "out").glob("*.dcm"))
    assert kinds == ["picture"] * 4 + ["tid1500"]
    assert len(list((tmp_path / "out").glob("*.png"))) == 4


def test_offline_reading_refuses_an_object_that_does_not_exist(tmp_path):
    answered = CliRunner().invoke(
        command_line(), ["read", str(tmp_path), "--out", "x", "--object", "hologram"]
    )
    assert answered.exit_code == 2
    assert "hologram" in answered.stderr
