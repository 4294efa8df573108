"""The second look at a cluster: what it sees, what it does not mind, and that it can be taught."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from lab.evaluation.matching import Verdict
from lab.training.choice import choose
from lab.training.fitting import Case, HeldOut, LargeCase, SceneCases, calibrated, fit, surprise, told_apart
from lab.training.scenes import first_plan
from lab.training.second import Example, teach
from lab.training.thresholds import NO_LARGE_SCORE, large_rule, operating_points, suspicious_score
from mammography.coordinates import Grid
from mammography.finding import Distribution, Morphology
from mammography.reader.classification import LogisticModel
from mammography.reader.detection import Points
from mammography.reader.plan import PLAN_FILE, SECOND_STAGE_FILE, ReaderPlan, UnusableWeights, read_plan
from mammography.reader.preprocessing import Prepared
from mammography.reader.second_stage import (
    CONTEXT_SIDE,
    FURTHEST_LOGIT,
    MOST_SPECKS,
    SECOND_CALCIFICATION,
    SPECK_SIDE,
    ClusterView,
    SecondStage,
    cluster_view,
    second_measures,
    stacked,
)
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights, second_stage_of

MORPHOLOGIES = (Morphology.PUNCTATE, Morphology.FINE_LINEAR)


def points(rows: list[float], columns: list[float]) -> Points:
    count = len(rows)
    return Points(
        rows=np.array(rows),
        columns=np.array(columns),
        scores=np.linspace(0.9, 0.3, count),
        diameters_mm=np.full(count, 0.4),
        macro=np.zeros(count),
        morphology=np.full((count, 2), 0.5),
    )


def breast(image: torch.Tensor) -> Prepared:
    return Prepared(
        image=image,
        breast=np.ones(image.shape[-2:], dtype=np.bool_),
        grid=Grid(columns=image.shape[-1]),
        spacing_mm=0.1,
    )


def test_the_windows_lie_around_the_specks_and_the_points_where_they_are():
    image = torch.zeros(1, 2, 640, 640)
    image[0, 1, 300, 200] = 5.0
    image[0, 1, 330, 260] = 3.0
    view = cluster_view(points([300.5, 330.5, 280.5], [200.5, 260.5, 230.5]), breast(image))
    middle = SPECK_SIDE // 2
    assert view.specks[0, 1, middle, middle] == 5.0
    assert view.specks[1, 1, middle, middle] == 3.0
    assert view.facts[:, 2].tolist() == [1.0] * 3 + [0.0] * (MOST_SPECKS - 3)
    assert not view.specks[3:].any()
    assert view.context.shape == (3, CONTEXT_SIDE, CONTEXT_SIDE)
    assert view.context[2].sum() == 3
    bright = torch.nonzero(view.context[1] == 5.0)
    assert len(bright) > 0
    drawn = torch.nonzero(view.context[2])
    assert (drawn[:, None] - bright[None]).abs().amax(2).min() <= 1


def test_a_cluster_at_the_corner_of_the_image_is_seen_too():
    image = torch.ones(1, 2, 128, 128)
    view = cluster_view(points([1.0, 3.0, 2.0], [2.0, 1.0, 127.5]), breast(image))
    assert torch.isfinite(view.context).all()
    assert view.specks[0, 0, : SPECK_SIDE // 2 - 1].sum() == 0
    assert view.specks[0, 0, -1, -1] == 1.0


def test_the_order_of_the_specks_and_what_stands_in_empty_places_change_nothing():
    torch.manual_seed(0)
    network = SecondStage(2).eval()
    view = stacked([cluster_view(points([300.0] * 5, [200.0, 220.0, 240.0, 260.0, 280.0]), _noise())])
    order = torch.tensor([4, 2, 0, 3, 1, *range(5, MOST_SPECKS)])
    other = ClusterView(view.specks[:, order].clone(), view.facts[:, order], view.context)
    other.specks[:, 5:] = 7.0
    with torch.inference_mode():
        for one, same in zip(network(view), network(other), strict=True):
            torch.testing.assert_close(one, same, atol=1e-5, rtol=1e-5)


def test_the_measures_are_bounded_and_named_for_every_morphology():
    torch.manual_seed(0)
    (measures,) = second_measures(
        SecondStage(2).eval(),
        [cluster_view(points([300.0] * 3, [200.0, 220.0, 240.0]), _noise())],
        MORPHOLOGIES,
    )
    assert set(measures) == {
        "second calcification",
        "second suspicious",
        "second punctate share",
        "second fine-linear share",
    }
    assert abs(measures[SECOND_CALCIFICATION]) <= FURTHEST_LOGIT
    assert all(np.isfinite(value) for value in measures.values())


def test_the_second_stage_learns_what_bright_windows_are_and_the_same_twice():
    examples = [_example(number) for number in range(80)]
    taught = [teach(examples, MORPHOLOGIES, seed=3, steps=16) for _ in range(2)]
    states = [stage.state_dict() for stage in taught if stage is not None]
    assert len(states) == 2
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    opened = second_stage_of(safetensors.torch.save(states[0]), _plan())
    views = [ClusterView(*(part.float() for part in _example(number).view)) for number in (100, 101)]
    real, false = second_measures(opened, views, MORPHOLOGIES)
    assert real[SECOND_CALCIFICATION] > false[SECOND_CALCIFICATION] + 1


def test_too_few_examples_teach_nothing():
    assert teach([_example(number) for number in range(20)], MORPHOLOGIES, seed=0) is None


def test_models_use_the_second_stage_only_when_told_and_are_less_surprised_with_it():
    rng = np.random.default_rng(0)
    scenes = [SceneCases(cases=(_case(number, rng),), asked=()) for number in range(120)]
    with_it, without = fit(scenes, second=True), fit(scenes, second=False)
    assert "second calcification" in with_it.calcification.measures
    for model in (without.calcification, without.suspicion, *without.morphology.values()):
        assert not any(name.startswith("second") for name in model.measures)
    told = [
        [
            [
                HeldOut(
                    model.calcification.probability(case.measures),
                    model.suspicion.probability(case.measures),
                    0.5,
                    {},
                )
                for case in scene.cases
            ]
            for scene in scenes
        ]
        for model in (with_it, without)
    ]
    assert surprise(scenes, told[0]) < surprise(scenes, told[1])


def test_either_side_has_a_morphology_however_few_were_met():
    rng = np.random.default_rng(0)
    few = [_case(number, rng, real=True, suspicious=number % 10 > 0) for number in range(30)]
    assert told_apart(few) == [Morphology.FINE_LINEAR, Morphology.PUNCTATE]
    assert told_apart([case for case in few if case.suspicious]) == []


def test_the_second_stage_is_kept_where_the_models_are_less_surprised_with_it_and_else_left_out():
    rng = np.random.default_rng(0)
    telling = [SceneCases(cases=(_case(number, rng),), asked=()) for number in range(120)]
    silent = [
        SceneCases(cases=(replace(case, measures=case.measures | _random_second(rng)),), asked=())
        for scene in telling
        for case in scene.cases
    ]
    stage = SecondStage(2)
    chosen, used = choose(_plan(), telling[:60], telling[60:], stage)
    assert used is stage
    assert "second calcification" in chosen.classification.calcification.measures
    assert len(chosen.scores) == 60
    chosen, used = choose(_plan(), silent[:60], silent[60:], stage)
    assert used is None
    assert "second calcification" not in chosen.classification.calcification.measures
    assert choose(_plan(), telling[:60], telling[60:], None)[1] is None


def test_a_weights_folder_brings_its_second_stage_which_its_checksum_guards(tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(SHIPPED_WEIGHTS, folder)
    plan = read_plan(folder)
    content = bytes(safetensors.torch.save(SecondStage(len(plan.morphologies)).state_dict()))
    (folder / SECOND_STAGE_FILE).write_bytes(content)
    files = plan.files | {SECOND_STAGE_FILE: hashlib.sha256(content).hexdigest()}
    (folder / PLAN_FILE).write_text(plan.model_copy(update={"files": files}).model_dump_json())
    assert open_weights(folder).second_stage is not None
    (folder / SECOND_STAGE_FILE).write_bytes(content[:-1] + b"x")
    with pytest.raises(UnusableWeights, match=SECOND_STAGE_FILE):
        open_weights(folder)


def test_calibrated_scores_come_true_where_the_model_was_too_sure():
    rng = np.random.default_rng(1)
    truth = rng.random(600)
    scenes = [
        SceneCases(cases=(_case(number, rng, real=bool(rng.random() < share)),), asked=())
        for number, share in enumerate(truth)
    ]
    logits = 3 * np.log(truth / (1 - truth))
    scores = [[HeldOut(float(1 / (1 + np.exp(-logit))), 0.5, 0.5, {})] for logit in logits]
    model = LogisticModel(measures=("a",), mean=(0.0,), deviation=(1.0,), weight=(3.0,), bias=0.3)
    better, told = calibrated(model, scenes, scores)
    assert better.weight[0] == pytest.approx(1.0, abs=0.25)
    said = np.array([row[0].detection for row in told])
    assert np.abs(said - truth).mean() < 0.4 * np.abs([row[0].detection for row in scores] - truth).mean()
    assert (np.argsort(said, kind="stable") == np.argsort(logits, kind="stable")).all()


def test_an_operating_point_lets_through_as_many_false_marks_as_it_may():
    rng = np.random.default_rng(2)
    scenes = [SceneCases(cases=(_case(n, rng, real=False),), asked=()) for n in range(40)]
    scores = [[HeldOut((n + 1) / 50, 0.5, 0.5, {})] for n in range(40)]
    chosen = operating_points(scenes, scores)
    marked = {name: sum(row[0].detection >= point for row in scores) for name, point in chosen.items()}
    assert marked == {"screening": 4, "standard": 10, "sensitive": 20}


def test_the_call_lies_between_benign_and_suspicious_lesions():
    rng = np.random.default_rng(3)
    scenes = [SceneCases(cases=(_case(n, rng, suspicious=n % 2 == 0),), asked=()) for n in range(40)]
    scores = [[HeldOut(0.9, 0.5, 0.7 if n % 2 == 0 else 0.4, {})] for n in range(40)]
    assert 0.4 < suspicious_score(scenes, scores) <= 0.7


def test_large_calcifications_are_reported_only_above_all_but_a_hundredth_of_the_false_ones():
    def large(score: float, truth: Morphology | None) -> SceneCases:
        case = LargeCase(score=score, clear=1.0, area_mm2=3.0, kind=Morphology.RIM, truth=truth)
        return SceneCases(cases=(), asked=(), large=(case,))

    false = [large(0.6 + number / 1000, None) for number in range(100)]
    real = [large(0.95, Morphology.RIM) for _ in range(30)]
    rule = large_rule(false + real)
    assert 0.698 <= rule.score < 0.95
    assert sum(scene.large[0].score >= rule.score for scene in false) <= 1
    assert large_rule(false + real[:3]).score == NO_LARGE_SCORE


def _noise() -> Prepared:
    return breast(torch.randn(1, 2, 640, 640, generator=torch.Generator().manual_seed(1)))


def _example(number: int) -> Example:
    """A calcification (even numbers) is bright in the middle of its windows, a mistake is not."""
    generator = torch.Generator().manual_seed(number)
    specks = 0.3 * torch.randn(MOST_SPECKS, 2, SPECK_SIDE, SPECK_SIDE, generator=generator)
    if number % 2 == 0:
        specks[:, 1, 10:14, 10:14] += 3.0
    facts = torch.tensor([[0.5, -1.0, 1.0]]).repeat(MOST_SPECKS, 1)
    context = 0.3 * torch.randn(3, CONTEXT_SIDE, CONTEXT_SIDE, generator=generator)
    view = ClusterView(specks.half(), facts.half(), context.half())
    return Example(
        view=view, calcification=number % 2 == 0, morphology=number // 2 % 2 if number % 2 == 0 else -1
    )


def _case(
    number: int, rng: np.random.Generator, *, real: bool | None = None, suspicious: bool | None = None
) -> Case:
    """A cluster whose second-stage measures tell all, and whose other measures tell nothing."""
    real = number % 3 > 0 if real is None else real
    suspicious = number % 2 == 0 if suspicious is None else suspicious
    names = (
        "log count", "best scores", "third score", "mean score", "macro share", "log extent", "axis ratio",
        "log density", "nearest mean", "nearest deviation", "area mean", "area deviation", "elongation mean",
        "elongation deviation", "peak mean", "peak deviation", "diameter mean", "diameter deviation",
        "suspicious share", "punctate share",
    )  # fmt: skip
    measures = {name: float(rng.normal()) for name in names}
    measures["second calcification"] = 2.0 if real else -2.0
    measures["second suspicious"] = 2.0 if suspicious else -2.0
    measures["second punctate share"] = -2.0 if suspicious else 2.0
    return Case(
        scene=number,
        measures=measures,
        verdict=Verdict.LESION if real else Verdict.FALSE,
        lesions=(0,) if real else (),
        suspicious=suspicious if real else None,
        morphology=(Morphology.FINE_LINEAR if suspicious else Morphology.PUNCTATE) if real else None,
        distributions={Distribution.GROUPED: 1.0},
    )


def _random_second(rng: np.random.Generator) -> dict[str, float]:
    names = ("second calcification", "second suspicious", "second punctate share")
    return {name: float(rng.normal()) for name in names}


def _plan() -> ReaderPlan:
    return first_plan().model_copy(update={"morphologies": MORPHOLOGIES})
