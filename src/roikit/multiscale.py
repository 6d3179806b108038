"""Extractors over several feature levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .boxes import Rois, Scale, assign_levels, scale_pair
from .extractors import RegionExtractor
from .extractors.base import refuse_script
from .weights import RegionWeights

AGGREGATES = ("assign", "concat", "sum")


class MultiScale(nn.Module):
    """Region features from a pyramid of maps; stands where ``torchvision.ops.MultiScaleRoIAlign`` stands.

    Args:
        extractor: one, shared by all levels, or a list with one for each level, whose layers are then its own.
        featmap_names: the keys of the feature dictionary, finest level first.
        strides: image pixels per feature cell of each level, a number or a (y, x) pair; they need not be powers of two.
        aggregate: "assign" reads each RoI from the one level that suits its size (FPN Eq. 1); "concat" reads it from
            all levels and lays their channels side by side, finest first; "sum" adds them up (GRoIE).
        canonical_scale, canonical_level: a box of ``canonical_scale`` pixels (√area) is assigned to stride
            ``2**canonical_level``.

    A shared extractor's layers run once for all levels.

    Example:
        >>> import torch, roikit
        >>> pool = roikit.MultiScale(roikit.RoIAlign(7), ["fine", "coarse"], strides=[8, 16])
        >>> features = {"fine": torch.rand(1, 4, 32, 32), "coarse": torch.rand(1, 4, 16, 16)}
        >>> pool(features, [torch.tensor([[8.0, 8.0, 40.0, 72.0]])], [(256, 256)]).shape
        torch.Size([1, 4, 7, 7])
    """

    def __init__(
        self,
        extractor: RegionExtractor | Sequence[RegionExtractor],
        featmap_names: Sequence[str],
        strides: Sequence[float | tuple[float, float]],
        *,
        aggregate: Literal["assign", "concat", "sum"] = "assign",
        canonical_scale: float = 224.0,
        canonical_level: float = 4.0,
    ) -> None:
        super().__init__()
        given = list(extractor) if isinstance(extractor, Sequence | nn.ModuleList) else [extractor]
        for one in given:
            if not isinstance(one, RegionExtractor):
                raise ValueError(f"extractor must be a RegionExtractor such as roikit.RoIAlign(), not {one!r}")
        if not featmap_names or len(featmap_names) != len(strides):
            raise ValueError(
                f"{len(featmap_names)} feature maps {list(featmap_names)} need as many strides, not {strides}"
            )
        own = isinstance(extractor, Sequence | nn.ModuleList)
        if own and len(given) != len(strides):
            raise ValueError(f"{len(strides)} levels need one extractor, or one each, not {len(given)}")
        if len({one.output_size for one in given}) > 1:
            raise ValueError(
                f"the levels' extractors give grids of several sizes: {[one.output_size for one in given]}"
            )
        if len({one.groups for one in given}) > 1:
            raise ValueError("the levels' extractors differ in being position-sensitive: their channels would not fit")
        learning = [one for one in given if any(True for _ in one.parameters())]
        if len({id(one) for one in learning}) < len(learning):
            raise ValueError(
                "one extractor with layers is listed for several levels: give each its own, or this one alone, shared"
            )
        if aggregate not in AGGREGATES:
            raise ValueError(f"aggregate must be one of {', '.join(map(repr, AGGREGATES))}, not {aggregate!r}")
        self.extractor = nn.ModuleList(given) if own else given[0]
        self.featmap_names = list(featmap_names)
        self.strides = list(strides)
        self.aggregate = aggregate
        self.scales: list[Scale] = []
        for stride in strides:
            y, x = scale_pair(stride)
            self.scales.append((1 / y, 1 / x))
        assign_levels(torch.zeros(0, 4), self.strides)  # refuses strides that do not grow
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level

    @property
    def _each(self) -> list[RegionExtractor]:
        """The extractor of each level; one where it is shared."""
        shared = isinstance(self.extractor, RegionExtractor)
        return [self.extractor] if shared else list(self.extractor)  # type: ignore[list-item, arg-type]  # as just asked

    def extractor_at(self, level: int) -> RegionExtractor:
        """The extractor that reads the ``level``-th map."""
        each = self._each
        return each[level if len(each) > 1 else 0]

    def at(self, output_size: int | Sequence[int]) -> MultiScale:
        """Another one on the same levels for another grid of bins, with the same layers (not copies of them).

        Raises:
            ValueError: the extractors' layers serve one grid only, or not this one.
        """
        for one in self._each:
            if not hasattr(one, "at"):
                raise ValueError(
                    f"a {type(one).__name__} serves one grid of bins; roikit.DeformRoIPool and "
                    "roikit.ModulatedDeformRoIPool lend their layers to others"
                )
        each: list[Any] = [one.at(output_size) for one in self._each]  # type: ignore[operator]  # as just asked
        return self.like(extractor=each[0] if isinstance(self.extractor, RegionExtractor) else each)

    def like(self, **changes: Any) -> MultiScale:
        """Another one, the same but for some arguments; what is not changed is shared, layers too."""
        same = {
            "extractor": self.extractor,
            "featmap_names": self.featmap_names,
            "strides": self.strides,
            "aggregate": self.aggregate,
            "canonical_scale": self.canonical_scale,
            "canonical_level": self.canonical_level,
        }
        return MultiScale(**{**same, **changes}).train(self.training)

    @property
    def output_size(self) -> tuple[int, int]:
        return self._each[0].output_size

    def out_channels(self, channels: int) -> int:
        """Channels of the result for maps of ``channels`` channels."""
        one = self._each[0].out_channels(channels)
        return one * len(self.strides) if self.aggregate == "concat" else one

    def forward(
        self,
        x: Mapping[str, Tensor],
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]] | None = None,
        **extras: Any,
    ) -> Tensor:
        """Features of every box: ``Tensor[R, C, h, w]``, boxes in the order given.

        Args:
            x: feature maps ``Tensor[B, C, H_l, W_l]`` by name; names not in ``featmap_names`` are left alone.
            boxes: one ``Tensor[N_i, 4]`` per image, in image pixels.
            image_shapes: (height, width) of each image, for extractors that take ``image_sizes``; for the others the
                strides say all.
            extras: further arguments of the extractor, tensors with a row for each box.

        Raises:
            ValueError: a missing feature map, or boxes that ``RegionExtractor.forward`` refuses.
        """
        maps, rois = self._read(x, boxes, extras)
        sizes = {} if image_shapes is None else {"image_sizes": list(image_shapes)}
        if self.aggregate == "assign":
            return self._assigned(maps, rois.boxes, rois.batch, self._level(rois), extras, sizes)
        count, levels = rois.batch.shape[0], len(maps)
        level = torch.arange(levels, device=rois.batch.device)[:, None].expand(-1, count).flatten()
        every = {name: value.repeat(levels, *[1] * (value.ndim - 1)) for name, value in extras.items()}
        found = self._assigned(maps, rois.boxes.repeat(levels, 1), rois.batch.repeat(levels), level, every, sizes)
        found = found.unflatten(0, (levels, count))
        return found.sum(0) if self.aggregate == "sum" else found.transpose(0, 1).flatten(1, 2)

    def __prepare_scriptable__(self) -> None:
        refuse_script(self)

    def weights(
        self,
        x: Mapping[str, Tensor],
        boxes: Sequence[Tensor],
        image_shapes: Sequence[tuple[int, int]] | None = None,
        **extras: Any,
    ) -> RegionWeights:
        """What ``forward`` sums with, for what a method keeps there (offsets, rotated boxes), such as for a penalty.

        Only of a shared extractor with "assign". The arguments are those of ``forward``; ``pool`` takes the maps.

        Raises:
            ValueError: one extractor for each level, or levels that are concatenated or summed.
        """
        if self.aggregate != "assign" or not isinstance(self.extractor, RegionExtractor):
            raise ValueError("weights are of one extractor that reads each box from one level; ask extractor_at(level)")
        maps, rois = self._read(x, boxes, extras)
        if image_shapes is not None and "image_sizes" in self.extractor.extras:
            extras["image_sizes"] = list(image_shapes)
        return self.extractor.weights(maps, Rois(rois.boxes, rois.batch, self._level(rois)), self.scales, **extras)

    def _read(
        self, x: Mapping[str, Tensor], boxes: Sequence[Tensor], extras: dict[str, Any]
    ) -> tuple[list[Tensor], Rois]:
        """The maps that are read and the RoIs, checked, and the further arguments with them."""
        missing = [name for name in self.featmap_names if name not in x]
        if missing:
            raise ValueError(f"the features have no map called {missing[0]!r}: they are {list(x)}")
        maps = [x[name] for name in self.featmap_names]
        rois = Rois.of(boxes, maps[0].shape[0])
        for name, value in extras.items():
            if not isinstance(value, Tensor) or value.shape[:1] != rois.batch.shape:
                raise ValueError(f"{name} must be one tensor with a row for each of the {rois.batch.shape[0]} boxes")
        return maps, rois

    def _level(self, rois: Rois) -> Tensor:
        return assign_levels(rois.boxes.detach(), self.strides, self.canonical_scale, self.canonical_level)

    def _assigned(
        self,
        maps: list[Tensor],
        boxes: Tensor,
        batch: Tensor,
        level: Tensor,
        extras: dict[str, Tensor],
        sizes: dict[str, Any],
    ) -> Tensor:
        """The features of each RoI on its level."""
        if isinstance(self.extractor, RegionExtractor):
            more = sizes if "image_sizes" in self.extractor.extras else {}
            return self.extractor(maps, Rois(boxes, batch, level), self.scales, **extras, **more)
        found, order = [], []
        for at, (extractor, one, scale) in enumerate(zip(self._each, maps, self.scales, strict=True)):
            mine = (level == at).nonzero()[:, 0]
            part = Rois(boxes[mine], batch[mine], torch.zeros_like(mine))
            more = sizes if "image_sizes" in extractor.extras else {}
            found.append(extractor(one, part, scale, **{n: v[mine] for n, v in extras.items()}, **more))
            order.append(mine)
        return torch.cat(found)[torch.argsort(torch.cat(order))]

    def extra_repr(self) -> str:
        return f"featmap_names={self.featmap_names}, strides={self.strides}, aggregate={self.aggregate!r}"
