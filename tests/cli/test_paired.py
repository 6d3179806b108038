"""Paired differences: against numbers worked out by hand, by scipy's t, and by how often intervals hold the truth."""

from __future__ import annotations

import pytest
import torch

from experiments.tables.paired import Difference, Measured, Spread, difference, pooled, t95
from roikit.train.build import build_model
from roikit.train.parse import parse

SMALL = ["--model.backbone=test_resnet", "--model.weights=null", "--model.channels=16", "--model.fc_dim=16"]


@pytest.mark.parametrize("neck", ["fpn", "c5"])
@pytest.mark.parametrize("flags", [[], ["--model.masks=true"], ["--model.cascade=true"]], ids=str)
def test_rows_of_one_seed_start_alike(neck, flags):
    """Whatever an extractor draws for its layers: everything else has the same first weights."""

    def start(extractor, *more):
        config, _ = parse([*SMALL, f"--model.neck={neck}", *flags, f"--extractor={extractor}", *more])
        torch.manual_seed(3)
        return build_model(config, 2).state_dict()

    plain = start("RoIAlign")
    for extractor, more in (
        ("SemanticRoIAlign", []),
        ("LearnedRegionFeatures", ["--extractor.embed_dim=16", "--extractor.geometry_dim=8"]),
        ("DeformRoIPool", ["--model.extractor_per_level=true"] if neck == "fpn" else []),
    ):
        other = start(extractor, *more)
        shared = {name for name in plain if name in other}
        assert shared >= {name for name in plain if "roi_pool" not in name}
        assert all(torch.equal(plain[name], other[name]) for name in shared)


def test_stages_and_levels_of_one_detector_do_not_start_alike():
    flags = [*SMALL, "--model.cascade=true", "--extractor=SemanticRoIAlign", "--model.extractor_per_level=true"]
    torch.manual_seed(3)
    state = build_model(parse(flags)[0], 2).state_dict()
    same = {}
    for name, tensor in state.items():
        if "roi_pool" in name and tensor.ndim > 1:
            same.setdefault((tuple(tensor.shape), name.rpartition(".")[2]), []).append(tensor)
    for tensors in same.values():
        for i, first in enumerate(tensors):
            assert not any(torch.equal(first, second) for second in tensors[i + 1 :])


def test_by_hand():
    first = {0: Measured(44.0, [43.0, 45.0]), 1: Measured(42.0, [42.0, 42.0]), 5: Measured(1.0)}
    second = {0: Measured(41.0, [41.0, 41.0]), 1: Measured(41.0, [40.0, 43.0])}
    found = difference(first, second)
    assert found.seeds == {0: 3.0, 1: 1.0} and found.mean == 2.0
    # rounds: (2, 4) and (2, -1); their means 2 and 1.5, standard deviation 0.5 / √2
    assert found.images == pytest.approx(0.5 / 2**0.5)
    # seeds: variance 2 of two, 12.706² · 2 / 2, images 1.96² · 0.125
    half = (12.706**2 + 1.96**2 * 0.125) ** 0.5
    assert found.interval() == pytest.approx((2 - half, 2 + half))
    # the pooled spread counts where it is the larger, and its degrees of freedom do
    wide = (2.086**2 * 4 + 1.96**2 * 0.125) ** 0.5
    assert found.interval(Spread(8.0, 20)) == pytest.approx((2 - wide, 2 + wide))
    assert difference(first, {7: Measured(1.0)}) is None
    assert Difference({0: 1.0}).interval() is None and Difference({0: 1.0}).interval(Spread(1.0, 4)) is None
    wild = Difference({0: 1.0, 1: 99.0})
    spread = pooled([Difference({0: 1.0, 1: 3.0}), Difference({0: 1.0, 1: 2.0, 2: 3.0}), wild, Difference({0: 9.0})])
    # variances 2 of one degree, 1 of two and 4802 of one: the middle one, by its χ²'s median; of four degrees the half
    assert (spread.variance, spread.freedom) == (pytest.approx(2 / (7 / 9) ** 3), 2)
    assert pooled([Difference({0: 9.0}), wild, wild]) == Spread(0.0, 0)


def test_t_is_scipy_s():
    stats = pytest.importorskip("scipy.stats", reason="scipy, which knows Student's t, is not installed")
    for freedom in (*range(1, 31), 40, 75, 1000):
        assert t95(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=2e-3)


def test_intervals_hold_the_truth_as_often_as_they_say(rng):
    """20 claims of one spread, 2 or 3 seeds each, one of them far wilder: 95%, or more where a claim's own spread was
    the larger."""
    held = []
    for count in (2, 3) * 40:
        noise = torch.randn(20, count, generator=rng) * torch.tensor([6.0] + [1.5] * 19)[:, None]
        several = [Difference({seed: 2.0 + float(row[seed]) for seed in range(count)}) for row in noise]
        for one in several:
            low, high = one.interval(pooled(several))
            held.append(low < 2.0 < high)
    assert 0.93 < sum(held) / len(held) <= 1.0
