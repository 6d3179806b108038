"""Law 6: each kernel against the reference, both judged by float64: of every sum with every rule."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest
import torch
from listing import CHANNELS, SCALE, as_rois, dtypes, features, rois
from sums import SUMS, every_sum, smooth_sums, sums_and_extractors

from roikit.extractors import PSRoIAlign, RoIAlign, RoIPool

pytestmark = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")

SIZES = [(1, 1), (5, 1), (1, 9), (13, 17), (8, 31)]
# Both sum in the same precision but not in the same order (fused multiply-adds, blocks of channels), so either may be
# the luckier one in a single value: a quarter more of the root mean square is the law, twice the largest one.
TYPICAL, LARGEST = 1.25, 2.0


def run(backend, monkeypatch, extractor, x, boxes, weight=None, box_gradients=False):
    """Values, then the gradients and second-order products that ``weight`` [R, C, h, w] asks for, on a backend."""
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    x = x.detach().clone().requires_grad_(weight is not None)
    boxes = boxes.detach().clone().requires_grad_(box_gradients)
    out = extractor(x, as_rois(boxes) if box_gradients else boxes, SCALE)
    if weight is None:
        return [out]
    inputs = [x, boxes] if box_gradients else [x]
    upstream = weight.to(out.dtype).requires_grad_()
    first = torch.autograd.grad(out, inputs, upstream, create_graph=True)
    directions = [torch.cos(torch.arange(g.numel()).double()).to(g.dtype).reshape(g.shape) for g in first]
    if box_gradients:
        directions[1][:, 0] = 0  # the batch index
    second = torch.autograd.grad(first, [upstream, *inputs], directions, allow_unused=True)
    return [out, *first, *(s for s in second if s is not None)]


def fixed_rois(count: int, height: int, width: int, inside: bool = False) -> torch.Tensor:
    """The same RoIs in every run, ``Tensor[R, 5]``, spread evenly over places and sizes. None lies so near to a step of
    a rule, where two neighbouring numbers rightly give different features, that float32 falls on its other side."""
    at = (torch.arange(1, count + 1)[:, None].double() * torch.tensor([0.7548, 0.5698, 0.6823, 0.4656])) % 1
    size = torch.tensor([(width - 1) / SCALE[1], (height - 1) / SCALE[0]] * 2, dtype=torch.float64)
    at = (at if inside else at * 1.6 - 0.3) * size
    corners = torch.cat([torch.minimum(at[:, :2], at[:, 2:]), torch.maximum(at[:, :2], at[:, 2:])], 1)
    return torch.cat([torch.arange(count)[:, None] % 2, corners], 1).float().double()


def no_worse(kernel, reference, truth, dtype):
    for found, other, exact in zip(kernel, reference, truth, strict=True):
        found, other, exact = found.detach(), other.detach(), exact.detach()
        assert found.dtype == other.dtype and found.shape == other.shape
        assert bool(torch.isfinite(found).all()), "a value was never written, or is wrong"
        mine, its = (found.double() - exact).abs(), (other.double() - exact).abs()
        floor = torch.finfo(dtype).eps * float(exact.abs().max())  # one rounding of the largest value
        assert float(mine.square().mean().sqrt()) <= TYPICAL * float(its.square().mean().sqrt()) + 0.1 * floor
        assert float(mine.max()) <= LARGEST * float(its.max()) + floor


@every_sum
def test_law_6_kernels_equal_the_reference_in_float64(variant, rng, poisoned, monkeypatch):
    extractor = variant.make()
    for size in SIZES:
        x = variant.features(rng, height=size[0], width=size[1])
        boxes = rois(rng, height=size[0] + 1, width=size[1] + 1)
        weight = torch.randn(len(boxes), CHANNELS, *extractor.output_size, generator=rng, dtype=torch.float64)
        given = (monkeypatch, extractor, x, boxes, weight, variant.smooth)
        for found, expected in zip(run("numba", *given), run("reference", *given), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


LOW = [
    torch.float32,
    pytest.param(torch.bfloat16, marks=pytest.mark.slow),
    pytest.param(torch.float16, marks=pytest.mark.slow),
]


@every_sum
@pytest.mark.parametrize("dtype", LOW, ids=str)
def test_law_6_kernels_are_no_less_exact_than_the_reference(variant, dtype, rng, poisoned, monkeypatch):
    extractor = variant.make((3, 3), 25, trained=dtype == torch.float32)  # a half type's logits are other logits
    x = variant.features(rng, dtype, channels=25, grid=(3, 3), height=23, width=19)
    boxes = fixed_rois(40, 23, 19)
    weight = torch.randn(len(boxes), 25, *extractor.output_size, generator=rng).to(dtype)
    kernel = run("numba", monkeypatch, extractor, x, boxes, weight)
    reference = run("reference", monkeypatch, extractor, x, boxes, weight)
    truth = run("reference", monkeypatch, extractor, x.double(), boxes, weight.double())
    no_worse(kernel, reference, truth, dtype)


@smooth_sums
@pytest.mark.parametrize("dtype", LOW, ids=str)
def test_law_6_box_gradients_are_no_less_exact_than_the_references(variant, dtype, rng, poisoned, monkeypatch):
    extractor = variant.make((3, 3), 25, trained=dtype == torch.float32)
    x = variant.features(rng, dtype, channels=25, grid=(3, 3), height=23, width=19)
    boxes = fixed_rois(20, 23, 19, inside=True)
    weight = torch.randn(len(boxes), 25, *extractor.output_size, generator=rng).to(dtype)
    kernel = run("numba", monkeypatch, extractor, x, boxes, weight, True)[:3]
    reference = run("reference", monkeypatch, extractor, x, boxes, weight, True)[:3]
    truth = run("reference", monkeypatch, extractor, x.double(), boxes, weight.double(), True)[:3]
    no_worse(kernel, reference, truth, dtype)


@every_sum
@dtypes
def test_law_6_backwards_are_deterministic_for_any_number_of_threads(
    variant, dtype, rng, threads, monkeypatch, poisoned
):
    extractor = variant.make(channels=35)
    x = variant.features(rng, dtype, batch=3, channels=35)
    boxes = rois(rng, count=90, batch=3).to(dtype)
    weight = torch.randn(90, 35, *extractor.output_size, generator=rng).to(dtype)
    box_gradients = variant.smooth
    expected = None
    for count in (1, 2, 3, 3):
        threads(count)
        found = run("numba", monkeypatch, extractor, x, boxes, weight, box_gradients)
        expected = expected or found
        for a, b in zip(found, expected, strict=True):
            assert torch.equal(a, b), f"{count} threads give other bits"


@dtypes
def test_law_6_more_channels_than_a_block_and_more_samples_than_cells(dtype, rng, poisoned, monkeypatch):
    x = features(rng, dtype, batch=1, channels=300, height=4, width=3)
    boxes, extractor = fixed_rois(8, 4, 3), RoIAlign((2, 2), sampling_ratio=23)
    boxes[:, 0] = 0
    weight = torch.randn(len(boxes), 300, 2, 2, generator=rng).to(dtype)
    kernel = run("numba", monkeypatch, extractor, x, boxes, weight)
    truth = run("reference", monkeypatch, extractor, x.double(), boxes, weight.double())
    tolerance = {torch.float32: 2e-6, torch.float64: 1e-13}[dtype]
    for found, exact in zip(kernel, truth, strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=tolerance * float(exact.abs().max() + 1))


def without_factors(weights):
    """The weights without factors on the bins, which are a second rounding."""
    return dataclasses.replace(weights, amplitude=None) if getattr(weights, "amplitude", None) is not None else weights


def in_half_types(rows):
    """By default one type, of the sum that most methods are and of what mixes its bins: a type is a compilation."""
    some = {"sum Grid-rule=hat", "GrammarPool", "SemanticRoIAlign", "MaskedRoIPool", "LearnedRegionFeatures"}
    for row in rows:
        for dtype in (torch.bfloat16, torch.float16):
            default = dtype == torch.bfloat16 and any(row.id == name or row.id.startswith(f"{name}-") for name in some)
            marks = row.marks if default else [*row.marks, pytest.mark.slow]
            yield pytest.param(*row.values, dtype, id=f"{row.id}-{dtype}", marks=marks)


@pytest.mark.parametrize(("variant", "dtype"), list(in_half_types(sums_and_extractors.args[1])))
def test_law_6_half_types_are_rounded_once(variant, dtype, rng, poisoned, monkeypatch):
    """The kernel's half-precision result is its float32 result, rounded: sums are made in float32."""
    extractor, boxes = variant.make(trained=False, given=False), rois(rng)
    x = variant.features(rng, dtype)
    expected, found = (without_factors(extractor.weights(given, boxes, SCALE)).pool(given) for given in (x.float(), x))
    assert torch.equal(found, expected.to(dtype))
    leaf = x.clone().requires_grad_()
    extractor(leaf, boxes, SCALE).float().square().sum().backward()
    assert leaf.grad.dtype == dtype and bool(torch.isfinite(leaf.grad).all())


@pytest.mark.slow
@smooth_sums
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_law_6_boxes_of_half_types_have_the_same_gradient(variant, dtype, rng, poisoned):
    """Weights and sums are float32 whatever the features are: with the same features so is the gradient to boxes."""
    if variant.learns:
        return  # whose weights depend on the features
    extractor, boxes = variant.make(trained=False, given=False), rois(rng).float()
    x = variant.features(rng, dtype)
    found = []
    for given in (x, x.float()):
        leaf = boxes.clone().requires_grad_()
        out = extractor(given, as_rois(leaf), SCALE)
        upstream = torch.cos(torch.arange(out.numel())).reshape(out.shape).to(dtype)
        found.append(torch.autograd.grad(out, leaf, upstream.to(out.dtype))[0])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-4 * float(found[1].abs().max()))


@sums_and_extractors
def test_law_6_autocast_changes_neither_sums_nor_boxes(variant, rng, monkeypatch):
    """Features may arrive in a half type, but nothing is rounded to one here; autocast belongs to layers."""
    extractor, boxes = variant.make(trained=False), rois(rng).float()
    x = variant.features(rng, torch.float32).requires_grad_()
    for backend in ("numba", "reference") if variant in SUMS else ("numba",):
        monkeypatch.setenv("ROIKIT_BACKEND", backend)
        for given in (boxes, boxes.clone().requires_grad_()):
            expected = extractor(x, given, SCALE)
            with torch.autocast("cpu", torch.bfloat16):
                found = extractor(x, given, SCALE)
                with torch.autocast("cpu", enabled=not variant.learns):  # a layer's own derivative would be rounded
                    (gradient,) = torch.autograd.grad(found.sum(), x)
                _, tangent = torch.func.jvp(lambda x: extractor(x, boxes, SCALE), (x.detach(),), (x.detach(),))
            assert found.dtype == torch.float32 == tangent.dtype and torch.equal(found, expected)
            assert torch.equal(gradient, torch.autograd.grad(expected.sum(), x)[0])
        _, exact = torch.func.jvp(lambda x: extractor(x, boxes, SCALE), (x.detach(),), (x.detach(),))
        torch.testing.assert_close(tangent, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
def test_law_6_of_equal_maxima_the_first_cell_wins(backend, form, monkeypatch):
    """In raster order, whatever the width of a bin: kernels compare four cells at a time, and the channels a vector."""
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    x = torch.zeros(1, 37, 12, 20)
    x[:, 1::2, 7, 9] = x[:, 1::2, 7, 11] = x[:, 1::2, 9, 4] = 2.0  # of odd channels; the others are the same everywhere
    x = x.contiguous(memory_format=form)
    for right in range(9, 18):
        box = torch.tensor([[0.0, 3.0, 4.0, right, 10.0]])  # columns 3 to right, rows 4 to 10
        index = RoIPool(1).weights(x, box).index[0, :, 0, 0]
        assert set(index[::2].tolist()) == {4 * 20 + 3}
        assert set(index[1::2].tolist()) == {7 * 20 + 9}


@pytest.mark.large
def test_law_6_offsets_are_64_bit():
    """A map of more than 2**31 values (8 GB of addresses; only the pages that are touched take memory)."""
    x = torch.zeros(1, 2**11, 2**11 + 1, 2**9).permute(0, 3, 1, 2)  # channels-last: pooled as it lies, not copied
    x[:, -1, -4:, -4:] = 7.0
    box = torch.tensor([[0.0, 2**11 - 3, 2**11 - 4, 2**11 + 1, 2**11]])
    assert x.numel() > 2**31
    assert float(RoIAlign(1)(x, box)[0, -1]) == 7.0
    assert float(RoIPool(1)(x, box - torch.tensor([0.0, 0, 0, 1, 1]))[0, -1]) == 7.0
    x = torch.zeros(1, 2**9, 2**11, 2**11 + 1)  # NCHW: one RoI is read from it as it lies
    x[0, -1, -4:, -4:] = 7.0
    assert float(RoIAlign(1)(x, box)[0, -1]) == 7.0
    assert float(RoIPool(1)(x[:, -1:], box - torch.tensor([0.0, 0, 0, 1, 1]))[0, -1]) == 7.0
    assert float(PSRoIAlign(1)(x, box)[0, -1]) == 7.0


@pytest.mark.large
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_law_6_outputs_of_many_values(form):
    """More than 2**31 of them, 4 GB in bfloat16."""
    x = torch.randn(1, 256, 12, 14).bfloat16().to(memory_format=form)
    count = 2**31 // (256 * 49) + 50
    boxes = torch.tensor([[0.0, 1, 2, 9, 8]]).repeat(count, 1)
    boxes[-1] = torch.tensor([0.0, 3, 1, 13, 11])
    out = RoIAlign(7)(x, boxes)
    assert out.numel() > 2**31
    assert torch.equal(out[-1:], RoIAlign(7)(x, boxes[-1:]))
    assert torch.equal(out[-2], out[0])
