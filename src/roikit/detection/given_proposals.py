"""A detector whose proposals come with the data instead of from an RPN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.ops import box_convert, clip_boxes_to_image, remove_small_boxes

from .targets import inputs_of


def take_given_proposals(model: FasterRCNN) -> None:
    """Replace a detector's RPN, in place: proposals are each target's ``"proposals"``, best first.

    For heads that are compared on the same proposals, as where the RPN is trained apart (Gu et al., section 4). The
    backbone then learns from the heads alone. Targets are given in evaluation too, of which boxes and labels may be
    empty: ``model(images, targets)``. As many proposals are kept as the RPN would keep (``rpn_post_nms_top_n_…``).

    Args:
        model: of this package, or torchvision's.

    Example:
        >>> import torch, roikit
        >>> model = roikit.detection.faster_rcnn("resnet10t", num_classes=6, channels=64, fc_dim=128)
        >>> roikit.detection.take_given_proposals(model)
        >>> target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
        >>> target["proposals"] = torch.tensor([[20.0, 30.0, 90.0, 110.0]])
        >>> len(model.eval()([torch.rand(3, 128, 128)], [target])[0]["boxes"]) <= 5
        True
    """
    given = GivenProposals(model.rpn)
    model.rpn = given
    model.register_forward_pre_hook(given.look, with_kwargs=True)


class GivenProposals(nn.Module):
    """Stands where torchvision's RPN stands: ``(images, features, targets)`` to proposals, and no losses.

    Args:
        rpn: what it replaces, whose numbers of proposals are kept.
    """

    def __init__(self, rpn: Any) -> None:
        super().__init__()
        self.most = dict(rpn._post_nms_top_n)
        self.fg_bg_sampler = rpn.fg_bg_sampler  # nothing is sampled; training sets it in every detector
        self.sizes: list[Sequence[int]] = []

    def look(self, model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Before the images are resized: their sizes, and whether there is something to propose."""
        images, targets = inputs_of(arguments, named)
        for index in range(len(images)):
            if targets is None or "proposals" not in targets[index]:
                raise ValueError(
                    f"image {index} has no proposals: this detector has no RPN, it reads each target's 'proposals', "
                    "Tensor[N, 4] in image pixels, in evaluation too"
                )
        self.sizes = [image.shape[-2:] for image in images]

    def forward(
        self, images: Any, features: Mapping[str, Tensor], targets: Sequence[Mapping[str, Tensor]]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        found = []
        for target, before, after in zip(targets, self.sizes, images.image_sizes, strict=True):
            boxes = target["proposals"].to(images.tensors)
            ratio = boxes.new_tensor([after[1] / before[1], after[0] / before[0]] * 2)
            boxes = clip_boxes_to_image(boxes * ratio, after)
            found.append(
                boxes[remove_small_boxes(boxes, 1e-3)][: self.most["training" if self.training else "testing"]]
            )
        return found, {}


def as_results(image_id: Any, boxes: Tensor, scores: Sequence[float]) -> list[dict[str, Any]]:
    """Proposals of an image in COCO's result format; boxes ``Tensor[N, 4]`` xyxy in image pixels."""
    rows = box_convert(boxes, "xyxy", "xywh").tolist()
    return [
        {"image_id": image_id, "bbox": [round(value, 2) for value in row], "score": round(float(score), 5)}
        for row, score in zip(rows, scores, strict=True)
    ]
