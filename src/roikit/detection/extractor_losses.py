"""Losses of an extractor's own, beside those of the detector that it serves: on what its weights say in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN

from ..extractors import RegionExtractor, RoITransformer
from ..multiscale import MultiScale
from ..oriented import oriented_boxes
from .cascade import CascadeHeads


def add_extractor_losses(model: FasterRCNN, *, offsets: float = 0.0, oriented: float = 0.0) -> None:
    """Let a detector's losses hold those of its box head's extractor, in place.

    - ``loss_offsets``: ``offsets`` times the mean square of a deformable extractor's normalised offsets, which keeps
      bins near where they belong;
    - ``loss_oriented``: ``oriented`` times ``RoITransformer.loss`` of the sampled RoIs that are objects, whose oriented
      boxes are the smallest rectangles around the targets' masks.

    Nothing runs twice: the extractor's ``weights`` are looked at as it makes them.

    Args:
        model: of this package, or torchvision's after ``roikit.replace_roi``. In training, targets need ``"masks"`` for
            ``oriented``.
        offsets, oriented: factors; 0 is off.

    Raises:
        ValueError: an extractor that has no offsets or predicts no oriented boxes, an R-CNN that pools otherwise, or a
            negative factor. In training: targets without masks.

    Example:
        >>> import torch, roikit
        >>> model = roikit.detection.faster_rcnn(
        ...     "resnet10t", extractor=roikit.DeformRoIPool, num_classes=6, channels=64, fc_dim=128)
        >>> roikit.detection.add_extractor_losses(model, offsets=0.1)
        >>> target = {"boxes": torch.tensor([[20.0, 30.0, 90.0, 110.0]]), "labels": torch.tensor([3])}
        >>> list(model([torch.rand(3, 128, 128)], [target]))[-1]
        'loss_offsets'
    """
    if offsets < 0 or oriented < 0:
        raise ValueError(f"offsets and oriented are factors, 0 or more, but they are {offsets} and {oriented}")
    pool = model.roi_heads.box_roi_pool
    if not isinstance(pool, MultiScale):
        raise ValueError(f"the detector pools with {type(pool).__name__}: call roikit.replace_roi first")
    extractors = [module for module in model.roi_heads.modules() if isinstance(module, RegionExtractor)]
    shared = isinstance(pool.extractor, RoITransformer) and pool.aggregate == "assign"
    if oriented and (not shared or isinstance(model.roi_heads, CascadeHeads)):
        raise ValueError(
            f"oriented needs one roikit.RoITransformer in the one box head, shared by the levels, not {pool}"
        )
    if offsets and not any(hasattr(extractor, "gamma") for extractor in extractors):
        raise ValueError(f"offsets needs a deformable extractor, such as roikit.DeformRoIPool, not {extractors[0]}")
    losses = _Losses(model, extractors, offsets, oriented)
    model.register_forward_pre_hook(losses.begin)
    model.register_forward_hook(losses.end, always_call=True)


class _Losses:
    """What passes through the extractors, and the sampling of RoIs, of one forward pass in training."""

    def __init__(self, model: Any, extractors: Sequence[RegionExtractor], offsets: float, oriented: float) -> None:
        self.heads, self.extractors = model.roi_heads, list(extractors)
        self.offsets, self.oriented = offsets, oriented
        self.seen: list[Any] = []
        self.matched: tuple[list[Tensor], list[Tensor], Sequence[Mapping[str, Tensor]]] | None = None

    def begin(self, model: nn.Module, arguments: Any) -> None:
        if not model.training:
            return
        self.seen, self.matched = [], None
        for extractor in self.extractors:
            extractor.weights = self._watched(type(extractor).weights.__get__(extractor))  # type: ignore[method-assign]  # until `end`
        if self.oriented:
            self.heads.select_training_samples = self._sampled

    def end(self, model: nn.Module, arguments: Any, losses: Any) -> Any:
        for module, name in (*((one, "weights") for one in self.extractors), (self.heads, "select_training_samples")):
            module.__dict__.pop(name, None)
        if not model.training or not isinstance(losses, dict):
            return losses
        if self.offsets:
            losses = losses | {"loss_offsets": self.offsets * self._of_offsets()}
        if self.oriented:
            losses = losses | {"loss_oriented": self.oriented * self._of_orientation()}
        return losses

    def _watched(self, weights: Any) -> Any:
        def watched(*arguments: Any, **named: Any) -> Any:
            made = weights(*arguments, **named)
            self.seen.append(made)
            return made

        return watched

    def _sampled(self, proposals: list[Tensor], targets: Any) -> Any:
        result = type(self.heads).select_training_samples(self.heads, proposals, targets)
        self.matched = (result[1], result[2], targets)
        return result

    def _of_offsets(self) -> Tensor:
        """The mean over everything that moves; regions of all heads and levels count alike."""
        offsets = [made.offset.flatten() for made in self.seen if getattr(made, "offset", None) is not None]
        return torch.cat(offsets).square().sum() / max(1, sum(one.numel() for one in offsets))

    def _of_orientation(self) -> Tensor:
        assert self.matched is not None
        rows = []
        for index, (matched, _, target) in enumerate(zip(*self.matched, strict=True)):
            if "masks" not in target:
                raise ValueError(f"target {index} has no masks: the oriented boxes of the objects are read from them")
            own = oriented_boxes(target["masks"]).to(target["boxes"])
            rows.append(own[matched] if len(own) else own.new_zeros(len(matched), 5))
        positive = torch.cat(self.matched[1]) > 0
        return self.heads.box_roi_pool.extractor.loss(self.seen[0], torch.cat(rows), positive)
