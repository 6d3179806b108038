"""Multiply-adds as papers count them."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count


def of_layers(counter: FlopCounterMode) -> float:
    """Multiply-adds of convolutions and products; papers leave out the pooling of regions, so it is left out."""
    seen = counter.get_flop_counts().get("Global", {})
    return sum(count for operator, count in seen.items() if not str(operator).startswith("roikit")) / 2  # it counts two


def counter_of_layers() -> FlopCounterMode:
    """torch's counter, which also knows deformable convolution: as a convolution, its samples left out."""
    deformed: Any = {torch.ops.torchvision.deform_conv2d: _deform_conv_flops}
    return FlopCounterMode(display=False, custom_mapping=deformed)


def _deform_conv_flops(x_shape: list[int], weight_shape: list[int], *_: object, out_shape: list[int]) -> int:
    return conv_flop_count(x_shape, weight_shape, out_shape)


def detector_multiply_adds(
    model: Any, height: int = 800, width: int = 1280, *, regions: int = 1000, masks: int = 100
) -> float:
    """10⁹ multiply-adds of a Faster or Mask R-CNN for one image, counted while its layers run: backbone, neck and RPN,
    the box head of ``regions`` regions and the mask head of ``masks``, as mmdetection counts them. Bilinear samples,
    in region pooling and in deformable layers, are left out.

    Args:
        model: of ``roikit.detection``, built under ``torch.device("meta")``: nothing is computed.
        height, width: of the image in pixels, multiples of the coarsest stride.

    Example:
        >>> import roikit
        >>> with torch.device("meta"):
        ...     model = roikit.detection.mask_rcnn("resnet50", num_classes=81)
        >>> round(detector_multiply_adds(model), 1)  # mmdetection's counter: 260.1
        259.3
    """
    heads, channels = model.roi_heads, model.backbone.out_channels
    with torch.device("meta"), torch.no_grad(), counter_of_layers() as counter:
        maps = model.eval().backbone(torch.empty(1, 3, height, width))
        model.rpn.head([maps[name] for name in model.backbone.rpn_maps])
        pooled = torch.empty(regions, channels, *heads.box_roi_pool.output_size)
        heads.box_predictor(heads.box_head(pooled))
        if heads.mask_head is not None:
            pooled = torch.empty(masks, channels, *heads.mask_roi_pool.output_size)
            heads.mask_predictor(heads.mask_head(pooled))
    return of_layers(counter) / 1e9
