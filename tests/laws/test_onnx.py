"""Modules exported to ONNX, run by ONNX Runtime, against eager torch."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

import pytest
import torch
from listing import FEW, GRID, rois
from torch import nn

import roikit
from roikit.integrations import onnx as exporting
from roikit.integrations.onnx import decompositions, to_onnx

pytestmark = pytest.mark.own_process

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime, a development dependency, is not installed")
pytest.importorskip("onnxscript", reason="onnxscript, of the extra onnx, is not installed")

CHANNELS = GRID[0] * GRID[1]  # of the maps: what the position-sensitive ones make one channel of
# Positions of up to 64 cells are exact to 4e-6 in float32, and so are values between cells that differ by 1 at most.
ATOL = 1e-5
A, D = torch.export.Dim.AUTO, torch.export.Dim.DYNAMIC
SIZES = ((7, 9, 11), (1, 17, 6), (0, 8, 9), (20, 6, 15))  # RoIs, rows and columns of the coarse map


def make(variant, **given):
    extractor = variant.make(channels=CHANNELS // (variant.arguments.get("group_size", 1) ** 2), **given)
    return extractor.float().eval()


def scene(rng, count, height, width, images=1):
    """Two maps, of strides 4 and 8, and boxes of all sizes."""
    fine, coarse = (torch.rand(images, CHANNELS, n * height, n * width, generator=rng) - 0.5 for n in (2, 1))
    boxes = rois(rng, count, images, height=8 * height, width=8 * width, scale=(1.0, 1.0))
    return fine, coarse, boxes.float()


class OneMap(nn.Module):
    """Extractors side by side, on one map."""

    def __init__(self, extractors):
        super().__init__()
        self.each = nn.ModuleList(extractors)

    def forward(self, fine, coarse, boxes):
        return tuple(extractor(fine, boxes, 0.25) for extractor in self.each)


class TwoMaps(nn.Module):
    """Extractors side by side, on the levels of one image."""

    def __init__(self, extractors):
        super().__init__()
        self.each = nn.ModuleList(roikit.MultiScale(one, ["fine", "coarse"], [4, 8]) for one in extractors)

    def forward(self, fine, coarse, boxes):
        return tuple(pool({"fine": fine, "coarse": coarse}, [boxes[:, 1:]]) for pool in self.each)


def compare(module, rng, images=1, names=None):
    """Export with dynamic numbers of RoIs and cells, for some number of images, and run other ones."""
    shapes = ({2: A, 3: A}, {2: A, 3: A}, {0: D})
    program = to_onnx(module, scene(rng, 12, 13, 17, images), dynamic_shapes=shapes)
    operators = {node.op_type for node in program.model.graph}
    assert {node.domain for node in program.model.graph} == {""}  # standard operators alone
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    read = {given.name for given in session.get_inputs()}
    for size in SIZES:
        given = scene(rng, *size, images)
        found = session.run(
            None, {n: x.numpy() for n, x in zip(("fine", "coarse", "boxes"), given, strict=True) if n in read}
        )
        with torch.no_grad():
            expected = module(*given)
        for i, (mine, wanted) in enumerate(zip(found, expected, strict=True)):
            torch.testing.assert_close(
                torch.from_numpy(mine), wanted, rtol=0, atol=ATOL,
                msg=lambda text, i=i, size=size: f"{names[i] if names else i}, {size}: {text}",
            )  # fmt: skip
    return operators


def some():
    """One extractor of every operation, and every way that RoI Align has."""
    return [
        roikit.RoIAlign(GRID),
        roikit.RoIAlign(GRID, sampling_ratio=3, aligned=False),
        roikit.RoIAlign(GRID, sampling_ratio=0),
        roikit.RoIAlign((1, 2), sampling_ratio=0, aligned=False),
        roikit.RoIPool(GRID),
        roikit.PrRoIPool(GRID),
        roikit.PSRoIPool(GRID),
        roikit.DeformRoIPool(CHANNELS, GRID),
        roikit.RotatedRoIAlign(GRID),
        roikit.LearnedRegionFeatures(CHANNELS, GRID, embed_dim=16, geometry_dim=8),
    ]


def randomised(extractors):
    torch.manual_seed(0)
    for extractor in extractors:
        for parameter in extractor.parameters():
            nn.init.normal_(parameter, std=0.3)
    return extractors


# By default one extractor of each sum; the export of one alone is a test of the slow ones.
def test_extractors_on_one_map(rng):
    extractors = randomised([some()[i] for i in (0, 4, 8)])
    operators = compare(OneMap(extractors), rng, images=2, names=extractors)
    assert {"RoiAlign", "MaxRoiPool", "Gather"} <= operators


@pytest.mark.slow
def test_more_extractors_on_one_map(rng):
    extractors = randomised([some()[i] for i in (1, 2, 3, 5, 6, 7, 9)])
    compare(OneMap(extractors), rng, images=2, names=extractors)


@pytest.mark.parametrize("which", [(2,), pytest.param((0, 4, 5), marks=pytest.mark.slow)], ids=str)
def test_extractors_on_several_levels(which, rng):
    extractors = randomised([some()[i] for i in which])
    assert {"RoiAlign", "NonZero"} <= compare(TwoMaps(extractors), rng, names=extractors)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("variant", FEW, ids=str)
def test_every_extractor(variant, levels, rng):
    kind = OneMap if levels == 1 else TwoMaps
    compare(kind([make(variant, given=levels == 1)]), rng)


def test_roi_align_of_whole_cells_takes_no_sample_too_many(rng):
    """Sides that are whole multiples of the bins: rounding them up by a bit would add a sample."""
    x = torch.rand(1, 3, 50, 60, generator=rng)
    corner = torch.rand(300, 2, generator=rng) * 20
    sides = 7.0 * torch.randint(1, 5, (300, 2), generator=rng)
    batch, level = torch.zeros(2, 300, dtype=torch.int64)
    rows, cols = (torch.stack([corner[:, i], sides[:, i]], 1) for i in (0, 1))
    given = ([x], batch, level, rows, cols, [7, 7, 0, 0, 0, 0])
    found = decompositions()[torch.ops.roikit.grid_pool.default](*given)
    torch.testing.assert_close(found, torch.ops.roikit.grid_pool(*given), rtol=0, atol=ATOL)


def test_the_head_of_a_detector(rng):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            model = roikit.detection.faster_rcnn(
                "test_resnet", neck="fpn", num_classes=3, extractor=roikit.RoIAlign(7, 2)
            )
            self.pool, self.head, self.predict = (
                getattr(model.roi_heads, name) for name in ("box_roi_pool", "box_head", "box_predictor")
            )
            self.names = self.pool.featmap_names

        def forward(self, maps, boxes):
            return self.predict(self.head(self.pool(dict(zip(self.names, maps, strict=True)), [boxes])))

    def given(count, height, width):
        sizes = [(-(-height // stride), -(-width // stride)) for stride in module.pool.strides]
        maps = [torch.rand(1, 256, *size, generator=rng) for size in sizes]
        return maps, rois(rng, count, 1, True, height, width, (1.0, 1.0))[:, 1:].float()

    module = Head().eval()
    levels = len(module.names)
    program = to_onnx(module, given(9, 160, 256), dynamic_shapes=([{2: A, 3: A}] * levels, {0: D}))
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for size in ((30, 192, 128), (1, 160, 256), (0, 64, 64)):
        maps, boxes = given(*size)
        names = [one.name for one in session.get_inputs()]
        found = session.run(None, {n: t.numpy() for n, t in zip(names, (*maps, boxes), strict=True)})
        with torch.no_grad():
            expected = module(maps, boxes)
        for mine, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(mine), wanted, rtol=0, atol=ATOL)


def test_the_module_stays_as_it_is(rng, tmp_path):
    extractor = roikit.RoIAlign(2)
    head = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(CHANNELS, 2, 1))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.head = extractor, head

        def forward(self, x, boxes):
            return self.head(self.pool(x, boxes, 0.25))

    model = Model().train()
    head[1].eval()
    fine, _, boxes = scene(rng, 3, 5, 6)
    to_onnx(model, (fine, boxes), tmp_path / "model.onnx", input_names=["image", "rois"], output_names=["scores"])
    assert model.training and head[0].training and not head[1].training
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["scores"], {"image": fine.numpy(), "rois": boxes.numpy()})
    with torch.no_grad():
        expected = model.eval()(fine, boxes)
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=ATOL)


def test_what_cannot_be_exported_is_refused(rng):
    fine, coarse, boxes = scene(rng, 3, 5, 6)
    with pytest.raises(ValueError, match=r"OneMap cannot be exported to ONNX: .*give a sampling_ratio > 0"):
        to_onnx(OneMap([roikit.RotatedRoIAlign(2, sampling_ratio=0)]), (fine, coarse, boxes))

    class Derivative(nn.Module):
        def forward(self, grad, index, rois):
            return torch.ops.roikit.chosen_spread(grad, rois, rois, index, [1], [1, 2, 3, 4], False)[0]

    class Winners(nn.Module):
        def forward(self, x, boxes):
            return roikit.RoIPool(2).weights(x, boxes).index

    with pytest.raises(ValueError, match=r"Winners cannot be exported to ONNX: MaxRoiPool says the maxima"):
        to_onnx(Winners(), (fine, boxes))

    index = torch.zeros(1, 2, 1, 1, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"it computes derivatives \(roikit.chosen_spread.default\)"):
        to_onnx(Derivative(), (torch.ones(1, 2, 1, 1), index, torch.zeros(1, dtype=torch.int64)))


def test_a_missing_package_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnxscript"]:
        monkeypatch.delitem(sys.modules, name)
    find = PathFinder.find_spec
    monkeypatch.setattr(PathFinder, "find_spec", lambda name, *at: None if name == "onnxscript" else find(name, *at))
    with pytest.raises(ImportError, match=r"needs onnxscript, .*pip install 'roikit\[onnx\]'"):
        exporting.to_onnx(roikit.RoIAlign(2), (torch.rand(1, 1, 2, 2), torch.rand(1, 5)))
