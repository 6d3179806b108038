"""Inputs of the operators, good and bad, and what must come of them.

A value equal to the plain PyTorch definition's, forward and backward, finite where features and boxes are; or one
`ValueError` or `TypeError`, the same from both, that says which argument it was. Nothing else: no other error, no
warning, no crash.
"""

from __future__ import annotations

import dataclasses
import os
import re
import warnings
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from hypothesis import strategies as st

from roikit import ops
from roikit.sums.maps import sum_dtype

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
OTHERS = (torch.int64, torch.bool, torch.complex64)
LAYOUTS = ("plain", "channels_last", "every other", "expanded", "turned", "offset")
NAMES = r"input|features|maps?\b|box|RoI|output_size|spatial_scale|sampling_ratio|offset|modulation|gamma|group_size"
NAMES += r"|part|trans_std|channels|angle|image|aligned|clockwise"
SPECIAL = (0.0, -0.0, 1e-45, 1e-30, 0.5, 1.0, 7.0, 1e4, 1e9, -1e9, 1e30, -1e30, 3.4e38, float("inf"), float("nan"))
ODD = (0, -1, 2.5, True, None, "two", (1, 2, 3), (2, 0), (), [3, 2], (2, 2.0))
SCALES = (1.0, 0.5, 1 / 16, 0.3, (0.5, 0.25), 1e-20, 1e20, 0, -1.0, float("nan"), float("inf"), None, "x", (1.0,), 2)


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of an operator, small enough to be printed."""

    operator: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    layout: str
    boxes: tuple[tuple[float, ...], ...]
    form: str  # how the boxes are given
    output_size: Any
    scale: Any
    options: tuple[tuple[str, Any], ...]
    seed: int

    def maps(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.randn(self.shape, generator=generator)
        x = (x > 0) if self.dtype == torch.bool else x.to(self.dtype)
        if x.ndim != 4:
            return x
        match self.layout:
            case "channels_last":
                return x.contiguous(memory_format=torch.channels_last)
            case "every other":
                return torch.stack([x, x.flip(3)], 4).flatten(3)[..., ::2]
            case "expanded":
                return x[:, :1].expand(x.shape)
            case "turned":
                return x.transpose(2, 3).contiguous().transpose(2, 3)
            case "offset":
                return torch.cat([x, x])[x.shape[0] :]
        return x

    def given(self) -> Any:
        """The boxes in the form that is asked for."""
        images = self.shape[0] if self.shape else 1
        images = max(1, images)
        columns = 6 if self.operator == "roi_align_rotated" else 5
        rows = torch.tensor(self.boxes, dtype=torch.float64).reshape(-1, 5)[:, : columns - 1]
        batch = torch.arange(len(rows), dtype=torch.float64)[:, None] % images
        match self.form:
            case "list":
                return [rows[batch[:, 0] == image].float() for image in range(images)]
            case "float64":
                return torch.cat([batch, rows], 1)
            case "bfloat16":
                return torch.cat([batch, rows], 1).bfloat16()
            case "strided":
                return torch.cat([batch, rows], 1).float().repeat_interleave(2, 1)[:, ::2]
            case "batch too large":
                return torch.cat([batch + images, rows], 1).float()
            case "batch a fraction":
                return torch.cat([batch + 0.5, rows], 1).float()
            case "too few columns":
                return rows[:, :3].float()
            case "integers":
                return torch.cat([batch, rows.nan_to_num(0).clamp(-9, 9)], 1).long()
            case "list too short":
                return [rows.float()] * (images - 1)
            case "none":
                return None
        return torch.cat([batch, rows], 1).float()

    def run(self, backend: str) -> tuple[Any, ...]:
        """What comes of it: ("value", output, gradient), or ("error", kind, message)."""
        os.environ["ROIKIT_BACKEND"] = backend
        x = self.maps()
        if x.dtype.is_floating_point:
            x.requires_grad_()
        function: Callable = getattr(ops, self.operator)
        options = {name: self._tensor(name, value) for name, value in self.options}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                out = function(x, self.given(), output_size=self.output_size, spatial_scale=self.scale, **options)
            except (ValueError, TypeError) as error:
                return "error", type(error), str(error)
            if x.numel() and out.requires_grad:
                (gradient,) = torch.autograd.grad(out.sum(), x, allow_unused=True)
                return "value", out.detach(), gradient
        return "value", out.detach(), None

    def _tensor(self, name: str, value: Any) -> Any:
        """`offset` and `modulation` are made of (shape, largest value)."""
        if name not in ("offset", "modulation") or value is None:
            return value
        shape, largest = value
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randn(shape, generator=generator).clamp(-2, 2) * largest


def check(call: Call) -> None:
    """Assert what must come of a call."""
    found, wanted = call.run("numba"), call.run("reference")
    assert found[0] == wanted[0], (found, wanted)
    if found[0] == "error":
        assert found[1:] == wanted[1:], (found, wanted)
        assert re.search(NAMES, found[2]), f"it does not say what was wrong: {found[2]}"
        return
    tolerance = {torch.float64: 1e-10, torch.float32: 2e-4, torch.bfloat16: 0.05, torch.float16: 0.01}[call.dtype]
    for which, one, other in zip(("values", "gradients"), found[1:], wanted[1:], strict=True):
        assert (one is None) == (other is None), which
        if one is None:
            continue
        assert one.shape == other.shape and one.dtype == other.dtype, (which, one.shape, other.shape)
        if dict(call.options).get("offset"):  # an infinite move is NaN
            finite = one.isfinite(), other.isfinite()
            if which == "gradients":  # the definition's NaN times the 0 of other cells is NaN there too
                seen = [of_cells.flatten(1).all(1) for of_cells in finite]
                one, other = (g.where(finite[0] & finite[1], 0.0) for g in (one, other))
            else:
                seen = list(finite)
            assert torch.equal(*seen), f"{which} that are not finite in one of the two"
        else:
            assert one.isfinite().all(), f"{which} of the kernel that are not finite"
            assert other.isfinite().all(), f"{which} of the definition that are not finite"
        largest = float(other.double().nan_to_num(0.0, 0.0, 0.0).abs().max()) if other.numel() else 0.0
        # Features are about 1: a mean of some over a bin of 1e7 cells is less than their own rounding. A gradient adds
        # bins'.
        least = max(1e-3 * tolerance, 4 * torch.finfo(sum_dtype(call.dtype)).eps)
        least *= 1 if which == "values" else found[1].numel()
        torch.testing.assert_close(one, other, rtol=tolerance, atol=max(tolerance * largest, least), equal_nan=True)


def check_family(call: Call, relatives: int) -> int:
    """Check a call and so many like it, made in a tenth of the time: other numbers, types and layouts at random, the
    same operator, sizes and options. How many were checked."""
    check(call)
    random = Random(repr(call))
    for _ in range(relatives):
        one = _relative(call, random)
        try:
            check(one)
        except Exception as error:
            error.add_note(f"of its relative {one!r}")
            raise
    return 1 + relatives


def _relative(call: Call, random: Random) -> Call:
    def moved(value: float) -> float:
        match random.randrange(8):
            case 0:
                return random.choice(SPECIAL[:12])
            case 1:
                return round(random.uniform(-1e3, 1e3), 3)
            case 2 | 3:
                return value
        return random.randrange(-16, 49) / 4

    boxes = tuple(tuple(map(moved, box)) for box in call.boxes)
    dtype = random.choice(FLOATS) if call.dtype in FLOATS else call.dtype
    seed = random.randrange(10**6)
    return dataclasses.replace(call, boxes=boxes, dtype=dtype, layout=random.choice(LAYOUTS), seed=seed)


@st.composite
def calls(draw: Callable) -> Call:
    """Mostly good ones: bad values are rare enough for most calls to reach a kernel."""
    bad = draw(st.integers(0, 9)) == 0
    operator = draw(st.sampled_from(ops.__all__))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    images, rois = draw(st.integers(1, 3)), draw(st.integers(0, 6))
    size: Any = draw(st.sampled_from([1, 2, (2, 1), (1, 3), 3, 7]))
    scale: Any = draw(st.sampled_from(SCALES[:5]))
    high, wide = size if isinstance(size, tuple) else (size, size)
    grouped = operator in ("ps_roi_align", "ps_roi_pool")
    channels = draw(st.integers(1, 3)) * (high * wide if grouped else 1)
    dtype = draw(st.sampled_from(FLOATS))
    usual = st.floats(-4, 12, width=32).map(lambda v: round(v * 4) / 4)
    coordinate = st.one_of(usual, st.floats(-1e3, 1e3, width=32), st.sampled_from(SPECIAL[: None if bad else 13]))
    boxes = tuple(tuple(draw(coordinate) for _ in range(5)) for _ in range(rois))
    form = draw(st.sampled_from(["plain", "list", "float64", "strided", "bfloat16"]))
    shape: tuple[int, ...] = (images, channels, height, width)
    options = draw(_options(operator, rois, high, wide))
    if bad:
        match draw(st.integers(0, 6)):
            case 0:
                size = draw(st.sampled_from(ODD))
            case 1:
                scale = draw(st.sampled_from(SCALES))
            case 2:
                form = draw(st.sampled_from(FORMS))
            case 3:
                shape = draw(st.sampled_from([shape[1:], (*shape, 1), (0, *shape[1:]), (*shape[:2], 0, width), ()]))
            case 4:
                dtype = draw(st.sampled_from(OTHERS))
            case 5 if options:
                name = draw(st.sampled_from([name for name, _ in options]))
                wrong = ((1, 2, 3), 1.0) if name in ("offset", "modulation") else draw(st.sampled_from(ODD))
                options = tuple((key, wrong if key == name else value) for key, value in options)
    seed = draw(st.integers(0, 9))
    return Call(operator, shape, dtype, draw(st.sampled_from(LAYOUTS)), boxes, form, size, scale, options, seed)


FORMS = ("batch too large", "batch a fraction", "too few columns", "integers", "list too short", "none")


@st.composite
def _options(draw: Callable, operator: str, rois: int, high: int, wide: int) -> tuple[tuple[str, Any], ...]:
    ratio = ("sampling_ratio", draw(st.sampled_from([-1, 0, 1, 2, 5])))
    largest = draw(st.sampled_from([0.0, 1.0, 20.0, 1e9]))
    offset = draw(st.booleans())
    match operator:
        case "roi_align" | "roi_align_rotated":
            return ratio, ("aligned", draw(st.booleans()))
        case "ps_roi_align":
            return (ratio,)
        case "deform_roi_pool":
            moved = (("offset", ((rois, 2, high, wide), largest)),) if offset else ()
            faded = (("modulation", ((rois, high, wide), 1.0)),) if draw(st.booleans()) else ()
            return (("sampling_ratio", draw(st.sampled_from([1, 2, 5]))), ("gamma", 0.1), *moved, *faded)
        case "deform_ps_roi_pool":
            moved = (("offset", ((rois, 2, high, high), largest)),) if offset else ()
            return ("group_size", 1), ("sample_per_part", draw(st.integers(1, 4))), *moved
    return ()
