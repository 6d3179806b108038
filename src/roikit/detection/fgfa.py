"""Flow-Guided Feature Aggregation: a detector of single images reads the maps of a video's neighbouring frames too."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList

from ..layers.flow import FlowNetS, flow_loss, resized_flow, warp
from .given_proposals import GivenProposals
from .targets import inputs_of


def fgfa(model: FasterRCNN, *, flow: nn.Module | None = None, flow_weight: float = 1.0) -> None:
    """Let a detector aggregate the maps of neighbouring frames (Zhu et al., Flow-Guided Feature Aggregation for Video
    Object Detection, ICCV 2017), in place.

    The maps of a neighbour j are carried to the frame i along the flow from i to j, and the detector reads their
    weighted mean (Eq. 3-4), the frame's own among them:

        f_i = Σ_j w_j · f_{j→i},    w_j(p) = softmax_j cos(ε(f_{j→i})(p), ε(f_i)(p))

    where ε is a small embedding. RPN, region extractor and heads do not know of it. Without neighbours, as in
    ``model([image])``, it is the detector of single images.

    In training a target's ``"support"``, ``Tensor[T, 3, H, W]``, are T neighbours of its image, of its size and in 0-1
    as it is. Its ``"flow"``, ``Tensor[T, 2, H, W]``, the flow (x, y) in pixels from the image to each of them (NaN
    where it is unknown), is optional; where it is there the flow network learns from it too: ``loss_flow``. Detection
    in a video is :func:`detect_in_video`.

    Args:
        model: a Faster or Mask, Cascade, Oriented R-CNN or R-FCN of this package.
        flow: a network that is called with two batches of images and returns flows as ``FlowNetS`` does; default
            ``FlowNetS(16)``.
        flow_weight: how much ``loss_flow`` counts.

    Raises:
        ValueError: a detector without RPN, one that aggregates already. In training: images of which some have
            neighbours and some have none, neighbours of another size.

    Example:
        >>> import torch, roikit
        >>> model = roikit.detection.faster_rcnn("resnet10t", num_classes=6, channels=64, fc_dim=128, min_size=128)
        >>> roikit.detection.fgfa(model)
        >>> target = {"boxes": torch.tensor([[20.0, 30.0, 90.0, 110.0]]), "labels": torch.tensor([3])}
        >>> target["support"] = torch.rand(2, 3, 128, 128)
        >>> target["flow"] = torch.zeros(2, 2, 128, 128)
        >>> list(model([torch.rand(3, 128, 128)], [target]))[-1]
        'loss_flow'
        >>> video = [torch.rand(3, 128, 128) for _ in range(5)]
        >>> len(list(roikit.detection.detect_in_video(model.eval(), video, reach=2)))
        5
    """
    if isinstance(model.backbone, FrameAggregation):
        raise ValueError("this detector aggregates frames already")
    if isinstance(model.rpn, GivenProposals):
        raise ValueError("a detector that reads proposals from its targets finds none in a video: it needs its RPN")
    room = FrameAggregation(model.backbone, FlowNetS() if flow is None else flow, flow_weight)
    model.backbone = room
    model.register_forward_pre_hook(room.look, with_kwargs=True)
    model.transform.register_forward_hook(room.resize)
    model.register_forward_hook(room.end, always_call=True)


class FrameAggregation(nn.Module):
    """A backbone that aggregates frames; it stands where the detector's own stands. See :func:`fgfa`.

    Args:
        neck: the detector's own.
        flow: the flow network.
        flow_weight: of its loss.
    """

    def __init__(self, neck: Any, flow: nn.Module, flow_weight: float) -> None:
        super().__init__()
        self.neck, self.flow, self.flow_weight = neck, flow, flow_weight
        for name in ("out_channels", "rpn_channels", "strides", "roi_maps", "rpn_maps"):
            if hasattr(neck, name):
                setattr(self, name, getattr(neck, name))
        self.embeddings = nn.ModuleDict()
        for channels in sorted(set(_channels(neck).values())):
            self.embeddings[str(channels)] = _embedding(channels)
        self._forget()

    def _forget(self) -> None:
        self.given: list[Mapping[str, Tensor]] = []
        self.sizes: list[Sequence[int]] = []
        self.support: Tensor | None = None
        self.known: Tensor | None = None
        self.flows: list[Tensor] = []

    # ---- hooks: neighbours come with the targets, and are resized as their image is

    def look(self, model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._forget()
        images, targets = inputs_of(arguments, named)
        having = [target for target in targets or () if "support" in target]
        if not having:
            return
        if len(having) < len(images):
            raise ValueError(f"{len(having)} of {len(images)} targets have 'support': give it to all or to none")
        for index, (image, target) in enumerate(zip(images, having, strict=True)):
            frames = target["support"]
            if frames.ndim != 4 or frames.shape[1:] != image.shape or len(frames) != len(having[0]["support"]):
                raise ValueError(
                    f"target {index}: support must be a Tensor[T, {', '.join(map(str, image.shape))}], the same number "
                    f"T of neighbours for every image, not {list(frames.shape)}"
                )
        self.given, self.sizes = having, [image.shape[-2:] for image in images]

    @torch.no_grad()
    def resize(self, transform: Any, arguments: Any, output: tuple[ImageList, Any]) -> None:
        if not self.given:
            return
        images = output[0]
        batch, count = images.tensors, len(self.given[0]["support"])
        support = batch.new_zeros(len(batch), count, *batch.shape[1:])
        known = None
        if all("flow" in target for target in self.given):
            known = batch.new_full((len(batch), count, 2, *batch.shape[2:]), float("nan"))
        for index, (target, before, (height, width)) in enumerate(
            zip(self.given, self.sizes, images.image_sizes, strict=True)
        ):
            frames = transform.normalize(target["support"].to(batch))
            frames = F.interpolate(frames, (height, width), mode="bilinear", align_corners=False)
            support[index, :, :, :height, :width] = frames
            if known is not None:
                moved = F.interpolate(target["flow"].to(batch), (height, width), mode="nearest-exact")
                factor = moved.new_tensor([width / before[1], height / before[0]])[:, None, None]
                known[index, :, :, :height, :width] = moved * factor
        self.support, self.known = support, known

    def end(self, model: nn.Module, arguments: Any, output: Any) -> Any:
        if self.known is not None and self.flows and isinstance(output, dict):
            output = output | {"loss_flow": self.flow_weight * flow_loss(self.flows, self.known.flatten(0, 1))}
        self._forget()
        return output

    # ---- maps

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """The neck's maps of a batch, aggregated with those of the neighbours that wait for it."""
        own = self.neck(images)
        if self.support is None:
            return own
        count = self.support.shape[1]
        others = self.support.flatten(0, 1)
        self.flows = self.flow(images.repeat_interleave(count, 0), others)
        return self.aggregate(own, self.neck(others), self.flows[0], images.shape[-2:])

    def aggregate(
        self, own: Mapping[str, Tensor], others: Mapping[str, Tensor], flow: Tensor, size: Sequence[int]
    ) -> OrderedDict[str, Tensor]:
        """The weighted mean of a frame's maps and its neighbours'.

        Args:
            own: maps by name, ``[B, C, H, W]``.
            others: those of T neighbours of each, ``[B·T, C, H, W]``.
            flow: from each frame to its neighbours, ``[B·T, 2, h, w]`` in pixels of the images.
            size: (height, width) of the images.
        """
        found: OrderedDict[str, Tensor] = OrderedDict()
        for name, x in own.items():
            height, width = x.shape[-2:]
            scale = (height / size[0], width / size[1])
            carried = warp(others[name], resized_flow(flow, (height, width), scale)).unflatten(0, (len(x), -1))
            every = torch.cat([x[:, None], carried], 1)
            embedded = self.embeddings[str(x.shape[1])](every.flatten(0, 1)).float()
            embedded = F.normalize(embedded, dim=1, eps=1e-6).unflatten(0, every.shape[:2])
            weights = (embedded * embedded[:, :1]).sum(2, keepdim=True).softmax(1)
            found[name] = (every * weights.to(every.dtype)).sum(1)
        return found


def _channels(neck: Any) -> dict[str, int]:
    """Channels of each map."""
    rpn, roi = getattr(neck, "rpn_maps", ()), getattr(neck, "roi_maps", ())
    return dict.fromkeys(rpn, getattr(neck, "rpn_channels", neck.out_channels)) | dict.fromkeys(roi, neck.out_channels)


def _embedding(channels: int) -> nn.Sequential:
    """ε of the paper: 1×1, 3×3 and 1×1 with half, half and twice the channels (512, 512, 2048 of 1024 there)."""
    half = max(1, channels // 2)
    return nn.Sequential(
        nn.Conv2d(channels, half, 1), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1), nn.ReLU(),
        nn.Conv2d(half, 2 * channels, 1),
    )  # fmt: skip


@dataclass
class _Frame:
    """A frame that the ring keeps."""

    images: ImageList
    maps: Mapping[str, Tensor]
    size: tuple[int, int]  # as it was given


@torch.no_grad()
def detect_in_video(model: FasterRCNN, frames: Iterable[Tensor], reach: int = 9) -> Iterator[dict[str, Tensor]]:
    """The detections of each frame of a video, in order, from itself and up to ``reach`` frames before and after it.

    Maps are kept in a ring of ``2 * reach + 1`` frames, so that a frame costs one pass of the backbone; the flow
    network runs once for each neighbour. Frames are taken from ``frames`` as they are needed, ``reach`` ahead.

    Args:
        model: after :func:`fgfa`, in evaluation mode.
        frames: ``Tensor[3, H, W]`` in 0-1 each, all of one size.
        reach: neighbours on each side.

    Raises:
        ValueError: another detector, one in training mode, frames of several sizes.
    """
    room = model.backbone
    if not isinstance(room, FrameAggregation) or model.training or reach < 0:
        raise ValueError("detect_in_video needs a detector after roikit.detection.fgfa, in eval(), and a reach ≥ 0")
    ring: deque[_Frame] = deque(maxlen=2 * reach + 1)
    count = done = 0  # frames that came, and that were answered
    for frame in frames:
        images, _ = model.transform([frame])
        seen = _Frame(images, room.neck(images.tensors), (frame.shape[-2], frame.shape[-1]))
        if ring and seen.size != ring[-1].size:
            raise ValueError(f"frames of a video have one size, but {ring[-1].size} is followed by {seen.size}")
        ring.append(seen)
        count += 1
        if count > done + reach:
            yield _detect(model, room, list(ring), done - (count - len(ring)))
            done += 1
    for place in range(done - (count - len(ring)), len(ring)):  # the last ones have fewer frames after them
        yield _detect(model, room, list(ring)[max(0, place - reach) :], min(place, reach))


def _detect(model: Any, room: FrameAggregation, ring: Sequence[_Frame], place: int) -> dict[str, Tensor]:
    own, others = ring[place], [frame for index, frame in enumerate(ring) if index != place]
    maps: Mapping[str, Tensor] = own.maps
    if others:
        flow = room.flow(
            own.images.tensors.expand(len(others), -1, -1, -1), torch.cat([frame.images.tensors for frame in others])
        )[0]
        theirs = {name: torch.cat([frame.maps[name] for frame in others]) for name in maps}
        maps = room.aggregate(maps, theirs, flow, own.images.tensors.shape[-2:])
    proposals, _ = model.rpn(own.images, maps)
    found, _ = model.roi_heads(maps, proposals, own.images.image_sizes)
    return model.transform.postprocess(found, own.images.image_sizes, [own.size])[0]
