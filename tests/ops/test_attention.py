"""The attention operators: against the definition written out, to the third derivative; and what they refuse."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.overrides import TorchFunctionMode

from roikit.boxes import Rois
from roikit.sums.attention import Samples, attention_pool
from roikit.sums.attention.chunks import Chunk, plan

R, K, C = 5, 3, 4
SHAPES = [(4, 5), (3, 2)]
# v0, v1, u0, u1, steps inside, step outside: a row beyond the smaller map's, all of the map, nothing inside, one cell.
TABLE = torch.tensor(
    [[0, 2, 1, 3, 1, 1, 2], [1, 3, 0, 2, 2, 1, 0], [0, 4, 0, 5, 3, 2, 2], [0, 0, 0, 0, 1, 1, 1], [3, 4, 4, 5, 1, 1, 3]]
)
LEFT_OUT = ((1, 0, 1), (2, 1, 0), (2, 1, 1))  # (RoI, axis, row or column) whose logits are -∞


def scene(rng, levels, biased):
    """(rows, cols, *maps, *bias) as leaves, and the RoIs."""
    maps = [torch.randn(2, C, *size, generator=rng, dtype=torch.float64) for size in SHAPES[:levels]]
    bias = [torch.randn(2, K, *size, generator=rng, dtype=torch.float64) for size in SHAPES[:levels]] if biased else []
    rows, cols = (torch.randn(R, K, count, generator=rng, dtype=torch.float64) for count in SHAPES[0])
    rois = Rois(torch.zeros(R, 4), torch.tensor([0, 1, 1, 0, 0]), torch.tensor([0, 1, 0, 1, 0]) % levels)
    return [t.requires_grad_() for t in (rows, cols, *maps, *bias)], rois


def pooled(rois, levels, sampled):
    def run(rows, cols, *rest):
        logits = [rows, cols]
        for r, axis, i in LEFT_OUT:
            hidden = torch.zeros(logits[axis].shape, dtype=torch.bool)
            hidden[r, :, i] = True
            logits[axis] = logits[axis].masked_fill(hidden, -torch.inf)
        samples = Samples(TABLE) if sampled else None
        return attention_pool(rest[:levels], rois, *logits, rest[levels:] or None, samples)

    return run


def written_out(rois, levels, sampled):
    """The same from a loop over RoIs, each with its own map and its own list of cells."""

    def run(rows, cols, *rest):
        out = []
        for r in range(R):
            image, level = int(rois.batch[r]), int(rois.level[r])
            height, width = SHAPES[level]
            cells = [(v, u) for v in range(height) for u in range(width)]
            if sampled:
                v0, v1, u0, u1, sv, su, so = TABLE[r].tolist()
                hole = {c for c in cells if v0 <= c[0] < v1 and u0 <= c[1] < u1}
                mine = {(v, u) for v, u in hole if (v - v0) % sv == 0 and (u - u0) % su == 0}
                beyond = {(v, u) for v, u in cells if so and v % so == 0 and u % so == 0 and (v, u) not in hole}
                cells = sorted(mine | beyond)
            hidden = {(axis, i) for s, axis, i in LEFT_OUT if s == r}
            cells = [(v, u) for v, u in cells if (0, v) not in hidden and (1, u) not in hidden]
            if not cells:
                out.append(rows.new_zeros(C, K))
                continue
            v, u = torch.tensor(cells).unbind(1)
            logits = rows[r][:, v] + cols[r][:, u]
            if len(rest) > levels:
                logits = logits + rest[levels + level][image][:, v, u]
            out.append(rest[level][image][:, v, u] @ torch.softmax(logits, 1).T)
        return torch.stack(out)

    return run


settings = pytest.mark.parametrize("levels", [1, 2])
biased = pytest.mark.parametrize("biased", [True, False])
sampled = pytest.mark.parametrize("sampled", [True, False])


@settings
@biased
@sampled
@pytest.mark.parametrize("backend", ["", "reference"])
def test_three_derivatives(levels, biased, sampled, backend, rng, monkeypatch):
    if backend:
        monkeypatch.setenv("ROIKIT_BACKEND", backend)
    inputs, rois = scene(rng, levels, biased)
    results = []
    for function in (pooled(rois, levels, sampled), written_out(rois, levels, sampled)):
        out = function(*inputs)
        derivatives = [out]
        for wave in (torch.sin, torch.cos, torch.sin):
            loss = (
                sum(wave(d * 3).sum() for d in derivatives[-len(inputs) :]) if len(derivatives) > 1 else wave(out).sum()
            )
            derivatives += torch.autograd.grad(loss, inputs, create_graph=True, materialize_grads=True)
        results.append(derivatives)
    for mine, its in zip(*results, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-11)


@settings
@sampled
def test_what_runs_on_a_gpu_gives_the_same(levels, sampled, rng, monkeypatch):
    """There no value is looked at, and a chunk's sums go to their cells at once."""
    inputs, rois = scene(rng, levels, True)
    results = []
    for elsewhere in (False, True):
        if elsewhere:
            monkeypatch.setattr(Chunk, "add", Chunk.add_at_once)
            monkeypatch.setattr(Chunk, "bounded", lambda *_: True)
        out = pooled(rois, levels, sampled)(*inputs)
        first = torch.autograd.grad(out.sin().sum(), inputs, create_graph=True)
        results.append([out, *first, *torch.autograd.grad(sum(g.cos().sum() for g in first), inputs)])
    for mine, its in zip(*results, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-12, atol=1e-12)


@sampled
def test_a_plan_reads_once_however_many_chunks(sampled, monkeypatch):
    """Each time would wait for a GPU."""

    class Seen(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            names.append(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    monkeypatch.setattr("roikit.sums.attention.chunks.BUDGET", 1)  # a chunk for each RoI
    monkeypatch.setattr("roikit.sums.indices.check", lambda *_: None)  # it looks at what has been read
    batch, level = torch.tensor([0, 1, 1, 0, 0]), torch.tensor([0, 1, 0, 1, 0])
    names: list[str] = []
    with Seen():
        chunks = list(plan(batch, level, TABLE if sampled else None, K, 2, SHAPES))
    assert len(chunks) == R and sorted(int(r) for chunk in chunks for r in chunk.which) == list(range(R))
    waits = [n for n in names if n in ("cpu", "item", "__bool__", "__int__", "__float__", "new_tensor", "nonzero")]
    assert waits == ["cpu"]
    assert names.count("tensor") == (3 if sampled else 1)  # the RoIs' order; two that ``constant`` keeps on a GPU


@sampled
def test_finite_differences(sampled, rng):
    torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))
    inputs, rois = scene(rng, 2, True)
    function = pooled(rois, 2, sampled)
    assert gradcheck(function, inputs, fast_mode=True) and gradgradcheck(function, inputs, fast_mode=True)


@sampled
def test_the_number_of_threads_changes_no_bit(sampled, rng, threads, monkeypatch):
    monkeypatch.setattr("roikit.sums.attention.chunks.BUDGET", 1 << 17)  # several chunks
    x, bias = (torch.randn(1, n, 38, 63, generator=rng) for n in (64, 9))
    rows, cols = (torch.randn(40, 9, n, generator=rng).requires_grad_() for n in (38, 63))
    x.requires_grad_(), bias.requires_grad_()
    rois = Rois(torch.zeros(40, 4), torch.zeros(40, dtype=torch.int64), torch.zeros(40, dtype=torch.int64))
    corner = torch.randint(0, 20, (40, 2), generator=rng)
    table = torch.cat([corner[:, :1], corner[:, :1] + 17, corner[:, 1:], corner[:, 1:] + 23], 1)
    samples = Samples(torch.cat([table, torch.tensor([[2, 2, 4]]).expand(40, -1)], 1)) if sampled else None
    found = []
    for count in (1, 2, 3):
        threads(count)
        out = attention_pool([x], rois, rows, cols, [bias], samples)
        found.append([out, *torch.autograd.grad(out.square().sum(), [rows, cols, x, bias])])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)


def test_strong_logits_do_not_overflow(rng):
    """Rows and columns whose largest values do not coincide, 1e4 apart."""
    rows, cols = torch.tensor([[[0.0, 1e4]]]), torch.tensor([[[1e4, 0.0]]])
    bias = torch.tensor([[[[0.0, 0.0], [-3e4, 1.0]]]])
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    rois = Rois.of([torch.zeros(1, 4)], 1)
    assert attention_pool([x], rois, rows, cols, [bias]).item() == pytest.approx(  # 1e4 and 1e4 + 1 are left
        (1 + 4 * torch.e) / (1 + torch.e), rel=1e-3
    )


def test_a_region_without_cells_gives_0_and_no_gradient(rng):
    x = torch.randn(1, 2, 3, 3, generator=rng).requires_grad_()
    rows, cols = torch.full((1, 1, 3), -torch.inf), torch.zeros(1, 1, 3)
    rois = Rois.of([torch.zeros(1, 4)], 1)
    for samples in (None, Samples(torch.tensor([[0, 0, 0, 0, 1, 1, 0]]))):
        logits = rows if samples is None else torch.zeros_like(rows)
        out = attention_pool([x], rois, logits, cols, samples=samples)
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert not out.any() and not gradient.any()


def test_wrong_shapes():
    x, rois = torch.zeros(1, 2, 3, 4), Rois.of([torch.zeros(2, 4)], 1)
    rows, cols = torch.zeros(2, 5, 3), torch.zeros(2, 5, 4)
    for given, message in (
        (([x], rois, rows[:, :, :2], cols), r"rows must be a Tensor\[2, K, 3\]"),
        (([x], rois, rows, cols[:1]), r"cols must be a Tensor\[2, K, 4\]"),
        (([x], rois, rows[:, :4], cols), "rows have 4 parts and cols 5"),
        (([x], rois, rows, cols, [x, x]), "1 feature maps need as many bias maps, but there are 2"),
        (([x], rois, rows, cols, [x]), r"bias\[0\] must be .* \[1, 5, 3, 4\], but its shape is \[1, 2, 3, 4\]"),
        (([x], rois, rows, cols, None, Samples(torch.zeros(2, 7))), r"int64 Tensor\[2, 7\], but it is torch.float32"),
        (([x], rois, rows, cols, None, Samples(torch.tensor([[0] * 7, [0, 3, -1, 2, 1, 1, 1]]))), "RoI 0: .* below 1"),
        (([x], rois, rows, cols, None, Samples(torch.tensor([[0, 3, -1, 2, 1, 1, 1]] * 2))), "RoI 0: .*negative entry"),
    ):
        with pytest.raises(ValueError, match=message):
            attention_pool(*given)


@pytest.mark.parametrize("backend", ["", "reference"])
def test_unchecked_samples_read_nothing_outside_the_map(backend, rng, unchecked, monkeypatch):
    if backend:
        monkeypatch.setenv("ROIKIT_BACKEND", backend)
    x, rois = torch.rand(1, 2, 3, 4, generator=rng).requires_grad_(), Rois.of([torch.zeros(3, 4)], 1)
    rows, cols = torch.zeros(3, 1, 3), torch.zeros(3, 1, 4)
    table = torch.tensor([[-5, 99, -9, 99, 0, -1, 1], [2**40, 2**41, 0, 4, 1, 1, 0], [1, 2, 3, 2**60, 2**59, 1, -1]])
    out = attention_pool([x], rois, rows, cols, samples=Samples(table))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert bool(torch.isfinite(gradient).all())
    expected = torch.stack([x.mean((2, 3))[0], torch.zeros(2), x[0, :, 1, 3]])
    torch.testing.assert_close(out[:, :, 0], expected)


@sampled
def test_inference_mode_and_threads_of_the_caller(sampled, rng, threads):
    """Work that goes to other threads takes the caller's mode with it; several callers do not disturb each other."""
    threads(2)
    x = torch.rand(1, 8, 38, 63, generator=rng)
    rows, cols = (torch.randn(60, 9, n, generator=rng) for n in (38, 63))
    table = torch.tensor([[3, 20, 5, 40, 2, 3, 4]]).expand(60, -1)
    samples = Samples(table) if sampled else None
    rois = Rois(torch.zeros(60, 4), torch.zeros(60, dtype=torch.int64), torch.zeros(60, dtype=torch.int64))
    expected = attention_pool([x], rois, rows, cols, samples=samples)

    def call(_):
        with torch.inference_mode():
            return attention_pool([x], rois, rows, cols, samples=samples)

    with ThreadPoolExecutor(3) as callers:
        for found in [call(0), *callers.map(call, range(12))]:
            assert found.is_inference() and torch.equal(found, expected)
