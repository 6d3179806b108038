"""How layers start, and which of them an optimiser should slow."""

from __future__ import annotations

from typing import Literal, TypeVar

from torch import nn

Steers = Literal["bins", "cells", "places", "samples"]
Linear = TypeVar("Linear", nn.Linear, nn.Conv2d)
Layer = TypeVar("Layer", bound=nn.Module)


def zero(layer: Linear) -> Linear:
    """The layer with weight and bias 0: what it predicts has no effect until it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def starts_at_zero(layer: nn.Linear) -> nn.Linear:
    """The layer with weight and bias 0, marked as one that moves bins."""
    return steers(zero(layer), "bins")


def steers(layer: Layer, what: Steers) -> Layer:
    """The layer, marked (``layer.steers``): what it predicts decides where features are read.

    An optimiser whose steps do not shrink with the gradient, such as Adam, has to take smaller ones there: its inputs
    agree in sign over many units, as features and embeddings of coordinates do, and the steps add up over them.

    Args:
        layer: any.
        what: "bins", which it moves, out of their region if it learns too fast; "cells", among which a softmax of what
            it predicts chooses, a single one after a few steps if it learns too fast; "places", by layers that begin as
            a sharp grid of such cells; "samples" of a convolution, which it moves.
    """
    layer.steers = what  # type: ignore[assignment]  # an attribute of its own
    return layer
