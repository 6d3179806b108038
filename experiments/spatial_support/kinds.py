"""The kinds of spatial support: how each is found and what is said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from roikit.train.progress import Progress

from .asked import Asked
from .conv_samples import sampling_locations
from .located import Located, bin_locations, receptive_field
from .nodes import BackboneNode
from .saliency import saliency_region


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of support.

    Args:
        title: of a picture of it alone.
        name: in front of the node in a row's title.
        find: (model, image, node, run's name) to the support.
        say: (support, asked) to a few short lines.
    """

    title: str
    name: str
    find: Callable[[Any, Any, Any, str], Any]
    say: Callable[[Any, Asked], str]


def samples(options: Any) -> Kind:
    def find(model: Any, image: Any, node: Any, _: str) -> Any:
        if isinstance(node, BackboneNode):
            return sampling_locations(model, image, node, options.layers)
        return bin_locations(model, image, node, options.by)

    return Kind("Effective sampling locations", "sampling locations", find, say_located)


def field(_: Any) -> Kind:
    return Kind(
        "Effective receptive fields",
        "receptive field",
        lambda model, image, node, _: receptive_field(model, image, node),
        lambda field, asked: say_located(Located.of(field), asked),
    )


def saliency(options: Any) -> Kind:
    def find(model: Any, image: Any, node: Any, name: str) -> Any:
        with Progress(f"saliency, {name}", total=options.most, every=max(200, options.most // 10)) as bar:
            return saliency_region(
                model, image, node, options.bound, measure=options.measure, blocks=options.blocks, batch=options.batch,
                most=options.most,
                report=lambda n, share, error: bar.update(n, f"{share:.0%} of the image left, error {error:.2g}"),
            )  # fmt: skip

    def say(region: Any, asked: Asked) -> str:
        text = f"{region.share:.1%} of the image, error {region.error:.2g}"
        if asked.region is not None and region.share > 0:
            left = Located.of(region.mask(*asked.region.shape).float())
            text += f"\n{left.share_inside(asked.region):.0%} of it {asked.where}"
        return text if region.minimal else f"{text}\nnot the smallest: ended by --most"

    return Kind("Error-bounded saliency regions", "saliency region", find, say)


def say_located(located: Any, asked: Asked) -> str:
    """How much of it lies where it should, and how far it reaches."""
    if not float(located.strength.sum()) > 0:
        return "nothing counts: the response does not change"
    share = "" if asked.region is None else f"{located.share_inside(asked.region):.0%} {asked.where}, "
    return f"{share}radius {located.radius():.0f} px"


KINDS: dict[str, Callable[[Any], Kind]] = {
    "sampling-locations": samples,
    "receptive-field": field,
    "saliency": saliency,
}
