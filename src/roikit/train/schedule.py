"""The learning rate as a function of the step: warm-up, then constant, steps or cosine.

A function has no state: a resumed run needs only the step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def rate_factor(
    step: int,
    total: int,
    *,
    warmup: int = 0,
    shape: str = "steps",
    milestones: Sequence[float] = (0.7, 0.9),
    gamma: float = 0.1,
    floor: float = 0.0,
) -> float:
    """The factor on the base learning rate at `step` (0-based) of `total` steps.

    Args:
        step: the step about to be taken, from 0.
        total: the length of the training in steps.
        warmup: steps over which the rate rises linearly from rate / warmup to the full rate.
        shape: `"constant"`, `"steps"` (times `gamma` at each milestone) or `"cosine"` (half a period down to `floor`).
        milestones: for `"steps"`: where the rate drops, as fractions of `total`.
        gamma: for `"steps"`: the factor of each drop.
        floor: for `"cosine"`: the last factor.

    Example:
        >>> [round(rate_factor(s, 100, warmup=10), 3) for s in (0, 9, 50, 70, 95)]
        [0.1, 1.0, 1.0, 0.1, 0.01]
    """
    factor = min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0
    if shape == "constant":
        return factor
    if shape == "steps":
        # rounded, so that 0.7 of 100 is step 70 although 0.7 * 100 is 70.00000000000001 or 69.9999
        return factor * gamma ** sum(step >= round(m * total) for m in milestones)
    if shape == "cosine":
        progress = min(1.0, max(0, step - warmup) / max(1, total - warmup))
        return factor * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)
    raise ValueError(f"unknown schedule {shape!r}: use 'constant', 'steps' or 'cosine'")
