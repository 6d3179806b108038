"""Backbones: any model of timm that gives maps of several strides, with its layers frozen as detectors need it."""

from __future__ import annotations

import contextlib
import difflib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .pretrained import Unreachable, from_state, is_network_error, reason_of, timm_source
from .state_dicts import of_backbone, read

# Swin and its relatives (timm's module → options). timm makes them for images of one size. Here they take any, with
# full, shifted windows in every stage: at 224 px the last stage is one window, which timm would then never shift.
_WINDOWS = {
    "swin_transformer": {"strict_img_size": False, "always_partition": True},
    "swin_transformer_v2": {"strict_img_size": False, "always_partition": True},
    "swin_transformer_v2_cr": {"strict_img_size": False, "always_partition": True},
}


@dataclass(frozen=True)
class Body:
    """A backbone without a neck: all its maps, their channels and strides (image pixels per cell), finest first."""

    name: str
    net: nn.Module
    info: Any  # timm's feature_info: which module gives which map
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    channels_last: bool  # maps come as [B, H, W, C] (Swin and its relatives)
    plain: bool  # maps are sums that no norm has seen (the same models): a neck puts a layer norm on each
    one_size: bool  # made for images of one size, as timm says
    source: str | None  # where its weights came from; None: random
    mean: tuple[float, ...]
    std: tuple[float, ...]


def build_body(
    name: str,
    *,
    pretrained: bool | Path = False,
    output_stride: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Body:
    """Build timm's model ``name`` with ``features_only``.

    Args:
        name: one of ``timm.list_models()``, with or without a tag (``"resnet50.a1_in1k"``).
        pretrained: load the published weights, or those of a file or run folder.
        output_stride: the largest stride in image pixels; later stages are dilated instead of strided.
        options: further arguments of ``timm.create_model``, for example ``{"drop_path_rate": 0.1}``.

    Raises:
        ValueError: unknown name or tag, no feature maps, a stride that this model cannot have, or weights of another.
        Unreachable: ``pretrained`` and the weights could not be fetched.
    """
    import timm
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    from ..layers import internimage, vit_adapter  # noqa: F401  (they register their models with timm)

    _check_name(name)
    family = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
    arguments: dict[str, Any] = {"features_only": True, **_WINDOWS.get(family, {}), **(options or {})}
    if output_stride is not None:
        arguments["output_stride"] = output_stride
    source = None
    if isinstance(pretrained, Path):
        arguments |= from_state(of_backbone(read(pretrained), name, pretrained))
        source = str(pretrained)
    elif pretrained:
        found, source = timm_source(name)
        arguments |= found
    try:
        with _quiet():
            net = timm.create_model(name, **arguments)
    except Exception as error:
        if pretrained and is_network_error(error):
            raise Unreachable(reason_of(error)) from error
        if output_stride is not None and "output_stride" in str(error):
            raise ValueError(
                f"backbone {name!r} cannot be dilated to stride {output_stride}, which neck='c5' needs: "
                "choose a ResNet, ConvNeXt, EfficientNet or MobileNet, or neck='fpn'"
            ) from error
        raise ValueError(f"timm cannot build {name!r} as a source of feature maps: {reason_of(error)}") from error
    info: Any = net.feature_info
    config = timm.models.get_pretrained_cfg(name)
    return Body(
        name,
        net,
        info,
        channels=tuple(info.channels()),
        strides=tuple(info.reduction()),
        channels_last=str(getattr(net, "output_fmt", "")).endswith("NHWC"),
        plain=family in _WINDOWS,
        one_size=bool(config and config.fixed_input_size and "img_size" not in arguments),
        mean=config.mean if config else IMAGENET_DEFAULT_MEAN,
        std=config.std if config else IMAGENET_DEFAULT_STD,
        source=source,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without timm's warning that a backbone has no use for the weights of the classifier."""
    logger = logging.getLogger("timm.models._builder")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _check_name(name: str) -> None:
    import timm

    if not isinstance(name, str):
        raise ValueError(f"backbone must be the name of a timm model, such as 'resnet50', not {type(name).__name__}")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=4)
        hint = f"did you mean {', '.join(map(repr, close))}?" if close else "timm.list_models() lists them"
        raise ValueError(f"unknown backbone {name!r}: {hint}")
    _, _, tag = name.partition(".")
    tags = [known.partition(".")[2] for known in timm.list_models(name.partition(".")[0] + ".*", pretrained=True)]
    if tag and tag not in tags:
        raise ValueError(f"unknown tag {tag!r} of backbone {name!r}: timm has {', '.join(map(repr, tags)) or 'none'}")


def dilate_first(body: Body) -> None:
    """Dilate the last stage's convolutions that timm leaves undilated, in place: those of its first block.

    Raises:
        ValueError: the stage is not dilated.
    """
    last = {name for name, layer in _layers(body).items() if layer == 4}
    convs = [m for name, m in body.net.named_modules() if name in last and isinstance(m, nn.Conv2d)]
    convs = [conv for conv in convs if conv.kernel_size == (3, 3) and conv.stride == (1, 1)]
    dilation = max((conv.dilation for conv in convs), default=(1, 1))
    if dilation == (1, 1):
        raise ValueError("dilate_first needs neck='c5' and a backbone whose last stage has 3×3 convolutions")
    for conv in convs:
        conv.dilation = conv.padding = dilation


def freeze(body: Body, *, norm: str, trainable_layers: int) -> None:
    """Freeze the first layers of ``body.net``, in place.

    Layers are counted as torchvision does: the stem, then one per stage, five in a ResNet; the last
    ``trainable_layers`` of them learn (detectron2's ``freeze_at`` is 5 minus this). A model without a separate stem has
    its stem in the first stage.

    Args:
        norm: ``"frozen"`` fixes statistics, scale and shift of every batch norm, ``"batch"`` only those in frozen
            layers.
        trainable_layers: 0 (nothing learns) to 5 (everything does).
    """
    layer_of = _layers(body)
    frozen = {name for name, layer in layer_of.items() if layer < 5 - trainable_layers}
    for name, module in body.net.named_modules():
        if name in frozen:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
    _freeze_batch_norms(body.net, set(layer_of) if norm == "frozen" else frozen)


def _layers(body: Body) -> dict[str, int]:
    """The layer, 0 (stem) to 4 (last stage), of every module of ``body.net`` by name.

    Modules come in the order they run; those after one map, up to the next, make the next one. Maps finer than
    stride 4 belong to the stem.
    """
    names = [name for name, _ in body.net.named_modules() if name]
    layers: dict[str, int] = {}
    start = 0
    for index, source in enumerate(body.info.module_name()):
        # timm renames a submodule of a flattened Sequential: "stages.0" is then called "stages_0"
        spellings = (source, source.replace(".", "_", 1), f"model.{source}")
        own = [i for i, name in enumerate(names) if any(name == s or name.startswith(s + ".") for s in spellings)]
        end = own[-1] + 1 if own else start
        layer = max(5 + index - len(body.strides), 0) if body.strides[index] >= 4 else 0
        layers |= dict.fromkeys(names[start:end], layer)
        start = max(start, end)
    return layers | dict.fromkeys(names[start:], 4)


def _freeze_batch_norms(net: nn.Module, names: set[str]) -> None:
    """Replace the batch norms with these names by frozen ones (timm's knows its norms with an activation inside)."""
    from timm.layers import freeze_batch_norm_2d

    for parent_name, parent in list(net.named_modules()):
        for child_name, child in list(parent.named_children()):
            name = f"{parent_name}.{child_name}" if parent_name else child_name
            if name in names and isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, child_name, freeze_batch_norm_2d(child))
