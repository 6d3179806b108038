"""Backwards read what they saved once: activation checkpoints, and hooks that pack saved tensors, work around every
sum and extractor."""

from __future__ import annotations

import contextlib

import torch
from listing import away_from_kinks
from sums import sums_and_extractors
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint


def gradients(function, inputs, around=contextlib.nullcontext):
    leaves = [t.detach().clone().requires_grad_() for t in inputs]
    with around():
        out = function(*leaves)
    wanted = [t for t in leaves if t.requires_grad]
    return torch.autograd.grad(out.square().sum(), wanted, allow_unused=True)


def packed_once():
    """Hooks of which a second unpacking of the same tensor is an error."""

    def unpack(held):
        assert held, "unpacked twice"
        return held.pop()

    return saved_tensors_hooks(lambda tensor: [tensor], unpack)


@sums_and_extractors
def test_checkpoints_and_hooks_change_no_gradient(variant, rng):
    extractor, boxes = variant.make((2, 3)), away_from_kinks()
    x = variant.features(rng, batch=2, height=7, width=8)

    def run(x, boxes):
        return extractor(x, boxes, 0.5)

    expected = gradients(run, (x, boxes))
    again = gradients(lambda *given: checkpoint(run, *given, use_reentrant=False), (x, boxes))
    for found in (again, gradients(run, (x, boxes), save_on_cpu), gradients(run, (x, boxes), packed_once)):
        for mine, exact in zip(found, expected, strict=True):
            assert (mine is None) == (exact is None)
            if exact is not None:
                assert torch.equal(mine, exact)
