"""roikit's extractors in mmdetection's configurations: as `roi_layer`, and as a RoI extractor over all levels."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from roikit.extractors import EXTRACTORS, RegionExtractor
from roikit.multiscale import MultiScale

_NAME = "roikit.{}"


def register() -> None:
    """Make every extractor known as `dict(type='roikit.NAME', …)` in `mmcv.ops`, where mmdetection looks a `roi_layer`
    up, and `MultiScaleRoIExtractor` in its registry of models. Done again, it changes nothing."""
    from mmcv import ops

    for extractor in EXTRACTORS:
        setattr(ops, _NAME.format(extractor.__name__), _layer(extractor))
    if importlib.util.find_spec("mmdet") is not None:
        from mmdet.registry import MODELS

        MODELS.register_module(module=MultiScaleRoIExtractor, force=True)


def _layer(extractor: type[RegionExtractor]) -> type[nn.Module]:
    """A RoI layer of mmcv's interface: made with the `spatial_scale` of a level, called with its map and RoIs."""

    class Layer(nn.Module):
        def __init__(self, spatial_scale: float, **arguments: Any) -> None:
            super().__init__()
            self.extractor = extractor(**arguments)
            self.spatial_scale = spatial_scale

        @property
        def output_size(self) -> tuple[int, int]:
            return self.extractor.output_size

        def forward(self, input: Tensor, rois: Tensor) -> Tensor:
            return self.extractor(input, rois, self.spatial_scale)

    Layer.__name__ = Layer.__qualname__ = extractor.__name__
    Layer.__doc__ = f"`roikit.{extractor.__name__}` as a RoI layer of one level."
    return Layer


class MultiScaleRoIExtractor(nn.Module):
    """`roikit.MultiScale` as mmdetection's `bbox_roi_extractor`: layers of an extractor serve all levels, as in the
    papers, where `SingleRoIExtractor` makes one for each level.

    Args:
        roi_layer: `dict(type='roikit.NAME', …)`.
        out_channels: of the maps.
        featmap_strides: of the levels, finest first.
        finest_scale: a RoI of this size and twice that is read from the second level, smaller ones from the first.
        aggregate: of `roikit.MultiScale`.

    Example, in a configuration:

        bbox_roi_extractor=dict(
            type='MultiScaleRoIExtractor', roi_layer=dict(type='roikit.SemanticRoIAlign', channels=256),
            out_channels=256, featmap_strides=[4, 8, 16, 32])
    """

    def __init__(
        self,
        roi_layer: dict[str, Any],
        out_channels: int,
        featmap_strides: Sequence[int],
        finest_scale: int = 56,
        aggregate: Any = "assign",
        init_cfg: Any = None,
    ) -> None:
        super().__init__()
        arguments = dict(roi_layer)
        name = str(arguments.pop("type")).removeprefix("roikit.")
        known = {extractor.__name__: extractor for extractor in EXTRACTORS}
        if name not in known:
            raise ValueError(f"roi_layer: roikit has no extractor {name!r}; it has {', '.join(known)}")
        names = [str(level) for level in range(len(featmap_strides))]
        self.out_channels, self.featmap_strides = out_channels, list(featmap_strides)
        # mmdetection: level ⌊log2(√area / finest_scale)⌋, so finest_scale is the size at the first level's end
        self.pool = MultiScale(
            known[name](**arguments),
            names,
            self.featmap_strides,
            aggregate=aggregate,
            canonical_scale=finest_scale * 4,
            canonical_level=4,
        )

    @property
    def num_inputs(self) -> int:
        return len(self.featmap_strides)

    def init_weights(self) -> None:
        """The extractor's layers start as they were made."""

    def forward(self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None) -> Tensor:
        """Features of RoIs `[R, 5]` (image, x1, y1, x2, y2)."""
        if roi_scale_factor is not None:
            centre, half = (rois[:, 1:3] + rois[:, 3:]) / 2, (rois[:, 3:] - rois[:, 1:3]) / 2 * roi_scale_factor
            rois = torch.cat([rois[:, :1], centre - half, centre + half], 1)
        maps = dict(zip(self.pool.featmap_names, feats[: self.num_inputs], strict=True))
        boxes = [rois[rois[:, 0] == image, 1:] for image in range(feats[0].shape[0])]
        found = self.pool(maps, boxes)
        order = rois[:, 0].argsort(stable=True)
        out = found.new_empty(found.shape)
        out[order] = found
        return out
