"""The page's own rules, in JavaScript, against roikit: the weights of every cell for 1,000 random boxes."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import roikit

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "src" / "roikit" / "explore" / "page" / "rules.js"
BOXES, GRID, HEIGHT, WIDTH, GAMMA = 1000, (3, 2), 7, 9, 0.1


def find_node() -> str | None:
    """The one that is installed, or the one that playwright brings."""
    spec = importlib.util.find_spec("playwright")
    brought = Path(spec.origin or "").parent / "driver" / "node" if spec else None
    return shutil.which("node") or (str(brought) if brought and brought.is_file() else None)


NODE = find_node()
pytestmark = pytest.mark.skipif(NODE is None, reason="node, which runs the page's rules, is not installed")


def random_boxes(rng) -> torch.Tensor:
    """In cells: most of them on the map, some over its borders, tiny or without an area, every fourth on half cells."""
    centre = torch.rand(BOXES, 2, generator=rng, dtype=torch.float64) * torch.tensor([WIDTH + 4, HEIGHT + 4]) - 2
    size = torch.rand(BOXES, 2, generator=rng, dtype=torch.float64) ** 2 * 12
    boxes = torch.cat([centre - size / 2, centre + size / 2], 1)
    boxes[::4] = (boxes[::4] * 2).round() / 2
    boxes[1::40, 2:] = boxes[1::40, :2]
    return boxes


class Moved(roikit.DeformRoIPool):
    """Deformable pooling whose offsets, ``Tensor[R, 2, h, w]``, are given, not learned."""

    def __init__(self, offset):
        super().__init__(1, GRID)
        self.given = offset

    def predict(self, flat):
        return self.given.flatten(1), None


def test_weights_are_roikits(rng, tmp_path):
    boxes = random_boxes(rng)
    features = torch.rand(1, 1, HEIGHT, WIDTH, generator=rng, dtype=torch.float64)
    offset = torch.randn(BOXES, 2, *GRID, generator=rng, dtype=torch.float64)
    angle = (torch.rand(BOXES, generator=rng, dtype=torch.float64) - 0.5) * 2 * math.pi
    x1, y1, x2, y2 = boxes.unbind(1)
    turned = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angle], 1)
    hat = {"aligned": True, "samples": 2}
    cases = [
        ("RoIPool", {"rounding": "caffe", "mode": "max"}, roikit.RoIPool(GRID)),
        ("RoIPool", {"rounding": "floor", "mode": "max"}, roikit.RoIPool(GRID, rounding="floor")),
        ("RoIPool", {"rounding": "caffe", "mode": "average"}, roikit.RoIPool(GRID, "average")),
        ("RoIPool", {"rounding": "floor", "mode": "average"}, roikit.RoIPool(GRID, "average", "floor")),
        ("RoIAlign", hat, roikit.RoIAlign(GRID, 2)),
        ("RoIAlign", {**hat, "samples": 3}, roikit.RoIAlign(GRID, 3)),
        ("RoIAlign", {**hat, "samples": 0}, roikit.RoIAlign(GRID, 0)),
        ("RoIAlign", {**hat, "aligned": False}, roikit.RoIAlign(GRID, 2, aligned=False)),
        ("PrRoIPool", {}, roikit.PrRoIPool(GRID)),
        ("AdaptiveRoIAlign", {}, roikit.AdaptiveRoIAlign(GRID)),
        ("DeformRoIPool", {"samples": 2, "gamma": GAMMA, "offsets": each(offset)}, Moved(offset)),
        ("RotatedRoIAlign", {"samples": 2, "angle": {"each": angle.tolist()}}, roikit.RotatedRoIAlign(GRID)),
    ]
    found = in_node(boxes, features, [(name, options) for name, options, _ in cases], tmp_path)
    for (name, options, extractor), ours in zip(cases, found, strict=True):
        extras = {"rotated_boxes": [turned]} if name == "RotatedRoIAlign" else {}
        dense = extractor.double().weights(features, [boxes], 1.0, **extras).dense(HEIGHT, WIDTH)[:, 0]
        error = (torch.from_numpy(ours) - dense).abs().flatten(1).amax(1)
        worst = int(error.argmax())
        settings = {key: value for key, value in options.items() if not isinstance(value, dict)}
        # float64 on both sides; the bound is far above rounding and far below any weight that is wrong
        assert error[worst] < 1e-6, f"{name} {settings}, box {boxes[worst].tolist()}: off by {error[worst]:.2g}"
        assert dense.abs().sum() > BOXES


def each(offset: torch.Tensor) -> dict[str, list]:
    """(y, x) of every part of each box."""
    return {"each": offset.flatten(2).transpose(1, 2).tolist()}


def in_node(boxes, features, cases, folder: Path) -> np.ndarray:
    """The weights that the page's file gives, [case, box, part, row, column]."""
    values = features.flatten().tolist()
    given = {
        "map": {"height": HEIGHT, "width": WIDTH, "values": values},
        "grid": GRID,
        "boxes": boxes.tolist(),
        "cases": [{"method": name, "options": options} for name, options in cases],
    }
    out = folder / "weights.bin"
    command = [str(NODE), str(HERE / "weigh.js"), str(RULES), str(out)]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return np.fromfile(out).reshape(len(cases), BOXES, GRID[0] * GRID[1], HEIGHT, WIDTH)
