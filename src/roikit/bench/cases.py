"""What is timed: an operation on maps of one size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch

from .operations import OPERATIONS, Operation
from .scenes import PYRAMIDS, SMALL, Pyramid, Scene, make_scene

DTYPES = ("float32", "float64", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation on a scene, said in words that fit into a JSON file and make the same numbers in another process.

    Args:
        operation: a key of ``OPERATIONS``.
        pyramid: a key of ``PYRAMIDS``.
        rois: regions over all images.
        channels: of the maps; position-sensitive operations take the multiple of 49 that suits.
        quick: small maps.
    """

    operation: str
    pyramid: str
    rois: int = 1000
    channels: int = 256
    batch: int = 1
    dtype: str = "float32"
    device: str = "cpu"
    quick: bool = False
    seed: int = 0

    @property
    def of(self) -> Operation:
        return OPERATIONS[self.operation]

    @property
    def maps(self) -> Pyramid:
        return (SMALL if self.quick else PYRAMIDS)[self.pyramid]

    @property
    def torch_dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    def scene(self) -> Scene:
        channels = self.of.channels(self.channels)
        return make_scene(self.maps, self.rois, channels, self.batch, self.torch_dtype, self.device, self.seed)

    def differs(self, base: Case) -> str:
        """The map, and in what else this case is not as ``base``."""
        words = [self.maps.label]
        if self.rois != base.rois:
            words.append(f"R = {self.rois}")
        if self.of.channels(self.channels) != base.channels:
            words.append(f"C = {self.of.channels(self.channels)}")
        if self.batch != base.batch:
            words.append(f"batch {self.batch}")
        if self.dtype != base.dtype:
            words.append(self.dtype)
        return ", ".join(words)


def standard(base: Case, operations: Iterable[str]) -> list[Case]:
    """Every operation on the maps that it is timed on, map by map."""
    chosen = list(operations)
    return [
        dataclasses.replace(base, operation=key, pyramid=pyramid)
        for pyramid in PYRAMIDS
        for key in chosen
        if pyramid in OPERATIONS[key].pyramids
    ]
