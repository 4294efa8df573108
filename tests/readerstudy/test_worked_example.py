"""From a truth to a report: simulated readers of known skill are recovered, and the report says so."""

import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from lab.evaluation.matching import Verdict
from lab.evaluation.records import BreastRecord, ImageRecord, LesionRecord, MarkRecord, StudyRecord
from lab.evaluation.roc import area_under_curve
from lab.evaluation.statistics import Interval
from lab.readerstudy.analysis import NothingToJudge, analyse
from lab.readerstudy.arms import Options, UnknownReader, arms_of
from lab.readerstudy.combination import Opinion, combine
from lab.readerstudy.design import plan
from lab.readerstudy.evaluated import write_tables
from lab.readerstudy.readings import study_of
from lab.readerstudy.report import Provenance, interval, sections_of
from lab.readerstudy.simulated import simulate, skills
from lab.readerstudy.subgroups import rank_area
from lab.readerstudy.tables import (
    MODEL_FILE,
    READS_FILE,
    TRUTH_FILE,
    BiRads,
    Call,
    Condition,
    Mark,
    ModelRow,
    ReadRow,
    StudyTables,
    Truth,
    TruthRow,
    open_study,
    write_rows,
)
from mammography.command_line import command_line
from mammography.finding import Morphology
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights
from mammography.view import Laterality, ViewPosition
from tests.readerstudy.worked_example import lines

LESIONS = 600


def truth_of(lesions, *, site="", normal=20):
    rows = [
        TruthRow(
            site=site,
            case=f"C{number}",
            lesion="1",
            truth=Truth.MALIGNANT if number % 2 else Truth.BENIGN,
            basis="phantom",
            density="AB"[number % 3 == 0],
        )
        for number in range(lesions)
    ]
    return [
        *rows,
        *(TruthRow(site=site, case=f"N{n}", truth=Truth.NORMAL, basis="phantom") for n in range(normal)),
    ]


@pytest.fixture(scope="module")
def analysed():
    truth = truth_of(LESIONS)
    every = skills(4)
    tables = StudyTables(truth=tuple(truth), reads=tuple(simulate(truth, every, seed=3)), model=())
    return every, analyse(tables, Options(level="lesion", margin=0.05))[1]


def test_the_skill_of_every_reader_is_found_again(analysed):
    every, analysis = analysed
    arms = {arm.name: arm for arm in analysis.arms}
    for skill in every:
        arm = arms[f"{skill.reader} {skill.condition} the model"]
        half = LESIONS / 2
        for share, true in (
            (arm.accuracy.sensitivity.value, skill.sensitivity),
            (arm.accuracy.specificity.value, skill.specificity),
        ):
            assert abs(share - true) < 3.5 * math.sqrt(true * (1 - true) / half)
        assert abs(arm.missed.value - skill.missed) < 3.5 * math.sqrt(
            skill.missed * (1 - skill.missed) / LESIONS
        )
        assert abs(arm.area.value - skill.area) < 3.5 * (arm.area.high - arm.area.low) / 3.92
        assert abs(arm.false_marks - skill.false_marks) < 3.5 * math.sqrt(skill.false_marks / (LESIONS + 20))


def test_the_test_over_all_readers_finds_what_the_model_adds(analysed):
    every, analysis = analysed
    mean = {c: np.mean([skill.area for skill in every if skill.condition is c]) for c in Condition}
    added = mean[Condition.WITH] - mean[Condition.WITHOUT]
    row = next(row for row in analysis.multi_reader if row.figure.startswith("area"))
    assert row.random == "readers-and-cases"
    assert row.difference.low < added < row.difference.high
    assert row.difference.low > 0
    assert row.p < 0.05
    assert row.non_inferior
    assert {row.figure.split()[0] for row in analysis.multi_reader} == {
        "area",
        "sensitivity",
        "specificity",
        "wAFROC",
        "lesions",
    }


def test_two_sites_are_told_apart_and_put_together():
    truth = [*truth_of(80, site="north"), *truth_of(80, site="south")]
    reads = simulate(truth, skills(2), seed=1)
    reads = [row.model_copy(update={"reader": f"{row.site}/{row.reader}"}) for row in reads]
    _, analysis = analyse(
        StudyTables(truth=tuple(truth), reads=tuple(reads), model=()), Options(level="lesion")
    )
    north, south, together = analysis.sites
    assert (north.site, south.site, together.site) == ("north", "south", "all sites")
    values = sorted([north.difference.value, south.difference.value])
    assert values[0] < together.difference.value < values[1]
    assert together.difference.high - together.difference.low < north.difference.high - north.difference.low
    assert together.heterogeneity_p is not None
    assert analysis.multi_reader == ()
    assert {row.random for row in analysis.sites} == {"cases"}
    answer = sections_of(
        analysis, Options(level="lesion"), Provenance(command="", tables={}, versions={}), {}
    )
    assert "Over all sites, 4 readers" in answer[0].paragraphs[1]
    assert any(note.startswith("No case was read by every reader") for note in analysis.notes)
    areas = {(row.group, row.kind, row.reading): row.area for row in analysis.subgroups}
    for site in ("north", "south"):
        area = areas["site", site, "readers with the model"]
        assert (
            area.low
            < np.mean([skill.area for skill in skills(2) if skill.condition is Condition.WITH])
            < area.high
        )


def test_the_model_at_two_sites_is_compared_as_of_different_cases():
    """At one site the model orders every lesion rightly, at the other by half."""
    truth = [*truth_of(40, site="north"), *truth_of(40, site="south")]
    reads = simulate(truth, skills(1), seed=1)
    model = [
        ModelRow(
            site=row.site,
            case=row.case,
            lesion=row.lesion,
            score=(90 if row.truth is Truth.MALIGNANT else 10) if row.site == "north" else number % 7,
        )
        for number, row in enumerate(truth)
    ]
    tables = StudyTables(truth=tuple(truth), reads=tuple(reads), model=tuple(model))
    _, analysis = analyse(tables, Options(level="lesion"))
    (row,) = (each for each in analysis.comparisons if each.figure == "area between sites")
    assert (row.first, row.second, row.units) == ("the model at north", "the model at south", 80)
    assert row.difference.value > 0.3
    assert row.p < 0.001
    areas = {each.kind: each.area for each in analysis.subgroups if each.reading == "the model"}
    assert areas["north"].value == 1.0
    assert areas["north"].value - areas["south"].value == pytest.approx(row.difference.value)


def test_predictive_values_are_told_at_the_prevalence_that_is_asked_for():
    truth = truth_of(60)
    tables = StudyTables(truth=tuple(truth), reads=tuple(simulate(truth, skills(1), 1)), model=())
    _, analysis = analyse(tables, Options(level="lesion", prevalence=0.006))
    for arm in analysis.arms:
        found, right = arm.accuracy.sensitivity.value, arm.accuracy.specificity.value
        assert arm.predicted[0].value == pytest.approx(found * 0.006 / (found * 0.006 + (1 - right) * 0.994))
        assert arm.predicted[0].value < arm.accuracy.positive_predictive_value.value


def test_an_interval_that_nobody_knows_is_told_as_such():
    assert interval(Interval(0.6333, math.nan, math.nan)) == "0.633 [–]"
    assert interval(Interval(math.nan, 0.0, 1.0)) == "–"


def test_the_area_of_ranks_is_that_of_the_evaluation():
    rng = np.random.default_rng(2)
    scores, positive = rng.integers(0, 6, 50), rng.random(50) < 0.4
    assert rank_area(scores, positive) == pytest.approx(area_under_curve(scores[positive], scores[~positive]))
    assert math.isnan(rank_area(scores, np.ones(50, dtype=bool)))


def test_pairs_combine_by_rule_with_each_other_and_with_the_model():
    def opinion(scores):
        scores = np.array(scores, dtype=float)
        return Opinion(scores=scores, calls=scores >= 50, found=scores > 0)

    first, second, third = opinion([80, 80, 0, np.nan]), opinion([60, 10, 40, 70]), opinion([0, 55, 90, 90])
    assert combine("either", first, second).calls[:3].tolist() == [True, True, False]
    assert combine("both", first, second).calls[:3].tolist() == [True, False, False]
    assert combine("mean", first, second).calls.tolist() == [True, False, False, False]
    assert combine("arbitration", first, second, third).calls[:3].tolist() == [True, True, False]
    assert combine("either", first, second).scores[:3].tolist() == [80, 80, 40]
    assert combine("both", first, second).found[:3].tolist() == [True, True, False]
    for rule in ("either", "both", "mean", "arbitration"):
        assert combine(rule, first, second, third).read.tolist() == [True, True, True, False]
    with pytest.raises(ValueError, match="arbiter"):
        combine("arbitration", first, second)


def test_categories_order_cases_and_decide_calls():
    truth = tuple(TruthRow(case=name, truth=Truth.BENIGN) for name in "ABC")
    reads = (
        ReadRow(reader="R", case="A", condition=Condition.WITH, birads=BiRads.INCOMPLETE),
        ReadRow(reader="R", case="B", condition=Condition.WITH, birads=BiRads.PROBABLY_BENIGN, score=99),
        ReadRow(reader="R", case="C", condition=Condition.WITH, score=40),
    )
    tables = StudyTables(truth=truth, reads=reads, model=(ModelRow(case="A", score=10, call=Call.POSITIVE),))
    study = study_of(tables, positive_score=30)
    assert study.readings[0].cases.calls.tolist() == [True, False, True]
    assert study.readings[0].cases.scores.tolist() == [50, 99, 40]
    assert study.model.cases.calls.tolist() == [True, False, False]
    assert study.model.cases.read.tolist() == [True, False, False]


def test_an_arbiter_decides_where_a_reader_and_the_model_differ():
    truth = tuple(TruthRow(case=name, truth=Truth.BENIGN) for name in "ABCD")
    scores = {"R": (90, 90, 10, 90), "J": (80, 20, 70, 10), "model": (10, 10, 60, 80)}
    reads = tuple(
        ReadRow(reader=reader, case=case, condition=Condition.WITHOUT, score=score)
        for reader in "RJ"
        for case, score in zip("ABCD", scores[reader], strict=True)
    )
    model = tuple(
        ModelRow(case=case, score=score) for case, score in zip("ABCD", scores["model"], strict=True)
    )
    options = Options(arbiter="J", pairs=())
    study = study_of(StudyTables(truth=truth, reads=reads, model=model), positive_score=50)
    calls = {arm.name: arm.judged.calls.tolist() for arm in arms_of(study, options)}
    assert calls["R + model, J decides"] == [True, False, True, True]
    assert "J + model, J decides" not in calls
    assert not any("decides" in arm.name for arm in arms_of(study, Options(pairs=())))


def test_somebody_who_read_nothing_is_no_arbiter():
    truth = truth_of(8)
    tables = StudyTables(truth=tuple(truth), reads=tuple(simulate(truth, skills(1), 1)), model=())
    with pytest.raises(UnknownReader, match="Nobody read nothing; the readers are R1"):
        analyse(tables, Options(arbiter="Nobody"))


def test_lesions_that_no_table_names_are_not_judged():
    truth = (TruthRow(case="A", truth=Truth.MALIGNANT),)
    reads = (ReadRow(reader="R", case="A", condition=Condition.WITH, score=9),)
    with pytest.raises(NothingToJudge, match="names no lesion"):
        analyse(StudyTables(truth=truth, reads=reads, model=()), Options(level="lesion"))


def test_a_plan_is_crossed_balanced_and_random():
    cases = {("", f"C{n}"): Truth.MALIGNANT if n < 10 else Truth.NORMAL for n in range(31)}
    rows = plan(cases, ["R1", "R2"], seed=5)
    assert rows == plan(cases, ["R1", "R2"], seed=5)
    assert rows != plan(cases, ["R1", "R2"], seed=6)
    for reader in ("R1", "R2"):
        own = [row for row in rows if row.reader == reader]
        assert {(row.case, row.condition) for row in own} == {(c, k) for _, c in cases for k in Condition}
        for session in (1, 2):
            there = [row for row in own if row.session == session]
            assert sorted(row.case for row in there) == sorted(case for _, case in cases)
            assert [row.order for row in there] == list(range(1, 32))
            assert [row.case for row in there] != sorted(row.case for row in there)
            aided = [row.case for row in there if row.condition is Condition.WITH]
            assert sum(cases["", case] is Truth.MALIGNANT for case in aided) == 5
            assert len(aided) in (15, 16)


def image(position, *, lesions=(), marks=(), reason=None):
    return ImageRecord(
        laterality=Laterality.LEFT, position=position, vendor="alpha", density=1, spacing_mm=0.07,
        empty=False, reason=reason, points=0, lesions=lesions, marks=marks, specks=(), false_specks=(),
        large=(), false_large=(),
    )  # fmt: skip


def mark(suspicion, *lesions, detection=1.0):
    return MarkRecord(
        detection=detection, suspicion=suspicion, morphology=None, distribution=None, specks=5, column=1, row=1,
        verdict=Verdict.LESION if lesions else Verdict.FALSE, lesions=lesions, near=None,
    )  # fmt: skip


def test_an_evaluation_writes_tables_in_which_a_breast_is_a_case(tmp_path):
    lesion = LesionRecord(
        number=3, morphology=Morphology.AMORPHOUS, distribution=None, suspicious=True, easy=True, visibility=9,
        specks=9, diameter_mm=0.3, extent_mm=9, outlined=None,
    )  # fmt: skip
    record = StudyRecord(
        study=7,
        seconds=1,
        images=(
            image(
                ViewPosition.CC, lesions=(lesion,), marks=(mark(0.2, 3), mark(0.4), mark(0.9, detection=0.0))
            ),
            image(ViewPosition.MLO, lesions=(lesion,), marks=(mark(0.7, 3),)),
        ),
        breasts=(BreastRecord(laterality=Laterality.LEFT, suspicion=0.7, suspicious=True),),
        pairs=0,
        right_pairs=0,
    )
    write_tables([record], open_weights(SHIPPED_WEIGHTS).plan, tmp_path)
    (tmp_path / READS_FILE).write_text("reader,case,condition,score\nR1,7-L,with,50\n")
    tables = open_study([tmp_path])
    assert [(row.case, row.lesion, row.truth, row.patient) for row in tables.truth] == [
        ("7-L", "3", Truth.MALIGNANT, "7")
    ]
    assert [(row.lesion, row.mark, row.score) for row in tables.model] == [
        ("3", Mark.YES, 70),
        ("", Mark.YES, 40),
    ]


def test_the_commands_go_from_a_truth_to_a_report_that_is_the_same_each_time(tmp_path):
    def mammocalc(*words):
        done = CliRunner().invoke(command_line(), ["reader-study", *map(str, words)])
        assert done.exit_code == 0, done.stderr
        return done.stdout

    folder = tmp_path / "study"
    truth = truth_of(60)
    write_rows(folder / TRUTH_FILE, TruthRow, truth)
    write_rows(folder / MODEL_FILE, ModelRow, [ModelRow(case=row.case, score=50) for row in truth[5:]])
    mammocalc("simulate", folder, "--readers", 2)
    told = mammocalc("analyze", folder, "--unit", "lesion", "--out", tmp_path / "one", "--pair", "R1+R2")
    mammocalc("analyze", folder, "--unit", "lesion", "--out", tmp_path / "two", "--pair", "R1+R2")
    mammocalc("analyze", folder, "--prevalence", 0.006, "--margin", 0.05, "--out", tmp_path / "three")
    other = (tmp_path / "three" / "report.html").read_text()
    assert "Predictive values where 0.6 % of the cases are malignant" in other
    assert "Mercaldo" in other
    assert "The model says nothing of 5 cases" in told
    assert "2 readers are too few" in told
    for name in ("report.html", "report.pdf"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    page = (tmp_path / "one" / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "R1 and R2, the model decides with the model" in page
    assert (tmp_path / "one" / "report.pdf").read_bytes().startswith(b"%PDF")
    printed = list(lines(folder, tmp_path / "one"))
    assert printed[0] == "80 cases, 60 lesions, 30 malignant\n"
    assert printed[-1].endswith("of 16 intervals of single figures hold the known value")
    figures = json.loads((tmp_path / "one" / "report.json").read_text())
    assert figures["analysis"]["lesions"] == 60
    assert set(figures["provenance"]["tables"]) == {"study/reads.csv", "study/truth.csv", "study/model.csv"}
    planned = mammocalc(
        "design", folder, "--pilot", folder, "--unit", "lesion", "--out", tmp_path / "plan.csv"
    )
    assert "these readers, other cases: power" in planned
    assert len((tmp_path / "plan.csv").read_text().splitlines()) == 1 + 5 * 2 * 80
