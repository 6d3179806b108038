"""Oracle of sector pooling: loops from the formula."""

from __future__ import annotations

import math

import pytest
import torch
from formulas import on_map
from oracles import compare

from roikit import SectorPool

backends = pytest.mark.parametrize("backend", ["numba", "reference"])


def sector_formula(x, box, directions: int, rings: int, points: int):
    """Every sample asks which sector and ring it is in; an empty bin takes the sample nearest to its middle."""
    middle = [((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), ((box[2] - box[0]) / 2, (box[3] - box[1]) / 2)]
    places = [((2 * a + 1) / points - 1, (2 * b + 1) / points - 1) for a in range(points) for b in range(points)]

    def value(y, z):
        return on_map(x, middle[0][1] + y * middle[1][1] - 0.5, middle[0][0] + z * middle[1][0] - 0.5)

    out = []
    for d in range(directions):
        out.append([])
        for q in range(rings):
            inside = []
            for y, z in places:
                turn = math.atan2(-y, z) % (2 * math.pi) * directions / (2 * math.pi) + 1e-9
                inside += [(y, z)] if d <= turn < d + 1 and q <= max(abs(y), abs(z)) * rings + 1e-9 < q + 1 else []
            if not inside:
                angle, part = 2 * math.pi * (d + 0.5) / directions, (q + 0.5) / rings
                reach = part / max(abs(math.cos(angle)), abs(math.sin(angle)))
                goal = (-reach * math.sin(angle), reach * math.cos(angle))
                inside = [min(places, key=lambda p, goal=goal: round(math.dist(p, goal), 9))]
            out[-1].append(sum(value(*p) for p in inside) / len(inside))
    return out


@backends
@pytest.mark.parametrize("settings", [(8, 4, 14), (6, 3, 4), (5, 2, 7), (1, 1, 1)])
def test_sector_formula(settings, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    x = torch.rand(2, 2, 9, 11, generator=rng, dtype=torch.float64)
    boxes = torch.tensor([[0, 3.0, 5, 29, 31], [1, -4.0, 2, 40, 17], [1, 20.0, 9, 50, 44]], dtype=torch.float64)
    found = SectorPool(*settings)(x, boxes, 0.25)
    expected = torch.zeros_like(found)
    for r, (index, *box) in enumerate(boxes.tolist()):
        for c in range(2):
            one = sector_formula(x[int(index), c].tolist(), [v * 0.25 for v in box], *settings)
            expected[r, c] = torch.tensor(one, dtype=torch.float64)
    compare("`SectorPool`", "loops over the formula", found, expected, 1e-12)
