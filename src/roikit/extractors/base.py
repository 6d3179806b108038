"""The interface of every region feature extractor."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor, nn

from ..boxes import Rois, Scale
from ..geometry import pair
from ..sums.maps import Maps, as_maps, geometry_dtype
from ..weights import RegionWeights
from .arguments import checked

Boxes = Tensor | Sequence[Tensor] | Rois


class RegionExtractor(nn.Module, ABC):
    """Region features y_k(b) = Σ_p w_k(b, p, x) ⊙ x(p) (LRF Eq. 2). A method is its ``weights``; the library sums.

    Args:
        output_size: the grid of parts, (h, w) or one int for both.
        expand: the area factor by which each RoI grows about its centre before pooling (LRF Table 2's "2x").

    Class attributes say what the listing shows: ``paper``, ``differentiable_in_boxes``, and ``extras``, the names of
    the further arguments that a method takes (masks, rotated boxes, sizes of padded images).
    """

    paper: str = ""
    differentiable_in_boxes: bool = False
    extras: tuple[str, ...] = ()
    channels: int  # of a method with layers: of the maps they were made for

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]  # replaced on purpose

    @checked
    def __init__(self, output_size: int | Sequence[int] = 7, expand: float = 1.0) -> None:
        super().__init__()
        if not 0 < expand < float("inf"):
            raise ValueError(f"expand is an area factor and must be positive, not {expand!r}")
        self.output_size = pair(output_size)
        self.expand = float(expand)

    @abstractmethod
    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> RegionWeights:
        """The weights of every RoI's parts, see ``forward`` for the arguments."""

    def after(self, pooled: Tensor, weights: RegionWeights) -> Tensor:
        """What a method does that is more than a weighted sum: nothing, for most."""
        return pooled

    def shown(self, weights: RegionWeights, features: Tensor) -> RegionWeights:
        """For pictures, of one map: what the output reads, where ``after`` leaves that a weighted sum; for most, what
        is pooled."""
        return weights

    @property
    def groups(self) -> int:
        """How many maps make one output channel: 1, but h·w for position-sensitive methods."""
        return 1

    def out_channels(self, channels: int) -> int:
        """Channels of the result for maps of ``channels`` channels.

        Raises:
            ValueError: they do not divide into position-sensitive groups.
        """
        if channels % self.groups:
            raise ValueError(
                f"{type(self).__name__} is position-sensitive: it needs a multiple of {self.groups} channels, "
                f"but the features have {channels}"
            )
        return channels // self.groups

    def forward(
        self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0, **extras: Any
    ) -> Tensor:
        """Region features.

        Args:
            features: ``Tensor[B, C, H, W]``, or a list of maps, one per level.
            boxes: ``Tensor[R, 5]`` with rows (batch index, x1, y1, x2, y2), a list of ``Tensor[N_i, 4]``, or ``Rois``
                (which also says levels), in image pixels.
            spatial_scale: feature cells per image pixel (1 / stride), a float or a (y, x) pair; a list of them for a
                list of maps.
            extras: the further arguments of a method that has some, by name (``extractor.extras``).

        Returns:
            ``Tensor[R, C, h, w]``; position-sensitive methods have ``out_channels(C)`` channels.

        Raises:
            ValueError: wrong shapes, dtypes, indices or coordinates; the message names the RoI.
            TypeError: an extra argument that the method does not take.
        """
        for name in extras:
            if name not in self.extras:
                takes = f"takes {' and '.join(self.extras)}" if self.extras else "takes no further arguments"
                raise TypeError(f"{type(self).__name__} has no argument {name!r}: besides boxes it {takes}")
        weights = self.weights(features, boxes, spatial_scale, **extras)
        return self.after(weights.pool(features), weights)

    def locate(
        self,
        features: Maps,
        boxes: Boxes,
        spatial_scale: Scale | Sequence[Scale],
        pixels: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Rois, Tensor]:
        """For ``weights``: the RoIs, checked and expanded, and ``Tensor[R, 4]``, the boxes in cells of their level.

        Args:
            pixels: what the method does to the boxes ``Tensor[R, 4]`` while they are in image pixels.
        """
        maps = as_maps(features)
        scales = each_scale(features, spatial_scale)
        if len(maps) > 1 and not isinstance(boxes, Rois):
            raise ValueError(
                "several feature maps need Rois, which say each box's level: use roikit.MultiScale, or Rois with "
                "roikit.boxes.assign_levels"
            )
        rois = Rois.of(boxes, maps[0].shape[0], len(maps))
        rois = rois.in_dtype(geometry_dtype(maps[0]), maps[0].device).expand(self.expand)
        if pixels is not None:
            rois = dataclasses.replace(rois, boxes=pixels(rois.boxes))
        return rois, rois.on_maps(scales)

    def __prepare_scriptable__(self) -> None:
        refuse_script(self)

    def check_channels(self, maps: Sequence[Tensor]) -> None:
        """For a method with layers: refuse maps of another number of channels than ``self.channels``."""
        if maps[0].shape[1] != self.channels:
            raise ValueError(
                f"{type(self).__name__} was made for {self.channels} channels and the features have {maps[0].shape[1]}"
            )

    def extra_repr(self) -> str:
        settings = {"output_size": self.output_size, **self.settings()}
        if self.expand != 1.0:
            settings["expand"] = self.expand
        return ", ".join(f"{name}={value!r}" for name, value in settings.items())

    def settings(self) -> dict[str, object]:
        """The constructor arguments ``repr`` shows besides the output size."""
        return {}


def refuse_script(module: nn.Module) -> None:
    """What ``torch.jit.script`` says of a model with such a module in it."""
    raise RuntimeError(
        f"{type(module).__name__} cannot be scripted: TorchScript, which torch no longer develops, has no keyword "
        "arguments of any name, and what extractors take depends on the method. Use torch.compile(model) to run it "
        "faster, torch.export.export(model, …) or roikit.integrations.onnx to save it"
    )


def each_scale(features: Maps, spatial_scale: Scale | Sequence[Scale]) -> list[Scale]:
    """The spatial_scale of each map: of a map alone one, which may be a pair, of a list of maps a list.

    Raises:
        ValueError: not one for each map.
    """
    if isinstance(features, Tensor):
        return [cast(Scale, spatial_scale)]
    if not isinstance(spatial_scale, Sequence):
        raise ValueError(
            f"{len(features)} feature maps in a list need a list of as many spatial_scales, not {spatial_scale!r}"
        )
    if len(spatial_scale) != len(features):
        raise ValueError(
            f"{len(features)} feature maps need as many spatial_scales, but there are {len(spatial_scale)}"
        )
    return list(spatial_scale)
