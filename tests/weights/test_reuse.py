"""What choosing the weights has pooled already stands for pooling only where it is the same."""

from __future__ import annotations

import inspect

import pytest
import torch

from roikit.extractors import EXTRACTORS

BOXES = torch.tensor([[0.0, 1.3, 2.1, 9.6, 8.4], [0.0, 4.2, 0.7, 11.1, 5.9]])


def made(kind):
    arguments = {"channels": 8} if "channels" in inspect.signature(kind).parameters else {}
    return kind(**arguments)


def maps(extractor):
    return torch.rand(1, 8 * extractor.groups, 12, 14)


@pytest.mark.parametrize("kind", EXTRACTORS)
def test_weights_made_without_gradients_give_them_when_pooled_with(kind):
    extractor = made(kind)
    x = maps(extractor).requires_grad_()
    with torch.no_grad():
        weights = extractor.weights(x, BOXES)
    out = weights.pool(x)
    assert out.requires_grad and torch.autograd.grad(out.sum(), x)[0].any()


@pytest.mark.parametrize("kind", EXTRACTORS)
def test_features_written_to_since_are_read_anew(kind):
    extractor = made(kind)
    with torch.no_grad():
        x = maps(extractor)
        weights = extractor.weights(x, BOXES)
        before = weights.pool(x).clone()
        x.mul_(2)
        torch.testing.assert_close(weights.pool(x), 2 * before)
