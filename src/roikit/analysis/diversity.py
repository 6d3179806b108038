"""How different the parts of a region are: cosines between their weights (SRA's Figure 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..weights import Composed
from .canvas import QUIET, new_figure, save_figure
from .objects import box_at, images_with_objects
from .reading import BoxWeights, read_maps, region_weights

LIMIT = 0.3
PAPER = 0.94  # of Semantic RoI Align's cosines on COCO lie below the limit
BINS = 50
COLOURS = ("#ff5a5f", "#2e86de", "#1f9d55", "#e08a00", "#8e44ad", "#00838f", "#7f5539", "#555555")


def part_cosines(weights: Tensor) -> Tensor:
    """Cosines between the weights of all pairs of different parts, in the order (0, 1), (0, 2), …, (1, 2), ….

    Args:
        weights: ``Tensor[K, ...]``, not negative, the weight of every cell in every part.

    Returns:
        float64 ``Tensor[K·(K-1)/2]``; NaN where a part has no weight anywhere (it lies outside the map).

    Example:
        >>> part_cosines(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])).tolist()
        [1.0, 0.0, 0.0]
    """
    rows = weights.double().flatten(1)
    units = rows / rows.norm(dim=1, keepdim=True)
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    return (units @ units.T)[first, second]


def weights_of_parts(found: BoxWeights, *, dense: bool = False) -> Tensor:
    """``Tensor[K, P]``: of parts that are mixtures of sampled cells their masks over these cells, as in the paper;
    of other methods, and where ``dense``, the weights over the cells of the map."""
    weights = found.weights
    if isinstance(weights, Composed) and not dense:
        return weights.outer[0].float().cpu()
    return found.dense().flatten(1)


def diversities(model: nn.Module, dataset: Any, most: int = 200, *, dense: bool = False) -> Iterator[Tensor]:
    """`part_cosines` of a data set's objects, one after the other.

    Args:
        model: a detector that pools with a ``roikit.MultiScale``.
        dataset: a `roikit.data.DetectionDataset`.
        most: objects; they are taken evenly over the data set, crowds left out.
        dense: over the cells of the map for every method.

    Raises:
        ValueError: a data set without an object, a method with a single part.
    """
    for _, image, target, places in images_with_objects(dataset, most):
        maps = read_maps(model, image)
        for n in places:
            weights = weights_of_parts(region_weights(model, maps, box_at(target, n)), dense=dense)
            if len(weights) < 2:
                raise ValueError("regions have a single part: there is nothing to compare it with")
            yield part_cosines(weights)


def summarise(found: Sequence[Tensor]) -> dict[str, Any]:
    """The histogram of all objects' cosines, and how many are small.

    Returns:
        "below": the share below 0.3; "below_averaged": that of the pairs' means over the objects (the paper's text
        allows both); "mean"; "pairs", "objects"; "histogram": shares in 50 equal steps from 0 to 1.

    Raises:
        ValueError: there is no pair to compare.
    """
    every = torch.stack(list(found)) if found else torch.zeros(0, 0)
    values = every[~every.isnan()]
    if not len(values):
        raise ValueError("there is no pair of parts to compare")
    averaged = every.nanmean(0)
    averaged = averaged[~averaged.isnan()]
    counts, _ = np.histogram(values.clamp(0, 1).numpy(), BINS, (0, 1))
    return {
        "below": float((values < LIMIT).double().mean()),
        "below_averaged": float((averaged < LIMIT).double().mean()),
        "mean": float(values.mean()),
        "pairs": len(values),
        "objects": len(found),
        "histogram": (counts / len(values)).tolist(),
    }


def draw_diversity(path: str | Path, runs: Mapping[str, Mapping[str, Any]], title: str = "") -> Path:
    """Write a PNG of the histograms of several runs, one over the other (the paper's Figure 7).

    Args:
        path: where to write; an existing file is replaced.
        runs: the result of ``summarise`` of each, by its name.
        title: a line above.

    Raises:
        ValueError: there is no run.
    """
    if not runs:
        raise ValueError("there is no run to draw")
    figure = new_figure(7.6, 4.2 + 0.2 * len(runs))
    axes = figure.add_subplot()
    edges = np.linspace(0, 1, BINS + 1)
    for k, (name, found) in enumerate(runs.items()):
        colour = COLOURS[k % len(COLOURS)]
        shares = np.array(found["histogram"]) * 100
        label = f"{name}: {found['below']:.1%} below {LIMIT}, mean {found['mean']:.2f}"
        axes.stairs(shares, edges, color=colour, linewidth=1.6, label=label, zorder=3)
        axes.stairs(shares, edges, color=colour, fill=True, alpha=0.12, zorder=2)
    axes.axvline(LIMIT, color=QUIET, linewidth=1, linestyle="--", label=f"{LIMIT}; SRA's paper: {PAPER:.0%} below")
    axes.set_xlim(0, 1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}%")
    axes.set_xlabel("cosine between the weights of two parts of a region (0: no cell in common, 1: the same)")
    axes.set_ylabel("share of the pairs (logarithmic)")
    axes.grid(alpha=0.25)
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    figure.tight_layout()
    return save_figure(figure, path)
