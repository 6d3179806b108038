"""Tables, curves, and how times grow."""

from __future__ import annotations

import dataclasses
import io
import itertools

import pytest
from PIL import Image
from rich.console import Console

from benchmarks import plot, speed
from benchmarks.peers import NAMES
from benchmarks.sweeps import growth
from benchmarks.targets import Outcome, outcomes
from roikit.bench import table
from roikit.bench.cases import Case
from roikit.bench.machine import described, file_name

BASE = Case("", "")
CASE = Case("roi_align", "coarse")


def test_operations_have_a_line_for_each_contender(row):
    rows = [
        row(CASE, nchw=13.8, last=10.25, torchvision=120.7, onnxruntime=5.0, copy=4.3),
        row(CASE, "backward", nchw=15.6, last=35.4, torchvision=721.2, copy=0.328),
        row(dataclasses.replace(CASE, rois=10, dtype="bfloat16"), nchw=0.0131, last=0.01),
    ]
    grid = table.operations(rows, BASE, NAMES)
    assert grid.head == ["operation", "map", "", "forward", "×", "backward", "×"]
    assert grid.groups == [5, 2]
    assert grid.lines[0] == ["RoIAlign, 2 samples", "50×84/16", "roikit, NCHW", "13.8 ±2%", "", "15.6 ±2%", ""]
    assert grid.lines[2] == ["", "", "torchvision", "121 ±2%", "8.7 / 11.8", "721 ±2%", "46.2 / 20.4"]
    assert grid.lines[3] == ["", "", "ONNX Runtime", "5.00 ±2%", "0.36 / 0.49", "–", "–"]
    assert grid.lines[5][1:4] == ["50×84/16, R = 10, bfloat16", "roikit, NCHW", "0.0131 ±2%"]


def test_peaks_have_columns_where_there_are_some(row):
    one = dataclasses.replace(row(CASE, nchw=1.0, last=1.0), peaks={"nchw": 51.8})
    grid = table.operations([one], BASE, NAMES)
    assert grid.head[-1] == "MB, forward" and [line[-1] for line in grid.lines] == ["52", "–"]


def test_disagreements_are_shown_as_such(row):
    one = row(CASE, nchw=1.0, last=1.0, torchvision=9.0, differs=0.25)
    assert table.operations([one], BASE, NAMES).lines[2][-2:] == ["9.00 ±2%", "disagrees"]
    (said,) = table.remarks([one], NAMES)
    assert "roikit and torchvision disagree by 2.5e-01" in said


def test_markdown():
    grid = outcomes(
        [
            Outcome("a | b", "torchvision", "≥ 8×", "9.0×", 9.0, True),
            Outcome("c", "copy", "≤ 2×", None, None, None, "why"),
        ]
    )
    lines = speed.markdown(grid).splitlines()
    assert lines[1].startswith("| --- | --- |") and len(lines) == 4
    assert lines[2] == "| a \\| b | torchvision | ≥ 8× | 9.0× | reached |  |"
    assert lines[3] == "| c | copy | ≤ 2× | – | not measured | why |"


def test_no_cell_is_cut_on_a_narrow_screen(row):
    console = Console(file=io.StringIO(), width=40)
    grid = table.operations([row(CASE, nchw=13.8, last=10.25, torchvision=120.7)], BASE, NAMES)
    table.show(console, grid, "a title")
    text = console.file.getvalue()
    assert all(cell in text for line in grid.lines for cell in line) and "…" not in text
    assert console.width == 40


def test_growth_is_the_exponent(row):
    rows = [row(dataclasses.replace(CASE, rois=r), nchw=r / 50, last=(r / 50) ** 1.5) for r in (100, 1000, 10000)]
    rows.append(row(dataclasses.replace(CASE, rois=10), nchw=99.0, last=99.0))  # too few to count
    found = {one["contender"]: one for one in growth(rows)}
    assert found["nchw"]["exponent"] == pytest.approx(1) and found["last"]["exponent"] == pytest.approx(1.5)
    assert found["nchw"]["from"] == 100
    assert growth(rows[:2]) == []


def test_numbers_have_three_digits():
    assert [table.number(n) for n in (1234.5, 99.94, 9.876, 0.3284, 0.01314)] == [
        "1234",
        "99.9",
        "9.88",
        "0.328",
        "0.0131",
    ]


@pytest.fixture
def sweep(row):
    rows = []
    for pyramid, per in (("coarse", 0.1), ("fine", 0.4)):
        for r in (10, 100, 1000, 10000):
            rows.append(
                row(Case("roi_align", pyramid, rois=r), nchw=per * r / 8 + 1, last=per * r / 12, torchvision=per * r)
            )
        for c in (64, 1024):
            rows.append(row(Case("roi_align", pyramid, channels=c), nchw=c / 5, last=c / 6, torchvision=c / 2))
    return rows


def test_curves_are_drawn(sweep, tmp_path):
    found = plot.panels(sweep, BASE)
    assert [(p.axis, p.case.pyramid, len(p.rows)) for p in found] == [
        ("rois", "coarse", 4), ("rois", "fine", 4), ("channels", "coarse", 3), ("channels", "fine", 3)
    ]  # fmt: skip
    path = plot.draw(sweep, BASE, "a title", "of this", tmp_path / "curves.png")
    with Image.open(path) as image:
        assert image.width > 900 and image.height > 4 * 300  # a column, and four panels below each other
        assert len(image.convert("RGB").getcolors(1 << 20)) > 50


def test_names_at_the_curves_ends_do_not_lie_on_each_other(sweep):
    class Axes:
        def get_ylim(self):
            return (1.0, 1000.0)

    heights = plot.spaced(Axes(), {"nchw": 10.0, "last": 10.1, "torchvision": 10.2, "copy": 900.0})
    ordered = sorted(heights.values())
    assert min(b - a for a, b in itertools.pairwise(ordered)) > 0.067
    assert heights["nchw"] < heights["last"] < heights["torchvision"] < heights["copy"]


def test_nothing_to_draw(row, tmp_path):
    with pytest.raises(ValueError, match="sweeps over regions or channels, and there is none"):
        plot.draw([row(CASE, nchw=1.0, last=1.0)], BASE, "", "", tmp_path / "x.png")


def test_the_machine_names_a_file():
    facts = {"cpu": "Intel(R) Xeon(R) @ 2.20GHz", "cores": 4, "threads": 2, "torch": "2.11"}
    assert file_name(facts) == "intel-xeon-2-20ghz-4-cores"
    assert file_name({**facts, "gpu": "NVIDIA H100 80GB HBM3"}) == "nvidia-h100-80gb-hbm3"
    assert described(facts) == "2 threads of 4 cores, Intel(R) Xeon(R) @ 2.20GHz; torch 2.11"
