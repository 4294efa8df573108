"""Whatever the hardware, the precision and the rows at once: the same specks, the same findings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mammography.reader.clustering import clusters_of
from mammography.reader.detection import maps_of, points_of
from mammography.reader.fusion import placed
from mammography.reader.hardware import cpu_precision, hardware_here
from mammography.reader.preprocessing import prepare
from mammography.reader.weights_folder import SHIPPED_WEIGHTS, open_weights

PLAIN = replace(hardware_here(), device=torch.device("cpu"), precision=torch.float32)
COARSE = replace(PLAIN, precision=torch.bfloat16)
TOLERANCE = 0.03
"""How far the probability of a speck above 0.1 may lie from that of another precision."""


@pytest.fixture(scope="module")
def prepared(reader, easy_scene):
    """What the network sees of the easy scene."""
    return prepare(easy_scene.pixels.astype(np.float32), spacing_mm=0.1, plan=reader.plan)


def _maps(hardware, prepared, **how):
    """Return the shipped network's maps of a prepared image on some hardware."""
    return maps_of(placed(open_weights(SHIPPED_WEIGHTS).network, hardware), prepared.image, **how)


@pytest.fixture(scope="module")
def plain(prepared):
    """The maps in float32."""
    return _maps(PLAIN, prepared)


@pytest.fixture(scope="module")
def coarse(prepared):
    """The maps in bfloat16."""
    return _maps(COARSE, prepared)


def test_fused_passes_give_the_very_maps_of_the_network_as_it_was_trained(prepared, plain):
    network = open_weights(SHIPPED_WEIGHTS).network
    with torch.inference_mode():
        whole = network(prepared.image.contiguous(memory_format=torch.channels_last))
    for fused, eager in zip(plain, whole, strict=True):
        torch.testing.assert_close(fused, eager, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows", [16, 400])
def test_the_rows_at_once_change_nothing(prepared, plain, rows):
    for parts, whole in zip(_maps(PLAIN, prepared, rows_at_once=rows), plain, strict=True):
        torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)


def test_probabilities_in_bfloat16_are_those_of_float32_within_the_tolerance(plain, coarse):
    exact, rough = torch.sigmoid(plain.center), torch.sigmoid(coarse.center)
    likely = exact > 0.1
    assert likely.sum() > 20
    assert float((exact - rough).abs()[likely].max()) <= TOLERANCE


def test_maps_are_float32_and_no_two_neighbours_are_equal_peaks_in_bfloat16(prepared, coarse):
    assert {map_.dtype for map_ in coarse} == {torch.float32}
    points = points_of(coarse, prepared, lowest_score=0.1)
    places = np.stack([points.rows, points.columns], axis=1)
    apart = np.abs(places[:, None] - places[None]).max(axis=2) + 99 * np.eye(len(places))
    assert apart.min() > 2.0


def test_bfloat16_shows_the_same_clusters_at_every_operating_point(reader, prepared, plain, coarse):
    lowest = reader.plan.point_score
    fine, rough = (points_of(maps, prepared, lowest_score=lowest) for maps in (plain, coarse))
    near_the_threshold = sum(int((points.scores < lowest + TOLERANCE).sum()) for points in (fine, rough))
    assert abs(len(fine) - len(rough)) <= near_the_threshold
    shown = [
        [
            (points.rows[cluster].mean(), points.columns[cluster].mean())
            for cluster in clusters_of(
                np.stack([points.rows, points.columns], axis=1) * prepared.spacing_mm, reader.plan
            )
        ]
        for points in (fine, rough)
    ]
    assert len(shown[0]) == len(shown[1]) > 0
    np.testing.assert_allclose(shown[0], shown[1], atol=10.0)
    for score in reader.plan.operating_points.values():
        found = [
            sum(candidate.detection >= score for candidate in reader.candidates(points, prepared))
            for points in (fine, rough)
        ]
        assert found[0] == found[1]


def test_the_peaks_are_those_that_a_search_of_the_whole_map_finds(prepared, plain):
    points = points_of(plain, prepared, lowest_score=0.05)
    probability = torch.sigmoid(plain.center)
    highest = torch.nn.functional.max_pool2d(probability, 3, 1, 1)
    inside = torch.from_numpy(prepared.breast[1::2, 1::2])
    peaks = ((probability == highest) & (probability >= 0.05))[0, 0] & inside
    assert len(points) == int(peaks.sum()) > 0
    np.testing.assert_allclose(
        points.scores, np.sort(np.round(probability[0, 0][peaks].numpy(), 4))[::-1], atol=1e-4
    )


def test_bfloat16_is_chosen_by_what_the_processor_has():
    flags = Path("/proc/cpuinfo").read_text().split()
    native = "amx_bf16" in flags or "avx512_bf16" in flags
    assert cpu_precision() is (torch.bfloat16 if native else torch.float32)
