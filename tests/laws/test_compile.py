"""Law 7: torch.compile without graph breaks, torch.export with dynamic sizes, torch's own checks of the operators."""

from __future__ import annotations

import pytest
import torch
from listing import ALL, COMPILED, FEW, SCALE, Variant, as_rois, features, few, rois
from sums import ONE_OF_EACH
from torch.library import opcheck

import roikit
from roikit.boxes import Rois


def not_by_default(variants):
    return [pytest.param(v, id=str(v), marks=pytest.mark.slow) for v in variants]


@pytest.fixture(autouse=True)
def fresh_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    torch.set_grad_enabled(True)  # a graph that is left by an error inside its no_grad region does not do it


def compiled(function, backend="aot_eager", **options):
    return torch.compile(function, fullgraph=True, backend=backend, **options)


# An extractor is exported by default, strictly: dynamo sees one graph of it, whatever the sizes are. That the operators
# in the graph trace on, with derivatives, and serve other sizes and several levels, is the sums' part.
traced = pytest.mark.parametrize(
    "variant", [*(pytest.param(v, id=f"sum {v}") for v in ONE_OF_EACH), *not_by_default(COMPILED)]
)
traced_few = pytest.mark.parametrize(
    "variant", [*(pytest.param(v, id=f"sum {v}") for v in ONE_OF_EACH), *not_by_default(FEW)]
)


@traced
def test_law_7_compiles_in_one_graph(variant, rng):
    """Values and gradients, to the boxes too where the method is smooth in them; a NaN box and a wrong image."""
    extractor, x, boxes = variant.make(), variant.features(rng).requires_grad_(), rois(rng)
    coordinates = boxes[:, 1:].clone().requires_grad_(variant.smooth)
    inputs = (x, coordinates) if variant.smooth else (x,)
    function = compiled(lambda x, c, index: extractor(x, as_rois(torch.cat([index, c], 1)), SCALE))
    expected, found = (f(x, coordinates, boxes[:, :1]) for f in (function.__wrapped__, function))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    gradients = (torch.autograd.grad(out.square().sum(), inputs) for out in (found, expected))
    for gradient, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-11, atol=1e-12)
    with torch.no_grad():
        coordinates[5, 1] = float("nan")
        index = boxes[:, :1].clone()
        index[7] = 99
    again, others = function(x, coordinates, boxes[:, :1]), torch.arange(len(boxes)) != 5
    torch.testing.assert_close(again[others], expected[others], rtol=0, atol=1e-14)
    assert bool(torch.isnan(again[5]).all())
    with pytest.raises(ValueError, match="RoI 7: 99"):
        function(x, coordinates, index)


@traced_few
def test_law_7_one_graph_serves_every_number_of_rois_and_every_map_size(variant, rng):
    extractor = variant.make()
    function = compiled(lambda x, boxes: extractor(x, boxes, SCALE), dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for count, height, width in ((12, 13, 17), (5, 9, 21), (31, 40, 8)):
            x, boxes = variant.features(rng, height=height, width=width), rois(rng, count=count)
            torch.testing.assert_close(function(x, boxes), extractor(x, boxes, SCALE), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", [roikit.RoIAlign, roikit.RotatedRoIAlign, roikit.LearnedRegionFeatures])
def test_law_7_boxes_in_lists_compile(kind, rng):
    """Of each reader of boxes, with sizes that are fixed."""
    variant = Variant(kind)
    extractor, x, boxes = variant.make(), variant.features(rng).requires_grad_(), rois(rng)
    lists = [boxes[:7, 1:], boxes[7:, 1:]]
    found, expected = compiled(lambda x, boxes: extractor(x, boxes, SCALE))(x, lists), extractor(x, lists, SCALE)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    (gradient,), (wanted,) = (torch.autograd.grad(out.square().sum(), x) for out in (found, expected))
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("variant", [variant for variant in ALL if not variant.compiles], ids=str)
def test_law_7_what_cannot_compile_says_what_to_do(variant, rng):
    extractor, x, boxes = variant.make(), variant.features(rng), rois(rng)
    with pytest.raises((NotImplementedError, torch._dynamo.exc.Unsupported), match="give a sampling_ratio > 0"):
        compiled(lambda x, boxes: extractor(x, boxes, SCALE))(x, boxes)


@traced_few
def test_law_7_several_levels_compile(variant, rng):
    extractor = variant.make()
    maps, boxes = [variant.features(rng), variant.features(rng, height=5, width=7)], rois(rng)
    level = torch.randint(2, (len(boxes),), generator=rng)
    function = compiled(lambda maps, b, i, lv: extractor(maps, Rois(b, i, lv), [SCALE, 0.125]))
    given = (maps, boxes[:, 1:], boxes[:, 0].long(), level)
    torch.testing.assert_close(function(*given), extractor(maps, as_rois(boxes, level), [SCALE, 0.125]))


@pytest.mark.parametrize("variant", ONE_OF_EACH, ids=str)
def test_law_7_channels_last_compiles_with_the_strides_it_promises(variant, rng):
    extractor, boxes = variant.make(), rois(rng)
    x = variant.features(rng).contiguous(memory_format=torch.channels_last).requires_grad_()
    function = compiled(lambda x: extractor(x, boxes, SCALE) * 2)
    found, expected = function(x), extractor(x, boxes, SCALE) * 2
    torch.testing.assert_close(found, expected)
    for out in (found, expected):
        x.grad = None
        out.square().sum().backward()
        assert bool(torch.isfinite(x.grad).all())


@few
def test_law_7_exports_with_dynamic_sizes(variant, rng):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.extractor = variant.make()

        def forward(self, x, boxes):
            return self.extractor(x, boxes, SCALE)

    dim = torch.export.Dim
    shapes = {
        "x": {2: dim("height", min=2, max=512), 3: dim("width", min=2, max=512)},
        "boxes": {0: dim("regions", min=2, max=100_000)},
    }
    model = Model()
    program = torch.export.export(model, (variant.features(rng), rois(rng)), dynamic_shapes=shapes, strict=True)
    for count, height, width in ((12, 13, 17), (3, 9, 21), (40, 50, 8)):
        x, boxes = variant.features(rng, height=height, width=width), rois(rng, count=count)
        torch.testing.assert_close(program.module()(x, boxes), model(x, boxes), rtol=0, atol=1e-14)


@traced_few
def test_law_7_several_levels_export_with_dynamic_sizes(variant, rng):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = roikit.MultiScale(variant.make(given=False), ["fine", "coarse"], [4, 8])

        def forward(self, fine, coarse, boxes):
            return self.pool({"fine": fine, "coarse": coarse}, [boxes])

    def scene(count, height, width):
        fine = variant.features(rng, batch=1, height=2 * height, width=2 * width)
        coarse = variant.features(rng, batch=1, height=height, width=width)
        return fine, coarse, rois(rng, count, height=120, width=150, scale=(0.25, 0.25))[:, 1:]

    dim = torch.export.Dim
    sizes = {2: dim.AUTO, 3: dim.AUTO}
    model = Model()
    program = torch.export.export(
        model, scene(12, 13, 17), dynamic_shapes=(sizes, sizes, {0: dim("regions", min=2, max=100_000)}), strict=False
    )
    for size in ((12, 13, 17), (3, 9, 21), (40, 50, 8)):
        given = scene(*size)
        torch.testing.assert_close(program.module()(*given), model(*given), rtol=0, atol=1e-14)


@pytest.mark.parametrize("extractor", [roikit.RoIAlign(3), roikit.RoIPool(3)], ids=repr)
def test_law_7_inductor(extractor, rng):
    x, boxes = features(rng, torch.float32).requires_grad_(), rois(rng).float()

    def model(x, boxes):
        return (extractor(x.relu(), boxes, SCALE) * 2).sum((2, 3)).sigmoid()

    found, expected = compiled(model, "inductor")(x, boxes), model(x, boxes)
    torch.testing.assert_close(found, expected)
    (gradient,), (wanted,) = (torch.autograd.grad(out.square().sum(), x) for out in (found, expected))
    torch.testing.assert_close(gradient, wanted)


def arguments_of_the_operators(rng, dtype=torch.float64):
    """For every operator of ``torch.ops.roikit``: arguments that its differentiable inputs are part of."""
    maps = [features(rng, dtype), features(rng, dtype, height=5, width=7)]
    shapes = [n for x in maps for n in x.shape]
    batch, level = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 1])
    rows = torch.tensor([[1.0, 4.0], [-2.0, 6.0], [0.3, 0.4], [2.0, 9.0]], dtype=dtype)
    cols = rows + 0.7
    axes = (batch, level, rows, cols, [3, 2, 0, 1, 2, 0])
    grad = torch.randn(4, 5, 3, 2, generator=rng, dtype=dtype)
    taps = (torch.rand(4, 3, 13, generator=rng, dtype=dtype), torch.rand(4, 2, 17, generator=rng, dtype=dtype))
    windows = (torch.tensor([[1, 4], [0, 5], [2, 2]]), torch.tensor([[0, 7], [3, 5]]))
    windows = tuple(w.to(torch.int32).expand(4, -1, -1).contiguous() for w in windows)
    fixed = (batch, level, *windows)
    # Bins that lie anywhere: 4 of them, each a run of 3 channels from its own first one.
    bins = (rows[:, None] + torch.arange(4, dtype=dtype)[None, :, None], cols[:, None].expand(-1, 4, -1).contiguous())
    base = torch.tensor([[0, 1, 2, 0]]).expand(4, -1)
    bin_taps = (torch.rand(4, 4, 13, generator=rng, dtype=dtype), torch.rand(4, 4, 17, generator=rng, dtype=dtype))
    bin_window = torch.tensor([[1, 4], [0, 5], [2, 2], [0, 7]]).to(torch.int32).expand(4, -1, -1).contiguous()
    bin_fixed = (batch, level, bin_window, bin_window.flip(1).contiguous(), base)
    bin_grad = torch.randn(4, 3, 4, generator=rng, dtype=dtype)
    # Free samples: 3 in each of 2 bins, low cells on the last row and column too.
    point_where = torch.rand(4, 2, 3, 2, generator=rng, dtype=dtype) * 16 - 2
    point_weights = torch.rand(4, 2, 3, generator=rng, dtype=dtype)
    point_taps = [torch.rand(4, 2, 3, 2, generator=rng, dtype=dtype) for _ in range(2)]
    low = torch.stack([torch.randint(n, (4, 2, 3), generator=rng, dtype=torch.int32) for n in (5, 7)], -1)
    point_grad = torch.randn(4, 5, 2, generator=rng, dtype=dtype)
    index = torch.randint(-1, 35, (4, 5, 3, 2), generator=rng, dtype=torch.int32)

    def wanted(*tensors):
        given = [t.clone().requires_grad_() for t in tensors]
        return given[0] if len(given) == 1 else given

    # Attention: 3 parts, some regions on the whole grid and some on none, one of them without cells of its own.
    biases = [torch.randn(2, 3, *x.shape[2:], generator=rng, dtype=dtype) for x in maps]
    logits = [torch.randn(4, 3, count, generator=rng, dtype=dtype) for count in (13, 17)]
    table = torch.tensor([[1, 4, 2, 6, 2, 3, 3], [0, 5, 0, 7, 1, 2, 0], [0, 0, 0, 0, 1, 1, 2], [2, 3, 4, 5, 1, 1, 1]])
    read = (wanted(*maps), wanted(*biases), *wanted(*logits), batch, level, table)
    attention_grad = torch.randn(4, 3, 5, generator=rng, dtype=dtype)
    toward = [torch.randn(t.shape, generator=rng, dtype=dtype) for t in (*logits, *maps, *biases)]

    return {
        "attention_pool": read,
        "attention_backward": (wanted(attention_grad), *read),
        "attention_second": (attention_grad, toward, maps, biases, *logits, batch, level, table),
        "grid_pool": (wanted(*maps), *axes),
        "grid_spread": (wanted(grad), *axes, shapes, False),
        "tap_pool": (wanted(*maps), *wanted(*taps), *fixed, [3, 2]),
        "tap_spread": (*wanted(*taps), wanted(grad), *fixed, [3, 2], shapes, True),
        "tap_rows": (wanted(*maps), wanted(taps[1]), wanted(grad), *fixed, [3, 2], 13),
        "tap_cols": (wanted(*maps), wanted(taps[0]), wanted(grad), *fixed, [3, 2], 17),
        "bin_pool": (wanted(*maps), batch, level, *bins, base, [1, 3, 0, 1, 2, 0]),
        "bin_spread": (wanted(bin_grad), batch, level, *bins, base, [1, 3, 0, 1, 2, 0], shapes, False),
        "bin_tap_pool": (wanted(*maps), *wanted(*bin_taps), *bin_fixed, [1, 3]),
        "bin_tap_spread": (*wanted(*bin_taps), wanted(bin_grad), *bin_fixed, [1, 3], shapes, True),
        "bin_tap_rows": (wanted(*maps), wanted(bin_taps[1]), wanted(bin_grad), *bin_fixed, [1, 3], 13),
        "bin_tap_cols": (wanted(*maps), wanted(bin_taps[0]), wanted(bin_grad), *bin_fixed, [1, 3], 17),
        "point_pool": (wanted(*maps), batch, level, point_where, point_weights, [2]),
        "point_spread": (wanted(point_grad), batch, level, point_where, point_weights, [2], shapes, False),
        "point_tap_pool": (wanted(*maps), *wanted(*point_taps), batch, level, low, [2]),
        "point_tap_spread": (*wanted(*point_taps), wanted(point_grad), batch, level, low, [2], shapes, True),
        "point_tap_rows": (wanted(*maps), wanted(point_taps[1]), wanted(point_grad), batch, level, low, [2], 13),
        "point_tap_cols": (wanted(*maps), wanted(point_taps[0]), wanted(point_grad), batch, level, low, [2], 17),
        "max_select": (wanted(*maps), *fixed),
        "chosen_pool": (wanted(*maps), batch, level, index, [1]),
        "chosen_spread": (wanted(grad), batch, level, index, [1], shapes, False),
    }


def registered() -> list[str]:
    names = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("roikit::")}
    return sorted(name.split("::")[1] for name in names)


def test_law_7_every_operator_is_checked(rng):
    roikit.RoIAlign(1), roikit.RoIPool(1)
    assert registered() == sorted(arguments_of_the_operators(rng))


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("name", sorted(arguments_of_the_operators(torch.Generator())))
def test_law_7_opcheck(name, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    operator = getattr(torch.ops.roikit, name).default
    arguments = arguments_of_the_operators(rng)[name]
    if backend == "reference":  # shapes and layouts: the registration is the same for every backend
        opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))
        return
    opcheck(operator, arguments)
    if isinstance(arguments[0], list):  # and channels-last
        last = [x.detach().contiguous(memory_format=torch.channels_last).requires_grad_() for x in arguments[0]]
        opcheck(operator, (last, *arguments[1:]))
