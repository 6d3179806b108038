"""What a detector is to be built of, checked before anything is built or fetched."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from ..extractors import PSRoIAlign
from .necks import NECKS
from .pooling import Extractors, Pooling, apart, default_extractor, groups_of, is_maker, plan_pooling, show
from .pretrained import COCO_DETECTORS

WEIGHTS = (None, "imagenet", "coco")
NORMS = ("auto", "batch", "frozen")
MASK_BINS = 14  # on each side of what the mask head reads, unless its extractor says otherwise
Kind = Literal["faster_rcnn", "mask_rcnn", "rfcn", "cascade_rcnn", "oriented_rcnn"]
_STAGES = ("iou_thresholds", "box_weights", "loss_weights")  # one of each for every stage of a cascade
# Arguments that a detector does not have.
_NOT_FOR = {
    "faster_rcnn": ("mask_extractor", "mask_channels", "class_specific_boxes", *_STAGES),
    "mask_rcnn": ("class_specific_boxes", *_STAGES),
    "rfcn": ("mask_extractor", "mask_channels", "fc_dim", *_STAGES),
    "cascade_rcnn": ("mask_extractor", "mask_channels"),
    "oriented_rcnn": ("mask_extractor", "mask_channels", "class_specific_boxes", *_STAGES),
}
# Settings of torchvision that a cascade has once for each stage, and what to say instead.
_EACH_STAGE = {
    "box_fg_iou_thresh": "iou_thresholds",
    "box_bg_iou_thresh": "iou_thresholds",
    "bbox_reg_weights": "box_weights",
}
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
    """The arguments of `roikit.detection.faster_rcnn`, `mask_rcnn`, `rfcn`, `cascade_rcnn` and `oriented_rcnn`,
    and what they mean.

    Raises:
        ValueError: an argument that is unknown or does not fit the others.
        TypeError: a setting that torchvision's detectors do not have.
    """

    kind: Kind
    backbone: str
    neck: str
    extractor: Extractors | None
    num_classes: int
    aggregate: str = "assign"
    extractor_per_level: bool = False
    channels: int = 256
    fc_dim: int = 1024
    anchor_sizes: Sequence[Any] | None = None
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0)
    weights: str | None = None
    norm: str = "auto"
    trainable_layers: int | None = None
    backbone_options: Mapping[str, Any] | None = None
    built: Mapping[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    mask_extractor: Extractors | Literal["shared"] | None = None
    mask_channels: int = 256
    deformable: str | Sequence[str] = ()
    dilate_first: bool = False
    modulated: bool = True
    class_specific_boxes: bool = False
    iou_thresholds: Sequence[float] = (0.5, 0.6, 0.7)
    box_weights: Sequence[Sequence[float]] = ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15))
    loss_weights: Sequence[float] = (1.0, 0.5, 0.25)

    @classmethod
    def names(cls, kind: Kind) -> set[str]:
        """The arguments that a kind of detector has, besides torchvision's settings."""
        return {f.name for f in fields(cls)} - {"kind", "settings", *_NOT_FOR[kind]}

    @classmethod
    def of(cls, kind: Kind, arguments: Mapping[str, Any]) -> Design:
        """From a detector's arguments, by name; of its ``options``, those that are no field here are torchvision's
        settings."""
        own, options = cls.names(kind), arguments["options"]
        arguments = {name: value for name, value in {**arguments, **options}.items() if name in own}
        built = arguments.get("built")
        if built is not None:
            missing = {"aligned", "norm", "trainable_layers", "weights"} - set(built)
            if missing:
                raise ValueError(
                    f"built must be the build_info of a detector, but it has no {min(missing)!r}: {dict(built)}"
                )
            arguments |= {"weights": None, "norm": built["norm"], "trainable_layers": built["trainable_layers"]}
        return cls(kind, settings={n: v for n, v in options.items() if n not in own}, **arguments)

    def __post_init__(self) -> None:
        _one_of("neck", self.neck, tuple(NECKS))
        if self.weights not in WEIGHTS and not (isinstance(self.weights, str | Path) and Path(self.weights).exists()):
            raise ValueError(
                f"unknown weights {self.weights!r}: choose 'imagenet', 'coco', None, or a path that exists, of a "
                "backbone's state dict or of a run's folder"
            )
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
        _check_settings(self.settings)
        if self.kind == "cascade_rcnn":
            self._check_stages()
        with apart():
            _ = self.pooling, self.mask_pooling
        if self.shared:
            self._check_shared()
        if self.weights == "coco":
            self._check_coco()

    @property
    def aligned(self) -> bool:
        """Of default extractors: COCO's weights were trained with unaligned ones."""
        return self.weights != "coco" if self.built is None else self.built["aligned"]

    @property
    def box_outputs(self) -> int:
        """R-FCN's numbers of a box: four, or four for each class."""
        return 4 * (self.num_classes if self.class_specific_boxes else 1)

    @cached_property
    def pooling(self) -> Pooling:
        """How the box head pools."""
        if self.kind != "rfcn":
            return self._plan("extractor", self.extractor, 7)
        given = PSRoIAlign(7) if self.extractor is None else self.extractor
        groups = groups_of(given)
        if groups == 1:
            raise ValueError(
                f"extractor must be position-sensitive in an R-FCN, such as roikit.PSRoIAlign(7), not {show(given)}: "
                "roikit.detection.faster_rcnn takes the others. What makes one for a number of channels has an "
                "argument group_size, as functools.partial(roikit.DeformPSRoIPool, group_size=7) has"
            )
        if self.aggregate == "concat":
            raise ValueError(
                "aggregate='concat' lays the levels' channels side by side, but an R-FCN has no layer behind its "
                "pooling that could weigh them: use 'assign' or 'sum'"
            )
        said = f"(num_classes + {'4·num_classes' if self.class_specific_boxes else 4})·{groups} = {{}}"
        channels = (self.num_classes + self.box_outputs) * groups
        return self._plan("extractor", given, 7, channels=channels, said=said)

    def stage_poolings(self) -> list[Pooling]:
        """How the stages of a cascade pool: all with one, or each with layers of its own, where they can be made."""
        if not is_maker(self.extractor) or not any(True for _ in self.pooling.each[0].parameters()):
            return [self.pooling]
        return [self.pooling, *(self._plan("extractor", self.extractor, 7) for _ in self.iou_thresholds[1:])]

    @property
    def shared(self) -> bool:
        """Whether the mask head pools with the layers of the box head's extractor."""
        return isinstance(self.mask_extractor, str) and self.mask_extractor == "shared"

    @cached_property
    def mask_pooling(self) -> Pooling | None:
        """How the mask head pools; ``None`` where there is none, or where its layers are the box head's."""
        if self.kind != "mask_rcnn" or self.shared:
            return None
        return self._plan("mask_extractor", cast(Any, self.mask_extractor), MASK_BINS, square=True)

    def _plan(self, argument: str, given: Extractors | None, size: int, **settings: Any) -> Pooling:
        if given is None:
            given = default_extractor(size, aligned=self.aligned)
        groups = groups_of(given)
        if groups == 1 or self.kind == "rfcn":
            settings = {"channels": self.channels, "aggregate": self.aggregate, **settings}
            pooling = plan_pooling(given, argument, per_level=self.extractor_per_level, **settings)
            groups = pooling.each[0].groups
        if groups > 1 and self.kind != "rfcn":
            raise ValueError(
                f"{argument} {show(given)} is position-sensitive: it makes one channel of {groups} maps, which this "
                "detector does not have; roikit.detection.rfcn does"
            )
        return pooling

    def _check_shared(self) -> None:
        extractor: Any = self.pooling.each[0]
        if not hasattr(extractor, "at"):
            raise ValueError(
                "mask_extractor='shared' pools masks with the layers of extractor, but those of a "
                f"{type(extractor).__name__} serve one grid of bins, if it has any: give extractor as "
                "roikit.ModulatedDeformRoIPool or roikit.DeformRoIPool, or another mask_extractor"
            )
        try:
            extractor.at(MASK_BINS)
        except ValueError as error:
            raise ValueError(f"mask_extractor='shared': {error}") from None

    def _check_stages(self) -> None:
        for name in _STAGES:
            if not isinstance(getattr(self, name), (list, tuple)):
                raise ValueError(f"{name} must be a list with an entry for each stage, not {getattr(self, name)!r}")
        counts = [len(getattr(self, name)) for name in _STAGES]
        if len(set(counts)) > 1 or not counts[0]:
            raise ValueError(
                f"{', '.join(_STAGES)} have {counts} entries: a cascade needs one of each for every stage, and a stage"
            )
        if not all(0 < threshold <= 1 for threshold in self.iou_thresholds):
            raise ValueError(f"iou_thresholds must be above 0 and at most 1: {tuple(self.iou_thresholds)}")
        if not all(isinstance(w, (list, tuple)) and len(w) == 4 and min(w) > 0 for w in self.box_weights):
            raise ValueError(f"box_weights must be four positive numbers (x, y, w, h) a stage: {self.box_weights}")
        if not all(weight > 0 for weight in self.loss_weights):
            raise ValueError(f"loss_weights must be positive: {tuple(self.loss_weights)}")
        for name, own in _EACH_STAGE.items():
            if name in self.settings:
                raise TypeError(f"{name} differs from stage to stage in a cascade: use {own}")

    def _check_coco(self) -> None:
        without = {"rfcn": "an R-FCN", "cascade_rcnn": "a Cascade R-CNN", "oriented_rcnn": "an oriented detector"}
        if self.kind in without:
            what = without[self.kind]
            raise ValueError(f"weights='coco': there are none of {what}; weights='imagenet' fits any backbone")
        height, width = self.pooling.output_size
        needs = {
            "backbone='resnet50'": self.backbone.partition(".")[0] == "resnet50" and not self.backbone_options,
            "neck='fpn'": self.neck == "fpn",
            "channels=256": self.channels == 256,
            "fc_dim=1024": self.fc_dim == 1024,
            "an extractor with 49 parts": height * width == 49,
            "aggregate='assign' or 'sum'": self.aggregate != "concat",
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
