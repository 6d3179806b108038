"""Faster R-CNN and Mask R-CNN: torchvision's detectors with a timm backbone, a neck and a chosen region extractor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads

from ..extractors import RegionExtractor
from .backbones import Body, build_body, freeze
from .design import Design
from .heads import FullBoxPredictor, FullMaskPredictor, FullRPNHead, SelectMaps, anchor_generator
from .necks import NECKS
from .pooling import default_extractor, pool_from, pooled_channels
from .pretrained import Unreachable, coco_state_dict, load_coco, warn_from_scratch
from .targets import CheckTargets


def faster_rcnn(
    backbone: str = "resnet50",
    neck: str = "fpn",
    extractor: RegionExtractor | None = None,
    num_classes: int = 91,
    *,
    channels: int = 256,
    fc_dim: int = 1024,
    anchor_sizes: Sequence[Any] | None = None,
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    weights: str | None = None,
    norm: str = "auto",
    trainable_layers: int | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    built: Mapping[str, Any] | None = None,
    **settings: Any,
) -> FasterRCNN:
    """Faster R-CNN (Ren et al., NeurIPS 2015) with any timm backbone and any region extractor.

    The result is a ``torchvision.models.detection.FasterRCNN``: in training ``model(images, targets)`` returns a dict
    of losses, in evaluation ``model(images)`` a list of ``{"boxes", "labels", "scores"}``. Images are
    ``Tensor[3, H, W]`` in 0-1; boxes are xyxy in pixels of the image as given.

    Args:
        backbone: a convolutional timm model with ``features_only``, such as ``"resnet50"`` or ``"resnet10t"``.
        neck: ``"fpn"`` (Feature Pyramid Network; RoIs from C2-C5, the RPN also from a pooled level) or ``"c5"`` (one
            map: conv5 dilated to stride 16, RPN on conv4, a 1×1 convolution before RoI pooling; LRF section 4).
        extractor: a region extractor, default ``RoIAlign(7, sampling_ratio=2)``. Its number of parts and its channels
            decide the input of the box head.
        num_classes: classes *with* the background, as in torchvision.
        channels: channels of the maps that RoIs are pooled from.
        fc_dim: width of the two fully connected layers.
        anchor_sizes: sides of the square anchors, in pixels of the resized image. ``"fpn"``: one per level, default
            8 × stride (32, 64, 128, 256, 512); ``"c5"``: a list for the one map, default the same five.
        aspect_ratios: height / width of the anchors.
        weights: ``None`` (from scratch), ``"imagenet"`` (timm's weights of the backbone) or ``"coco"`` (torchvision's
            detector, for ``resnet50`` + ``fpn`` as by default; the predictors are left out where ``num_classes`` is not
            91). Where they cannot be reached, one warning says so and the model starts from scratch.
        norm: batch norm of the backbone, ``"batch"`` (learns), ``"frozen"``, or ``"auto"``: frozen with weights.
        trainable_layers: how many of the backbone's layers learn, counted from the end as torchvision does: 5 is all,
            3 (the default with weights) freezes the stem and the first stage.
        backbone_options: further arguments for ``timm.create_model``.
        built: the ``build_info`` of a model whose state dict this one will load. ``weights``, ``norm`` and
            ``trainable_layers`` are then as they came out there, and nothing is fetched.
        settings: torchvision's own: ``min_size``, ``max_size``, ``image_mean``, ``rpn_*``, ``box_*``, …

    With ``weights="coco"`` the default extractor has ``aligned=False``: these weights were trained with it. The model's
    ``build_info``, a dict of plain values, says what was really built.

    Raises:
        ValueError: an unknown backbone, neck or weights; fewer than two classes; an extractor, anchors or weights
            that do not fit; in training, targets that do not fit (the image is named).
        TypeError: an unknown setting.

    Example:
        >>> import torch
        >>> model = faster_rcnn("resnet10t", num_classes=6, channels=64, fc_dim=128, min_size=128, max_size=128)
        >>> sorted(model.eval()([torch.rand(3, 128, 128)])[0])
        ['boxes', 'labels', 'scores']
    """
    aligned, weights, norm, trainable_layers = _as_built(built, weights, norm, trainable_layers)
    return _build(
        Design(
            backbone=backbone,
            neck=neck,
            extractor=default_extractor(7, aligned=aligned) if extractor is None else extractor,
            num_classes=num_classes,
            channels=channels,
            fc_dim=fc_dim,
            anchor_sizes=anchor_sizes,
            aspect_ratios=aspect_ratios,
            weights=weights,
            norm=norm,
            trainable_layers=trainable_layers,
            backbone_options=backbone_options,
            settings=settings,
        ),
        aligned,
        built,
    )


def mask_rcnn(
    backbone: str = "resnet50",
    neck: str = "fpn",
    extractor: RegionExtractor | None = None,
    num_classes: int = 91,
    *,
    mask_extractor: RegionExtractor | None = None,
    mask_channels: int = 256,
    channels: int = 256,
    fc_dim: int = 1024,
    anchor_sizes: Sequence[Any] | None = None,
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    weights: str | None = None,
    norm: str = "auto",
    trainable_layers: int | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    built: Mapping[str, Any] | None = None,
    **settings: Any,
) -> MaskRCNN:
    """Mask R-CNN (He et al., ICCV 2017): :func:`faster_rcnn` with a mask branch.

    Args:
        mask_extractor: the region extractor of the mask branch, default ``RoIAlign(14, sampling_ratio=2)``. Its output
            is square; the mask has twice its side.
        mask_channels: channels of the mask branch's convolutions.

    The other arguments and the errors are those of :func:`faster_rcnn`. Targets also hold ``"masks"`` (uint8
    ``[N, H, W]``), detections ``"masks"`` (``[N, 1, H, W]``, probabilities).

    Example:
        >>> import torch
        >>> model = mask_rcnn("resnet10t", num_classes=6, channels=64, fc_dim=128, min_size=128, max_size=128)
        >>> sorted(model.eval()([torch.rand(3, 128, 128)])[0])
        ['boxes', 'labels', 'masks', 'scores']
    """
    aligned, weights, norm, trainable_layers = _as_built(built, weights, norm, trainable_layers)
    return _build(
        Design(
            backbone=backbone,
            neck=neck,
            extractor=default_extractor(7, aligned=aligned) if extractor is None else extractor,
            num_classes=num_classes,
            mask_extractor=default_extractor(14, aligned=aligned) if mask_extractor is None else mask_extractor,
            mask_channels=mask_channels,
            channels=channels,
            fc_dim=fc_dim,
            anchor_sizes=anchor_sizes,
            aspect_ratios=aspect_ratios,
            weights=weights,
            norm=norm,
            trainable_layers=trainable_layers,
            backbone_options=backbone_options,
            settings=settings,
        ),
        aligned,
        built,
    )


def _as_built(
    built: Mapping[str, Any] | None, weights: str | None, norm: str, trainable_layers: int | None
) -> tuple[bool, str | None, str, int | None]:
    """Whether default extractors are aligned; then the other arguments as given, or as they came out in ``built``."""
    if built is None:
        return weights != "coco", weights, norm, trainable_layers
    missing = {"aligned", "norm", "trainable_layers", "weights"} - set(built)
    if missing:
        raise ValueError(f"built must be the build_info of a detector, but it has no {min(missing)!r}: {dict(built)}")
    return built["aligned"], None, built["norm"], built["trainable_layers"]


def _build(design: Design, aligned: bool, built: Mapping[str, Any] | None) -> Any:
    body, coco, build_info = _body(design)
    neck = NECKS[design.neck](body, design.channels)
    anchors = anchor_generator(
        [neck.strides[name] for name in neck.rpn_maps], design.anchor_sizes, design.aspect_ratios
    )
    height, width = design.extractor.output_size
    settings: dict[str, Any] = {
        "size_divisible": max(32, *body.strides),
        "image_mean": list(body.mean),
        "image_std": list(body.std),
        "rpn_anchor_generator": anchors,
        "rpn_head": FullRPNHead(neck.rpn_channels, anchors.num_anchors_per_location()[0]),
        "box_head": TwoMLPHead(pooled_channels(design.extractor, design.channels) * height * width, design.fc_dim),
        "box_predictor": FullBoxPredictor(design.fc_dim, design.num_classes),
    } | design.settings
    if design.mask_extractor is None:
        model = FasterRCNN(neck, **settings)
    else:
        in_channels = pooled_channels(design.mask_extractor, design.channels)
        settings["mask_head"] = MaskRCNNHeads(in_channels, [design.mask_channels] * 4, 1)
        settings["mask_predictor"] = FullMaskPredictor(design.mask_channels, design.mask_channels, design.num_classes)
        model = MaskRCNN(neck, **settings)
        model.roi_heads.mask_roi_pool = pool_from(neck, design.mask_extractor)
    # torchvision's constructor takes no other pooling module than its own, so it gets ours afterwards
    model.roi_heads.box_roi_pool = pool_from(neck, design.extractor)
    if set(neck.rpn_maps) != set(neck.strides):
        model.rpn.register_forward_pre_hook(SelectMaps(neck.rpn_maps))
    model.register_forward_pre_hook(CheckTargets(design.num_classes, design.masks), with_kwargs=True)
    if coco is not None:
        load_coco(model, coco, design.num_classes)
    model.build_info = build_info | {"aligned": aligned} | ({"weights": built["weights"]} if built else {})
    return model


def _body(design: Design) -> tuple[Body, dict[str, Tensor] | None, dict[str, Any]]:
    """The backbone, frozen as its weights ask for; COCO's state dict for the whole model, if asked for; what was done.

    Weights that cannot be reached leave nothing frozen: random layers have to learn.
    """
    loaded, coco = design.weights, None
    norm, trainable_layers = design.norm, design.trainable_layers
    build = partial(
        build_body, design.backbone, output_stride=NECKS[design.neck].OUTPUT_STRIDE, options=design.backbone_options
    )
    try:
        if design.weights == "coco":
            coco = coco_state_dict(design.masks)
        body = build(pretrained=design.weights == "imagenet")
    except Unreachable as error:
        warn_from_scratch(str(design.weights), design.backbone, str(error))
        loaded, norm, trainable_layers = None, "auto", None
        body = build()
    if norm == "auto":
        norm = "frozen" if loaded else "batch"
    if trainable_layers is None:
        trainable_layers = 3 if loaded else 5
    freeze(body, norm=norm, trainable_layers=trainable_layers)
    info = {
        "backbone": design.backbone,
        "neck": design.neck,
        "weights": loaded,
        "norm": norm,
        "trainable_layers": trainable_layers,
    }
    return body, coco, info
