"""For the definitions: RoIs in groups that memory holds, each of one level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .. import modes

Group = tuple[int, Tensor, Tensor | None]


def groups(batch: Tensor, level: Tensor, levels: int, most: int) -> Iterator[Group]:
    """(level, which RoIs, whether they are of this level), at most ``most`` RoIs at a time.

    RoIs are of their group's level (None), but under ``torch.vmap``, where nobody knows whose level is which: then all
    are in a group of each level, and those that say so count.
    """
    unknown = modes.batched(batch, level)
    for at in range(levels):
        mine = torch.arange(batch.shape[0], device=batch.device) if unknown else (level == at).nonzero()[:, 0]
        for which in mine.split(most):
            if which.shape[0]:
                yield at, which, level[which] == at if unknown else None


def joined(parts: Sequence[Tensor], found: Sequence[Group], empty: Tensor) -> Tensor:
    """The parts that the groups gave, [r, …] each, in the order of the RoIs; ``empty`` where there is none."""
    if not parts:
        return empty
    if found[0][2] is None:
        return torch.cat(list(parts))[torch.argsort(torch.cat([which for _, which, _ in found]))]
    total = torch.zeros_like(empty)
    for part, (_, which, own) in zip(parts, found, strict=True):
        total = total.index_put((which,), counted(part, own), accumulate=True)
    return total


def counted(part: Tensor, own: Tensor | None) -> Tensor:
    """[r, …], 0 for RoIs of another level."""
    return part if own is None else torch.where(own.reshape(-1, *[1] * (part.ndim - 1)), part, torch.zeros_like(part))
