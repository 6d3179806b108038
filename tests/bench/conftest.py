"""Scenes and contenders for the tests of `roikit bench` and of `python -m benchmarks.speed`."""

from __future__ import annotations

import pytest

from roikit.bench.cases import Case
from roikit.bench.measure import Times
from roikit.bench.rows import Row, Verdict


@pytest.fixture
def small():
    """``small("roi_align", "coarse", dtype="float64")``: a case on small maps."""

    def case(operation: str = "roi_align", pyramid: str = "coarse", **changes: object) -> Case:
        return Case(operation, pyramid, **{"rois": 9, "channels": 5, "quick": True, **changes})

    return case


@pytest.fixture
def row():
    """``row(case, nchw=4.0, last=2.0, torchvision=40.0)``: a row with these medians, whose peers agree."""

    def make(case: Case, direction: str = "forward", differs: float = 0.0, refused=None, **medians: float) -> Row:
        times = {name: Times(m, m * 0.98, m * 1.02, 9) for name, m in medians.items()}
        peers = [name for name in medians if name not in ("nchw", "last", "copy", "deterministic")]
        return Row(case, direction, times, {name: Verdict(differs, differs == 0.0) for name in peers}, {}, refused)

    return make
