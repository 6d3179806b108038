"""From the configuration to the detector."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .config import TrainConfig
from .errors import RunError
from .video import take_videos

if TYPE_CHECKING:
    from roikit.detection.design import Kind


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
    from roikit.detection.design import Design
    from roikit.detection.pooling import groups_of
    from roikit.detection.state_dicts import missing_package

    model = config.model
    kind = _kind(config, groups_of(config.extractor) > 1)
    named = Design.names(kind) & {f.name for f in fields(model)}
    arguments: dict[str, Any] = {
        **{name: getattr(model, name) for name in named},
        "extractor": config.extractor,
        "num_classes": categories + 1,
        "min_size": model.min_size,
        "max_size": model.max_size,
        "rpn_pre_nms_top_n_train": model.candidates_train or model.proposals_train,
        "rpn_post_nms_top_n_train": model.proposals_train,
        "rpn_pre_nms_top_n_test": model.candidates_test or model.proposals_test,
        "rpn_post_nms_top_n_test": model.proposals_test,
        "rpn_batch_size_per_image": model.anchors_per_image,
        "box_batch_size_per_image": model.rois_per_image,
    }
    if model.masks:
        arguments["mask_extractor"] = config.mask_extractor
    elif config.mask_extractor is not None:
        raise RunError("mask_extractor: needs model.masks true")
    clash = sorted(set(model.options) & {*arguments, "fc_dim", "built"})
    if clash:
        raise RunError(f"model.options: {clash[0]!r} has a key of its own; give it there")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            detector = getattr(detection, kind)(**arguments, **model.options, built=built)
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


def _kind(config: TrainConfig, position_sensitive: bool) -> Kind:
    """Which of ``roikit.detection``'s detectors it is.

    Raises:
        RunError: settings that do not go together.
    """
    model = config.model
    if model.oriented:
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
        return "oriented_rcnn"
    if position_sensitive:
        if model.masks:
            raise RunError("model.masks: the extractor is position-sensitive, and an R-FCN has no masks")
        if model.cascade:
            raise RunError("model.cascade: the extractor is position-sensitive, and an R-FCN has one stage")
        return "rfcn"
    if model.cascade and model.masks:
        raise RunError("model.cascade: this detector predicts boxes only; leave model.masks out")
    return "cascade_rcnn" if model.cascade else "mask_rcnn" if model.masks else "faster_rcnn"


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
