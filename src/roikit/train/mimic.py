"""Training with R-CNN feature mimicking: its configuration, and the module that trains in the detector's place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .errors import RunError


@dataclass
class MimicConfig:
    """R-CNN feature mimicking (Deformable ConvNets v2): region features learn from crops of the image."""

    regions: Literal["none", "fg", "bg", "fg+bg"] = "none"
    """Which regions: none (no mimicking), objects (as in the paper), background, or both. --mimic says it too."""

    rois: int = 32
    """The largest number of regions per image."""

    weight: float = 0.1
    """Factor on its two losses."""

    size: int = 224
    """Height and width of a crop in pixels, a multiple of 32; 64 suits images of 128."""

    def rules(self) -> list[tuple[str, bool, str]]:
        """Of each key whether its value fits, and what does."""
        return [
            ("mimic.rois", self.rois >= 1, "at least 1"),
            ("mimic.weight", self.weight >= 0, "0 or more"),
            ("mimic.size", self.size >= 1, "at least 1"),
        ]


def mimicking(detector: Any, config: MimicConfig) -> Any:
    """`roikit.detection.mimic` of the detector, None where the configuration asks for none.

    Raises:
        RunError: a detector whose features cannot be mimicked, a size that does not fit.
    """
    from roikit.detection import mimic

    if config.regions == "none":
        return None
    try:
        return mimic(detector, config.regions, rois=config.rois, weight=config.weight, size=config.size)
    except ValueError as error:
        raise RunError(f"mimic: {error}") from None
