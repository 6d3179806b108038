"""No ratio for a wrong result: an operation's kernel against its definition, on small maps.

The laws are in the tests; this is law 6 for what is about to be timed: values and gradients of the
backend in use against the plain PyTorch reference, in float64 and in the type that is timed, in both layouts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import torch
from torch import Tensor

from .cases import Case
from .scenes import Scene


@contextlib.contextmanager
def reference() -> Iterator[None]:
    """The plain PyTorch definition, whatever the device."""
    before = os.environ.get("ROIKIT_BACKEND")
    os.environ["ROIKIT_BACKEND"] = "reference"
    try:
        yield
    finally:
        if before is None:
            del os.environ["ROIKIT_BACKEND"]
        else:
            os.environ["ROIKIT_BACKEND"] = before


def check(case: Case) -> str | None:
    """What is wrong with the operation of a case in its type, on its device; None where nothing is."""
    for dtype in dict.fromkeys(("float64", case.dtype)):
        for channels in (19, 70):  # fewer than a block, and more than one
            small = dataclasses.replace(case, rois=20, channels=channels, batch=2, dtype=dtype, quick=True, seed=1)
            scene = _odd(small.scene())
            for form in (torch.contiguous_format, torch.channels_last):
                wrong = _differs(small, scene, form)
                if wrong:
                    layout = "channels-last" if form == torch.channels_last else "NCHW"
                    return f"{wrong} of its kernel differs from the definition in {dtype}, {layout}"
    return None


def _odd(scene: Scene) -> Scene:
    """With a box of no size, one across the map's edge, one outside, one larger than the image, instead of four."""
    height, width = scene.image
    odd = [(5, 5, 5, 5), (width - 9, -20, width + 30, 15), (-90, -90, -60, -50), (-30, -30, width + 30, height + 30)]
    boxes = scene.boxes.clone()
    boxes[: len(odd), 1:] = torch.tensor(odd, dtype=boxes.dtype, device=boxes.device)
    return dataclasses.replace(scene, boxes=boxes)


def _differs(case: Case, scene: Scene, form: torch.memory_format) -> str | None:
    maps = [x.to(memory_format=form) for x in scene.maps]
    found = _values(case, scene, maps)
    # Half types are computed in float32 and rounded once; so is the expected value here, but for the rounding.
    half = case.torch_dtype in (torch.bfloat16, torch.float16)
    with reference():
        expected = _values(case, scene, [x.float() for x in maps] if half else maps)
    rounding = torch.finfo(case.torch_dtype).eps if half else 0.0
    for name, mine, exact in zip(("the output", *["the gradient"] * len(maps)), found, expected, strict=True):
        mine, exact = mine.double(), exact.double()
        scale = float(exact.abs().max())
        tolerance = 64 * torch.finfo(torch.float64 if case.dtype == "float64" else torch.float32).eps + rounding
        if mine.shape != exact.shape or not bool(((mine - exact).abs() <= tolerance * scale).all()):  # NaN: no
            return name
    return None


def _values(case: Case, scene: Scene, maps: list[Tensor]) -> list[Tensor]:
    """The output, and the gradient of each map."""
    leaves = [x.detach().clone().requires_grad_() for x in maps]
    out = case.of.ours(scene)(leaves)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(case.torch_dtype)
    upstream = upstream.to(out.device, out.dtype)
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]
