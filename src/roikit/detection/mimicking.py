"""R-CNN feature mimicking: in training, region features are pulled towards those of the region's own pixels alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.image_list import ImageList

from ..multiscale import MultiScale
from ..ops import roi_align
from .heads import full

Regions = Literal["fg", "bg", "fg+bg"]
REGIONS = ("fg", "bg", "fg+bg")


def mimic(
    model: FasterRCNN, regions: Regions = "fg", *, rois: int = 32, weight: float = 0.1, size: int = 224
) -> Mimicking:
    """A detector to be trained with R-CNN feature mimicking (Zhu et al., Deformable ConvNets v2, CVPR 2019, Eq. 3).

    Features of a region take in what lies around it. Here some of an image's regions Ω are also cut out of the image,
    resized and read as images of their own, by the same backbone, the same region extractor (over the whole crop) and
    the same fully connected layers. Two losses are added to the detector's, both times ``weight``:

    - ``loss_mimic``: the mean over the images of Σ_{b∈Ω} (1 - cos(f_RCNN(b), f_FRCNN(b))), f_RCNN from the crop of b,
      f_FRCNN from the image. Gradients flow into both (the paper does not say);
    - ``loss_mimic_classifier``: the mean cross-entropy over Ω of a classifier that reads f_RCNN(b). It is the only new
      layer; the detector does not have it, so that what is saved, and what detection costs, is the same as without.

    Ω is drawn from the proposals that the box head learns from (in a cascade the first one), ground truth among them:
    objects are those whose IoU with one reaches the head's threshold. Crops are taken from the resized image, bilinear,
    a mean of several samples a pixel where they shrink. In a pyramid a crop is read at stride 16, or the coarsest below
    it (where levels are concatenated or summed, at all): a crop of 224 px is 14 × 14 cells. Batch norms that learn use
    their running statistics for crops and do not count them: features of a crop depend on nothing else, as with frozen
    norms.

    Args:
        model: a Faster, Mask or Cascade R-CNN of this package, or torchvision's after ``roikit.replace_roi``. It is not
            changed, and trains with the result.
        regions: what Ω is drawn from: ``"fg"``, objects; ``"bg"``, background; ``"fg+bg"``, all of them alike.
        rois: the largest number of regions in Ω, for each image.
        weight: of both losses.
        size: of a crop, height and width in pixels; a multiple of 32 (of the stride of the coarsest map).

    Returns:
        A module to train in place of the detector: ``result(images, targets)`` returns the detector's losses and the
        two. In evaluation it is the detector. Its parts are ``detector`` and ``classifier``.

    Raises:
        ValueError: an R-FCN (it has no fully connected layers), other pooling than this package's, or arguments out of
            range.

    Example:
        >>> import torch, roikit
        >>> make = roikit.ModulatedDeformRoIPool
        >>> model = roikit.detection.faster_rcnn("resnet10t", extractor=make, num_classes=6, channels=64, fc_dim=128)
        >>> training = roikit.detection.mimic(model, "fg", size=64)
        >>> target = {"boxes": torch.tensor([[20.0, 30.0, 90.0, 110.0]]), "labels": torch.tensor([3])}
        >>> losses = training([torch.rand(3, 128, 128)], [target])
        >>> [name for name in losses if "mimic" in name]
        ['loss_mimic', 'loss_mimic_classifier']
        >>> sum(losses.values()).backward()
        >>> weights = model.state_dict()  # the detector's alone
    """
    return Mimicking(model, regions, rois=rois, weight=weight, size=size)


class Mimicking(nn.Module):
    """What :func:`mimic` returns.

    ``fg_bg_sampler`` draws Ω, of candidates labelled 1 among others labelled -1; any of torchvision's interface may
    stand there.
    """

    def __init__(self, detector: FasterRCNN, regions: Regions, *, rois: int, weight: float, size: int) -> None:
        super().__init__()
        _check(detector, regions, rois, weight, size)
        self.detector = detector
        scores = detector.roi_heads.box_predictor.cls_score
        self.classifier = nn.Linear(scores.in_features, scores.out_features).to(scores.weight)
        self.regions, self.weight, self.size = regions, weight, size
        self.fg_bg_sampler: Any = BalancedPositiveNegativeSampler(rois, 1.0)

    def forward(self, images: list[Tensor], targets: Any = None) -> Any:
        """The detector's losses and the two of mimicking in training, its detections in evaluation."""
        if not self.training:
            return self.detector(images)
        with _watched(self.detector) as seen:
            losses = self.detector(images, targets)
        labels = torch.cat(self._labels(seen))
        chosen = self.choose(list(labels.split([len(own) for own in seen.boxes])))
        apart = self.features(crop(seen.images, [b[own] for b, own in zip(seen.boxes, chosen, strict=True)], self.size))
        drawn = torch.cat(chosen)
        mimicked, classified = mimic_losses(apart, seen.features[drawn], self.classifier(apart), labels[drawn])
        losses["loss_mimic"] = self.weight * mimicked / len(images)
        losses["loss_mimic_classifier"] = self.weight * classified
        return losses

    def _labels(self, seen: _Seen) -> list[Tensor]:
        """What the box head is to say of its regions: each image's ``Tensor[N]``, 0 for background."""
        truth = [target["boxes"].to(own) for target, own in zip(seen.targets, seen.boxes, strict=True)]
        classes = [target["labels"] for target in seen.targets]
        return self.detector.roi_heads.assign_targets_to_proposals(seen.boxes, truth, classes)[1]

    def choose(self, labels: Sequence[Tensor]) -> list[Tensor]:
        """Ω: of each image's labels ``Tensor[N]`` (0: background, below: neither), a ``Tensor[N]`` of bool."""
        member = {"fg": lambda x: x > 0, "bg": lambda x: x == 0, "fg+bg": lambda x: x >= 0}[self.regions]
        drawn, _ = self.fg_bg_sampler([torch.where(member(own), 1, -1) for own in labels])
        return [own.bool() for own in drawn]

    def features(self, crops: Tensor) -> Tensor:
        """f_RCNN, ``Tensor[R, D]`` of crops ``Tensor[R, 3, size, size]``: each read as an image whose only region is
        all of it."""
        heads, size = self.detector.roi_heads, self.size
        if not len(crops):  # the classifier still takes part: several processes wait for its gradient
            return crops.new_zeros(0, self.classifier.in_features)
        whole = [crops.new_tensor([[0, 0, size, size]])] * len(crops)
        # the same extractors, with the level of stride 2⁴ = 16 for regions of the crop's size, whatever that is
        read = heads.box_roi_pool.like(canonical_scale=size, canonical_level=4)
        with _running_statistics(self.detector):
            maps = self.detector.backbone(crops)
            maps = {"0": maps} if isinstance(maps, Tensor) else maps  # as torchvision reads a backbone of one map
            return heads.box_head(read(maps, whole, [(size, size)] * len(crops)))


def mimic_losses(apart: Tensor, inside: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. (3), a sum over the regions, and the classifier's cross-entropy, a mean over them; 0 where there are none.

    Args:
        apart: f_RCNN, ``Tensor[R, D]``.
        inside: f_FRCNN, ``Tensor[R, D]``.
        scores: ``Tensor[R, classes]``, of the crops.
        labels: ``Tensor[R]`` int64, 0 for background.

    Example:
        >>> apart, inside = torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 2.0], [3.0, 3.0]])
        >>> mimicked, classified = mimic_losses(apart, inside, torch.zeros(2, 4), torch.tensor([1, 3]))
        >>> round(float(mimicked), 3), round(float(classified.exp()), 3)
        (1.0, 4.0)
    """
    mimicked = (1 - F.cosine_similarity(full(apart), full(inside), dim=1)).sum()
    return mimicked, F.cross_entropy(full(scores), labels, reduction="sum") / max(1, len(labels))


def crop(images: ImageList, boxes: Sequence[Tensor], size: int) -> Tensor:
    """Regions of the images as images of their own, ``Tensor[R, 3, size, size]``, in the order of the boxes.

    Pixel (i, j) is the image's bilinear interpolant at x1 + (j + ½)(x2 - x1)/size, y1 + (i + ½)(y2 - y1)/size. Where a
    region is larger than ``size``, several such samples are averaged. Padding is never read.

    Args:
        images: as torchvision's detectors make them: a padded batch, and the size of each image in it.
        boxes: of each image ``Tensor[N, 4]``, xyxy in its pixels.
        size: in pixels.
    """
    parts = [
        roi_align(image[None, :, :height, :width], [own.to(image)], size, sampling_ratio=0, aligned=True)
        for image, (height, width), own in zip(images.tensors, images.image_sizes, boxes, strict=True)
    ]
    return torch.cat(parts)


@dataclass
class _Seen:
    """What passed through a detector in one step: images and targets after resizing, the regions of its (first) box
    head, their features ``Tensor[R, D]``."""

    images: ImageList = field(init=False)
    targets: list[dict[str, Tensor]] = field(init=False)
    boxes: list[Tensor] = field(default_factory=list)
    features: Tensor = field(init=False)


@contextmanager
def _watched(detector: FasterRCNN) -> Iterator[_Seen]:
    """Keeps what passes through a detector, so that nothing has to run twice."""
    seen, heads = _Seen(), detector.roi_heads

    def transformed(_: nn.Module, __: Any, result: Any) -> None:
        seen.images, seen.targets = result

    def pooled(_: nn.Module, arguments: Any) -> None:
        seen.boxes = seen.boxes or list(arguments[1])  # later stages of a cascade may share the pooling

    def read(_: nn.Module, __: Any, result: Tensor) -> None:
        seen.features = result

    handles = [
        detector.transform.register_forward_hook(transformed),
        heads.box_roi_pool.register_forward_pre_hook(pooled),
        heads.box_head.register_forward_hook(read),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _running_statistics(detector: nn.Module) -> Iterator[None]:
    """Batch norms that learn normalise with their running statistics, and leave these as they are."""
    learning = [m for m in detector.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    try:
        for norm in learning:
            norm.eval()
        yield
    finally:
        for norm in learning:
            norm.train()


def _check(detector: Any, regions: str, rois: int, weight: float, size: int) -> None:
    """Raise a ``ValueError`` where mimicking has no meaning."""
    if not isinstance(detector, FasterRCNN):
        raise ValueError(f"model must be a Faster, Mask or Cascade R-CNN, not {type(detector).__name__}")
    heads = detector.roi_heads
    if not hasattr(heads.box_predictor, "cls_score"):
        raise ValueError(
            "this detector's box head has no fully connected layers whose features could be mimicked (an R-FCN only "
            "votes); choose an extractor that is not position-sensitive"
        )
    if not isinstance(heads.box_roi_pool, MultiScale):
        raise ValueError(
            f"the detector pools with {type(heads.box_roi_pool).__name__}: call roikit.replace_roi(model, "
            "roikit.RoIAlign(7, sampling_ratio=2)), or with another extractor, before mimic(model)"
        )
    if regions not in REGIONS:
        raise ValueError(f"regions must be one of {', '.join(map(repr, REGIONS))}, not {regions!r}")
    if rois < 1 or not weight >= 0:
        raise ValueError(f"rois must be at least 1 and weight 0 or more, but they are {rois} and {weight}")
    step = detector.transform.size_divisible
    if size < 1 or size % step:
        raise ValueError(f"size must be a multiple of {step} (pixels in a cell of the coarsest map), not {size}")
