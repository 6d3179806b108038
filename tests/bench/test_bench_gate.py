"""A ratio is refused where the kernel does not give what the definition gives."""

from __future__ import annotations

import os

import pytest
import torch

from roikit.bench import gate, table
from roikit.bench.cases import DTYPES
from roikit.bench.operations import OPERATIONS
from roikit.bench.rows import Plan, measure
from roikit.sums.separable import cpu

NAMES = table.names({})


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_kernels_pass(operation, small):
    assert gate.check(small(operation, OPERATIONS[operation].pyramids[-1])) is None


@pytest.mark.parametrize("dtype", [pytest.param(d, marks=[pytest.mark.slow] if d == "float16" else []) for d in DTYPES])
def test_every_type_passes(dtype, small):
    assert gate.check(small(dtype=dtype)) is None


def test_the_reference_runs_for_the_block_only(monkeypatch):
    for before in (None, "numba"):
        monkeypatch.delenv("ROIKIT_BACKEND", raising=False)
        if before:
            monkeypatch.setenv("ROIKIT_BACKEND", before)
        with pytest.raises(KeyError), gate.reference():
            assert os.environ["ROIKIT_BACKEND"] == "reference"
            raise KeyError
        assert os.environ.get("ROIKIT_BACKEND") == before


def wrong(monkeypatch, name, change):
    """A kernel of grid pooling made wrong; the reference stays right."""
    right = getattr(cpu, name)
    monkeypatch.setattr(cpu, name, lambda *arguments: change(right(*arguments)))


def one_cell(out):
    out = out.clone()
    out[-1, -1, -1, -1] += 1e-3
    return out


WRONG = [
    ("pool", one_cell, "the output of its kernel differs from the definition in float64, NCHW"),
    ("pool", lambda out: torch.full_like(out, float("nan")), "the output of its kernel"),
    ("pool", lambda out: out.to(memory_format=torch.contiguous_format).roll(1, 1), "the output of its kernel"),
    ("spread", lambda maps: [one_cell(x) for x in maps], "the gradient of its kernel differs"),
]


@pytest.mark.parametrize(("name", "change", "words"), WRONG, ids=["cell", "nan", "channels", "gradient"])
def test_a_wrong_kernel_is_refused(name, change, words, monkeypatch, small):
    wrong(monkeypatch, name, change)
    assert words in gate.check(small())
    assert gate.check(small("deform_roi_pool")) is None  # another kernel


def test_a_kernel_that_is_wrong_in_one_type_is_refused(monkeypatch, small):
    wrong(monkeypatch, "pool", lambda out: out * 1.05 if out.dtype == torch.bfloat16 else out)
    assert gate.check(small()) is None
    assert "bfloat16" in gate.check(small(dtype="bfloat16"))


def test_no_ratio_is_shown_for_a_wrong_kernel(monkeypatch, small):
    wrong(monkeypatch, "pool", one_cell)
    case, checked = small(), {}
    rows = measure(case, {}, Plan(("forward", "backward"), 1), checked)
    for row in rows:
        assert row.refused and row.ratio("copy", "nchw") is None
        assert row.as_json()["ratios"]["copy"] == {"nchw": None, "last": None}
    grid = table.operations(rows, case, NAMES)
    assert [line[-3] for line in grid.lines if line[2] == "copy"] == ["refused"]
    assert any("no ratio is shown, the output of its kernel" in line for line in table.remarks(rows, NAMES))
    assert list(checked.values()) == [rows[0].refused]
    (row,) = measure(case, {}, Plan(("forward",), 1, gated=False), {})
    assert row.refused is None and row.ratio("copy", "nchw") > 0
