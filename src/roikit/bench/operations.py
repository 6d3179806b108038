"""The poolings that are timed, as this package computes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from torch import Tensor

from .. import ops
from ..extractors import RoIAlign
from ..multiscale import MultiScale
from .scenes import PARTS, Scene

Pool = Callable[[Sequence[Tensor]], Tensor]  # of the maps; everything else is fixed


@dataclasses.dataclass(frozen=True)
class Operation:
    """A pooling.

    Args:
        label: as tables show it.
        ours: makes the pooling of a scene's boxes.
        pyramids: which maps it is timed on.
        groups: its maps have a multiple of so many channels.
        plain: what it is without offsets, for peers that have no others.
    """

    label: str
    ours: Callable[[Scene], Pool]
    pyramids: tuple[str, ...] = ("coarse", "fine")
    groups: int = 1
    plain: Callable[[Scene], Pool] | None = None

    def channels(self, wanted: int) -> int:
        """Channels of the maps: as wanted, but for position-sensitive maps; 490 (Light-Head R-CNN) stand for 256."""
        return wanted if self.groups == 1 else self.groups * max(1, round(wanted / 25.6))


def _roi_align(samples: int) -> Callable[[Scene], Pool]:
    return lambda s: lambda maps: ops.roi_align(maps[0], s.boxes, PARTS, s.scale, samples)


def _roi_pool(s: Scene) -> Pool:
    return lambda maps: ops.roi_pool(maps[0], s.boxes, PARTS, s.scale)


def _prroi_pool(s: Scene) -> Pool:
    return lambda maps: ops.prroi_pool(maps[0], s.boxes, PARTS, s.scale)


def _multiscale(s: Scene) -> Pool:
    layer = MultiScale(RoIAlign(PARTS, sampling_ratio=2, aligned=False), s.names, s.strides)
    boxes, images = s.per_image, s.images
    return lambda maps: layer(dict(zip(s.names, maps, strict=True)), boxes, images)


def _ps_roi_align(s: Scene) -> Pool:
    return lambda maps: ops.ps_roi_align(maps[0], s.boxes, PARTS, s.scale, 2)


def _ps_roi_pool(s: Scene) -> Pool:
    return lambda maps: ops.ps_roi_pool(maps[0], s.boxes, PARTS, s.scale)


def _deform_roi_pool(s: Scene) -> Pool:
    return lambda maps: ops.deform_roi_pool(maps[0], s.boxes, s.offset, None, PARTS, s.scale, 2)


def _without_offset(s: Scene) -> Pool:
    return lambda maps: ops.deform_roi_pool(maps[0], s.boxes, None, None, PARTS, s.scale, 2)


def _deform_ps_roi_pool(s: Scene) -> Pool:
    return lambda maps: ops.deform_ps_roi_pool(maps[0], s.boxes, s.offset, PARTS, s.scale, PARTS, PARTS, 4)


OPERATIONS = {
    "roi_align": Operation("RoIAlign, 2 samples", _roi_align(2)),
    "roi_align_adaptive": Operation("RoIAlign, adaptive", _roi_align(-1)),
    "roi_pool": Operation("RoIPool, max", _roi_pool),
    "prroi_pool": Operation("PrRoIPool", _prroi_pool),
    "multiscale_roi_align": Operation("MultiScale of RoIAlign, 2 samples", _multiscale, ("fpn",)),
    "ps_roi_align": Operation("PSRoIAlign, 2 samples", _ps_roi_align, ("coarse",), PARTS**2),
    "ps_roi_pool": Operation("PSRoIPool", _ps_roi_pool, ("coarse",), PARTS**2),
    "deform_roi_pool": Operation("DeformRoIPool, 2 samples", _deform_roi_pool, ("coarse",), plain=_without_offset),
    "deform_ps_roi_pool": Operation("DeformPSRoIPool, 4 samples", _deform_ps_roi_pool, ("coarse",), PARTS**2),
}


def matching(text: str) -> list[str]:
    """The operations whose name or label contains a text; all for none."""
    wanted = text.lower().replace("_", "")
    return [
        key
        for key, operation in OPERATIONS.items()
        if wanted in key.replace("_", "") or wanted in operation.label.lower()
    ]
