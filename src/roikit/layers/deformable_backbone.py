"""A backbone's convolutions, made deformable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from torch import nn

from .deform_conv import DeformConv

Backbone = TypeVar("Backbone", bound=nn.Module)


def make_deformable(
    backbone: Backbone, stages: str | Sequence[str] = ("layer2", "layer3", "layer4"), modulated: bool = True
) -> Backbone:
    """Replace every 3×3 convolution of some stages by a :class:`DeformConv` with the same parameters, in place.

    Deformable ConvNets v2 does so in the stages conv3 to conv5 of a ResNet, the default here (13 layers of a ResNet-50;
    the paper counts 12), the first version in conv5, ``stages=("layer4",)`` and ``modulated=False``.

    Args:
        backbone: a ResNet or ResNeXt of timm (``features_only`` or not) or torchvision, or a model that has one in it,
            such as a detector. Others too, if their stages have plain 3×3 convolutions.
        stages: names of its modules; ``"layer2"`` to ``"layer4"`` are conv3 to conv5.
        modulated: the second version, whose convolutions start at half their output: a pretrained backbone has to be
            trained further. The first changes nothing until it is trained.

    Returns:
        ``backbone``. Weights, groups, strides and dilations stay; state dicts get ``….offset.weight`` and
        ``….offset.bias`` more. The new layers learn, even where a stage is frozen: frozen at zero they would be of no
        use.

    Raises:
        ValueError: a stage that the backbone does not have, or one without a 3×3 convolution. Nothing is changed then.

    Example:
        >>> import torch, torchvision
        >>> backbone = make_deformable(torchvision.models.resnet18(), ["layer4"], modulated=False)
        >>> backbone.layer4[0].conv2
        DeformConv(
          512, 512, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False, modulated=False
          (offset): Conv2d(512, 18, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
        )
    """
    names = [stages] if isinstance(stages, str) else list(stages)
    if not names:
        raise ValueError('stages is empty: name at least one, such as "layer4"')
    found: dict[str, nn.Conv2d] = {}
    for stage in names:
        found |= _convolutions(backbone, _path(backbone, stage))
    made = {name: DeformConv.of(conv, modulated=modulated) for name, conv in found.items()}
    for name, layer in made.items():
        parent, _, child = name.rpartition(".")
        setattr(backbone.get_submodule(parent), child, layer)
    return backbone


def _path(backbone: nn.Module, stage: str) -> str:
    """The full name of a stage, which may lie inside."""
    names = [name for name, _ in backbone.named_modules() if name]
    paths = [stage] if stage in names else [name for name in names if name.endswith(f".{stage}")]
    if len(paths) > 1:
        raise ValueError(f"{stage!r} may be {' or '.join(map(repr, paths))}: give the full name")
    if not paths:
        have = [name for name, child in backbone.named_children() if any(_is_plain(conv) for _, conv in _3x3(child))]
        hint = f"3×3 convolutions are in {', '.join(map(repr, have))}" if have else "it has no 3×3 convolution at all"
        raise ValueError(f"{type(backbone).__name__} has no stage {stage!r}: {hint}")
    return paths[0]


def _convolutions(backbone: nn.Module, path: str) -> dict[str, nn.Conv2d]:
    """The 3×3 convolutions in a stage that can be replaced, by name."""
    inside = list(_3x3(backbone.get_submodule(path), path))
    found = {name: conv for name, conv in inside if _is_plain(conv)}
    if not found:
        others = sorted({type(conv).__name__ for _, conv in inside})
        more = f"; its {' and '.join(others)} cannot be replaced" if others else ""
        raise ValueError(f"stage {path!r} of {type(backbone).__name__} has no 3×3 convolution (torch.nn.Conv2d){more}")
    return found


def _3x3(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Conv2d]]:
    """The 3×3 convolutions in a module and their names; those in a convolution, which say its offsets, are not."""
    if not isinstance(module, nn.Conv2d):
        for child_name, child in module.named_children():
            yield from _3x3(child, f"{name}.{child_name}" if name else child_name)
    elif module.kernel_size == (3, 3):
        yield name, module


def _is_plain(conv: nn.Conv2d) -> bool:
    """No kind of its own, which may change weights or padding on the way."""
    return type(conv) is nn.Conv2d
