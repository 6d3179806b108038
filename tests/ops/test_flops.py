"""Operations counted by torch.utils.flop_counter, against numbers worked out by hand."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import flop_counter
from torch.utils.flop_counter import FlopCounterMode

import roikit
from roikit.boxes import Rois
from roikit.sums import flops
from roikit.sums.attention import Samples, attention_pool
from roikit.sums.flops import FORMULAS

flops.register()


def counted(function) -> dict[str, int]:
    """Operations of roikit's operators, by their names."""
    with FlopCounterMode(display=False) as mode:
        function()
    found = {str(operator): count for operator, count in mode.get_flop_counts().get("Global", {}).items()}
    return {name.split(".")[1]: count for name, count in found.items() if name.startswith("roikit.")}


def test_every_operator_has_a_formula():
    roikit.RoIAlign(1)
    names = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("roikit::")}
    assert {name.split("::")[1] for name in names} == set(FORMULAS)
    assert all(getattr(torch.ops.roikit, name) in flop_counter.flop_registry for name in FORMULAS)


def test_the_counter_is_loaded_where_it_is_asked_for():
    """It takes half a second, which ``import roikit`` does not pay."""
    lines = [
        "import sys, roikit; roikit.RoIAlign",
        "assert 'torch.utils.flop_counter' not in sys.modules",
        "from roikit.sums import flops; flops.register(); flops.register()",
        "import torch",
        "registry = sys.modules['torch.utils.flop_counter'].flop_registry",
        "assert torch.ops.roikit.grid_pool in registry and torch.ops.aten.mm in registry",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_roi_align_and_its_derivatives():
    # A bin of 4 × 4 cells, from -½ on; its 2 × 2 samples lie at ½ and 2½ of each axis, each between two cells: 4 × 4
    # cells are read. 1 bin, 3 channels, 2 RoIs, two operations each.
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0], [0.0, 4.0, 4.0, 8.0, 8.0]])
    extractor = roikit.RoIAlign(1, sampling_ratio=2)
    once = 2 * 3 * 2 * 16
    assert counted(lambda: extractor(x, boxes)) == {"grid_pool": once}
    assert counted(lambda: extractor(x, boxes).sum().backward()) == {"grid_pool": once, "grid_spread": once}

    # With gradients to the boxes: the sum, its transpose, and the gradients to rows and columns. These are of all cells
    # in a bin's window, from the cell of its start on: one more of the second RoI's, whose start at 3½ is on the map.
    boxes.requires_grad_()
    counts = counted(lambda: extractor(x, boxes).sum().backward())
    more = 2 * 3 * (4 * 4 + 5 * 4)
    assert counts == {"tap_pool": once, "tap_spread": once, "tap_rows": more, "tap_cols": more}


def test_adaptive_samples_are_counted_from_the_values_of_the_boxes():
    # Bins of 3 × 2 cells have as many samples, on the centres of the cells, and read one cell each.
    x, boxes = torch.rand(1, 5, 20, 30), torch.tensor([[0.0, 2.0, 3.0, 6.0, 9.0]])
    assert counted(lambda: roikit.RoIAlign(2, sampling_ratio=0)(x, boxes)) == {"grid_pool": 2 * 5 * 4 * 3 * 2}
    # Exact means from a whole cell to another: over [3, 6], which has the weights ½, 1, 1, ½, and over [2, 4].
    assert counted(lambda: roikit.PrRoIPool(2)(x, boxes)) == {"grid_pool": 2 * 5 * 4 * 4 * 3}


def test_max_pooling():
    # Whole cells 2 … 5 and 3 … 8: bins of 2 × 3 cells, of which a maximum compares each; then one addition for each
    # winner.
    x, boxes = torch.rand(1, 5, 20, 30, requires_grad=True), torch.tensor([[0.0, 2.0, 3.0, 5.0, 8.0]])
    counts = counted(lambda: roikit.RoIPool(2)(x, boxes).sum().backward())
    assert counts == {"max_select": 5 * 4 * 2 * 3, "chosen_spread": 5 * 4}


def test_bins_that_lie_anywhere():
    # PS RoI Align: 2 × 2 bins, 2 × 2 samples of 4 cells in each, 6 channels of the result.
    x, boxes = torch.rand(1, 24, 20, 30, requires_grad=True), torch.tensor([[0.0, 2.0, 3.0, 7.0, 9.0]])
    pool = roikit.PSRoIAlign(2, sampling_ratio=2)
    per_axis = [_cells_of_two_samples(start, size) for start, size in ((2.5, 6.0), (1.5, 5.0))]
    once = 2 * 6 * sum(per_axis[0]) * sum(per_axis[1])
    assert counted(lambda: pool(x, boxes).sum().backward()) == {"bin_pool": once, "bin_spread": once}


def _cells_of_two_samples(start: float, size: float) -> list[int]:
    """Cells that the two samples of each of two bins read on one axis."""
    found = []
    for b in range(2):
        cells = set()
        for s in range(2):
            at = start + (b + (s + 0.5) / 2) * size / 2
            cells |= {int(at)} | ({int(at) + 1} if at % 1 else set())
        found.append(len(cells))
    return found


def test_free_points():
    # 3 × 3 bins of 2 × 2 samples, of 4 cells each.
    x, boxes = torch.rand(1, 7, 20, 30, requires_grad=True), torch.tensor([[0.0, 2.0, 3.0, 7.0, 9.0]] * 4)
    once = 2 * 7 * 4 * 9 * 4 * 4
    counts = counted(lambda: roikit.RotatedRoIAlign(3, sampling_ratio=2)(x, boxes).sum().backward())
    assert counts == {"point_pool": once, "point_spread": once}


def test_attention_counts_the_cells_of_the_support():
    x = torch.rand(1, 5, 4, 6, requires_grad=True)
    rois = Rois.of([torch.zeros(2, 4)], 1)
    rows, cols = torch.zeros(2, 3, 4, requires_grad=True), torch.zeros(2, 3, 6)
    cols[:, :, 5] = -torch.inf  # left out: 4 · 5 cells
    dense = 2 * 5 * 3 * 2 * 20
    counts = counted(lambda: attention_pool([x], rois, rows, cols).sum().backward())
    assert counts == {"attention_pool": dense, "attention_backward": 2 * dense}

    # Of the inside, rows 0 and 1 and columns 0 … 3, every second column; of the rest none: 2 · 2 cells.
    samples = Samples(torch.tensor([[0, 2, 0, 4, 1, 2, 0]]).expand(2, 7))
    sampled = counted(lambda: attention_pool([x], rois, rows, torch.zeros(2, 3, 6), samples=samples))
    assert sampled == {"attention_pool": 2 * 5 * 3 * 2 * 4}

    def twice():
        y = attention_pool([x], rois, rows, cols)
        (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        torch.autograd.grad(gradient.square().sum(), x)

    counts = counted(twice)
    assert counts["attention_second"] == 5 * dense
    assert counts["attention_backward"] == 2 * 2 * dense


def test_attention_without_values_is_of_all_cells():
    with FakeTensorMode():
        x, box = torch.empty(1, 256, 38, 63), torch.empty(300, 4)
        index = torch.empty(300, dtype=torch.int64)
        rows, cols = torch.empty(300, 49, 38), torch.empty(300, 49, 63)
        counts = counted(lambda: attention_pool([x], Rois(box, index, index), rows, cols))
    assert counts == {"attention_pool": 2 * 256 * 49 * 300 * 38 * 63}


def test_several_levels_are_counted_on_their_own_maps():
    maps = [torch.rand(1, 5, 20, 30), torch.rand(1, 5, 10, 15)]
    boxes = torch.tensor([[2.0, 3.0, 6.0, 9.0], [-100.0, -100.0, 200.0, 200.0]])
    rois = Rois(boxes, torch.tensor([0, 0]), torch.tensor([0, 1]))
    pool = roikit.RoIPool(1, mode="average")
    found = counted(lambda: pool(maps, rois, [1.0, 0.5]))
    assert found == {"grid_pool": 2 * 5 * (5 * 7 + 10 * 15)}  # whole cells, both ends included; the whole second map


def test_without_values_counts_are_estimated_from_shapes():
    with FakeTensorMode():
        x, boxes = torch.empty(1, 5, 20, 30), torch.empty(8, 5)
        fixed = counted(lambda: roikit.RoIAlign(2, sampling_ratio=2)(x, boxes))
        adaptive = counted(lambda: roikit.RoIAlign(2, sampling_ratio=0)(x, boxes))
        chosen = counted(lambda: roikit.RoIPool(2)(x, boxes))
    assert fixed == {"grid_pool": 2 * 5 * 8 * 4 * 4 * 4}  # two samples between two cells each
    assert adaptive == {"grid_pool": 2 * 5 * 8 * 4 * 12 * 17}  # bins of 10 × 15 cells, and the ends
    assert chosen == {"max_select": 5 * 8 * 4 * 12 * 17}


def test_a_whole_detector():
    torch.manual_seed(0)
    pooled = {}
    for name, extractor in (("two", roikit.RoIAlign(7, 2)), ("one", roikit.RoIAlign(7, 1))):
        model = roikit.detection.faster_rcnn("resnet18", neck="c5", extractor=extractor, num_classes=3).eval()
        with FlopCounterMode(display=False) as mode:
            model([torch.rand(3, 96, 128)])
        counts = {str(operator): count for operator, count in mode.get_flop_counts()["Global"].items()}
        pooled[name] = counts["roikit.grid_pool"]
        assert counts["aten.convolution"] > 0 and counts["aten.addmm"] > 0
        assert sum(counts.values()) == mode.get_total_flops()
    assert pooled["one"] < pooled["two"] <= 4 * pooled["one"]
