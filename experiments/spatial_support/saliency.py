"""Error-bounded saliency regions: the smallest part of an image that a node needs (Deformable ConvNets v2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from roikit.analysis.reading import evaluating

from .nodes import Node, Response

# An error that sums in another order may make: of 1e-5 in the size of a response, and the cosine of such an angle.
ROUNDING = {"size": 1e-5, "cosine": 5e-11}
DIRECTIONS = 8  # of the response, in which its first-order change is estimated
Measure = Literal["cosine", "size"]
Report = Callable[[int, float, float], None]


@dataclasses.dataclass(frozen=True)
class SaliencyRegion:
    """What `saliency_region` found.

    Args:
        kept: bool ``Tensor[h, w]``, the blocks of the image that are left; block (i, j) covers the (i, j)-th of h × w
            equal parts of the image.
        error: of the response to them.
        tried: how many masked images were looked at.
        minimal: whether no further block can be masked alone without passing the bound; False where the search was
            ended by its limit.
    """

    kept: Tensor
    error: float
    tried: int
    minimal: bool

    @property
    def share(self) -> float:
        """The share of the image that is left."""
        return float(self.kept.float().mean())

    def mask(self, height: int, width: int) -> Tensor:
        """bool ``Tensor[height, width]``: the pixels of the image that are left."""
        return _spread(self.kept, height, width)


def saliency_region(
    model: nn.Module,
    image: Tensor,
    node: Node,
    bound: float = 0.1,
    *,
    measure: Measure = "cosine",
    blocks: int = 16,
    batch: int = 8,
    most: int = 4000,
    report: Report | None = None,
) -> SaliencyRegion:
    """The smallest image region, of square blocks, that gives a node's response within an error bound.

    Blocks are masked with the mean colour that the detector's normalisation turns into 0, and the node's response is
    computed anew; what is masked stays masked. In each round the blocks still there are put in order of what masking
    them would change, and as many of the first as the bound allows are masked together: several candidates go through
    the detector at once. The order is at first an estimate, the first-order change of the response (by gradients in a
    few random directions, no masked image is needed); when it helps no more, the measured error of masking each block
    alone, until no block can be masked any more.

    Args:
        model: a torchvision-like two-stage detector. It is run in evaluation mode and put back.
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1.
        node: a `BackboneNode` or a `BoxNode`.
        bound: the largest error. What rounding may add is allowed: 1e-5 of the size, 5e-11 of the cosine.
        measure: of f, the response to what is left, and f₀, that to the whole image: "cosine", 1 - cos(f, f₀); or
            "size", ‖f - f₀‖ / ‖f₀‖.
        blocks: along the longer side of the image; those along the shorter are as square as can be.
        batch: masked images at a time.
        most: masked images in all; the search ends there, with a larger region than need be.
        report: called now and then with the number of masked images since the last time, the share of the image
            left, and the error.

    Raises:
        ValueError: arguments out of range, what `Response` refuses.
    """
    _check(bound, measure, blocks, batch, most)
    response = Response(model, image, node)
    with evaluating(model, gradients=True):
        return _Search(response, bound, measure, blocks, batch, most, report or (lambda *_: None)).run()


def _check(bound: float, measure: str, blocks: int, batch: int, most: int) -> None:
    if not 0 <= bound < float("inf"):
        raise ValueError(f"bound is an error and must be 0 or more, not {bound}")
    if measure not in ("cosine", "size"):
        raise ValueError(f'measure must be "cosine" or "size", not {measure!r}')
    if not 2 <= blocks <= 256:
        raise ValueError(f"blocks are along the longer side, 2 to 256, not {blocks}")
    if batch < 1 or most < 1:
        raise ValueError(f"batch and most must be at least 1, not {batch} and {most}")


class _Search:
    """One search: which blocks are left, and their error."""

    def __init__(
        self, response: Response, bound: float, measure: str, blocks: int, batch: int, most: int, report: Report
    ) -> None:
        self.response, self.bound, self.measure = response, bound + ROUNDING[measure], measure
        self.batch, self.most, self.report = batch, most, report
        height, width = response.size
        self.size = response.size
        longer = max(height, width)
        self.grid = tuple(max(1, min(n, round(blocks * n / longer))) for n in (height, width))
        with torch.no_grad():
            self.input = response.prepare(response.pixels)
            self.whole = response(self.input)[0].double()
        self.kept = torch.ones(self.grid[0] * self.grid[1], dtype=torch.bool)
        self.error, self.tried = 0.0, 0

    def run(self) -> SaliencyRegion:
        while True:  # by estimates, as long as a round masks a twentieth of what is there
            left = int(self.kept.sum())
            if not left or not self._mask(self._by_gradient()) or int(self.kept.sum()) > 0.95 * left:
                break
        minimal = False
        while self.tried < self.most:
            there = self.kept.nonzero()[:, 0].tolist()
            errors = self._errors([[k] for k in there])
            if len(errors) < len(there):
                break
            fit = [k for _, k in sorted((e, k) for e, k in zip(errors, there, strict=True) if e <= self.bound)]
            if not fit:
                minimal = True
                break
            if not self._mask(fit):  # the last image went to another candidate
                break
        kept = self.kept.reshape(self.grid)
        return SaliencyRegion(kept, self.error, self.tried, minimal)

    def _mask(self, order: Sequence[int]) -> bool:
        """Mask as many of the first blocks as the bound allows; whether there are some.

        The error need not grow with their number, but only what has been looked at is taken.
        """
        fits, fails = 0, len(order) + 1
        while fails - fits > 1:
            step = (fails - fits) / (self.batch + 1)
            counts = sorted({fits + max(1, round(k * step)) for k in range(1, self.batch + 1)})
            counts = [n for n in counts if n < fails]
            errors = self._errors([order[:n] for n in counts])
            good = [n for n, error in zip(counts, errors, strict=False) if error <= self.bound]
            if good:
                fits = max(good)
                best = errors[counts.index(fits)]
            fails = min([n for n, e in zip(counts, errors, strict=False) if n > fits and e > self.bound], default=fails)
            if len(errors) < len(counts):
                break
        if fits:
            self.kept[list(order[:fits])] = False
            self.error = best
            self.report(0, float(self.kept.float().mean()), self.error)
        return fits > 0

    def _errors(self, candidates: Sequence[Sequence[int]]) -> list[float]:
        """The errors with each candidate's blocks masked too; fewer where the limit is reached."""
        errors: list[float] = []
        for start in range(0, len(candidates), self.batch):
            part = candidates[start : start + min(self.batch, self.most - self.tried)]
            if not part:
                break
            kept = self.kept.expand(len(part), -1).clone()
            for row, blocks in zip(kept, part, strict=True):
                row[list(blocks)] = False
            with torch.no_grad():
                found = self.response(self.input * self._on_input(kept)).double()
            errors += self._distance(found)
            self.tried += len(part)
            self.report(len(part), float(self.kept.float().mean()), self.error)
        return errors

    def _distance(self, found: Tensor) -> list[float]:
        size = self.whole.norm()
        if size == 0:  # a node that says nothing: anything else is wrong
            return (found.norm(dim=1) > 0).double().tolist()
        if self.measure == "size":
            return ((found - self.whole).norm(dim=1) / size).tolist()
        other = found.norm(dim=1)
        cosine = found @ self.whole / (size * other.clamp(min=1e-300))
        return (1 - cosine).clamp(min=0).tolist()

    def _by_gradient(self) -> list[int]:
        """The blocks still there, those first that change the response least by its gradient in the pixels.

        With v of ±1, E (v · J x_b)² = ‖J x_b‖²: the change of all the response's channels when the block's pixels x_b
        become 0. For a cosine, that across the response itself alone.
        """
        images = (self.input * self._on_input(self.kept[None])).requires_grad_()
        f = self.response(images)[0]
        rng = torch.Generator().manual_seed(0)
        total = torch.zeros(self.kept.shape, dtype=torch.float64)
        for k in range(DIRECTIONS):
            v = (torch.randint(0, 2, f.shape, generator=rng) * 2 - 1).to(f)
            if self.measure == "cosine" and float(f.detach().norm()) > 0:
                unit = f.detach() / f.detach().norm()
                v = v - (v @ unit) * unit
            (gradient,) = torch.autograd.grad(f, images, v, retain_graph=k < DIRECTIONS - 1)
            total += self._sums((gradient * images.detach()).sum((0, 1))).square()
        return sorted(self.kept.nonzero()[:, 0].tolist(), key=lambda b: float(total[b]))

    def _on_input(self, kept: Tensor) -> Tensor:
        """``Tensor[N, 1, h, w]`` of ones and zeros for the backbone's input; what was padded is 0 anyway."""
        height, width = self.size
        masks = torch.zeros(len(kept), 1, *self.input.shape[-2:])
        masks[:, 0, :height, :width] = torch.stack([_spread(k.reshape(self.grid), height, width) for k in kept]).float()
        return masks.to(self.input)

    def _sums(self, field: Tensor) -> Tensor:
        """The sum over each block of a field ``Tensor[h, w]`` of the backbone's input."""
        height, width = self.size
        rows, cols = (_block(n, g) for n, g in zip(self.size, self.grid, strict=True))
        place = (rows[:, None] * self.grid[1] + cols).flatten()
        sums = torch.zeros(self.kept.shape, dtype=torch.float64)
        return sums.index_add_(0, place, field[:height, :width].double().cpu().flatten())


def _block(pixels: int, count: int) -> Tensor:
    """The block of each pixel of a side: that which holds its centre."""
    return ((torch.arange(pixels) + 0.5) * count / pixels).long()


def _spread(kept: Tensor, height: int, width: int) -> Tensor:
    return kept[_block(height, kept.shape[0])][:, _block(width, kept.shape[1])]
