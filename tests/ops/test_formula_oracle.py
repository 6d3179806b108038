"""The formulas as slow loops (``formulas.py``) as the oracle of every method, in float64."""

from __future__ import annotations

import formulas
import formulas_moving
import pytest
import torch
from oracles import compare

import roikit
from roikit import ops

PENALTY = roikit.PartDeformRoIPool(1, 2, 0.03).double().penalty.item()  # 0.03 as its parameter has it, in float32

CASES = {
    "RoIAlign": (lambda g: roikit.RoIAlign(g, 2), lambda x, b, g: formulas.roi_align(x, b, g, 2, True)),
    "RoIAlign-adaptive": (lambda g: roikit.RoIAlign(g, 0), lambda x, b, g: formulas.roi_align(x, b, g, 0, True)),
    "RoIAlign-unaligned": (
        lambda g: roikit.RoIAlign(g, 3, aligned=False),
        lambda x, b, g: formulas.roi_align(x, b, g, 3, False),
    ),
    "RoIAlign-unaligned-adaptive": (
        lambda g: roikit.RoIAlign(g, -1, aligned=False),
        lambda x, b, g: formulas.roi_align(x, b, g, -1, False),
    ),
    "PrRoIPool": (roikit.PrRoIPool, formulas.prroi_pool),
    "AdaptiveRoIAlign": (roikit.AdaptiveRoIAlign, formulas_moving.adaptive),
    "RoIWarp": (roikit.RoIWarp, lambda x, b, g: formulas_moving.warp(x, b, g, False)),
    "RoIWarp-rounding": (lambda g: roikit.RoIWarp(g, True), lambda x, b, g: formulas_moving.warp(x, b, g, True)),
    "PartDeformRoIPool": (
        lambda g: roikit.PartDeformRoIPool(g, 2, 0.03).double(),
        lambda x, b, g: formulas_moving.part_deform(x, b, g, 2, PENALTY),
    ),
}
for _mode in ("max", "average"):
    for _rounding in ("caffe", "floor"):
        CASES[f"RoIPool-{_mode}-{_rounding}"] = (
            lambda g, m=_mode, r=_rounding: roikit.RoIPool(g, m, r),
            lambda x, b, g, m=_mode, r=_rounding: formulas.roi_pool(x, b, g, m, r),
        )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_formula(name, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    make, formula = CASES[name]
    for _ in range(3):
        height, width, *grid = (int(torch.randint(1, n, (), generator=rng)) for n in (9, 11, 5, 5))
        x = torch.rand(1, 1, height, width, generator=rng, dtype=torch.float64)
        corners = (torch.rand(6, 2, 2, generator=rng, dtype=torch.float64) * 1.6 - 0.3) * torch.tensor([width, height])
        boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
        boxes[0] = boxes[0].round()  # on cells
        boxes[1] = torch.cat([boxes[1, :2], boxes[1, :2]])  # no area
        boxes[2] = boxes[2, [2, 3, 0, 1]]  # corners exchanged
        expected = torch.tensor([formula(x[0, 0].tolist(), box, grid) for box in boxes.tolist()], dtype=torch.float64)
        found = make(grid)(x, [boxes])[:, 0]
        compare(f"`{name.partition('-')[0]}`", "loops over the formula", found, expected, 1e-13)
        # Image pixels and strides: the same RoI, seen through a scale of (y, x).
        scaled = boxes * boxes.new_tensor([8.0, 4.0, 8.0, 4.0])
        torch.testing.assert_close(make(grid)(x, [scaled], (0.25, 0.125))[:, 0], expected, rtol=0, atol=1e-13)


def test_prroi_pool_functional_form(rng):
    x = torch.rand(1, 1, 5, 6, generator=rng, dtype=torch.float64)
    box = [0.3, -1.2, 4.4, 3.9]
    expected = torch.tensor(formulas.prroi_pool(x[0, 0].tolist(), box, (2, 3)), dtype=torch.float64)
    found = ops.prroi_pool(x, torch.tensor([[0.0, *box]], dtype=torch.float64), (2, 3))
    torch.testing.assert_close(found[0, 0], expected, rtol=0, atol=1e-14)
