"""A kernel's values and derivatives against the reference's, both judged by float64."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

# As in law 6: in another order of sums either may be the luckier one. Of n values the ratio of two root mean squares
# that should be alike spreads by 1/√n, and n is small here: SPREADS of that are allowed besides. In float32 a few
# values may all be closer than a rounding of the largest one, by luck: so many ROUNDINGS are no fault.
# A half type's own rounding is the larger part of both errors, and leaves less to luck.
TYPICAL, LARGEST, SPREADS = 1.25, 2.0, 4.0
ROUNDINGS = {torch.float32: 2.0, torch.bfloat16: 0.1, torch.float16: 0.1}


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    before = os.environ["ROIKIT_BACKEND"]
    os.environ["ROIKIT_BACKEND"] = name
    try:
        yield
    finally:
        os.environ["ROIKIT_BACKEND"] = before


@contextlib.contextmanager
def certain(on: bool = True) -> Iterator[None]:
    """Deterministic algorithms."""
    torch.use_deterministic_algorithms(on)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def derivatives(pool: Callable[..., Tensor], inputs: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
    """The values of ``pool``, their gradients under ``weight``, and the gradients of those in every input."""
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    out = pool(*leaves)
    upstream = weight.to(out.dtype).requires_grad_()
    first = torch.autograd.grad(out, leaves, upstream, create_graph=True)
    directions = [torch.cos(torch.arange(g.numel())).to(g).reshape(g.shape) for g in first]
    second = torch.autograd.grad(first, [upstream, *leaves], directions, allow_unused=True)
    return [out, *first, *(s for s in second if s is not None)]


def equal(pool: Callable[..., Tensor], inputs: Sequence[Tensor], weight: Tensor) -> None:
    """Values and derivatives, in float64, are the reference's."""
    found = derivatives(pool, inputs, weight)
    with backend("reference"):
        expected = derivatives(pool, inputs, weight)
    for mine, its in zip(found, expected, strict=True):
        assert mine.stride() == its.stride(), "laid out otherwise than a compiled graph expects"
        torch.testing.assert_close(mine, its, rtol=1e-11, atol=1e-12)


def no_worse(pool: Callable[..., Tensor], inputs: Sequence[Tensor], weight: Tensor, dtype: torch.dtype) -> None:
    """Values and derivatives in ``dtype`` are no farther from float64 than the reference's.

    Args:
        inputs: in the types ``pool`` takes them in when the features are ``dtype``.
    """
    found = derivatives(pool, inputs, weight.to(dtype))
    with backend("reference"):
        reference = derivatives(pool, inputs, weight.to(dtype))
        truth = derivatives(pool, [t.double() for t in inputs], weight.to(dtype).double())
    roundings = ROUNDINGS[dtype]
    for mine, its, exact in zip(found, reference, truth, strict=True):
        mine, its, exact = mine.detach(), its.detach(), exact.detach()
        assert mine.dtype == its.dtype and mine.shape == its.shape
        assert bool(torch.isfinite(mine).all()), "a value was never written, or is wrong"
        errors, others = ((t.double() - exact).abs() for t in (mine, its))
        floor = torch.finfo(dtype).eps * float(exact.abs().max())  # one rounding of the largest value
        typical = TYPICAL + SPREADS / mine.numel() ** 0.5
        assert (
            float(errors.square().mean().sqrt()) <= typical * float(others.square().mean().sqrt()) + roundings * floor
        )
        assert float(errors.max()) <= LARGEST * float(others.max()) + max(1.0, 2 * roundings) * floor
