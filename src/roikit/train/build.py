"""From the configuration to the detector."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .config import TrainConfig
from .errors import RunError
from .video import take_videos


def build_model(config: TrainConfig, categories: int, built: Mapping[str, Any] | None = None) -> nn.Module:
    """The detector of a configuration.

    Args:
        config: `model`, `extractor` and `mask_extractor` are read: extractors, or what makes them. A position-sensitive
            extractor gets an R-FCN.
        categories: number of categories without the background.
        built: `build_info` of the detector whose weights will be loaded into this one: nothing is fetched, and norms
            and frozen layers are as they came out there (weights that could not be reached change both).

    Raises:
        RunError: no such backbone, an extractor that does not fit, an unknown option.
    """
    from roikit import detection
    from roikit.detection.pooling import groups_of
    from roikit.detection.state_dicts import missing_package

    model = config.model
    build: Any = detection.mask_rcnn if model.masks else detection.faster_rcnn
    position_sensitive = groups_of(config.extractor) > 1
    arguments: dict[str, Any] = {
        "backbone": model.backbone,
        "neck": model.neck,
        "extractor": config.extractor,
        "num_classes": categories + 1,
        "aggregate": model.aggregate,
        "extractor_per_level": model.extractor_per_level,
        "channels": model.channels,
        "anchor_sizes": model.anchor_sizes,
        "aspect_ratios": model.aspect_ratios,
        "weights": model.weights,
        "norm": model.norm,
        "deformable": model.deformable,
        "modulated": model.modulated,
        "min_size": model.min_size,
        "max_size": model.max_size,
        "dilate_first": model.dilate_first,
        "rpn_pre_nms_top_n_train": model.candidates_train or model.proposals_train,
        "rpn_post_nms_top_n_train": model.proposals_train,
        "rpn_pre_nms_top_n_test": model.candidates_test or model.proposals_test,
        "rpn_post_nms_top_n_test": model.proposals_test,
        "rpn_batch_size_per_image": model.anchors_per_image,
        "box_batch_size_per_image": model.rois_per_image,
    }
    if position_sensitive:
        build = detection.rfcn
        if model.masks:
            raise RunError("model.masks: the extractor is position-sensitive, and an R-FCN has no masks")
        if model.cascade:
            raise RunError("model.cascade: the extractor is position-sensitive, and an R-FCN has one stage")
    else:
        arguments["fc_dim"] = model.fc_dim
        if model.cascade:
            build = detection.cascade_rcnn
            if model.masks:
                raise RunError("model.cascade: this detector predicts boxes only; leave model.masks out")
    if model.oriented:
        _check_oriented(config, position_sensitive)
        build = detection.oriented_rcnn
    if model.masks:
        arguments |= {"mask_extractor": config.mask_extractor, "mask_channels": model.mask_channels}
    elif config.mask_extractor is not None:
        raise RunError("mask_extractor: needs model.masks true")
    clash = sorted(set(model.options) & {*arguments, "fc_dim", "built"})
    if clash:
        raise RunError(f"model.options: {clash[0]!r} has a key of its own; give it there")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            detector = build(**arguments, **model.options, built=built)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"model: {error}") from None
    if built is None and model.weights is not None and detector.build_info["weights"] is None:
        # A library may go on from scratch and say so; hours of training are not what was asked for.
        reason = str(said[-1].message).partition(": the model starts from scratch")[0]
        raise RunError(
            f"model.weights: {reason}; {missing_package(model.backbone)}; --model.weights=null trains from scratch"
        )
    for warning in said:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if config.data.proposals is not None:
        detection.take_given_proposals(detector)
    take_videos(detector, config.video, fetch=built is None)
    if config.channels_last:
        detector = detector.to(memory_format=torch.channels_last)
    return detector


def _check_oriented(config: TrainConfig, position_sensitive: bool) -> None:
    model = config.model
    rules = (
        (position_sensitive, "extractor", "it is position-sensitive, and an R-FCN has upright boxes"),
        (model.cascade, "model.cascade", "its boxes are upright"),
        (model.masks, "model.masks", "this detector predicts oriented boxes only"),
        (config.optim.oriented_loss > 0, "optim.oriented_loss", "a RoITransformer has that loss there already"),
        (config.mimic.regions != "none", "mimic.regions", "mimicking is of upright regions"),
    )
    for wrong, key, reason in rules:
        if wrong:
            raise RunError(f"{key}: does not go with model.oriented ({reason}); leave one of them out")


def add_losses(detector: Any, config: TrainConfig) -> None:
    """The losses of the extractor's own that a configuration asks for, in place.

    Raises:
        RunError: an extractor that has no such loss.
    """
    from roikit.detection import add_extractor_losses

    offsets, oriented = config.optim.offset_penalty, config.optim.oriented_loss
    if not offsets and not oriented:
        return
    try:
        add_extractor_losses(detector, offsets=offsets, oriented=oriented)
    except ValueError as error:
        raise RunError(f"optim.{'oriented_loss' if oriented else 'offset_penalty'}: {error}") from None
