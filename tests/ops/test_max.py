"""Max pooling: few regions read a large NCHW map where it lies, and gradients make nothing for the winners."""

from __future__ import annotations

import pytest
import torch
import torchvision

from roikit import ops
from roikit.sums import layout

BOXES = torch.tensor([[1.0, 10.0, 7.0, 400.0, 333.0], [0.0, -50.0, 100.0, 30.0, 900.0], [1.0, 8.0, 8.0, 9.0, 9.0]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_values_winners_and_gradients_are_those_of_a_turned_map(dtype, rng, monkeypatch):
    x = torch.randn(2, 3, 64, 60, generator=rng).to(dtype)
    x[:, :, 20:30, 10:20], x[1, 0, 5, 5] = float("nan"), float("inf")
    turned = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    expected = ops.roi_pool(turned, BOXES, 5, 1 / 8)
    (gradient,) = torch.autograd.grad(expected.nan_to_num().sum(), turned)
    monkeypatch.setattr(layout, "last_numbers", lambda x: pytest.fail("the map was turned"))
    leaf = x.requires_grad_()
    found = ops.roi_pool(leaf, BOXES, 5, 1 / 8)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    (mine,) = torch.autograd.grad(found.nan_to_num().sum(), leaf)
    torch.testing.assert_close(mine, gradient, rtol=0, atol=0)


def test_values_are_torchvisions(rng, monkeypatch):
    x = torch.randn(2, 3, 64, 60, generator=rng)
    monkeypatch.setattr(layout, "last_numbers", lambda x: pytest.fail("the map was turned"))
    assert torch.equal(ops.roi_pool(x, BOXES, 5, 1 / 8), torchvision.ops.roi_pool(x, BOXES, 5, 1 / 8))


def test_no_gradient_is_made_for_the_winners(rng):
    """torch would fill one with zeros, as large as the features, which took longer than the gradient itself."""
    x = torch.randn(2, 3, 64, 60, generator=rng, requires_grad=True)
    features = ops.roi_pool(x, BOXES, 5, 1 / 8)
    with torch.autograd.profiler.profile() as watched:
        features.backward(torch.ones_like(features))
    assert not [event.name for event in watched.function_events if event.name in ("aten::zeros", "aten::zero_")]
    assert x.grad.any()


class Forgets(torch.autograd.Function):
    """A layer that gives its input no gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return None


def test_features_without_a_gradient(rng):
    x = torch.randn(2, 3, 64, 60, generator=rng, requires_grad=True)
    Forgets.apply(ops.roi_pool(x, BOXES, 5, 1 / 8)).sum().backward()
    assert x.grad is None or not x.grad.any()
