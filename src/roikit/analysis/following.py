"""Whether the parts of a region follow their object when it turns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .regions import RegionView
from .transformations import Rotation

POINTS = 48  # per side of the square of points at which weights are compared


def following(views: Sequence[RegionView], rotations: Sequence[Rotation]) -> Tensor:
    """How alike each part's weights are at the first angle and at the others, seen from the object: ``Tensor[K]``.

    The weights are read at points of the object, a square grid over its box at the first angle grown by a half, and at
    where each point lies at the other angle; of the two rows of numbers the cosine is taken, and the mean over the
    angles. 1: the part turns with the object; a part that keeps its place in the box scores what chance gives it.

    Args:
        views: of the object at every angle, two or more.
        rotations: the turns of the image that they are of.

    Returns:
        float64, one number for each part; 0 where a part has no weight there.

    Raises:
        ValueError: fewer than two views, or another number of rotations.

    Example:
        >>> import roikit
        >>> from roikit.analysis import view_region
        >>> x, boxes = torch.rand(1, 1, 8, 8), torch.tensor([[1.0, 1.0, 5.0, 5.0], [3.0, 3.0, 7.0, 7.0]])
        >>> views = [view_region(roikit.RoIAlign(1), x, box, 1) for box in boxes]  # the object turned by 180°
        >>> [round(v, 3) for v in following(views, [Rotation(0, 8, 8), Rotation(180, 8, 8)]).tolist()]
        [1.0]
    """
    if len(views) < 2 or len(views) != len(rotations):
        raise ValueError(f"parts follow from one angle to others: {len(views)} views, {len(rotations)} rotations")
    x1, y1, x2, y2 = views[0].box
    steps = (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS * 1.5 - 0.25
    grid = torch.cartesian_prod(x1 + steps * (x2 - x1), y1 + steps * (y2 - y1))  # on the first canvas
    object_points = _undone(rotations[0], grid)
    first = _read(views[0], grid)
    scores = torch.zeros(len(first), dtype=torch.float64)
    for view, rotation in zip(views[1:], rotations[1:], strict=True):
        other = _read(view, rotation.points(object_points))
        scores += torch.nn.functional.cosine_similarity(first, other, dim=1)
    return scores / (len(views) - 1)


def choose_following(views: Sequence[RegionView], rotations: Sequence[Rotation], most: int = 5) -> list[int]:
    """The parts that follow the object best, in raster order; one that is much like a better one (a cosine above 0.5
    between their weights) is passed over."""
    scores = following(views, rotations)
    weights = views[0].mean.double().flatten(1)
    units = weights / weights.norm(dim=1, keepdim=True).clamp(min=1e-12)
    chosen: list[int] = []
    for part in scores.argsort(descending=True, stable=True).tolist():
        if len(chosen) < most and scores[part] > 0 and all(units[part] @ units[k] <= 0.5 for k in chosen):
            chosen.append(part)
    return sorted(chosen)


def _undone(rotation: Rotation, points: Tensor) -> Tensor:
    """Where points of the canvas lie in the image that was not turned."""
    back = Rotation(-rotation.degrees, *rotation.canvas)
    moved = back.points(points)  # centred on a canvas of its own
    down, across = back.canvas
    return moved - torch.tensor([across - rotation.width, down - rotation.height], dtype=torch.float64) / 2


def _read(view: RegionView, points: Tensor) -> Tensor:
    """Each part's weights at points ``Tensor[N, 2]`` of the image: float64 ``Tensor[K, N]``, bilinear between the
    centres of cells, 0 beyond the map."""
    weights = view.mean.double()
    height, width = weights.shape[1:]
    across, down = width * view.stride[1], height * view.stride[0]
    place = points / torch.tensor([across, down], dtype=torch.float64) * 2 - 1
    return torch.nn.functional.grid_sample(weights[None], place[None, None], align_corners=False)[0, :, 0]
