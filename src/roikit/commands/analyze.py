"""`roikit analyze WHAT ...`: what extractors cost and what they learn. Each analysis is a module of its own."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from roikit.train.errors import RunError

ANALYSES = {
    "complexity": ("roikit.commands.analyze_complexity", "multiply-adds of a method, beside its paper's"),
    "divergence": ("roikit.commands.analyze_divergence", "how far apart the parts of a region look, over a run"),
    "diversity": ("roikit.commands.analyze_diversity", "how different the parts of a region are, runs side by side"),
    "invariance": ("roikit.commands.analyze_invariance", "how little features change when the object is transformed"),
    "masks": ("roikit.commands.analyze_masks", "where the parts of a region lie while its object turns"),
    "receptive-field": ("roikit.commands.analyze_receptive_field", "which pixels of an image a node responds to"),
    "saliency": ("roikit.commands.analyze_saliency", "the smallest part of an image that gives a node's response"),
    "sampling-locations": ("roikit.commands.analyze_sampling_locations", "which places of an image a node reads"),
    "spatial-support": ("roikit.commands.analyze_spatial_support", "the three kinds of spatial support together"),
    "weights": ("roikit.commands.analyze_weights", "where features of regions come from, before and after training"),
}


def usage() -> str:
    width = max(map(len, ANALYSES))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in ANALYSES.items()]
    head = "usage: roikit analyze WHAT [options]        roikit analyze WHAT --help says more"
    return "\n".join([head, "", "What extractors cost and what they learn.", "", *lines])


def main(arguments: Sequence[str]) -> int:
    arguments = list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    name = arguments[0]
    if name not in ANALYSES:
        raise RunError(f"no analysis {name!r}; analyses are {', '.join(ANALYSES)}")
    return int(importlib.import_module(ANALYSES[name][0]).main(arguments[1:]) or 0)
