"""Transforms of (image, target) built on torchvision.transforms.v2: image, boxes and masks stay together.

Everything random is drawn from torch's generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from roikit.data.dataset import Target

_PER_BOX = ("boxes", "labels", "masks", "area", "iscrowd", "oriented_boxes")
LEAST = 1.0  # pixels: boxes with a shorter side are removed


class DetectionTransform:
    """Runs v2 transforms on `(image, target)` as data sets give them, plain tensors in and out.

    Boxes that a transform makes degenerate (moved out by a crop, for instance) are removed with their labels, masks,
    area and crowd flags; so are masks without a pixel left. `area` is scaled by what happened to the box, or counted in
    the mask where there is one. Keys of the target that are not per box pass through.

    Args:
        transforms: v2 transforms that take an image with boxes and masks.
        drop_crowd: remove boxes with `iscrowd = 1` first. torchvision's detectors know no regions to ignore in
            training and would learn a crowd as one ordinary object.

    >>> flip = DetectionTransform([v2.RandomHorizontalFlip(p=1.0)])
    >>> target = {"boxes": torch.tensor([[0.0, 0.0, 4.0, 6.0]]), "labels": torch.tensor([1])}
    >>> flip(torch.zeros(3, 8, 10, dtype=torch.uint8), target)[1]["boxes"]
    tensor([[ 6.,  0., 10.,  6.]])
    """

    def __init__(self, transforms: Sequence[torch.nn.Module], *, drop_crowd: bool = False) -> None:
        self.transforms = list(transforms)
        self.drop_crowd = drop_crowd

    def __call__(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        if self.drop_crowd and "iscrowd" in target:
            target = _keep(target, target["iscrowd"] == 0)
        before = target["boxes"]
        size = (image.shape[-2], image.shape[-1])
        boxes = tv_tensors.BoundingBoxes(before, format="XYXY", canvas_size=size)
        inputs: Target = {"boxes": boxes}
        if "masks" in target:
            inputs["masks"] = tv_tensors.Mask(target["masks"])
        if "support" in target:
            inputs |= _of_frames(target, size)
        if "oriented_boxes" in target:
            inputs["oriented_boxes"] = _turned(target["oriented_boxes"], size)
        if "proposals" in target:
            inputs["proposals"] = tv_tensors.BoundingBoxes(target["proposals"], format="XYXY", canvas_size=size)
        picture, outputs = tv_tensors.Image(image), inputs
        for transform in self.transforms:
            picture, outputs = transform(picture, outputs)
        after = v2.functional.clamp_bounding_boxes(outputs["boxes"]).as_subclass(Tensor)
        result = {**target, "boxes": after}
        if "masks" in outputs:
            result["masks"] = outputs["masks"].as_subclass(Tensor)
        if "support" in outputs:
            result |= _frames_after(outputs)
        if "oriented_boxes" in outputs:
            oriented = outputs["oriented_boxes"].as_subclass(Tensor)
            result["oriented_boxes"] = torch.cat([oriented[:, :4], oriented[:, 4:].deg2rad()], 1)
        if "proposals" in outputs:
            proposals = v2.functional.clamp_bounding_boxes(outputs["proposals"]).as_subclass(Tensor)
            result["proposals"] = proposals[(_sides(proposals) >= LEAST).all(1)]
        if "area" in target:
            result["area"] = target["area"] * _sides(after).prod(1) / _sides(before).prod(1).clamp(min=1e-6)
            if "masks" in result and not torch.equal(after, before):
                result["area"] = result["masks"].flatten(1).sum(1).to(target["area"].dtype)
        kept = (_sides(after) >= LEAST).all(1)
        if "masks" in result:
            kept &= (result["masks"].flatten(1) != 0).any(1)
        return picture.as_subclass(Tensor), _keep(result, kept)


def train_transform(
    *,
    flip: float = 0.5,
    vertical_flip: float = 0.0,
    scale: tuple[float, float] | None = None,
    colour: float = 0.0,
    crop: tuple[int, int] | None = None,
) -> DetectionTransform:
    """What is done to training images: uint8 in, float32 in 0..1 out. Crowd boxes are removed.

    Args:
        flip: chance of a mirror image, left for right.
        vertical_flip: chance of one upside down (for data that have no up, as microscope pictures).
        scale: the image is enlarged by a random factor of this range.
        colour: brightness, contrast and saturation change by up to this share, hue by a tenth of it. 0: not at all.
        crop: `(height, width)` of a random cut-out; smaller images are padded on the right and below, in grey.

    >>> dataset = open_dataset("shapes:easy", "train").with_transform(train_transform(colour=0.2))  # doctest: +SKIP
    """
    steps: list[torch.nn.Module] = []
    if scale is not None:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale={scale}: expected (low, high) with 0 < low <= high")
        if tuple(scale) != (1.0, 1.0):
            steps.append(RandomScale(*scale))
    if crop is not None:
        steps.append(v2.RandomCrop(crop, pad_if_needed=True, fill={tv_tensors.Image: 127, "others": 0}))
    if flip:
        steps.append(v2.RandomHorizontalFlip(flip))
    if vertical_flip:
        steps.append(v2.RandomVerticalFlip(vertical_flip))
    if colour:
        steps.append(v2.ColorJitter(colour, colour, colour, min(colour / 10, 0.5)))
    return DetectionTransform(
        [*steps, v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)], drop_crowd=True
    )


class RandomScale(v2.Transform):
    """Resizes the image, its boxes and masks by a factor drawn evenly from [low, high]."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list) -> dict[str, list[int]]:
        height, width = v2.functional.get_size(flat_inputs[0])
        factor = float(torch.empty(()).uniform_(self.low, self.high))
        return {"size": [max(round(height * factor), 1), max(round(width * factor), 1)]}

    def transform(self, inpt, params: dict[str, list[int]]):
        return v2.functional.resize(inpt, params["size"], antialias=True)


def _turned(oriented: Tensor, size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    """Oriented boxes (radians) as torchvision's, which turn the same way, in degrees; they are never cut."""
    degrees = torch.cat([oriented[:, :4], oriented[:, 4:].rad2deg()], 1)
    return tv_tensors.BoundingBoxes(degrees, format="CXCYWHR", canvas_size=size, clamping_mode=None)


def _of_frames(target: Target, size: tuple[int, int]) -> Target:
    """Neighbouring frames, which are transformed as the image is; a flow with a box that shows where it was turned."""
    found: Target = {"support": [tv_tensors.Image(frame) for frame in target["support"]]}
    if "flow" in target:
        found["flow"] = tv_tensors.Mask(target["flow"].flatten(0, 1))
        found["corner"] = tv_tensors.BoundingBoxes([[0.0, 0.0, 1.0, 1.0]], format="XYXY", canvas_size=size)
    return found


def _frames_after(outputs: Target) -> Target:
    result: Target = {"support": torch.stack([frame.as_subclass(Tensor) for frame in outputs["support"]])}
    if "flow" in outputs:
        x, y = outputs["corner"].as_subclass(Tensor)[0, :2].tolist()
        signs = torch.tensor([-1.0 if x > 0 else 1.0, -1.0 if y > 0 else 1.0])  # a mirror image moves the other way
        result["flow"] = outputs["flow"].as_subclass(Tensor).unflatten(0, (-1, 2)) * signs[:, None, None]
    return result


def _sides(boxes: Tensor) -> Tensor:
    return boxes[:, 2:] - boxes[:, :2]


def _keep(target: Target, kept: Tensor) -> Target:
    if bool(kept.all()):
        return target
    return {key: value[kept] if key in _PER_BOX else value for key, value in target.items()}
