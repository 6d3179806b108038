"""`roikit analyze receptive-field RUN ... IMAGE`: which pixels of an image a node responds to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .spatial_support import Kind, Part, command, say_located

DESCRIPTION = (
    "Effective receptive fields over an image, runs side by side (DCNv2, Figures 1 and 2): how much a node's response "
    "changes with each pixel."
)


def kind(_: Any) -> Kind:
    from roikit.analysis.spatial_support import Located, receptive_field

    return Kind(
        "receptive field",
        lambda model, image, node, _: receptive_field(model, image, node),
        lambda field, asked: say_located(Located.of(field), asked),
    )


PART = Part(kind)


def main(arguments: Sequence[str]) -> int:
    return command("receptive-field", "Effective receptive fields", DESCRIPTION, [PART], arguments)
