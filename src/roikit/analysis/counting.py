"""Multiply-adds as papers count them."""

from __future__ import annotations

from torch.utils.flop_counter import FlopCounterMode


def of_layers(counter: FlopCounterMode) -> float:
    """Multiply-adds of convolutions and products; papers leave out the pooling of regions, so it is left out."""
    seen = counter.get_flop_counts().get("Global", {})
    return sum(count for operator, count in seen.items() if not str(operator).startswith("roikit")) / 2  # it counts two
