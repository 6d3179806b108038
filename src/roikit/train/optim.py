"""Optimisers with per-parameter learning-rate factors, and a running average of the weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from roikit.extractors import RegionExtractor

from .errors import RunError

# Tables of numbers, not weights of a product: Swin, ViT and their kin train them without decay.
_TABLES = ("relative_position_bias_table", "pos_embed")
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    factors: Mapping[str, float],
    decay_norms: bool,
    steering: Mapping[str, float] | None = None,
) -> list[dict]:
    """Parameter groups of equal learning rate and decay, in the order in which the model first names them.

    Args:
        model: only parameters with `requires_grad` are taken.
        lr: the learning rate of a parameter without a factor.
        weight_decay: of weights; norms, biases, tables of positions and single numbers get 0 unless `decay_norms`.
        factors: regular expression -> factor on the rate; a parameter takes the factors of every pattern found in its
            name, multiplied. Factor 0 freezes it.
        decay_norms: also decay norms and biases.
        steering: factor on the rate of layers that decide where features are read, by what they steer: "bins", which
            they move (layers that start at zero, with the hidden layers before them), "cells", which they attend to,
            "samples" of a deformable convolution.

    Raises:
        RunError: a pattern that matches no parameter (else a typing error would go unnoticed) or is none.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        >>> groups = parameter_groups(model, lr=0.1, weight_decay=1e-4, factors={"^0": 0.5}, decay_norms=False)
        >>> [(g["lr"], g["weight_decay"]) for g in groups]
        [(0.05, 0.0001), (0.05, 0.0), (0.1, 0.0)]
    """
    try:
        patterns = [(re.compile(p), float(f)) for p, f in factors.items()]
    except re.error as error:
        raise RunError(f"optim.factors: {error.pattern!r} is no regular expression ({error})") from None
    norms = {
        f"{name}.{own}" if name else own
        for name, module in model.named_modules()
        if isinstance(module, _NORMS)
        for own, _ in module.named_parameters(recurse=False)
    }
    kinds = {id(parameter): what for parameter, what in _steering(model)}
    used: set[str] = set()
    groups: dict[tuple[float, float], dict] = {}
    for name, parameter in model.named_parameters():
        factor = (steering or {}).get(kinds.get(id(parameter), ""), 1.0)
        for pattern, value in patterns:
            if pattern.search(name):
                used.add(pattern.pattern)
                factor *= value
        if factor == 0:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        # One number alone is no weight either: of PartDeformRoIPool's penalty, decay would raise it.
        plain = not decay_norms and (name in norms or name.endswith(("bias", *_TABLES)) or not parameter.ndim)
        key = (factor, 0.0 if plain else weight_decay)
        group = groups.setdefault(key, {"params": [], "lr": lr * factor, "factor": factor, "weight_decay": key[1]})
        group["params"].append(parameter)
    unused = [p.pattern for p, _ in patterns if p.pattern not in used]
    if unused:
        example = next(iter(model.named_parameters()))[0]
        raise RunError(f"optim.factors: no parameter's name matches {unused[0]!r} (names look like {example!r})")
    if not groups:
        raise RunError("optim.factors: every parameter is frozen; nothing is left to train")
    return list(groups.values())


def _steering(model: nn.Module) -> Iterator[tuple[nn.Parameter, str]]:
    """The parameters that decide where features are read, with what they steer: marked layers, and of the parts of an
    extractor that end in a layer which moves bins, the hidden layers before it too."""
    for module in model.modules():
        what = getattr(module, "steers", None)
        if what is not None:
            yield from ((parameter, what) for parameter in module.parameters(recurse=False))
        if isinstance(module, RegionExtractor):
            for part in module.children():
                if any(getattr(layer, "steers", None) == "bins" for layer in part.modules()):
                    yield from ((parameter, "bins") for parameter in part.parameters())


def make_optimizer(groups: list[dict], *, name: str, lr: float, momentum: float) -> torch.optim.Optimizer:
    """`"sgd"` (with momentum) or `"adamw"` over the groups."""
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr)
    raise ValueError(f"unknown optimiser {name!r}: use 'sgd' or 'adamw'")


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of weights and buffers; evaluate `.module`, call `.update_parameters(model)`.

    The decay rises as (1 + n) / (10 + n) to `decay`, so that the random start is forgotten early.
    """

    @torch.no_grad()
    def average(averages: Sequence[Tensor], currents: Sequence[Tensor], count: Tensor | int) -> None:
        n = int(count)
        part = 1 - min(decay, (1 + n) / (10 + n))
        for mean, now in zip(averages, currents, strict=True):
            if mean.is_floating_point():
                mean.lerp_(now.to(mean.dtype), part)
            else:
                mean.copy_(now)

    result = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    return result.requires_grad_(False)
