"""What invariance is tested against: an object rotated, reflected, or its box scaled and panned.

Points and boxes are in image pixels, x to the right and y down; angles are in degrees, counter-clockwise as seen.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

GREY = 127 / 255  # what training pads images with, see roikit.data.transforms


@dataclasses.dataclass(frozen=True)
class Rotation:
    """An image turned about its centre, on a canvas that holds all of it.

    Args:
        degrees: counter-clockwise as seen.
        height, width: of the image, in pixels.

    Example:
        >>> quarter = Rotation(90, height=4, width=6)
        >>> quarter.canvas
        (6, 4)
        >>> quarter.box(torch.tensor([0.0, 0.0, 2.0, 1.0])).tolist()
        [0.0, 4.0, 1.0, 6.0]
    """

    degrees: float
    height: int
    width: int

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) of the turned image: the least that holds its corners."""
        cos, sin = (abs(v) for v in self._turn())
        across, down = self.width * cos + self.height * sin, self.width * sin + self.height * cos
        return math.ceil(down - 1e-6), math.ceil(across - 1e-6)

    def image(self, image: Tensor, fill: float = GREY) -> Tensor:
        """The turned image ``Tensor[C, H', W']``, bilinear, of ``Tensor[C, H, W]`` in 0-1; ``fill`` beyond its border.

        Raises:
            ValueError: an image of another size.
        """
        if image.shape[1:] != (self.height, self.width):
            raise ValueError(f"the rotation is of an image of {self.height}×{self.width}, not {list(image.shape[1:])}")
        down, across = self.canvas
        y, x = (torch.arange(n, dtype=torch.float64, device=image.device) + 0.5 for n in (down, across))
        dy, dx = torch.meshgrid(y - down / 2, x - across / 2, indexing="ij")
        cos, sin = self._turn()
        # of each pixel of the canvas, where it was: 2 / size in grid_sample's units, from -1 to 1
        grid = torch.stack([(dx * cos - dy * sin) * 2 / self.width, (dx * sin + dy * cos) * 2 / self.height], -1)
        moved = (image - fill)[None]
        turned = torch.nn.functional.grid_sample(moved, grid[None].to(image.dtype), align_corners=False)
        return turned[0] + fill

    def points(self, points: Tensor) -> Tensor:
        """Where points ``Tensor[N, 2]``, rows (x, y), of the image lie on the canvas; float64."""
        down, across = self.canvas
        cos, sin = self._turn()
        dx, dy = (points.double() - torch.tensor([self.width / 2, self.height / 2], dtype=torch.float64)).unbind(1)
        return torch.stack([dx * cos + dy * sin + across / 2, dy * cos - dx * sin + down / 2], 1)

    def box(self, box: Tensor, mask: Tensor | None = None) -> Tensor:
        """The turned object's box, float32 ``Tensor[4]``: around its turned mask; without one, around its box, turned.

        Args:
            box: (x1, y1, x2, y2).
            mask: ``Tensor[H, W]``, not 0 on the object; every pixel is a square. An empty one counts as none.
        """
        outline = None if mask is None else _outline(mask)
        if outline is None:
            x1, y1, x2, y2 = (float(v) for v in box)
            outline = torch.tensor([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=torch.float64)
        turned = self.points(outline)
        return torch.cat([turned.amin(0), turned.amax(0)]).float()

    def _turn(self) -> tuple[float, float]:
        angle = math.radians(self.degrees)
        return round(math.cos(angle), 15), round(math.sin(angle), 15)  # a quarter turn is one: cos 90° is 0


def _outline(mask: Tensor) -> Tensor | None:
    """``Tensor[N, 2]``, corners of the first and last pixel of each row: the mask lies in their hull. ``None``: empty.

    The whole pixels count, not their centres.
    """
    full = mask.cpu() != 0
    rows = full.any(1).nonzero()[:, 0]
    if not len(rows):
        return None
    left = full[rows].int().argmax(1)
    right = full.shape[1] - full[rows].flip(1).int().argmax(1)
    ends = [torch.stack([x, rows + below], 1) for x in (left, right) for below in (0, 1)]
    return torch.cat(ends).double()


def box_of_mask(mask: Tensor) -> Tensor | None:
    """The box around a mask ``Tensor[H, W]``, float32 ``Tensor[4]``; ``None`` where it is empty.

    Example:
        >>> box_of_mask(torch.tensor([[0, 0, 0], [0, 1, 1]])).tolist()
        [1.0, 1.0, 3.0, 2.0]
    """
    outline = _outline(mask)
    return None if outline is None else torch.cat([outline.amin(0), outline.amax(0)]).float()


def reflect_box(box: Tensor, width: int) -> Tensor:
    """``Tensor[..., 4]`` in an image mirrored left for right (``image.flip(-1)``).

    Example:
        >>> reflect_box(torch.tensor([1.0, 2.0, 4.0, 6.0]), 10).tolist()
        [6.0, 2.0, 9.0, 6.0]
    """
    x1, y1, x2, y2 = box.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], -1)


def scale_and_pan(
    box: Tensor, size: tuple[int, int], random: np.random.Generator, scale: float = 1.5, shift: float = 0.25
) -> Tensor:
    """A box as a proposal might miss it, clipped to the image: float32 ``Tensor[4]``.

    Width and height are each multiplied by a factor drawn evenly on a logarithmic scale from [1/scale, scale]; the
    centre moves by a share of the width and one of the height, each drawn evenly from [-shift, shift].

    Args:
        box: (x1, y1, x2, y2).
        size: (height, width) of the image.
        random: four numbers are drawn.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    width, height = x2 - x1, y2 - y1
    grow = np.exp(random.uniform(-1, 1, 2) * math.log(scale))
    move = random.uniform(-1, 1, 2) * shift
    cx, cy = (x1 + x2) / 2 + move[0] * width, (y1 + y2) / 2 + move[1] * height
    half = width * grow[0] / 2, height * grow[1] / 2
    most = torch.tensor([size[1], size[0], size[1], size[0]], dtype=torch.float64)
    moved = torch.tensor([cx - half[0], cy - half[1], cx + half[0], cy + half[1]], dtype=torch.float64)
    return torch.minimum(moved.clamp(min=0), most).float()
