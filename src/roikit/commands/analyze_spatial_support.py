"""`roikit analyze spatial-support RUN ... IMAGE`: sampling locations, receptive field and saliency region, together."""

from __future__ import annotations

from collections.abc import Sequence

from . import analyze_saliency, analyze_sampling_locations
from .spatial_support import draw, field_kind, make_parser, region_kind, samples_kind


def main(arguments: Sequence[str]) -> int:
    parser = make_parser(
        "spatial-support",
        "The three kinds of spatial support below one another, runs side by side (DCNv2, Figures 1 and 2): "
        "effective sampling locations, effective receptive fields, error-bounded saliency regions.",
    )
    for module in (analyze_sampling_locations, analyze_saliency):
        module.add_options(parser)
    options = parser.parse_args(list(arguments))
    for module in (analyze_sampling_locations, analyze_saliency):
        module.check_options(options)
    kinds = [
        samples_kind(options.by, options.layers),
        field_kind(),
        region_kind(options.bound, options.measure, options.blocks, options.batch, options.most),
    ]
    return draw("spatial-support", "Spatial support", options, kinds)
