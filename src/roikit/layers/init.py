"""How layers start."""

from __future__ import annotations

from torch import nn


def starts_at_zero(layer: nn.Linear) -> nn.Linear:
    """The layer with weight and bias 0: what it predicts has no effect until it is trained.

    It is marked (``layer.starts_at_zero``), since what such layers predict is where bins lie: an optimiser whose steps
    do not shrink with the gradient, such as Adam, has to take smaller ones there.
    """
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    layer.starts_at_zero = True  # type: ignore[assignment]
    return layer


def steers(layer: nn.Module) -> nn.Module:
    """The layer, marked (``layer.steers``): a softmax of what it predicts decides where features are read.

    Its inputs agree in sign over many units, as embeddings of coordinates do; steps that do not shrink with the
    gradient (Adam's) add up over them and leave the softmax a single cell after a few steps.
    """
    layer.steers = True  # type: ignore[assignment]
    return layer
