"""roikit's extractors in detectron2's models, by the interface of its `ROIPooler`.

detectron2 has to be installed (it needs its compiled extension); this module does not import it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from ..detection.pooling import Extractors, check_extractor, is_listed, make_all
from ..multiscale import MultiScale

Model = TypeVar("Model", bound=nn.Module)


class Pooler(nn.Module):
    """Stands where detectron2's ``ROIPooler`` stands.

    Args:
        extractor: an extractor, one for each level, or what makes one (given ``channels``).
        scales: feature cells per image pixel of each level, such as 1/4, 1/8, ….
        channels: of the maps, for an extractor with layers.
        canonical_box_size, canonical_level: of the FPN paper: a box of that size is read from stride 2**level.

    Raises:
        ValueError: an extractor for other channels, or scales that are not halved from level to level.

    Example:
        >>> import torch, roikit
        >>> pooler = Pooler(roikit.RoIAlign(7), [1 / 4, 1 / 8])
        >>> class Boxes:  # as detectron2's
        ...     tensor = torch.tensor([[8.0, 8.0, 60.0, 40.0]])
        >>> pooler([torch.rand(1, 16, 32, 32), torch.rand(1, 16, 16, 16)], [Boxes()]).shape
        torch.Size([1, 16, 7, 7])
    """

    def __init__(
        self,
        extractor: Extractors,
        scales: Sequence[float],
        channels: int | None = None,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        each = make_all(extractor, "extractor", channels)
        for one in each:
            check_extractor(one, "extractor", channels)
        strides = [1 / scale for scale in scales]
        levels = [math.log2(stride) for stride in strides]
        steps = [b - a for a, b in itertools.pairwise(levels)]
        if any(abs(step - 1) > 1e-6 for step in steps):
            raise ValueError(f"scales must halve from level to level, as detectron2's do, not {list(scales)}")
        names = [str(place) for place in range(len(strides))]
        self.pool = MultiScale(
            each if is_listed(extractor) else each[0],
            names,
            strides,
            canonical_scale=canonical_box_size,
            canonical_level=canonical_level,
        )

    @property
    def output_size(self) -> tuple[int, int]:
        return self.pool.output_size

    def forward(self, x: Sequence[Tensor], box_lists: Sequence[Any]) -> Tensor:
        """Features of all boxes, image after image: ``Tensor[R, C, h, w]``.

        Args:
            x: the maps, finest first.
            box_lists: one of detectron2's ``Boxes`` (anything with a ``tensor`` ``[N, 4]``) per image.
        """
        maps = dict(zip(self.pool.featmap_names, x, strict=True))
        return self.pool(maps, [boxes.tensor for boxes in box_lists])


def replace_roi(model: Model, extractor: Extractors, *, head: str = "box") -> Model:
    """Replace the pooling of a detectron2 model's head, in place.

    Args:
        model: one with ``roi_heads`` of detectron2's ``StandardROIHeads``.
        extractor: as of ``Pooler``; its output size is that of the pooler before.
        head: ``"box"``, ``"mask"`` or ``"keypoint"``.

    Raises:
        ValueError: no such model, no such head, or another output size.
    """
    heads = getattr(model, "roi_heads", None)
    old = getattr(heads, f"{head}_pooler", None)
    if heads is None or old is None:
        raise ValueError(
            f"{type(model).__name__} has no roi_heads.{head}_pooler: it is no detectron2 model with that head"
        )
    channels = {x.channels for x in model.backbone.output_shape().values()}  # type: ignore[operator, union-attr]  # detectron2's
    scales = [layer.spatial_scale for layer in old.level_poolers]
    new = Pooler(
        extractor,
        scales,
        next(iter(channels)) if len(channels) == 1 else None,
        old.canonical_box_size,
        old.canonical_level,
    )
    size = tuple(old.output_size) if isinstance(old.output_size, Sequence) else (old.output_size, old.output_size)
    if new.output_size != size:
        raise ValueError(f"the {head} head was built for {size} parts, and the extractor gives {new.output_size}")
    parameter = next(model.parameters())
    setattr(heads, f"{head}_pooler", new.to(parameter.device).train(model.training))
    return model
