"""Rotated boxes (cx, cy, w, h, θ): formats, validation, and their sample points.

Centre and sides are in continuous image pixels, θ in radians, counter-clockwise as one sees the image (y points down).
A point at (u, v) of the box's own frame, u along the width and v along the height, lies in the image at

    x = cx + u·cosθ + v·sinθ,    y = cy + v·cosθ - u·sinθ
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import modes
from ..boxes import (
    LARGEST,
    Rois,
    Scale,
    check_shape,
    constant,
    of_level,
    raise_first,
    read_images,
    refuse_unusable,
    scale_pair,
)
from ..oriented import upright
from .rotated_adaptive import adaptive_samples, along

Boxes = Tensor | Sequence[Tensor] | Rois

ROW = "(cx, cy, w, h, θ)"


def of_boxes(boxes: Tensor) -> Tensor:
    """``Tensor[R, 4]`` (x1, y1, x2, y2) as rotated boxes ``Tensor[R, 5]`` with θ = 0."""
    x1, y1, x2, y2 = boxes.unbind(1)
    return torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, torch.zeros_like(x1)], 1)


def enlarge(rotated: Tensor, width: float, height: float) -> Tensor:
    """Rotated boxes with ``width`` and ``height`` times the sides, about the same centres."""
    return rotated * constant((1.0, 1.0, width, height, 1.0), rotated.dtype, rotated.device)


def read(
    rotated: Tensor | Sequence[Tensor],
    boxes: Boxes | None,
    images: int,
    levels: int,
    name: str = "rotated_boxes",
) -> tuple[Rois, Tensor]:
    """Read rotated boxes in any of their formats, and check them.

    Args:
        rotated: ``Tensor[R, 6]`` with rows (batch index, cx, cy, w, h, θ); a list of ``Tensor[N_i, 5]``, one per image;
            or, where ``boxes`` say the image, ``Tensor[R, 5]``.
        boxes: the same RoIs as upright boxes (they say the images, and as ``Rois`` the levels), or ``None``.
        images, levels: of the features.
        name: of the argument, for messages.

    Returns:
        The RoIs, and ``Tensor[R, 5]``.

    Raises:
        ValueError: a wrong shape or dtype, a value that is not finite, a negative side, images that disagree with those
            of the boxes.
    """
    batch = None
    if isinstance(rotated, Tensor) and rotated.ndim == 2 and rotated.shape[1] == 5 and boxes is not None:
        check_shape(rotated, 5, name, f"rows {ROW}")
        table = rotated
    elif isinstance(rotated, Tensor):
        meaning = f"rows (batch index, cx, cy, w, h, θ); or pass a list with one [N, 5] per image, rows {ROW}"
        check_shape(rotated, 6, name, meaning)
        batch = read_images(rotated, images) if modes.readable(rotated) else rotated[:, 0].to(torch.int64)
        table = rotated[:, 1:]
    elif isinstance(rotated, Sequence) and not isinstance(rotated, str):
        if len(rotated) != images:
            raise ValueError(
                f"{name} is a list of {len(rotated)} tensors but the features hold {images} images: "
                "give one Tensor[N, 5] per image (an empty one where there is no box)"
            )
        for i, one in enumerate(rotated):
            check_shape(one, 5, f"{name}[{i}]", f"rows {ROW}")
        each = list(rotated) or [torch.zeros(0, 5)]  # a batch of no images
        batch = torch.cat([torch.full((b.shape[0],), i, device=b.device) for i, b in enumerate(each)])
        table = torch.cat(each)
    else:
        raise ValueError(f"{name} must be a Tensor[R, 6] or a list of Tensor[N, 5], not {type(rotated).__name__}")
    rois = None if boxes is None else Rois.of(boxes, images, levels)  # whose errors come first
    if modes.readable(table):
        refuse_unusable(table, "value", 2 * LARGEST)
        _refuse((table[:, 2:4] < 0).any(1), table, "has a negative width or height: a box is turned by its angle")
    else:  # one value that is not finite makes its box NaN, and so its features
        table = table + (table.detach() * 0).sum(1, keepdim=True)
    if rois is None:
        assert batch is not None
        if levels > 1:
            raise ValueError("several feature maps need to know each RoI's level: give boxes too, as Rois")
        return Rois.of(Rois(upright(table), batch, torch.zeros_like(batch)), images), table
    if table.shape[0] != rois.batch.shape[0]:
        raise ValueError(
            f"{name} has {table.shape[0]} rows and boxes has {rois.batch.shape[0]}: one each for every RoI"
        )
    if batch is not None and modes.readable(batch):
        _refuse(batch != rois.batch, batch, f"is its batch index in {name}, and boxes say another image")
    return rois, table


def _refuse(wrong: Tensor, values: Tensor, what: str) -> None:
    if bool(wrong.any()):
        raise_first(wrong, values, what)


def scales_of(scales: Sequence[Scale], level: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Feature cells per image pixel of each RoI's own level, down and across: ``Tensor[R]`` each."""
    pairs = [scale_pair(scale) for scale in scales]
    y, x = (of_level([pair[axis] for pair in pairs], level, like.dtype) for axis in (0, 1))
    return y, x


def points(
    rotated: Tensor,
    scales: tuple[Tensor, Tensor],
    cells: tuple[Tensor, Tensor],
    grid: tuple[int, int],
    sampling_ratio: int,
    shift: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """The S×S sample points of each bin of rotated boxes, and their weights.

    Args:
        rotated: ``Tensor[R, 5]`` in image pixels.
        scales: feature cells per pixel, down and across, ``Tensor[R]`` each.
        cells: rows and columns of each RoI's map, ``Tensor[R]`` each (adaptive sampling makes no
            samples off the map).
        grid: (h, w).
        sampling_ratio: S; ≤ 0 is adaptive: ⌈bin size in cells⌉, per RoI and axis.
        shift: of the pixel model: -½ cell.

    Returns:
        points ``Tensor[R, K, P, 2]``, (y, x) in feature cells, and weights ``Tensor[R, K, P]``.
    """
    cx, cy, w, h, angle = rotated.unbind(1)
    cos, sin = angle.cos(), angle.sin()
    down, across = scales
    (rows, cols), count = grid, rotated.shape[0]
    if sampling_ratio > 0:
        each = torch.arange(sampling_ratio, device=w.device)
        v = along(h, rows, each.repeat_interleave(sampling_ratio), float(sampling_ratio))
        u = along(w, cols, each.repeat(sampling_ratio), float(sampling_ratio))
        share = torch.full_like(w, 1.0 / sampling_ratio**2).detach()[:, None, None].expand(-1, rows * cols, u.shape[2])
    else:
        v, u, share = adaptive_samples(rotated.detach(), rotated, scales, cells, grid, shift)
    x = (cx * across - shift)[:, None, None, None] + (u * (cos * across)[:, None, None])[:, None]
    x = x + (v * (sin * across)[:, None, None])[:, :, None]
    y = (cy * down - shift)[:, None, None, None] - (u * (sin * down)[:, None, None])[:, None]
    y = y + (v * (cos * down)[:, None, None])[:, :, None]
    return torch.stack([y, x], -1).reshape(count, rows * cols, u.shape[2], 2), share
