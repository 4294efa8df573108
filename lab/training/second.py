"""The second stage is taught: clusters that the network proposes on fresh scenes, and what they really are."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from lab.evaluation.matching import Verdict, judge, match, stored_places
from lab.phantom.truth import Scene
from lab.training.fitting import morphology_of, prepared_scene
from mammography.finding import Morphology
from mammography.reader.reader import Reader
from mammography.reader.second_stage import MOST_SPECKS, ClusterView, SecondStage, cluster_view, stacked

MINED_SCORE = 0.1
"""Clusters of points from this score on are learned from: half of what the reader looks at, for more mistakes."""
FEWEST_EXAMPLES = 30
"""Lesions, and as many mistakes, without which nothing is taught."""
STEPS, CLUSTERS, LEARNING_RATE, WARM_UP_STEPS = 800, 24, 2e-3, 50
FALSE_SHARE = 0.4
"""How many of the clusters of a step are mistakes, on average."""
NO_MORPHOLOGY = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One cluster with the truth: calcifications or not, and their morphology's index, NO_MORPHOLOGY if mixed."""

    view: ClusterView
    calcification: bool
    morphology: int


def examples_of(scenes: Iterable[Scene], reader: Reader) -> Iterator[list[Example]]:
    """Return the clusters that a reader sees on windows, scene by scene; those that count as neither left out."""
    index = {morphology: place for place, morphology in enumerate(reader.plan.morphologies)}
    for scene in scenes:
        prepared = prepared_scene(scene, reader, whole=False)
        points = reader.points(prepared, lowest_score=MINED_SCORE)
        if len(points) > reader.plan.most_points:
            yield []
            continue
        matching = match(scene, points, stored_places(points, prepared.grid))
        examples = []
        for candidate in reader.candidates(points, prepared):
            verdict, lesions = judge(matching, candidate.indices)
            if verdict is Verdict.NEITHER:
                continue
            named = morphology_of(scene, lesions)
            view = cluster_view(points.chosen(candidate.indices), prepared)
            examples.append(
                Example(
                    view=ClusterView(*(part.half() for part in view)),
                    calcification=verdict is Verdict.LESION,
                    morphology=NO_MORPHOLOGY if named is None else index.get(named, NO_MORPHOLOGY),
                )
            )
        yield examples


def teach(
    examples: Sequence[Example], morphologies: Sequence[Morphology], *, seed: int, steps: int | None = None
) -> SecondStage | None:
    """Return a second stage taught on examples, or None where there are too few of either kind.

    Without `steps` each example is looked at some fifty times, at most STEPS steps long.

    The same examples and seed give the same weights on one thread.
    """
    calcification = np.array([example.calcification for example in examples], dtype=np.bool_)
    if min(calcification.sum(), (~calcification).sum()) < FEWEST_EXAMPLES:
        return None
    steps = min(STEPS, 2 * len(examples)) if steps is None else steps
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    second_stage = SecondStage(len(morphologies))
    optimizer = torch.optim.AdamW(second_stage.parameters(), LEARNING_RATE, weight_decay=0.02)
    chances = np.where(
        calcification, (1 - FALSE_SHARE) / calcification.sum(), FALSE_SHARE / (~calcification).sum()
    )
    weights = _morphology_weights(examples, len(morphologies))
    second_stage.train()
    for step in range(steps):
        rate = LEARNING_RATE * min(1.0, (step + 1) / min(WARM_UP_STEPS, steps // 4 + 1))
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.5 * (1 + math.cos(math.pi * step / steps)) + 0.01)
        chosen = [examples[place] for place in rng.choice(len(examples), CLUSTERS, p=chances)]
        loss = _loss(second_stage, chosen, weights, rng)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(second_stage.parameters(), 2.0)
        optimizer.step()
    return second_stage.eval().requires_grad_(requires_grad=False)


def _loss(second_stage: SecondStage, chosen: Sequence[Example], weights: Tensor, rng: Generator) -> Tensor:
    """Return cross-entropy of calcification or not, and of the morphology where it is known."""
    view = _varied(stacked([ClusterView(*(part.float() for part in e.view)) for e in chosen]), rng)
    opinion = second_stage(view)
    real = torch.tensor([float(example.calcification) for example in chosen])
    labels = torch.tensor([example.morphology for example in chosen])
    loss = functional.binary_cross_entropy_with_logits(opinion.calcification, real)
    known = labels != NO_MORPHOLOGY
    if known.any():
        loss = loss + functional.cross_entropy(
            opinion.morphology[known], labels[known], weight=weights, label_smoothing=0.05
        )
    return loss


def _varied(view: ClusterView, rng: Generator) -> ClusterView:
    """Return clusters turned and mirrored, with other gains and brightness, some of their specks overlooked."""
    clusters, turns, mirrored = len(view.specks), int(rng.integers(4)), rng.random() < 0.5
    specks, context = (
        torch.rot90(part.flip(-1) if mirrored else part, turns, (-2, -1))
        for part in (view.specks, view.context)
    )
    gain, brighter = (
        torch.from_numpy(values.astype(np.float32))
        for values in (np.exp(rng.normal(0, 0.15, (clusters, 1, 1))), rng.normal(0, 0.15, (clusters, 1, 1)))
    )
    specks = torch.stack([specks[:, :, 0] + brighter[:, None], specks[:, :, 1] * gain[:, None]], 2)
    context = torch.stack([context[:, 0] + brighter, context[:, 1] * gain, context[:, 2]], 1)
    kept = rng.random((clusters, MOST_SPECKS)) < rng.uniform(0.6, 1.0, (clusters, 1))
    kept[:, 0] = True
    return ClusterView(specks, view.facts * torch.from_numpy(kept)[..., None], context)


def _morphology_weights(examples: Sequence[Example], morphologies: int) -> Tensor:
    """Return weights that let rare morphologies be heard; their mean over those that were met is 1."""
    labels = np.array([e.morphology for e in examples if e.morphology != NO_MORPHOLOGY], dtype=np.int64)
    counts = np.bincount(labels, minlength=morphologies)
    weights = 1 / np.sqrt(np.maximum(counts, 5))
    return (
        torch.from_numpy(weights / weights[counts > 0].mean()).float()
        if counts.any()
        else torch.ones(morphologies)
    )
