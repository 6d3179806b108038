"""Faster, Mask, Cascade, Oriented R-CNN and R-FCN: torchvision's with a timm backbone, a neck, a region extractor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torchvision.models.detection import FasterRCNN, MaskRCNN

from .build import build
from .design import Design
from .pooling import Extractors


def faster_rcnn(
    backbone: str = "resnet50",
    neck: str = "fpn",
    extractor: Extractors | None = None,
    num_classes: int = 91,
    *,
    aggregate: str = "assign",
    extractor_per_level: bool = False,
    channels: int = 256,
    fc_dim: int = 1024,
    anchor_sizes: Sequence[Any] | None = None,
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    weights: str | None = None,
    norm: str = "auto",
    trainable_layers: int | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    deformable: str | Sequence[str] = (),
    dilate_first: bool = False,
    modulated: bool = True,
    built: Mapping[str, Any] | None = None,
    **options: Any,
) -> FasterRCNN:
    """Faster R-CNN (Ren et al., NeurIPS 2015) with any timm backbone and any region extractor.

    The result is a ``torchvision.models.detection.FasterRCNN``: in training ``model(images, targets)`` returns a dict
    of losses, in evaluation ``model(images)`` a list of ``{"boxes", "labels", "scores"}``. Images are
    ``Tensor[3, H, W]`` in 0-1; boxes are xyxy in pixels of the image as given.

    Args:
        backbone: a timm model with ``features_only`` that gives maps of several strides and takes images of any size:
            ``"resnet50"``, ``"resnet10t"``, ``"convnext_tiny"``, ``"swin_tiny_patch4_window7_224"``, ``"pvt_v2_b0"``, …
        neck: ``"fpn"`` (Feature Pyramid Network; RoIs from C2-C5, the RPN also from a pooled level), ``"dyhead"`` (the
            same, then six blocks of Dynamic Head) or ``"c5"`` (one map: conv5 dilated to stride 16, RPN on conv4, a 1×1
            convolution before RoI pooling; LRF section 4).
        extractor: a region extractor, one for each level in a list, or what makes one: a class such as
            ``roikit.DeformRoIPool`` or ``functools.partial`` of it, which is given ``channels`` where it asks for it.
            Default ``RoIAlign(7, sampling_ratio=2)``. Its number of parts and its channels decide the input of the box
            head.
        num_classes: classes *with* the background, as in torchvision.
        aggregate: which levels a RoI is read from: "assign" (the one that suits its size), "concat" (all, channels
            side by side) or "sum" (all, added up); see ``roikit.MultiScale``.
        extractor_per_level: make an extractor for each level, with layers of its own, instead of sharing one.
        channels: channels of the maps that RoIs are pooled from.
        fc_dim: width of the two fully connected layers.
        anchor_sizes: sides of the square anchors, in pixels of the resized image. ``"fpn"``: one per level, default
            8 × stride (32, 64, 128, 256, 512); ``"c5"``: a list for the one map, default the same five.
        aspect_ratios: height / width of the anchors.
        weights: ``None`` (from scratch), ``"imagenet"`` (of the backbone: an installed package of
            ``roikit.detection.WEIGHTS_PACKAGES``, timm's hub or its cache), ``"coco"`` (torchvision's detector, for
            ``resnet50`` + ``fpn`` as by default; the predictors are left out where ``num_classes`` is not 91), or a
            path: a backbone's state dict, or a run's folder, of which backbone, neck and RPN are taken. Where
            ``"imagenet"`` or ``"coco"`` cannot be reached, one warning says so and the model starts from scratch;
            ``build_info["source"]`` says where weights came from.
        norm: batch norm of the backbone, ``"batch"`` (learns), ``"frozen"``, or ``"auto"``: frozen with weights.
        trainable_layers: how many of the backbone's layers learn, counted from the end as torchvision does: 5 is all,
            3 (the default with weights) freezes the stem and the first stage.
        backbone_options: further arguments for ``timm.create_model``.
        dilate_first: with ``neck="c5"``, dilate the 3×3 of the dilated stage's first block too, as the original dilated
            ResNet does (Gu et al. and Zhu et al. start from it); timm leaves it at 1.
        deformable: stages of the backbone whose 3×3 convolutions become deformable once its weights are loaded, such as
            ``("layer2", "layer3", "layer4")``, conv3 to conv5 of a ResNet; see ``roikit.layers.make_deformable``. Their
            offsets learn even in frozen stages.
        modulated: of these: the second version, or the first.
        built: the ``build_info`` of a model whose state dict this one will load. ``weights``, ``norm`` and
            ``trainable_layers`` are then as they came out there, and nothing is fetched.
        options: torchvision's own: ``min_size``, ``max_size``, ``image_mean``, ``rpn_*``, ``box_*``, …

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
    return build(Design.of("faster_rcnn", locals()))


def mask_rcnn(
    backbone: str = "resnet50",
    neck: str = "fpn",
    extractor: Extractors | None = None,
    num_classes: int = 91,
    *,
    mask_extractor: Extractors | Literal["shared"] | None = None,
    mask_channels: int = 256,
    **options: Any,
) -> MaskRCNN:
    """Mask R-CNN (He et al., ICCV 2017): :func:`faster_rcnn` with a mask branch.

    Args:
        backbone, neck, extractor, num_classes: as in :func:`faster_rcnn`.
        mask_extractor: the region extractor of the mask branch, default ``RoIAlign(14, sampling_ratio=2)``. Its output
            is square; the mask has twice its side. ``aggregate`` and ``extractor_per_level`` are for both. "shared": 14
            × 14 bins that move with the 7 × 7 of a deformable ``extractor``, by the same layers.
        mask_channels: channels of the mask branch's convolutions.
        options: the other arguments of :func:`faster_rcnn`.

    The errors are those of :func:`faster_rcnn`. Targets also hold ``"masks"`` (uint8
    ``[N, H, W]``), detections ``"masks"`` (``[N, 1, H, W]``, probabilities).

    Example:
        >>> import torch
        >>> model = mask_rcnn("resnet10t", num_classes=6, channels=64, fc_dim=128, min_size=128, max_size=128)
        >>> sorted(model.eval()([torch.rand(3, 128, 128)])[0])
        ['boxes', 'labels', 'masks', 'scores']
    """
    return build(Design.of("mask_rcnn", locals()))


def rfcn(
    backbone: str = "resnet50",
    neck: str = "c5",
    extractor: Extractors | None = None,
    num_classes: int = 91,
    *,
    channels: int = 1024,
    class_specific_boxes: bool = False,
    **options: Any,
) -> FasterRCNN:
    """R-FCN (Dai et al., NeurIPS 2016): :func:`faster_rcnn` whose head votes on position-sensitive maps.

    From the neck's maps of ``channels`` channels, 1×1 convolutions make k² maps for every class and k² for each of a
    box's four numbers; a position-sensitive extractor pools them, part (i, j) from maps of its own, and the mean over
    the parts is the result (section 2). No layer runs once per region.

    Args:
        backbone, num_classes: as in :func:`faster_rcnn`.
        neck: ``"c5"``, as in the paper, or ``"fpn"``: the convolutions are shared by the levels.
        extractor: a position-sensitive extractor, default ``PSRoIAlign(7)``; ``PSRoIPool(7)`` is the paper's. One with
            layers is best given as what makes it, ``functools.partial(roikit.DeformPSRoIPool, group_size=7)``: the
            number of maps, its ``channels``, is (num_classes + 4)·k². A function of your own with the argument
            ``channels`` says k by the default of an argument ``group_size``:
            ``lambda channels, group_size=7: roikit.DeformPSRoIPool(channels, 7, group_size)``.
        channels: of the neck's maps; in the paper 1024, behind a rectifier as here.
        class_specific_boxes: four numbers for every class, 4·num_classes·k² maps, instead of four for all.
        options: the other arguments of :func:`faster_rcnn`; there is no ``fc_dim``.

    Returns:
        A ``torchvision.models.detection.FasterRCNN``: the same losses and detections.

    Raises:
        ValueError: as :func:`faster_rcnn`, and an extractor that is not position-sensitive.
        TypeError: an unknown setting.

    Example:
        >>> import torch
        >>> model = rfcn("resnet10t", num_classes=6, channels=64, min_size=128, max_size=128)
        >>> model.backbone.scores.out_channels, model.backbone.boxes.out_channels
        (294, 196)
        >>> sorted(model.eval()([torch.rand(3, 128, 128)])[0])
        ['boxes', 'labels', 'scores']
    """
    return build(Design.of("rfcn", locals()))


def cascade_rcnn(
    backbone: str = "resnet50",
    neck: str = "fpn",
    extractor: Extractors | None = None,
    num_classes: int = 91,
    *,
    iou_thresholds: Sequence[float] = (0.5, 0.6, 0.7),
    box_weights: Sequence[Sequence[float]] = ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15)),
    loss_weights: Sequence[float] = (1.0, 0.5, 0.25),
    class_specific_boxes: bool = False,
    **options: Any,
) -> FasterRCNN:
    """Cascade R-CNN (Cai & Vasconcelos, CVPR 2018): :func:`faster_rcnn` with box heads in stages.

    Each stage reads the boxes as the one before has moved them, and is trained for boxes that fit better. The last
    stage's boxes are the detections, and their scores are the mean of what all stages' heads say about what the last
    one reads. Proposals are sampled once, for the first stage; no gradient passes from stage to stage through boxes.

    Args:
        backbone, neck, num_classes: as in :func:`faster_rcnn`.
        extractor: as there. What makes an extractor (a class, ``functools.partial``) is called for every stage where
            its extractors have layers; one that is made already, a list of them for the levels, and what
            ``roikit.replace_roi`` puts in, are shared by the stages.
        iou_thresholds: of each stage: a box is an object where its IoU with one is at least this much.
        box_weights: of each stage: factors on the deltas (x, y, width, height) that it learns, larger where boxes
            already fit.
        loss_weights: of each stage.
        class_specific_boxes: four numbers for every class instead of four for all; boxes then move as the class with
            the highest score says.
        options: the other arguments of :func:`faster_rcnn`.

    Returns:
        A ``torchvision.models.detection.FasterRCNN``. Its losses are the RPN's and, for stage s = 1, 2, …,
        ``loss_classifier_stage{s}`` and ``loss_box_reg_stage{s}``, with their weights.

    Raises:
        ValueError: as :func:`faster_rcnn`, and thresholds and weights that are not one for each stage.
        TypeError: an unknown setting, and those of torchvision that differ from stage to stage.

    Example:
        >>> import torch
        >>> model = cascade_rcnn("resnet10t", num_classes=6, channels=64, fc_dim=128, min_size=128, max_size=128)
        >>> target = {"boxes": torch.tensor([[20.0, 30.0, 90.0, 110.0]]), "labels": torch.tensor([3])}
        >>> losses = model([torch.rand(3, 128, 128)], [target])
        >>> [name for name in losses if name.startswith("loss_box_reg")]
        ['loss_box_reg_stage1', 'loss_box_reg_stage2', 'loss_box_reg_stage3']
    """
    return build(Design.of("cascade_rcnn", locals()))


def oriented_rcnn(
    backbone: str = "resnet50",
    neck: str = "fpn",
    extractor: Extractors | None = None,
    num_classes: int = 91,
    **options: Any,
) -> FasterRCNN:
    """:func:`faster_rcnn` that finds oriented boxes (cx, cy, w, h, θ).

    With ``extractor=roikit.RoITransformer`` each upright region is turned first, then read and refined in its own frame
    (Ding et al., RoI Transformer, CVPR 2019); a loss teaches the turning. With any other extractor the oriented box
    is predicted from the upright region (Faster R-CNN OBB: Xia et al., DOTA, CVPR 2018).

    Args:
        backbone, neck, extractor, num_classes: as in :func:`faster_rcnn`.
        options: the other arguments of :func:`faster_rcnn`. ``box_nms_thresh`` is an IoU of oriented boxes.

    Returns:
        A ``torchvision.models.detection.FasterRCNN``. Targets also hold ``"oriented_boxes"`` (``[N, 5]``, image pixels
        and radians, counter-clockwise as one sees the image), detections too, whose ``"boxes"`` are the upright ones
        around them. Losses are those of :func:`faster_rcnn` and, of a ``RoITransformer``, ``loss_rotated``.

    Raises:
        ValueError: as :func:`faster_rcnn`, and targets without oriented boxes.
        TypeError: an unknown setting.

    Example:
        >>> import torch, roikit
        >>> small = {"num_classes": 6, "channels": 64, "fc_dim": 128, "min_size": 128, "max_size": 128}
        >>> model = oriented_rcnn("resnet10t", extractor=roikit.RoITransformer, **small)
        >>> target = {"boxes": torch.tensor([[20.0, 30.0, 90.0, 110.0]]), "labels": torch.tensor([3])}
        >>> target["oriented_boxes"] = torch.tensor([[55.0, 70.0, 90.0, 20.0, 0.8]])
        >>> list(model([torch.rand(3, 128, 128)], [target]))[:3]
        ['loss_classifier', 'loss_box_reg', 'loss_rotated']
        >>> sorted(model.eval()([torch.rand(3, 128, 128)])[0])
        ['boxes', 'labels', 'oriented_boxes', 'scores']
    """
    return build(Design.of("oriented_rcnn", locals()))
