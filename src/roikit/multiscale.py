"""One extractor over several feature levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .boxes import Rois, Scale, assign_levels, scale_pair
from .extractors import RegionExtractor


class MultiScale(nn.Module):
    """Assign each RoI to one feature level (FPN Eq. 1) and extract it there; stands where
    ``torchvision.ops.MultiScaleRoIAlign`` stands.

    Args:
        extractor: shared by all levels.
        featmap_names: the keys of the feature dictionary, finest level first.
        strides: image pixels per feature cell of each level, a number or a (y, x) pair; they need not be powers of two.
        canonical_scale, canonical_level: a box of ``canonical_scale`` pixels (√area) is read at stride
            ``2**canonical_level``.

    Example:
        >>> import torch, roikit
        >>> pool = roikit.MultiScale(roikit.RoIAlign(7), ["fine", "coarse"], strides=[8, 16])
        >>> features = {"fine": torch.rand(1, 4, 32, 32), "coarse": torch.rand(1, 4, 16, 16)}
        >>> pool(features, [torch.tensor([[8.0, 8.0, 40.0, 72.0]])], [(256, 256)]).shape
        torch.Size([1, 4, 7, 7])
    """

    def __init__(
        self,
        extractor: RegionExtractor,
        featmap_names: Sequence[str],
        strides: Sequence[float | tuple[float, float]],
        *,
        canonical_scale: float = 224.0,
        canonical_level: float = 4.0,
    ) -> None:
        super().__init__()
        if not isinstance(extractor, RegionExtractor):
            raise ValueError(f"extractor must be a RegionExtractor such as roikit.RoIAlign(), not {extractor!r}")
        if not featmap_names or len(featmap_names) != len(strides):
            raise ValueError(
                f"{len(featmap_names)} feature maps {list(featmap_names)} need as many strides, not {strides}"
            )
        self.extractor = extractor
        self.featmap_names = list(featmap_names)
        self.strides = list(strides)
        self.scales: list[Scale] = []
        for stride in strides:
            y, x = scale_pair(stride)
            self.scales.append((1 / y, 1 / x))
        assign_levels(torch.zeros(0, 4), self.strides)  # refuses strides that do not grow
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level

    @property
    def output_size(self) -> tuple[int, int]:
        return self.extractor.output_size

    def forward(
        self, x: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]] | None = None
    ) -> Tensor:
        """Features of every box on its own level: ``Tensor[R, C, h, w]``, boxes in the order given.

        Args:
            x: feature maps ``Tensor[B, C, H_l, W_l]`` by name; names not in ``featmap_names`` are left alone.
            boxes: one ``Tensor[N_i, 4]`` per image, in image pixels.
            image_shapes: (height, width) of each image; accepted for torchvision's sake, the strides say all.

        Raises:
            ValueError: a missing feature map, or boxes that ``RegionExtractor.forward`` refuses.
        """
        missing = [name for name in self.featmap_names if name not in x]
        if missing:
            raise ValueError(f"the features have no map called {missing[0]!r}: they are {list(x)}")
        maps = [x[name] for name in self.featmap_names]
        rois = Rois.of(boxes, maps[0].shape[0])
        level = assign_levels(rois.boxes.detach(), self.strides, self.canonical_scale, self.canonical_level)
        return self.extractor(maps, Rois(rois.boxes, rois.batch, level), self.scales)

    def extra_repr(self) -> str:
        return f"featmap_names={self.featmap_names}, strides={self.strides}"
