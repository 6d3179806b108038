"""Regions of interest: formats, validation, projection onto a feature map, level assignment.

A box is (x1, y1, x2, y2) in continuous image pixels, corner-exclusive: its width is x2 - x1.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import modes

Scale = float | tuple[float, float]
LARGEST = 8.5e37  # of a coordinate: a quarter of float32's, so that sides of boxes, also of expanded ones, are finite
FEW = 8  # numbers that Python compares faster than NumPy does


@dataclasses.dataclass(frozen=True)
class Rois:
    """R regions of interest: where they are, in which image of the batch, on which feature level.

    Args:
        boxes: ``Tensor[R, 4]``, (x1, y1, x2, y2) in image pixels.
        batch: ``Tensor[R]`` int64, the image of each RoI.
        level: ``Tensor[R]`` int64, the feature map each RoI is read from (all 0 for a single map).

    Example:
        >>> rois = Rois.of([torch.tensor([[0.0, 0.0, 32.0, 16.0]])], batch_size=1)
        >>> rois.on_maps([0.5]).tolist()
        [[0.0, 0.0, 16.0, 8.0]]
    """

    boxes: Tensor
    batch: Tensor
    level: Tensor

    def __len__(self) -> int:
        return self.boxes.shape[0]

    @staticmethod
    def of(boxes: Tensor | Sequence[Tensor] | Rois, batch_size: int, levels: int = 1) -> Rois:
        """Read boxes in either of torchvision's formats, and check them.

        Args:
            boxes: ``Tensor[R, 5]`` with rows (batch index, x1, y1, x2, y2), or a list of ``Tensor[N_i, 4]``, one per
                image, or ``Rois``.
            batch_size: number of images of the feature maps.
            levels: number of feature maps.

        Raises:
            ValueError: a wrong shape or dtype, a batch or level index outside its range, a NaN or infinite coordinate.
        """
        if isinstance(boxes, Rois):
            rois = boxes
            check_shape(rois.boxes, 4, "Rois.boxes")
            for name, index in (("batch", rois.batch), ("level", rois.level)):
                if index.shape != rois.boxes.shape[:1] or index.dtype != torch.int64:
                    raise ValueError(
                        f"Rois.{name} must be an int64 Tensor[{len(rois)}], one entry for each box, "
                        f"but it is {index.dtype} {list(index.shape)}"
                    )
        elif isinstance(boxes, Tensor):
            check_shape(
                boxes, 5, "boxes", "rows (batch index, x1, y1, x2, y2); or pass a list with one [N, 4] per image"
            )
            readable = modes.readable(boxes)
            batch = read_images(boxes, batch_size) if readable else boxes[:, 0].to(torch.int64)
            rois = Rois(boxes[:, 1:], batch, torch.zeros_like(batch))
            if readable:
                if not _usable(boxes):
                    refuse_unusable(rois.boxes)
                return rois
        elif isinstance(boxes, Sequence):
            if len(boxes) != batch_size:
                raise ValueError(
                    f"boxes is a list of {len(boxes)} tensors but the features hold {batch_size} images: "
                    "give one Tensor[N, 4] per image (an empty one where there is no box)"
                )
            for i, one in enumerate(boxes):
                check_shape(one, 4, f"boxes[{i}]")
            if not boxes:
                return Rois(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
            batch = torch.cat([torch.full((b.shape[0],), i, device=b.device) for i, b in enumerate(boxes)])
            rois = Rois(torch.cat(list(boxes)), batch, torch.zeros_like(batch))
        else:
            raise ValueError(
                f"boxes must be a Tensor[R, 5], a list of Tensor[N, 4] or Rois, not {type(boxes).__name__}"
            )
        rois._check_values(batch_size, levels)
        if modes.readable(rois.boxes):
            return rois
        # One coordinate that is not finite makes its box NaN, and so, whatever the method, its features.
        spoilt = (rois.boxes.detach() * 0).sum(1, keepdim=True)
        return dataclasses.replace(rois, boxes=rois.boxes + spoilt)

    def _check_values(self, batch_size: int, levels: int) -> None:
        if not modes.readable(self.boxes) or not len(self):  # in this order: len() of a symbolic shape would fix it
            return
        if not _usable(self.boxes):
            refuse_unusable(self.boxes)
        check_index("batch", self.batch, batch_size)
        check_index("level", self.level, levels)

    def in_dtype(self, dtype: torch.dtype, device: torch.device) -> Rois:
        """The same RoIs with boxes in ``dtype``, on ``device``."""
        if self.boxes.device != device:
            raise ValueError(f"boxes are on {self.boxes.device} but the features are on {device}: move one of them")
        return self if self.boxes.dtype == dtype else dataclasses.replace(self, boxes=self.boxes.to(dtype))

    def expand(self, area: float) -> Rois:
        """RoIs of ``area`` times the area about the same centres (LRF Table 2's "2x": each side grows by √2)."""
        if area == 1.0:
            return self
        centre = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        half = (self.boxes[:, 2:] - self.boxes[:, :2]) * (area**0.5 / 2)
        return dataclasses.replace(self, boxes=torch.cat([centre - half, centre + half], 1))

    def on_maps(self, scales: Sequence[Scale]) -> Tensor:
        """Boxes in feature cells of each RoI's own level: ``Tensor[R, 4]``, (x1, y1, x2, y2).

        Args:
            scales: one spatial_scale per level, a float or a (y, x) pair.

        Raises:
            ValueError: a coordinate that is too large in feature cells, where a map is finer than the image.
        """
        pairs = [scale_pair(s) for s in scales]
        if len(pairs) == 1 and pairs[0][0] == pairs[0][1]:
            cells = self.boxes * pairs[0][0]
        else:
            y, x = (of_level([pair[axis] for pair in pairs], self.level, self.boxes.dtype) for axis in (0, 1))
            cells = self.boxes * torch.stack([x, y, x, y], 1)
        if max(map(max, pairs)) > 1 and modes.readable(cells) and not _usable(cells):
            refuse_unusable(cells, "coordinate in feature cells (times spatial_scale)")
        return cells


def scale_pair(scale: Scale) -> tuple[float, float]:
    """A spatial_scale as (y, x)."""
    if isinstance(scale, float) and 0 < scale < math.inf:
        return scale, scale
    given = tuple(scale) if isinstance(scale, Sequence) and not isinstance(scale, str) else (scale, scale)
    try:
        pair = tuple(float(s) for s in given)
    except (TypeError, ValueError):  # no numbers
        pair = ()
    if len(pair) != 2 or not all(0 < s < math.inf for s in pair):
        raise ValueError(f"spatial_scale must be a positive float or a (y, x) pair of them (1 / stride), not {scale!r}")
    return pair[0], pair[1]


def of_level(values: Sequence[float], level: Tensor, dtype: torch.dtype = torch.int64) -> Tensor:
    """``values[level]`` for Python numbers: ``Tensor[R]`` in ``dtype``; the first where there is no such level.

    Not by a table: copying one to a GPU would wait for everything that runs there.
    """
    found = torch.full_like(level, values[0], dtype=dtype)
    for at, value in enumerate(values[1:], 1):
        found = torch.where(level == at, value, found)
    return found


def constant(values: Sequence[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Python numbers, nested in tuples, as a tensor. On a GPU it is kept: only making it the first time waits."""
    if device.type == "cpu" or not modes.eager():
        return torch.tensor(values, dtype=dtype, device=device)
    return _kept(values, dtype, device)


@functools.lru_cache(maxsize=256)
def _kept(values: Sequence[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def _usable(values: Tensor) -> bool:
    """Whether no coordinate is NaN, infinite or too large; NumPy says so in a fraction of the time that torch takes for
    a few numbers."""
    if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64):
        sizes = np.abs(values.detach().numpy())
        return bool(np.maximum.reduce(sizes, axis=None, initial=0.0) <= LARGEST)  # NaN is not
    return bool((values.abs() <= LARGEST).all())


def _below(index: Tensor, size: int) -> bool:
    """Whether 0 ≤ index < size everywhere, for an index that is not empty."""
    if index.numel() <= FEW:
        return all(0 <= i < size for i in index.tolist())
    if index.device.type == "cpu":
        # As unsigned numbers negative ones are too large: one pass finds both.
        return bool(np.maximum.reduce(index.numpy().view(np.uint64)) < size)
    low, high = torch.aminmax(index)
    return 0 <= int(low) and int(high) < size


def assign_levels(
    boxes: Tensor,
    strides: Sequence[float | tuple[float, float]],
    canonical_scale: float = 224.0,
    canonical_level: float = 4.0,
) -> Tensor:
    """The feature level of each box: the coarsest whose stride is ≤ √(wh)/14, else the finest (FPN Eq. 1).

    With strides that are powers of two it picks the levels of ``torchvision.ops.MultiScaleRoIAlign``: level
    k = floor(4 + log2(√(wh) / 224)), torchvision's ε included.

    Args:
        boxes: ``Tensor[R, 4]`` in image pixels.
        strides: one per level, finest first, in image pixels per feature cell; a (y, x) pair counts as its
            geometric mean. Of levels with the same stride the first is taken, as torchvision does.

    Returns:
        ``Tensor[R]`` int64.
    """
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))  # an area overflows half precision
    size = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    value = canonical_level + torch.log2(size / canonical_scale) + torch.tensor(1e-6, dtype=boxes.dtype)
    means = [(s[0] * s[1]) ** 0.5 if isinstance(s, Sequence) else float(s) for s in strides]
    if sorted(means) != means:
        raise ValueError(f"strides must grow from the finest level to the coarsest, but they are {list(strides)}")
    distinct = sorted(set(means))
    level = torch.zeros_like(value, dtype=torch.int64)
    for mean in distinct[1:]:
        level = level + (value >= math.log2(mean))
    return level if len(distinct) == len(means) else of_level([means.index(mean) for mean in distinct], level)


def check_shape(boxes: Tensor, columns: int, name: str, meaning: str = "rows (x1, y1, x2, y2)") -> None:
    if not isinstance(boxes, Tensor):
        raise ValueError(f"{name} must be a tensor, not {type(boxes).__name__}")
    if boxes.ndim != 2 or boxes.shape[1] != columns:
        raise ValueError(f"{name} must be a Tensor[R, {columns}] with {meaning}, but its shape is {list(boxes.shape)}")
    if not boxes.dtype.is_floating_point:
        raise ValueError(f"{name} must be floating point, but it is {boxes.dtype}: convert it with .float()")


def check_index(name: str, index: Tensor, size: int) -> None:
    """Refuse an index of an image ("batch") or level that is not there, naming the first such RoI; reads it."""
    if index.shape[0] and not _below(index, size):
        wrong = (index < 0) | (index >= size)
        raise_first(wrong, index, f"is its {name} index, but the features have {size} (0 to {size - 1})")


def read_images(table: Tensor, batch_size: int) -> Tensor:
    """The first column of ``Tensor[R, …]``, batch indices, as int64; one that names no image is refused."""
    if table.device.type == "cpu" and table.dtype in (torch.float32, torch.float64):
        numbers = table.detach().numpy()[:, 0]  # of a few NumPy tells in a fraction of the time that torch takes
        if not numbers.size:
            return torch.zeros(0, dtype=torch.int64)
        if 0 <= np.minimum.reduce(numbers) and np.maximum.reduce(numbers) < batch_size:  # NaN is neither
            whole = numbers.astype(np.int64)
            if np.logical_and.reduce(whole == numbers):
                return torch.from_numpy(whole)
    image = table.detach()[:, 0]
    finite = torch.isfinite(image)
    if not bool(finite.all()):
        raise_first(~finite, table, "has a batch index that is not finite")
    batch = image.to(torch.int64)
    if bool((batch != image).any()):
        raise_first(batch != image, table, "has a batch index that is not a whole number")
    check_index("batch", batch, batch_size)
    return batch


def refuse_unusable(boxes: Tensor, what: str = "coordinate", largest: float = LARGEST) -> None:
    """Refuse boxes ``Tensor[R, …]`` with a number that is not finite, or too large to be calculated with."""
    infinite = ~torch.isfinite(boxes).all(1)
    if bool(infinite.any()):
        raise_first(infinite, boxes, f"has a NaN or infinite {what}: drop or repair it")
    large = ~(boxes.abs() <= largest).all(1)
    if bool(large.any()):
        raise_first(large, boxes, f"has a {what} beyond ±{largest:g}: its sides may be infinite")


def raise_first(wrong: Tensor, values: Tensor, what: str) -> None:
    first = int(wrong.nonzero()[0])
    raise ValueError(f"RoI {first}: {values[first].tolist()} {what} ({int(wrong.sum())} such RoIs)")
