"""`roikit analyze WHAT ...`: what extractors learn. Each analysis is a module of its own."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from roikit.train.errors import RunError

ANALYSES = {
    "divergence": ("roikit.commands.analyze_divergence", "how far apart the parts of a region look, over a run"),
    "diversity": ("roikit.commands.analyze_diversity", "how different the parts of a region are, runs side by side"),
    "invariance": ("roikit.commands.analyze_invariance", "how little features change when the object is transformed"),
    "masks": ("roikit.commands.analyze_masks", "where the parts of a region lie while its object turns"),
    "weights": ("roikit.commands.analyze_weights", "where features of regions come from, before and after training"),
}


def usage() -> str:
    width = max(map(len, ANALYSES))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in ANALYSES.items()]
    head = "usage: roikit analyze WHAT [options]        roikit analyze WHAT --help says more"
    return "\n".join([head, "", "What extractors learn.", "", *lines])


def main(arguments: Sequence[str]) -> int:
    arguments = list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    name = arguments[0]
    if name not in ANALYSES:
        raise RunError(f"no analysis {name!r}; analyses are {', '.join(ANALYSES)}")
    return int(importlib.import_module(ANALYSES[name][0]).main(arguments[1:]) or 0)
