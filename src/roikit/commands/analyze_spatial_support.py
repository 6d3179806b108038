"""`roikit analyze spatial-support RUN ... IMAGE`: sampling locations, receptive field and saliency region, together."""

from __future__ import annotations

from collections.abc import Sequence

from . import analyze_receptive_field, analyze_saliency, analyze_sampling_locations
from .spatial_support import command

DESCRIPTION = (
    "The three kinds of spatial support below one another, runs side by side (DCNv2, Figures 1 and 2): effective "
    "sampling locations, effective receptive fields, error-bounded saliency regions."
)


def main(arguments: Sequence[str]) -> int:
    parts = [module.PART for module in (analyze_sampling_locations, analyze_receptive_field, analyze_saliency)]
    return command("spatial-support", "Spatial support", DESCRIPTION, parts, arguments)
