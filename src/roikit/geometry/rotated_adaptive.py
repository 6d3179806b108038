"""Adaptive sampling of rotated boxes: as many samples as cells, made where the map is, in groups that memory holds."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import modes

MOST = 2**24  # sample points made at once; with their taps they take about 1 GB


def along(side: Tensor, bins: int, order: Tensor, samples: float | Tensor) -> Tensor:
    """Samples on one axis of the box's frame: -side/2 + iβ + (s + ½)β/S, [R, bins, P], for s = ``order``."""
    beta = (side / bins)[:, None, None]
    start = -(side / 2)[:, None, None] + torch.arange(bins, device=side.device).to(side.dtype)[:, None] * beta
    return start + (order.to(side.dtype) + 0.5) * (beta / samples)


def adaptive_samples(
    fixed: Tensor,
    rotated: Tensor,
    scales: tuple[Tensor, Tensor],
    cells: tuple[Tensor, Tensor],
    grid: tuple[int, int],
    shift: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets v [R, h, P] and u [R, w, P] in the box's frame, and weights [R, K, P], of as many samples as cells.

    A huge box has very many samples and most of them off the map: they count in the mean, but are not made.
    """
    if modes.compiling():
        raise NotImplementedError(
            "adaptive sampling of rotated boxes counts its samples from the boxes' values, which a compiled or "
            "exported graph cannot do: give a sampling_ratio > 0"
        )
    samples, skips, numbers = _counts(fixed, scales, cells, grid, shift)
    size = _largest(numbers[0] * numbers[1], fixed, grid)
    order = torch.arange(size, device=fixed.device).to(fixed.dtype)
    row = torch.floor(order / numbers[1][:, None])
    column = order - row * numbers[1][:, None]
    found, shares = [], []
    live = rotated.unbind(1)
    for side, bins, count, skip, within in zip((live[3], live[2]), grid, samples, skips, (row, column), strict=True):
        at = skip[:, :, None] + within[:, None]
        counted = (at < count[:, None, None]) & (order < numbers[0][:, None, None] * numbers[1][:, None, None])
        whole = count.clamp(min=1)[:, None, None]
        found.append(along(side, bins, at, whole))
        shares.append(counted.to(fixed.dtype) / whole)
    share = (shares[0][:, :, None] * shares[1][:, None]).flatten(1, 2)
    return found[0], found[1], share


def _counts(
    fixed: Tensor,
    scales: tuple[Tensor, Tensor],
    cells: tuple[Tensor, Tensor],
    grid: tuple[int, int],
    shift: float,
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Along each box's height and its width: the samples of a bin, for each bin how many of them lie before the map,
    and how many are made."""
    cx, cy, w, h, angle = fixed.unbind(1)
    cos, sin = angle.cos(), angle.sin()
    down, across = scales
    # The map, with the border in which samples count, in the box's frame.
    left, right = (-1 + shift) / across - cx, (cells[1] + shift) / across - cx
    top, bottom = (-1 + shift) / down - cy, (cells[0] + shift) / down - cy
    corners = [(x, y) for x in (left, right) for y in (top, bottom)]
    same = down == across
    # Cells per pixel along the box's sides: they turn with it where the scale differs between the axes.
    units = (
        torch.where(same, down, torch.hypot(cos * down, sin * across)),
        torch.where(same, across, torch.hypot(cos * across, sin * down)),
    )
    frames = (
        torch.stack([x * sin + y * cos for x, y in corners]),
        torch.stack([x * cos - y * sin for x, y in corners]),
    )
    samples, skips, numbers = [], [], []
    for side, unit, frame, bins in zip((h, w), units, frames, grid, strict=True):
        count = torch.ceil(side * unit / bins).clamp(min=0)
        step = (side / bins / count.clamp(min=1)).clamp(min=1e-30)[:, None]
        start = -(side / 2)[:, None] + torch.arange(bins, device=side.device).to(side.dtype) * (side / bins)[:, None]
        low, high = frame.amin(0), frame.amax(0)
        first = (torch.floor((low[:, None] - start) / step - 0.5) - 1).clamp(min=0).nan_to_num(0.0)
        last = torch.minimum(torch.ceil((high[:, None] - start) / step - 0.5) + 1, count[:, None])
        # Samples lie at least half a cell apart; beyond 2**24 the difference of two floats says nothing.
        most = torch.minimum(2 * (high - low) * unit + 4, count)
        needed = torch.minimum((last - first).amax(1), most).nan_to_num(1.0).clamp(min=1)
        samples.append(count)
        skips.append(first)
        numbers.append(needed)
    return samples, skips, numbers


def in_groups(
    rotated: Tensor,
    scales: tuple[Tensor, Tensor],
    cells: tuple[Tensor, Tensor],
    grid: tuple[int, int],
    sampling_ratio: int,
    shift: float = 0.5,
) -> list[Tensor]:
    """RoIs by number, int64, in groups whose sample points memory holds together; arguments as of ``rotated.points``.

    The points of a group are as many for each of its RoIs as its largest needs. No group means that all fit.

    Raises:
        ValueError: a RoI that needs more than memory holds, by number.
    """
    if sampling_ratio > 0 or modes.compiling() or not rotated.shape[0]:
        return []
    fixed = rotated.detach()
    _, _, (tall, wide) = _counts(fixed, scales, cells, grid, shift)
    needed, bins = tall * wide, grid[0] * grid[1]
    if _most(needed) * bins * needed.shape[0] <= MOST:
        return []
    numbers, order = needed.sort(descending=True)
    counts, first = numbers.tolist(), 0
    groups: list[Tensor] = []
    if counts[0] * bins > MOST:
        _too_many(int(order[0]), fixed, int(counts[0]), "more than memory holds: give a sampling_ratio > 0")
    while first < len(counts):
        last, most = first + 1, first + int(MOST // (counts[first] * bins))
        while last < min(most, len(counts)) and 2 * counts[last] >= counts[first]:  # few points without a sample
            last += 1
        groups.append(order[first:last])
        first = last
    return groups


def put_back(parts: list[Tensor], groups: list[Tensor]) -> Tensor:
    """What was found for each group of RoIs, in the RoIs' own order."""
    return torch.cat(parts)[torch.argsort(torch.cat(groups))]


def _largest(needed: Tensor, rotated: Tensor, grid: tuple[int, int]) -> int:
    """The number of samples a bin needs at most; refuses more than memory holds."""
    if not needed.shape[0]:
        return 1
    largest = _most(needed)
    if largest * grid[0] * grid[1] * needed.shape[0] > MOST:
        why = f"too many beside {needed.shape[0] - 1} other RoIs: give a sampling_ratio > 0, or large RoIs on their own"
        _too_many(int(needed.argmax()), rotated, largest, why)
    return largest


def _most(needed: Tensor) -> int:
    try:
        return int(needed.max())
    except RuntimeError as error:  # vmap over boxes: each has its own number
        raise NotImplementedError(
            "adaptive sampling of rotated boxes cannot run under vmap over boxes: give all boxes to one call, or a "
            "sampling_ratio > 0"
        ) from error


def _too_many(number: int, rotated: Tensor, samples: int, why: str) -> None:
    box = rotated[number].tolist()
    raise ValueError(f"RoI {number}: {box} needs {samples} samples per bin with adaptive sampling, {why}")
