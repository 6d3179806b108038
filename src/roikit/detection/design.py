"""What a detector is to be built of, checked before anything is built or fetched."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from ..extractors import RegionExtractor
from .necks import NECKS
from .pooling import check_extractor
from .pretrained import COCO_DETECTORS

WEIGHTS = (None, "imagenet", "coco")
NORMS = ("auto", "batch", "frozen")
# Arguments of torchvision's constructor that are built here, and what to say instead.
_BUILT_HERE = {
    "box_roi_pool": "extractor",
    "mask_roi_pool": "mask_extractor",
    "rpn_anchor_generator": "anchor_sizes and aspect_ratios",
    "box_predictor": "num_classes",
    "mask_predictor": "num_classes and mask_channels",
    "box_head": "fc_dim, or replace model.roi_heads.box_head afterwards",
    "mask_head": "mask_channels, or replace model.roi_heads.mask_head afterwards",
    "rpn_head": "anchor_sizes, or replace model.rpn.head afterwards",
}


@dataclass(frozen=True)
class Design:
    """The arguments of :func:`roikit.detection.faster_rcnn`; ``mask_extractor`` is what makes it a Mask R-CNN.

    Raises:
        ValueError: an argument that is unknown or does not fit the others.
        TypeError: a setting that torchvision's detectors do not have.
    """

    backbone: str
    neck: str
    extractor: RegionExtractor
    num_classes: int
    channels: int = 256
    fc_dim: int = 1024
    anchor_sizes: Sequence[Any] | None = None
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0)
    weights: str | None = None
    norm: str = "auto"
    trainable_layers: int | None = None
    backbone_options: Mapping[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    mask_extractor: RegionExtractor | None = None
    mask_channels: int = 256

    def __post_init__(self) -> None:
        _one_of("neck", self.neck, tuple(NECKS))
        _one_of("weights", self.weights, WEIGHTS)
        _one_of("norm", self.norm, NORMS)
        if self.num_classes < 2:
            raise ValueError(
                f"num_classes={self.num_classes}: it counts the background, so it is at least 2 (1 + your classes)"
            )
        for name in ("channels", "fc_dim", "mask_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if self.trainable_layers is not None and not 0 <= self.trainable_layers <= 5:
            raise ValueError(f"trainable_layers={self.trainable_layers} must be from 0 (all frozen) to 5 (all learn)")
        check_extractor(self.extractor, "extractor")
        if self.mask_extractor is not None:
            check_extractor(self.mask_extractor, "mask_extractor", square=True)
        _check_settings(self.settings)
        if self.weights == "coco":
            self._check_coco()

    @property
    def masks(self) -> bool:
        return self.mask_extractor is not None

    def _check_coco(self) -> None:
        height, width = self.extractor.output_size
        needs = {
            "backbone='resnet50'": self.backbone.partition(".")[0] == "resnet50" and not self.backbone_options,
            "neck='fpn'": self.neck == "fpn",
            "channels=256": self.channels == 256,
            "fc_dim=1024": self.fc_dim == 1024,
            "an extractor with 49 parts": height * width == 49,
            "3 aspect ratios, 1 anchor size per level": len(self.aspect_ratios) == 3 and self._sizes_per_level() == 1,
            "mask_channels=256": self.mask_channels == 256,
        }
        missing = [need for need, met in needs.items() if not met]
        if missing:
            raise ValueError(
                f"weights='coco' need {', '.join(missing)}; available are {' and '.join(COCO_DETECTORS.values())}, "
                "otherwise as by default. weights='imagenet' fits any backbone"
            )

    def _sizes_per_level(self) -> int:
        first = self.anchor_sizes[0] if self.anchor_sizes else 0
        return len(first) if isinstance(first, (list, tuple)) else 1


def _one_of(argument: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {argument} {value!r}: choose one of {', '.join(map(repr, allowed))}")


def _check_settings(settings: Mapping[str, Any]) -> None:
    """torchvision ignores a keyword that it does not know; a misspelt one should not be lost."""
    known = {
        name
        for function in (FasterRCNN.__init__, GeneralizedRCNNTransform.__init__)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    } - {"self", "backbone", "num_classes"}
    for name in settings:
        if name in _BUILT_HERE:
            raise TypeError(f"{name} is built here: use {_BUILT_HERE[name]}")
        if name not in known:
            close = difflib.get_close_matches(name, known - set(_BUILT_HERE), n=3)
            hint = f"did you mean {', '.join(close)}?" if close else "see torchvision.models.detection.FasterRCNN"
            raise TypeError(f"unknown setting {name!r}: {hint}")
