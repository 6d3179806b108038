"""Cascade R-CNN's box heads: detectors one after another, each for better boxes than the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import box_iou, clip_boxes_to_image

from ..multiscale import MultiScale
from .heads import FullBoxPredictor

Target = Mapping[str, Tensor]


class OneBoxPredictor(FullBoxPredictor):
    """Scores ``Tensor[R, num_classes]``, and box deltas that are the same for every class.

    torchvision's RoI heads expect a box for each class, ``Tensor[R, 4 * num_classes]``: the four numbers are repeated.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes)
        self.num_classes = num_classes
        self.bbox_pred = nn.Linear(in_channels, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, deltas = super().forward(x)
        return scores, deltas.repeat(1, self.num_classes)


class CascadeHeads(RoIHeads):
    """The box heads of Cascade R-CNN (Cai & Vasconcelos, CVPR 2018, section 4); stands where torchvision's RoI heads
    stand.

    A stage pools, classifies and moves the boxes that the stage before has moved. In training it calls a box an object
    where its IoU with one reaches the stage's threshold. No gradient passes through boxes. Detections are the last
    stage's boxes; their scores are the mean, over the stages, of the probabilities that each stage's head gives to the
    boxes which the last stage reads (the paper's "1~3").

    Proposals are sampled once, for the first stage, with the ground truth among them; later stages learn from the same
    samples, moved, however many of them are objects. A box that the image's border has cut to nothing stays, as
    background: every stage's loss is a mean over as many samples.

    Stage 1 has torchvision's names: ``box_roi_pool``, ``box_head``, ``box_predictor``. The others are in
    ``later_roi_pools`` (empty where the stages share the first one), ``later_heads`` and ``later_predictors``. Setting
    ``box_roi_pool``, as ``roikit.replace_roi`` does, sets it for all stages. Of the other attributes
    ``proposal_matcher`` and ``fg_bg_sampler`` are the first stage's, ``box_coder`` is the last one's.

    Args:
        pools: one, shared by the stages, or one for each.
        heads: for each stage, pooled ``Tensor[R, C, h, w]`` to ``Tensor[R, D]``.
        predictors: for each stage, ``Tensor[R, D]`` to scores ``[R, num_classes]`` and deltas ``[R, 4 * num_classes]``.
        iou_thresholds: of each stage.
        box_weights: of each stage, the factors on the deltas (x, y, width, height).
        loss_weights: of each stage.
        settings: torchvision's ``batch_size_per_image``, ``positive_fraction``, ``score_thresh``, ``nms_thresh`` and
            ``detections_per_img``.
    """

    def __init__(
        self,
        pools: Sequence[MultiScale],
        heads: Sequence[nn.Module],
        predictors: Sequence[nn.Module],
        *,
        iou_thresholds: Sequence[float],
        box_weights: Sequence[Sequence[float]],
        loss_weights: Sequence[float],
        **settings: Any,
    ) -> None:
        threshold = iou_thresholds[0]
        super().__init__(
            pools[0],
            heads[0],
            predictors[0],
            fg_iou_thresh=threshold,
            bg_iou_thresh=threshold,
            bbox_reg_weights=tuple(box_weights[-1]),
            **settings,
        )
        self.later_roi_pools = nn.ModuleList(pools[1:])
        self.later_heads = nn.ModuleList(heads[1:])
        self.later_predictors = nn.ModuleList(predictors[1:])
        self.iou_thresholds, self.loss_weights = tuple(iou_thresholds), tuple(loss_weights)
        self.box_coders = [BoxCoder(tuple(weights)) for weights in box_weights]

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "box_roi_pool":
            self.later_roi_pools = nn.ModuleList()

    def pool_of(self, stage: int) -> Any:
        """The pooling of a stage, counted from 0."""
        return self.later_roi_pools[stage - 1] if stage and len(self.later_roi_pools) else self.box_roi_pool

    def read(self, stage: int, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """A stage's scores ``[R, num_classes]`` and deltas ``[R, 4 * num_classes]`` for pooled features."""
        head = self.later_heads[stage - 1] if stage else self.box_head
        predictor = self.later_predictors[stage - 1] if stage else self.box_predictor
        return predictor(head(pooled))

    def match(
        self, stage: int, boxes: Sequence[Tensor], targets: Sequence[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What a stage is to say of its boxes ``[N_i, 4]``: labels ``[N_i]``, 0 for background, and deltas ``[N_i, 4]``
        to the object of largest IoU (of no meaning where the label is 0)."""
        labels, objects = [], []
        for own, target in zip(boxes, targets, strict=True):
            truth = target["boxes"].to(own.dtype)
            if not len(truth):
                labels.append(torch.zeros(len(own), dtype=torch.int64, device=own.device))
                objects.append(torch.zeros_like(own))
                continue
            overlap, which = box_iou(truth, own).max(0)
            labels.append(target["labels"][which] * (overlap >= self.iou_thresholds[stage]))
            objects.append(truth[which])
        return labels, list(self.box_coders[stage].encode(objects, list(boxes)))

    @torch.no_grad()
    def refine(
        self,
        stage: int,
        scores: Tensor,
        deltas: Tensor,
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]],
    ) -> list[Tensor]:
        """The boxes as a stage moves them, clipped to their images. Where classes have a box each, it is that of the
        class with the highest score, the background aside."""
        before = torch.cat(list(boxes))
        every = self.box_coders[stage].decode(deltas, list(boxes)).reshape(*scores.shape, 4)
        best = scores[:, 1:].argmax(1) + 1
        moved = every[torch.arange(len(best), device=best.device), best]
        # a training gone astray shall be reported for its loss, not for a box that no extractor can read
        moved = torch.where(moved.isfinite().all(1, keepdim=True), moved, before)
        parts = moved.split([len(own) for own in boxes])
        return [clip_boxes_to_image(own, shape) for own, shape in zip(parts, image_shapes, strict=True)]

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Any = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detections in evaluation; in training the losses ``loss_classifier_stage1``, ``loss_box_reg_stage1``, …,
        each times its stage's weight."""
        boxes, losses = proposals, {}
        if self.training:
            boxes, _, _, _ = self.select_training_samples(proposals, targets)
        for stage in range(len(self.box_coders)):
            pooled = self.pool_of(stage)(features, boxes, image_shapes)
            scores, deltas = self.read(stage, pooled)
            if self.training:
                found = fastrcnn_loss(scores, deltas, *self.match(stage, boxes, targets))
                for name, loss in zip(("loss_classifier", "loss_box_reg"), found, strict=True):
                    losses[f"{name}_stage{stage + 1}"] = loss * self.loss_weights[stage]
            if stage < len(self.box_coders) - 1:
                boxes = self.refine(stage, scores, deltas, boxes, image_shapes)
        if self.training:
            return [], losses
        every = [scores.softmax(-1)]
        for stage in range(len(self.box_coders) - 1):
            if len(self.later_roi_pools):
                pooled = self.pool_of(stage)(features, boxes, image_shapes)
            every.append(self.read(stage, pooled)[0].softmax(-1))
        mean = torch.stack(every).mean(0)
        # torchvision takes logits: the softmax of the logarithms are the probabilities themselves
        detections = self.postprocess_detections(mean.log(), deltas, boxes, image_shapes)
        return [dict(zip(("boxes", "scores", "labels"), one, strict=True)) for one in zip(*detections, strict=True)], {}
