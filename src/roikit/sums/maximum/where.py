"""Where chosen cells lie: one for each part and channel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from .. import indices


@dataclasses.dataclass(frozen=True)
class Chosen:
    """int32 ``index`` [R, C, h, w]: the cell v·W + u of the RoI's own map; -1 stands for 0, -2 for NaN."""

    batch: Tensor
    level: Tensor
    index: Tensor

    @property
    def fixed(self) -> tuple[Tensor]:
        return (self.index,)

    def definition(self, sizes: Sequence[Sequence[int]]) -> tuple[Tensor]:
        return self.fixed

    def counted(self, axis: int, taps: Tensor) -> Tensor:
        return taps

    def shape(self, channels: int) -> tuple[int, ...]:
        return tuple(self.index.shape)

    def taps_shape(self, axis: int, width: int) -> tuple[int, ...]:
        raise NotImplementedError("chosen cells have no taps")

    def check(self, shapes: Sequence[Sequence[int]]) -> None:
        for at, (_, _, height, width) in enumerate(shapes if indices.readable(self.index) else ()):
            mine = self.index if len(shapes) == 1 else self.index[self.level == at]
            if mine.numel() and int(mine.max()) >= height * width:
                raise ValueError(f"the winners were chosen on a map larger than {height}×{width} cells")
