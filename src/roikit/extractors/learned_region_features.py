"""Learned Region Features: attention from a box, and from what the cells look like, to every cell of the map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from .. import modes
from ..boxes import Scale, scale_pair
from ..layers.embeddings import sinusoidal
from ..layers.grid_prior import GridPrior
from ..layers.grid_start import as_a_grid
from ..layers.init import steers
from ..sums.exact import exact
from ..sums.maps import Maps, as_maps
from ..weights.attention import Attention
from .base import Boxes, RegionExtractor, each_scale
from .support import SUPPORTS, Support, valid_cells

ImageSizes = Sequence[tuple[int, int]]


class LearnedRegionFeatures(RegionExtractor):
    """Learned Region Features (Gu et al., ECCV 2018): w_k(b, p, x) = softmax over p ∈ Ω_b of G_k(b, p) + A_k(x, p).

    The geometric term G_k(b, p) = ⟨Ŵ_k V E^box(b), W^im E^im(p)⟩ (Eq. 8) embeds the box's corners and the cells'
    centres, all in image pixels, by sines and cosines; the appearance term A_k(x, p) (Eq. 9) is a 1×1 convolution of
    the features. E^im(p) is an embedding of the row beside one of the column and what follows is linear, so G is a row
    logit plus a column logit: neither it nor the weights are ever made for all regions and cells at once.

    Which cells a region looks at, its support Ω, may be sampled: those inside the RoI at strides ⌈W_b / √max_inside⌉
    and ⌈H_b / √max_inside⌉ from the first one (Eq. 10; the RoI is W_b × H_b cells large), those outside at stride
    ⌈√(HW / max_outside)⌉ from cell 0 (Eq. 11). A cell is inside when its centre is: from the near edge, included, to
    the far one, which is not. A RoI without any cell centre has the cell nearest to its own centre inside.

    Gradients to the boxes are those of the embeddings; the support is piecewise constant in them.

    Args:
        channels: C_f, of the feature maps.
        output_size: the grid of parts, K = h·w. Nothing ties a part to its place in it.
        embed_dim: C_E, size of a coordinate's embedding, even.
        geometry_dim: C_g, in which boxes and cells are compared.
        support: "image": all cells; "roi": those inside the RoI; "2x": inside twice its area about the same centre.
        max_inside, max_outside: sampled cells inside and outside the RoI, at most; ``None``: all (Table 3's "full").
        geometry, appearance: whether G and A are there (Table 4); one of them has to be.
        expand: area factor of the RoI, before everything else.
        start: how the layers start: "grid", with V, Ŵ and W^im of Eq. 8 such that part k looks at its place on the grid
            (``layers/grid_start.py``; the equations are untouched); "paper", all N(0, 0.01²), from which every part is
            the same mean, and nothing says where the box is.
        prior: "grid" adds a learned Gaussian around each part's bin to the logits (``layers.GridPrior``), which goes
            beyond the paper.
        grid_width: σ of the start's grid, in image pixels.

    Example:
        >>> import torch, roikit
        >>> pool = roikit.LearnedRegionFeatures(8)
        >>> boxes = [torch.tensor([[16.0, 16.0, 96.0, 64.0]])]
        >>> pool(torch.rand(1, 8, 12, 16), boxes, 1 / 16).shape
        torch.Size([1, 8, 7, 7])
    """

    paper = "Gu et al., Learning Region Features for Object Detection, 2018"
    differentiable_in_boxes = True
    extras = ("image_sizes",)

    def __init__(
        self,
        channels: int,
        output_size: int | Sequence[int] = 7,
        embed_dim: int = 512,
        geometry_dim: int = 256,
        support: Literal["image", "roi", "2x"] = "image",
        max_inside: int | None = 196,
        max_outside: int | None = 196,
        geometry: bool = True,
        appearance: bool = True,
        expand: float = 1.0,
        start: Literal["grid", "paper"] = "grid",
        prior: Literal["grid"] | None = None,
        grid_width: float = 6.0,
    ) -> None:
        super().__init__(output_size, expand)
        if channels < 1:
            raise ValueError(f"channels is the number of channels of the feature maps, not {channels}")
        if embed_dim < 2 or embed_dim % 2 or geometry_dim < 1:
            raise ValueError(
                f"embed_dim must be a positive even number and geometry_dim at least 1, not {embed_dim} and "
                f"{geometry_dim}"
            )
        if support not in SUPPORTS:
            raise ValueError(f"support must be one of {', '.join(map(repr, SUPPORTS))}, not {support!r}")
        for name, most in (("max_inside", max_inside), ("max_outside", max_outside)):
            if most is not None and most < 1:
                raise ValueError(f"{name} is a number of cells, at least 1, or None for all of them, not {most}")
        if start not in ("grid", "paper") or prior not in ("grid", None):
            raise ValueError(f'start is "grid" or "paper" and prior "grid" or None, not {start!r} and {prior!r}')
        if not 0 < grid_width < float("inf"):
            raise ValueError(f"grid_width is a positive number of image pixels, not {grid_width}")
        if not geometry and not appearance:
            raise ValueError("geometry and appearance are both off: weights need one of them")
        self.channels, self.embed_dim, self.geometry_dim = channels, embed_dim, geometry_dim
        self.support: Support = support
        self.max_inside, self.max_outside = max_inside, max_outside
        self.box_shared = nn.Linear(4 * embed_dim, embed_dim, bias=False) if geometry else None  # V^box
        self.box_parts = nn.Linear(embed_dim, self.parts * geometry_dim, bias=False) if geometry else None  # Ŵ^box
        self.position = nn.Linear(2 * embed_dim, geometry_dim, bias=False) if geometry else None  # W^im
        self.appearance = nn.Conv2d(channels, self.parts, 1, bias=False) if appearance else None  # W^app
        for layer in self.children():  # appearance at the attention's rate blurs the places before it says anything
            nn.init.normal_(steers(layer, "places" if start == "grid" else "cells").weight, std=0.01)  # type: ignore[arg-type]  # linear
        if geometry and start == "grid":
            as_a_grid(self.box_shared, self.box_parts, self.position, self.output_size, grid_width)  # type: ignore[arg-type]  # all there
        self.start, self.grid_width = start, grid_width
        self.prior = GridPrior(self.output_size) if prior else None

    @property
    def parts(self) -> int:
        return self.output_size[0] * self.output_size[1]

    def weights(
        self,
        features: Maps,
        boxes: Boxes,
        spatial_scale: Scale | Sequence[Scale] = 1.0,
        image_sizes: ImageSizes | None = None,
    ) -> Attention:
        """The weights, see ``forward``; with ``image_sizes``, (height, width) of each image of a padded batch in image
        pixels, no cell of the padding is looked at."""
        rois, cells = self.locate(features, boxes, spatial_scale)
        maps = as_maps(features)
        self.check_channels(maps)
        scales = [scale_pair(scale) for scale in each_scale(features, spatial_scale)]
        rows, cols = self.logits(rois.boxes, rois.level, maps, scales)
        support = valid_cells(maps, rois, scales, image_sizes)
        allowed, samples = support.choose(cells, self.support, self.max_inside, self.max_outside)
        if allowed is not None:
            outside = rows.new_full((), -torch.inf)
            rows, cols = (
                torch.where(_between(low, high, logits.shape[2]), logits, outside)
                for logits, (low, high) in ((rows, allowed[:2]), (cols, allowed[2:]))
            )
        return Attention(rows, cols, rois, self.output_size, self.biases(maps), samples)

    def logits(
        self, boxes: Tensor, level: Tensor, maps: Sequence[Tensor], scales: Sequence[tuple[float, float]]
    ) -> tuple[Tensor, Tensor]:
        """G as row logits ``Tensor[R, K, H]`` and column logits ``Tensor[R, K, W]`` of each RoI's own map.

        Args:
            boxes: ``Tensor[R, 4]`` in image pixels.
            level: of each RoI.
            maps: one per level.
            scales: (y, x) of each level.
        """
        queries = None if self.position is None else self.embed_boxes(boxes)
        apart = len(maps) > 1 and not _traced()
        which = [(level == at).nonzero()[:, 0] for at in range(len(maps))] if apart else []
        found = []
        for axis in (0, 1):
            sizes = [x.shape[2 + axis] for x in maps]
            each = []
            for at, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
                if queries is None:  # 0, but NaN for a box that is not a number
                    logits = (boxes.sum(1) * 0)[:, None, None].expand(-1, self.parts, size)
                    logits = logits[which[at]] if apart else logits
                else:
                    keys = self.embed_axis(size, scale[axis], axis, boxes)
                    logits = _match(queries[which[at]] if apart else queries, keys)
                if self.prior is not None:
                    mine = boxes[which[at]] if apart else boxes
                    logits = logits + self.prior(mine, _centres(size, scale[axis], boxes), scale[axis], axis)
                each.append(pad(logits, (0, max(sizes) - size), value=-torch.inf) if len(maps) > 1 else logits)
            if apart:  # each RoI on its own level alone
                found.append(torch.cat(each)[torch.argsort(torch.cat(which))])
                continue
            out = each[0]
            for at, logits in enumerate(each[1:], 1):
                out = torch.where((level == at)[:, None, None], logits, out)
            found.append(out)
        return found[0], found[1]

    def embed_boxes(self, boxes: Tensor) -> Tensor:
        """Ŵ_k V E^box(b): ``Tensor[R, K, C_g]`` from ``Tensor[R, 4]`` in image pixels, once for each RoI."""
        assert self.box_shared is not None and self.box_parts is not None
        embedded = sinusoidal(boxes, self.embed_dim).flatten(1)
        return _transform(_transform(embedded, self.box_shared.weight), self.box_parts.weight).unflatten(
            1, (self.parts, self.geometry_dim)
        )

    def embed_axis(self, size: int, scale: float, axis: int, like: Tensor) -> Tensor:
        """The share that the rows (axis 0) or columns (axis 1) of a map have in W^im E^im: ``Tensor[size, C_g]``."""
        assert self.position is not None
        by_x, by_y = self.position.weight.split(self.embed_dim, 1)
        return _transform(sinusoidal(_centres(size, scale, like), self.embed_dim), by_x if axis else by_y)

    def biases(self, maps: Sequence[Tensor]) -> list[Tensor] | None:
        """A: ``Tensor[B, K, H, W]`` of each level."""
        layer = self.appearance
        return None if layer is None else [_convolve(x, layer.weight) for x in maps]

    def settings(self) -> dict[str, object]:
        return {
            "channels": self.channels,
            "embed_dim": self.embed_dim,
            "geometry_dim": self.geometry_dim,
            "support": self.support,
            "max_inside": self.max_inside,
            "max_outside": self.max_outside,
            "geometry": self.position is not None,
            "appearance": self.appearance is not None,
            "start": self.start,
            "prior": None if self.prior is None else "grid",
            "grid_width": self.grid_width,
        }


# Logits are exponentiated, so they are made in the layers' own precision also under autocast.


def _centres(size: int, scale: float, like: Tensor) -> Tensor:
    """Of the cells on an axis, in image pixels."""
    return (torch.arange(size, device=like.device).to(like.dtype) + 0.5) / scale


@exact
def _transform(x: Tensor, weight: Tensor) -> Tensor:
    return linear(x.to(weight.dtype), weight)


@exact
def _match(queries: Tensor, keys: Tensor) -> Tensor:
    return linear(queries, keys)


@exact
def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("bchw,kc->bkhw", x.to(weight.dtype), weight[:, :, 0, 0])


def _traced() -> bool:
    """Sizes that depend on values, such as the number of RoIs of a level, are not known."""
    return not modes.eager() or modes.transformed()


def _between(low: Tensor, high: Tensor, count: int) -> Tensor:
    """bool [R, 1, count]: low ≤ i < high."""
    i = torch.arange(count, device=low.device)
    return ((i >= low[:, None]) & (i < high[:, None]))[:, None]
