"""Effective receptive fields and effective bin locations of nodes (Deformable ConvNets v2, section 2)."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from roikit.analysis.reading import BoxWeights, ImageMaps, evaluating, feature_maps, own_level, pooling_of, weights_at
from roikit.multiscale import MultiScale

from .nodes import BoxNode, Node, Response

By = Literal["location", "features"]


@dataclasses.dataclass(frozen=True)
class Located:
    """Places of an image and how much each counts.

    Args:
        points: float32 ``Tensor[N, 2]``, (x, y) in image pixels; pixel (0, 0) has its centre at (½, ½).
        strength: float32 ``Tensor[N]``, not negative.
    """

    points: Tensor
    strength: Tensor

    @staticmethod
    def of(field: Tensor) -> Located:
        """The pixels of a field ``Tensor[H, W]``."""
        y, x = (torch.arange(n) + 0.5 for n in field.shape)
        return Located(torch.cartesian_prod(y, x).flip(1), field.flatten())

    def share_inside(self, region: Tensor) -> float:
        """The share of the strength that lies in a box ``Tensor[4]`` or on a mask ``Tensor[H, W]``; NaN of nothing."""
        x, y = self.points.unbind(1)
        if region.ndim == 1:
            x1, y1, x2, y2 = region.tolist()
            inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
        else:
            height, width = region.shape
            on = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            v, u = y.clamp(0, height - 1).long(), x.clamp(0, width - 1).long()
            inside = on & region.bool().cpu()[v, u]
        strength = self.strength.double()
        return float(strength[inside].sum() / strength.sum())

    def radius(self) -> float:
        """The root of the mean squared distance from the strength's own centre, in pixels; NaN of nothing.

        Example:
            >>> Located(torch.tensor([[0.0, 0.0], [6.0, 8.0]]), torch.ones(2)).radius()
            5.0
        """
        share = self.strength.double() / self.strength.double().sum()
        centre = share @ self.points.double()
        return float((share @ (self.points.double() - centre).square().sum(1)).sqrt())


def receptive_field(model: nn.Module, image: Tensor, node: Node) -> Tensor:
    """The effective receptive field of a node (Luo et al., NeurIPS 2016; Deformable ConvNets v2, section 2.1).

    The gradient of the size of the node's response, ‖f‖₂ over its channels, in every pixel of the image as it was
    given: through the detector's resizing and normalisation too. Of the three colours, the norm.

    Args:
        model: a torchvision-like two-stage detector. It is run in evaluation mode and put back.
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1.
        node: a `BackboneNode` or a `BoxNode`.

    Returns:
        float32 ``Tensor[H, W]`` on the CPU, per unit of intensity (black is 0, white is 1).

    Raises:
        ValueError: what `Response` refuses.

    Example:
        >>> from experiments.spatial_support.nodes import BackboneNode
        >>> model = __import__("torchvision").models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        ...     weights=None, weights_backbone=None)
        >>> receptive_field(model, torch.rand(3, 60, 80), BackboneNode(40, 30)).shape
        torch.Size([60, 80])
    """
    response = Response(model, image, node)
    with evaluating(model, gradients=True):
        pixels = response.pixels.detach().requires_grad_()
        size = torch.linalg.vector_norm(response(response.prepare(pixels)))
        (gradient,) = torch.autograd.grad(size, pixels)
    return gradient.norm(dim=0).cpu()


def bin_locations(model: nn.Module, image: Tensor, node: BoxNode, by: By = "location") -> Located:
    """The effective bin locations of a box: where each bin of its pooling lies, and how much the head heeds it.

    A bin lies at the centre of its weights, whatever the extractor: deformable bins where their offsets have moved
    them. Its strength is the size of a gradient of ‖f‖₂, f the response of the box head:

    - "location", as in the paper: in the bin's place, per pixel. That of y_k = Σ_p w_k(p) x(p) in the place of its
      weights is Σ_p w_k(p) ∇x(p); ∇x are differences of the cells on both sides. So it is there for every extractor.
    - "features": in the bin's features y_k, the norm over the channels.

    Args:
        model: a detector whose ``roi_heads.box_roi_pool`` is a ``roikit.MultiScale``.
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1.
        node: the box.
        by: which gradient.

    Returns:
        A place for each bin that has a weight, in raster order; where all levels are read, those of all levels, the
        finest first.

    Raises:
        ValueError: another pooling, another ``by``, what `Response` refuses.
    """
    if by not in ("location", "features"):
        raise ValueError(f'by must be "location" or "features", not {by!r}')
    response = Response(model, image, node)
    heads = cast(Any, model.roi_heads)
    pool = pooling_of(model)
    with evaluating(model, gradients=True):
        bins = _bins_of(response, node, pool)
        outputs = [one.after() for one in bins]
        pooled = torch.cat(outputs, 1) if pool.aggregate == "concat" else torch.stack(outputs).sum(0)
        size = torch.linalg.vector_norm(heads.box_head(pooled))
        gradients = torch.autograd.grad(size, [one.pooled for one in bins])
    with torch.no_grad():
        found = [one.located(gradient, by) for one, gradient in zip(bins, gradients, strict=True)]
    return Located(torch.cat([one.points for one in found]), torch.cat([one.strength for one in found]))


@dataclasses.dataclass(frozen=True)
class _Bins:
    """The bins of one level: their weights, and what they read as a leaf of the graph."""

    read: BoxWeights
    pooled: Tensor

    def after(self) -> Tensor:
        return self.read.extractor.after(self.pooled, self.read.weights)

    def located(self, gradient: Tensor, by: By) -> Located:
        dense = self.read.weights.dense(*self.read.cells)[0].abs().mean(0).double()
        total = dense.sum((1, 2))
        there = total > 1e-6
        sides = zip(dense.shape[1:], self.read.stride, strict=True)
        y, x = ((torch.arange(n, device=dense.device) + 0.5) * s for n, s in sides)
        points = torch.stack([dense.sum(1) @ x.double(), dense.sum(2) @ y.double()], 1)[there] / total[there][:, None]
        if by == "features":
            strength = gradient[0].flatten(1).norm(dim=0)
        else:
            moved = [self._moved(gradient, axis) for axis in (0, 1)]
            strength = torch.hypot(moved[0], moved[1])
        return Located(points.float().cpu(), strength[there].float().cpu())

    def _moved(self, gradient: Tensor, axis: int) -> Tensor:
        """The derivative in each bin's place on one axis (0 is y), per pixel: ``Tensor[K]``."""
        pooled = self.read.weights.pool(differences(self.read.features, axis))
        return (gradient * pooled)[0].flatten(1).sum(0) / self.read.stride[axis]


def _bins_of(response: Response, node: BoxNode, pool: MultiScale) -> list[_Bins]:
    """The bins of a box on the level that it is read from, or on all of them."""
    with torch.no_grad():
        features = feature_maps(response.model, response.prepare(response.pixels))
        maps, box = ImageMaps(features, response.size, response.factor), response.pixels.new_tensor(node.box)
        own = own_level(pool, maps, box)
        levels = [own] if pool.aggregate == "assign" else range(len(pool.strides))
        read = [weights_at(pool, maps, box, level) for level in levels]
        return [_Bins(one, one.weights.pool(one.features).detach().requires_grad_()) for one in read]


def differences(features: Tensor, axis: int) -> Tensor:
    """The derivative of a map ``Tensor[B, C, H, W]`` per cell on one axis (0 is y): half the difference of the cells on
    both sides, at the border the difference to the one neighbour; 0 of a single cell.

    Example:
        >>> differences(torch.tensor([[[[0.0, 1.0, 4.0, 9.0]]]]), 1)[0, 0, 0]
        tensor([1., 2., 4., 5.])
    """
    dim = 2 + axis
    if features.shape[dim] == 1:
        return torch.zeros_like(features)
    return torch.gradient(features, dim=dim)[0]
