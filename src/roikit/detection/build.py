"""From a design to the detector: backbone, neck, pooling and heads put together, weights loaded."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.roi_heads import RoIHeads

from ..layers import make_deformable
from ..multiscale import MultiScale
from .backbones import Body, build_body, dilate_first, freeze
from .cascade import CascadeHeads, OneBoxPredictor
from .design import MASK_BINS, WEIGHTS, Design
from .heads import FullBoxPredictor, FullMaskPredictor, FullRPNHead, SelectMaps, anchor_generator
from .necks import NECKS, Neck
from .oriented import OrientedBoxPredictor, OrientedHeads, OrientedTransform
from .pooling import apart
from .position_sensitive import PositionSensitiveNeck, SplitVotes, Vote
from .pretrained import Unreachable, coco_state_dict, load_coco, warn_from_scratch
from .state_dicts import is_detector, read, take_over
from .targets import CheckTargets


def build(design: Design) -> Any:
    """The detector of a design."""
    body, coco, detector, build_info = _body(design)
    neck = NECKS[design.neck](body, design.channels)
    step = max(32, *body.strides)
    if body.one_size:
        neck.check_sizes(design.backbone, step)
    anchors = anchor_generator(
        [neck.strides[name] for name in neck.rpn_maps], design.anchor_sizes, design.aspect_ratios
    )
    settings: dict[str, Any] = {
        "size_divisible": step,
        "image_mean": list(body.mean),
        "image_std": list(body.std),
        "rpn_anchor_generator": anchors,
        "rpn_head": FullRPNHead(neck.rpn_channels, anchors.num_anchors_per_location()[0]),
    }
    # torchvision's constructor takes no other pooling module than its own, so it gets ours afterwards
    if design.kind == "rfcn":
        groups = design.pooling.each[0].groups
        maps = PositionSensitiveNeck(neck, design.num_classes * groups, design.box_outputs * groups)
        settings |= {"box_head": Vote(), "box_predictor": SplitVotes(design.num_classes)}
        model = FasterRCNN(maps, **settings | design.settings)
        with apart():
            model.roi_heads.box_roi_pool = design.pooling.on(maps)
    else:
        model = _with_layers(design, neck, settings)
    if set(model.backbone.rpn_maps) != set(model.backbone.strides):
        model.rpn.register_forward_pre_hook(SelectMaps(model.backbone.rpn_maps))
    more = {"mask_rcnn": ("masks",), "oriented_rcnn": ("oriented_boxes",)}.get(design.kind, ())
    model.register_forward_pre_hook(CheckTargets(design.num_classes, more), with_kwargs=True)
    if coco is not None:
        load_coco(model, coco, design.num_classes)
    if detector is not None:
        take_over(model, detector, Path(str(design.weights)))
    if design.deformable:  # last: weights are those of convolutions, and new layers learn whatever is frozen
        make_deformable(body.net, design.deformable, design.modulated)
        stages = [design.deformable] if isinstance(design.deformable, str) else list(design.deformable)
        build_info |= {"deformable": stages, "modulated": design.modulated}
    loaded = {name: design.built.get(name) for name in ("weights", "source")} if design.built else {}
    model.build_info = build_info | {"aligned": design.aligned} | loaded
    return model


def _with_layers(design: Design, neck: Neck, settings: dict[str, Any]) -> Any:
    """Any other R-CNN: fully connected layers, and convolutions for masks, on the pooled features."""
    with apart():
        pool = design.pooling.on(neck)
        further = [pooling.on(neck) for pooling in design.stage_poolings()[1:]] if design.kind == "cascade_rcnn" else []
        mask_pool = None if design.mask_pooling is None else design.mask_pooling.on(neck)
    height, width = pool.output_size
    predictor = OrientedBoxPredictor if design.kind == "oriented_rcnn" else FullBoxPredictor
    settings |= {
        "box_head": TwoMLPHead(pool.out_channels(design.channels) * height * width, design.fc_dim),
        "box_predictor": predictor(design.fc_dim, design.num_classes),
    }
    if design.kind != "mask_rcnn":
        model = FasterRCNN(neck, **settings | design.settings)
    else:
        mask_pool = pool.at(MASK_BINS) if mask_pool is None else mask_pool
        settings["mask_head"] = MaskRCNNHeads(mask_pool.out_channels(design.channels), [design.mask_channels] * 4, 1)
        settings["mask_predictor"] = FullMaskPredictor(design.mask_channels, design.mask_channels, design.num_classes)
        model = MaskRCNN(neck, **settings | design.settings)
        model.roi_heads.mask_roi_pool = mask_pool
    model.roi_heads.box_roi_pool = pool
    if design.kind == "cascade_rcnn":
        model.roi_heads = _cascade(design, further, model.roi_heads)
    elif design.kind == "oriented_rcnn":
        model.roi_heads, model.transform = OrientedHeads(model.roi_heads), OrientedTransform.like(model.transform)
    return model


def _cascade(design: Design, further: list[MultiScale], plain: RoIHeads) -> CascadeHeads:
    """A stage for each threshold, in place of the heads of a Faster R-CNN, whose settings they take over.

    Args:
        further: the poolings of the stages after the first; none where one serves all.
    """
    pools = [plain.box_roi_pool, *further]
    height, width = pools[0].output_size
    inputs = pools[0].out_channels(design.channels) * height * width
    predictor = FullBoxPredictor if design.class_specific_boxes else OneBoxPredictor
    stages = range(len(design.iou_thresholds))
    return CascadeHeads(
        pools,
        [TwoMLPHead(inputs, design.fc_dim) for _ in stages],
        [predictor(design.fc_dim, design.num_classes) for _ in stages],
        iou_thresholds=design.iou_thresholds,
        box_weights=design.box_weights,
        loss_weights=design.loss_weights,
        batch_size_per_image=plain.fg_bg_sampler.batch_size_per_image,
        positive_fraction=plain.fg_bg_sampler.positive_fraction,
        score_thresh=plain.score_thresh,
        nms_thresh=plain.nms_thresh,
        detections_per_img=plain.detections_per_img,
    )


def _body(design: Design) -> tuple[Body, dict[str, Tensor] | None, dict[str, Tensor] | None, dict[str, Any]]:
    """The backbone, frozen as its weights ask for; COCO's state dict for the whole model, or another run's, if asked
    for; what was done.

    Weights that cannot be reached leave nothing frozen: random layers have to learn.
    """
    loaded, coco, detector = design.weights, None, None
    file = None if design.weights in WEIGHTS else Path(str(design.weights))
    if file is not None:
        state = read(file)
        detector = state if is_detector(state) else None
    norm, trainable_layers = design.norm, design.trainable_layers
    build = partial(
        build_body, design.backbone, output_stride=NECKS[design.neck].OUTPUT_STRIDE, options=design.backbone_options
    )
    try:
        if design.weights == "coco":
            coco = coco_state_dict(design.kind == "mask_rcnn")
        body = build(pretrained=design.weights == "imagenet" if file is None or detector is not None else file)
    except Unreachable as error:
        warn_from_scratch(str(design.weights), design.backbone, str(error))
        loaded, norm, trainable_layers = None, "auto", None
        body = build()
    if design.dilate_first:
        dilate_first(body)
    if norm == "auto":
        norm = "frozen" if loaded else "batch"
    if trainable_layers is None:
        trainable_layers = 3 if loaded else 5
    freeze(body, norm=norm, trainable_layers=trainable_layers)
    info = {
        "backbone": design.backbone,
        "neck": design.neck,
        "weights": loaded,
        "source": str(file) if file else "torchvision" if coco is not None else body.source,
        "norm": norm,
        "trainable_layers": trainable_layers,
    }
    return body, coco, detector, info
