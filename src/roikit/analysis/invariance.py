"""How little a region's features change when its object is rotated, reflected, or its box is moved (SRA's Table 11)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .objects import box_at, images_with_objects, mask_at
from .reading import ImageMaps, read_maps, region_features, resize_factor
from .transformations import Rotation, reflect_box, scale_and_pan

TRANSFORMS = ("rotation", "reflection", "scaling and panning")
PAPER = {
    "RoI Align": dict(zip(TRANSFORMS, (0.37, 0.53, 0.59), strict=True)),
    "DRoIPooling": dict(zip(TRANSFORMS, (0.38, 0.53, 0.62), strict=True)),
    "SRA": dict(zip(TRANSFORMS, (0.49, 0.69, 0.73), strict=True)),
}
"""Table 11 of Yang et al. (AAAI 2024), on COCO; the sizes of its transforms are not printed."""


@dataclasses.dataclass(frozen=True)
class Draws:
    """What is done to the objects. Random numbers depend on the seed, the image and the object alone.

    Args:
        repeats: rotations of each image, and scaled and panned boxes of each object.
        angle: degrees; a rotation is drawn evenly from [-angle, angle].
        scale, shift: of boxes, see `scale_and_pan`.
        seed: not negative.

    Raises:
        ValueError: one that does not fit.
    """

    repeats: int = 1
    angle: float = 180.0
    scale: float = 1.5
    shift: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, not {self.repeats}")
        if not 0 <= self.angle <= 180:
            raise ValueError(f"angle is the largest rotation in degrees, 0 to 180, not {self.angle:g}")
        if not 1 <= self.scale < math.inf:
            raise ValueError(f"scale is the largest factor on a side and must be at least 1, not {self.scale:g}")
        if not 0 <= self.shift < math.inf:
            raise ValueError(f"shift is the largest move in sides of the box, at least 0, not {self.shift:g}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, not {self.seed}")

    def rotation(self, image: int, repeat: int, size: tuple[int, int]) -> Rotation:
        """That of an image of (height, width)."""
        random = np.random.default_rng([self.seed, 1, image, repeat])
        return Rotation(float(random.uniform(-self.angle, self.angle)), *size)

    def moved(self, box: Tensor, image: int, place: int, repeat: int, size: tuple[int, int]) -> Tensor:
        """The scaled and panned box of an object."""
        random = np.random.default_rng([self.seed, 2, image, place, repeat])
        return scale_and_pan(box, size, random, self.scale, self.shift)


@dataclasses.dataclass(frozen=True)
class ObjectFeatures:
    """Of one object: what its region features are, and become.

    Args:
        before: ``Tensor[D]``.
        after: of each transform ``Tensor[T, D]``; T = 0 where the box left the image.
        masked: whether the rotated box is that of a mask.
    """

    before: Tensor
    after: dict[str, Tensor]
    masked: bool


def invariance_features(
    model: nn.Module, dataset: Any, most: int = 200, draws: Draws | None = None
) -> Iterator[ObjectFeatures]:
    """Region features of a data set's objects before and after every transform.

    Features are what the detector's box head is given, flattened in their order. A rotated image lies on a canvas that
    holds all of it, grey beyond its border, and is enlarged as the image was: the object stays as large. A rotated box
    is that around the rotated mask, or without a mask that around the corners of the box.

    Args:
        model: a detector that `region_features` takes; evaluation mode is put back.
        dataset: a `roikit.data.DetectionDataset`; with masks for tight rotated boxes.
        most: objects; they are taken evenly over the data set, crowds left out.
        draws: what is done to them.

    Raises:
        ValueError: a data set without an object, features that are not finite.
    """
    draws = draws or Draws()
    for index, image, target, places in images_with_objects(dataset, most):
        yield from _of_image(model, draws, index, image, target, places)


def _of_image(
    model: nn.Module, draws: Draws, index: int, image: Tensor, target: dict[str, Any], places: list[int]
) -> Iterator[ObjectFeatures]:
    floats = image.float() / 255 if image.dtype == torch.uint8 else image
    size = height, width = image.shape[1], image.shape[2]
    factor, repeats = resize_factor(model, size), range(draws.repeats)
    boxes = torch.stack([box_at(target, n) for n in places])
    masks = [mask_at(target, n) for n in places]

    maps = read_maps(model, floats, factor)
    before = _flat(model, maps, boxes)
    moved = [_kept(draws.moved(box, index, n, k, size) for k in repeats) for box, n in zip(boxes, places, strict=True)]
    scaled = _flat(model, maps, torch.cat(moved)).split([len(m) for m in moved])
    reflected = _flat(model, read_maps(model, floats.flip(-1), factor), reflect_box(boxes, width))
    turned = []
    for rotation in (draws.rotation(index, k, (height, width)) for k in repeats):
        around = torch.stack([rotation.box(box, mask) for box, mask in zip(boxes, masks, strict=True)])
        turned.append(_flat(model, read_maps(model, rotation.image(floats), factor), around))
    rotated = torch.stack(turned, 1)  # [objects, repeats, D]
    for n, mask in enumerate(masks):
        after = dict(zip(TRANSFORMS, (rotated[n], reflected[n][None], scaled[n]), strict=True))
        yield ObjectFeatures(before[n], after, mask is not None)


def _kept(boxes: Iterator[Tensor]) -> Tensor:
    """Those with an area, ``Tensor[T, 4]``."""
    every = torch.stack(list(boxes))
    return every[(every[:, 2:] > every[:, :2]).all(1)]


def _flat(model: nn.Module, maps: ImageMaps, boxes: Tensor) -> Tensor:
    features = region_features(model, maps, boxes).flatten(1)
    if not bool(torch.isfinite(features).all()):
        raise ValueError("region features are not finite: the training has diverged")
    return features


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between vectors along the last axis, in float64; NaN where one is all zeros.

    Example:
        >>> cosine(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[4.0, 3.0], [1.0, 0.0]])).tolist()
        [0.96, nan]
    """
    a, b = a.double(), b.double()
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def between_objects(features: Tensor) -> float:
    """The mean cosine over all pairs of different rows of ``Tensor[N, D]``, zero rows left out; NaN below two rows.

    Example:
        >>> round(between_objects(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])), 6)
        0.333333
    """
    vectors = features.double()
    length = vectors.norm(dim=1)
    units = vectors[length > 0] / length[length > 0][:, None]
    count = len(units)
    # Σ_ij u_i·u_j = |Σ u|², of which i = j is 1 each: pairs need not be made.
    return float((units.sum(0).square().sum() - count) / (count * (count - 1))) if count > 1 else math.nan


def summarise(found: Sequence[ObjectFeatures]) -> dict[str, Any]:
    """Cosines of each transform, and between different objects as the floor that they start from.

    Returns:
        for each transform ``{"cosine", "error", "centred", "centred_error", "objects"}``: means over the objects (of an
        object: over its repeats) and their standard errors; "centred" after the mean of all objects' features is taken
        away; of rotation also how many objects have "masks". Under "different objects" the mean cosine between the
        features of two objects, nothing done to them. ``None`` where there are too few.

    Raises:
        ValueError: there is no object.
    """
    if not found:
        raise ValueError("there is no object to compare")
    before = torch.stack([f.before for f in found])
    mean = before.double().mean(0) if len(found) > 1 else None
    result: dict[str, Any] = {}
    for name in TRANSFORMS:
        plain = [cosine(f.before, f.after[name]) for f in found]
        centred = [] if mean is None else [cosine(f.before - mean, f.after[name] - mean) for f in found]
        of_plain, of_centred = _mean_and_error(plain), _mean_and_error(centred)
        result[name] = {"cosine": of_plain[0], "error": of_plain[1], "centred": of_centred[0]}
        result[name] |= {"centred_error": of_centred[1], "objects": of_plain[2]}
    result["rotation"]["masks"] = sum(f.masked for f in found)
    floor = between_objects(before)
    result["different objects"] = {"cosine": None if math.isnan(floor) else floor, "objects": len(found)}
    return result


def _mean_and_error(cosines: Sequence[Tensor]) -> tuple[float | None, float | None, int]:
    """Mean over objects of their means, its standard error, objects; what is NaN is left out."""
    means = [float(c[~c.isnan()].mean()) for c in cosines if bool((~c.isnan()).any())]
    if not means:
        return None, None, 0
    error = float(np.std(means, ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else None
    return float(np.mean(means)), error, len(means)
