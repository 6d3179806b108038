"""Oriented R-CNN heads: classes and oriented boxes from what an extractor reads, turned with the object or not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import clip_boxes_to_image

from ..extractors import RoITransformer
from ..extractors.roi_transformer import LONGEST
from ..geometry.rotated import of_boxes
from ..oriented import oriented_nms, upright
from .heads import FullBoxPredictor

_MOST = 1 - 1e-6  # of a correlation, short of a box without width


class OrientedBoxPredictor(FullBoxPredictor):
    """Scores ``Tensor[R, num_classes]``, and five box deltas for each class, ``Tensor[R, 5 * num_classes]``."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, 5 * num_classes)


class OrientedBoxCoder:
    """Oriented boxes as deltas of others, in the others' own frames, by their second moments.

    An angle jumps where a rectangle's name changes, and a head learns that jump slowly. The moments of a box do not:
    with sides w', h' and angle θ against its reference they are

        s_u² = w'² cos²θ + h'² sin²θ,   s_v² = w'² sin²θ + h'² cos²θ,   s_uv = (h'² - w'²) sinθ cosθ

    (a box as a Gaussian, as in Yang et al., ICML 2021). Seen from a reference with centre (u, v) and sides w, h its
    deltas are, each times its weight,

        (u' - u) / w,   (v' - v) / h,   log(s_u / w),   log(s_v / h),   artanh(s_uv / (s_u s_v))

    At θ = 0 the first four are Faster R-CNN's and the last is 0. A square has the moments of every square of its size:
    it is decoded as it would lie along the reference.

    Args:
        weights: of the five.
    """

    def __init__(self, weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0, 5.0)) -> None:
        self.weights = tuple(weights)

    def encode(self, oriented: Tensor, reference: Tensor) -> Tensor:
        """The deltas ``[R, 5]`` that make references ``[R, 5]`` into boxes ``[R, 5]``."""
        x, y = oriented[:, 0] - reference[:, 0], oriented[:, 1] - reference[:, 1]
        cos, sin = reference[:, 4].cos(), reference[:, 4].sin()
        w, h, turn = reference[:, 2], reference[:, 3], oriented[:, 4] - reference[:, 4]
        across, down = oriented[:, 2], oriented[:, 3]
        along_u = torch.hypot(across * turn.cos(), down * turn.sin())
        along_v = torch.hypot(across * turn.sin(), down * turn.cos())
        mixed = (down + across) * (down - across) * turn.sin() * turn.cos() / (along_u * along_v)
        deltas = [
            (x * cos - y * sin) / w,
            (x * sin + y * cos) / h,
            (along_u / w).log(),
            (along_v / h).log(),
            mixed.clamp(-_MOST, _MOST).atanh(),
        ]
        return torch.stack(deltas, 1) * oriented.new_tensor(self.weights)

    def decode(self, deltas: Tensor, reference: Tensor) -> Tensor:
        """The boxes ``[R, C, 5]`` of deltas ``[R, C, 5]`` and references ``[R, 5]``, named by the angle nearest to the
        reference's; no side grows by more than in Faster R-CNN's coder."""
        du, dv, dw, dh, mixed = (deltas / deltas.new_tensor(self.weights)).unbind(2)
        cx, cy, w, h, angle = (part[:, None] for part in reference.to(deltas.dtype).unbind(1))
        u, v, cos, sin = du * w, dv * h, angle.cos(), angle.sin()
        along_u, along_v = (side * delta.clamp(max=LONGEST).exp() for side, delta in ((w, dw), (h, dh)))
        mixed = mixed.tanh().clamp(-_MOST, _MOST)
        apart = (along_u + along_v) * (along_u - along_v) / 2
        twisted = mixed * along_u * along_v
        # the larger eigenvalue of the moments; the smaller one follows from their determinant
        longer = ((along_u.square() + along_v.square()) / 2 + torch.hypot(apart, twisted)).sqrt()
        shorter = along_u * along_v * (1 - mixed.square()).sqrt() / longer
        turn = torch.atan2(-twisted, apart) / 2  # of the longer side
        quarters = (turn / (math.pi / 2)).round()
        standing = quarters != 0
        width, height = torch.where(standing, shorter, longer), torch.where(standing, longer, shorter)
        found = [cx + u * cos + v * sin, cy + v * cos - u * sin, width, height]
        return torch.stack([*found, angle + turn - quarters * (math.pi / 2)], 2)


class OrientedHeads(RoIHeads):
    """Heads that find oriented boxes; they stand where torchvision's RoI heads stand.

    An upright region is read by the extractor, and its class and, as deltas, its oriented box are predicted. With
    ``roikit.RoITransformer`` the region is first turned (Ding et al., CVPR 2019): its features are those of the rotated
    box that the extractor predicts, deltas are in that box's frame, and a loss of its own teaches it. With any other
    extractor deltas are relative to the upright region (the Faster R-CNN OBB of Xia et al., DOTA, CVPR 2018).

    Regions are matched to objects by their upright boxes.

    Args:
        plain: the heads whose pooling, layers and settings are taken over; its predictor gives five deltas a class.
        rotated: how much the loss of the rotated boxes counts.
    """

    def __init__(self, plain: RoIHeads, rotated: float = 1.0) -> None:
        box_coder: Any = plain.box_coder
        super().__init__(
            plain.box_roi_pool,
            plain.box_head,
            plain.box_predictor,
            plain.proposal_matcher.high_threshold,
            plain.proposal_matcher.low_threshold,
            plain.fg_bg_sampler.batch_size_per_image,
            plain.fg_bg_sampler.positive_fraction,
            box_coder.weights,
            plain.score_thresh,
            plain.nms_thresh,
            plain.detections_per_img,
        )
        self.rotated = rotated
        self.oriented_coder = OrientedBoxCoder((*box_coder.weights, box_coder.weights[2]))

    def read(
        self, features: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor, Any]:
        """Region features ``[R, C, h, w]``, the oriented boxes ``[R, 5]`` that deltas are relative to, and the weights
        of an extractor that turns regions."""
        pool: Any = self.box_roi_pool
        extractor = getattr(pool, "extractor", None)
        if isinstance(extractor, RoITransformer) and pool.aggregate == "assign":
            weights: Any = pool.weights(features, boxes, image_shapes)
            pooled = extractor.after(weights.pool([features[name] for name in pool.featmap_names]), weights)
            return pooled, weights.rotated.detach(), weights
        return pool(features, boxes, image_shapes), of_boxes(torch.cat(boxes)), None

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: Any = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detections in evaluation, with ``oriented_boxes`` ``[N, 5]`` and ``boxes``, the upright ones around them; in
        training ``loss_classifier``, ``loss_box_reg`` and, of an extractor that turns regions, ``loss_rotated``."""
        labels = truth = None
        if self.training:
            proposals, matched, own, _ = self.select_training_samples(proposals, targets)
            labels, truth = torch.cat(own), torch.cat([_chosen(t, m) for t, m in zip(targets, matched, strict=True)])
        pooled, reference, weights = self.read(features, proposals, image_shapes)
        scores, deltas = self.box_predictor(self.box_head(pooled))
        deltas = deltas.unflatten(1, (-1, 5))
        if labels is None or truth is None:
            counts = [len(own) for own in proposals]
            return self.detections(scores, self.oriented_coder.decode(deltas, reference), counts, image_shapes), {}
        positive = labels > 0
        wanted = self.oriented_coder.encode(truth[positive], reference[positive].to(truth.dtype))
        found = deltas[positive, labels[positive]]
        losses = {
            "loss_classifier": F.cross_entropy(scores, labels),
            "loss_box_reg": F.smooth_l1_loss(found, wanted, beta=1 / 9, reduction="sum") / labels.numel(),
        }
        if weights is not None:
            extractor: Any = self.box_roi_pool.extractor
            losses["loss_rotated"] = self.rotated * extractor.loss(weights, truth, positive)
        return [], losses

    def detections(
        self, scores: Tensor, boxes: Tensor, counts: Sequence[int], image_shapes: Sequence[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Of scores ``[R, C]`` and oriented boxes ``[R, C, 5]`` those that are kept, image by image, best first."""
        results = []
        for own, probabilities, shape in zip(boxes.split(counts), scores.softmax(1).split(counts), image_shapes):  # noqa: B905  (an image's regions, an image's shape: one each)
            region, label = (probabilities[:, 1:] > self.score_thresh).nonzero(as_tuple=True)
            oriented, score, label = own[region, label + 1], probabilities[region, label + 1], label + 1
            large = ((oriented[:, 2:4] >= 1e-2) & oriented[:, 2:4].isfinite()).all(1)
            oriented, score, label = oriented[large], score[large], label[large]
            kept = oriented_nms(oriented, score, label, self.nms_thresh)[: self.detections_per_img]
            results.append(
                {
                    "boxes": clip_boxes_to_image(upright(oriented[kept]), shape),
                    "oriented_boxes": oriented[kept],
                    "labels": label[kept],
                    "scores": score[kept],
                }
            )
        return results


def _chosen(target: dict[str, Tensor], matched: Tensor) -> Tensor:
    """The oriented box of the object of each sample (of no meaning where there is none)."""
    own = target["oriented_boxes"]
    return own[matched] if len(own) else own.new_zeros(len(matched), 5)


class OrientedTransform(GeneralizedRCNNTransform):
    """torchvision's resizing of images and boxes, of the oriented ones too."""

    @classmethod
    def like(cls, plain: GeneralizedRCNNTransform) -> OrientedTransform:
        """One with another's settings."""
        names = ("min_size", "max_size", "image_mean", "image_std", "size_divisible", "fixed_size")
        return cls(**{name: getattr(plain, name) for name in names})

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        resized, target = super().resize(image, target)
        if target is not None and "oriented_boxes" in target:
            target["oriented_boxes"] = scaled(target["oriented_boxes"], image.shape[-2:], resized.shape[-2:])
        return resized, target

    def postprocess(self, result: Any, image_shapes: Any, original_image_sizes: Any) -> Any:
        result = super().postprocess(result, image_shapes, original_image_sizes)
        if not self.training:
            for one, before, after in zip(result, image_shapes, original_image_sizes, strict=True):
                one["oriented_boxes"] = scaled(one["oriented_boxes"], before, after)
        return result


def scaled(oriented: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Oriented boxes of an image of (height, width) ``before`` in the image of size ``after``. The two factors
    differ by how sizes are rounded; the width then goes along, and the height stays at a right angle to it."""
    down, across = (float(a) / float(b) for a, b in zip(after, before, strict=True))
    cx, cy, w, h, angle = oriented.unbind(1)
    cos, sin = angle.cos(), angle.sin()
    width, height = w * torch.hypot(across * cos, down * sin), h * torch.hypot(across * sin, down * cos)
    return torch.stack([cx * across, cy * down, width, height, torch.atan2(down * sin, across * cos)], 1)
