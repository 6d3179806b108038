"""How layers start."""

from __future__ import annotations

from torch import nn


def starts_at_zero(layer: nn.Linear) -> nn.Linear:
    """The layer with weight and bias 0: what it predicts has no effect until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
