"""Where an extractor meets a detector: who makes it, for how many channels and levels, and what refuses it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from ..extractors import RegionExtractor, RoIAlign
from ..multiscale import AGGREGATES, MultiScale
from .necks import Neck
from .position_sensitive import PositionSensitiveNeck

Extractors = RegionExtractor | Sequence[RegionExtractor] | Callable[..., RegionExtractor]


def apart() -> AbstractContextManager[None]:
    """Extractors are made in here: the random numbers that their layers draw are not missing after it, so that
    detectors with different extractors and one seed have the same neck and heads (runs that are compared in pairs).
    """
    return torch.random.fork_rng(devices=[])


def default_extractor(output_size: int, *, aligned: bool) -> RegionExtractor:
    """What a head pools with when nothing is said: RoIAlign with 2 x 2 samples a bin, as in torchvision."""
    return RoIAlign(output_size, sampling_ratio=2, aligned=aligned)


@dataclass(frozen=True)
class Pooling:
    """How a head pools: `plan_pooling` checks and makes it, `on` puts it on a neck's maps.

    Args:
        each: the extractor, or one for each level where they were given so.
        make: makes another one, for a level of its own; ``None``: `each` are all there are.
        aggregate: of `roikit.MultiScale`.
    """

    each: tuple[RegionExtractor, ...]
    make: Callable[[], RegionExtractor] | None
    listed: bool
    aggregate: Literal["assign", "concat", "sum"]

    @property
    def output_size(self) -> tuple[int, int]:
        return self.each[0].output_size

    def on(self, neck: Neck | PositionSensitiveNeck) -> MultiScale:
        """The pooling module of torchvision's RoI heads, for the maps of ``neck`` that RoIs are pooled from."""
        extractor: RegionExtractor | list[RegionExtractor] = list(self.each) if self.listed else self.each[0]
        if self.make is not None:
            extractor = [self.each[0], *(self.make() for _ in neck.roi_maps[1:])]
        strides = [neck.strides[name] for name in neck.roi_maps]
        return MultiScale(extractor, neck.roi_maps, strides, aggregate=self.aggregate)


def plan_pooling(
    given: object,
    argument: str,
    channels: int,
    *,
    aggregate: str = "assign",
    per_level: bool = False,
    square: bool = False,
    said: str = "channels={}",
) -> Pooling:
    """Check a head's extractors, and make the first.

    Args:
        given: an extractor, one for each level, or what makes one (a class or a function), which gets ``channels=``
            where it asks for it.
        argument: its name, for messages.
        channels: of the maps that RoIs are pooled from.
        aggregate: of `roikit.MultiScale`.
        per_level: make one for each level.
        square: masks need as many rows as columns of parts.
        said: what decided ``channels``, for messages.

    Raises:
        ValueError: not an extractor, one made for other channels, or one that cannot be made again for each level.
    """
    if aggregate not in AGGREGATES:
        raise ValueError(f"aggregate must be one of {', '.join(map(repr, AGGREGATES))}, not {aggregate!r}")
    each = make_all(given, argument, channels)
    for one in each:
        check_extractor(one, argument, channels, square=square, said=said)
    make = (lambda: make_extractor(given, channels)) if is_maker(given) else None
    listed = is_listed(given)
    if per_level and make is None and not listed and any(True for _ in each[0].parameters()):
        name = type(each[0]).__name__
        raise ValueError(
            f"extractor_per_level: a {name} that is already made cannot be made again for each level; give {argument} "
            f"as what makes one (roikit.{name}, or functools.partial of it) or as a list with one for each level"
        )
    return Pooling(tuple(each), make if per_level else None, listed, cast(Any, aggregate))


def is_maker(given: object) -> bool:
    """Whether it makes extractors rather than being one: a class or another function."""
    return callable(given) and not isinstance(given, nn.Module)


def is_listed(given: object) -> bool:
    """Whether it holds an extractor for each level."""
    return isinstance(given, (list, tuple, nn.ModuleList))


def make_all(given: Any, argument: str, channels: int | None) -> list[RegionExtractor]:
    """The extractors given, or the one that is made of what makes them.

    Raises:
        ValueError: none are given, they are none, or they do not fit together.
    """
    each = [make_extractor(given, channels)] if is_maker(given) else list(given) if is_listed(given) else [given]
    if not each:
        raise ValueError(f"{argument} is an empty list: give an extractor, or one for each level")
    for one in each:
        if not isinstance(one, RegionExtractor):
            raise ValueError(f"{argument} must be a roikit.RegionExtractor such as roikit.RoIAlign(), not {one!r}")
        if one.groups != each[0].groups:
            raise ValueError(f"{argument} mixes extractors that are position-sensitive with others: {each}")
    return each


def make_extractor(make: Any, channels: int | None) -> Any:
    """An extractor by its class or another function, which is given ``channels`` where it asks for it."""
    return make(channels=channels) if _asks_for_channels(make) else make()


def _asks_for_channels(make: Any) -> bool:
    parameter = inspect.signature(make).parameters.get("channels")
    return parameter is not None and parameter.default is inspect.Parameter.empty


def groups_of(given: Any) -> int:
    """How many maps make one output channel of an extractor, of a list of them, or of what a function makes.

    An extractor with layers has to be told the number of maps when it is made: a position-sensitive one says G by its
    argument ``group_size``, as ``roikit.DeformPSRoIPool`` does.
    """
    if is_listed(given):
        given = given[0] if len(given) else None
    if not is_maker(given):
        return given.groups if isinstance(given, RegionExtractor) else 1
    if _asks_for_channels(given):
        group_size = inspect.signature(given).parameters.get("group_size")
        size = 1 if group_size is None else group_size.default
        return int(size) ** 2 if isinstance(size, int) else 1
    with apart():  # made only to be asked
        made = given()
    return made.groups if isinstance(made, RegionExtractor) else 1


def show(given: Any) -> str:
    """Extractors, or what makes them, in a message."""
    if is_listed(given) and len(given):
        given = given[0]
    if isinstance(given, functools.partial):
        given = given.func
    return repr(given) if isinstance(given, nn.Module) else str(getattr(given, "__name__", repr(given)))


def check_extractor(
    extractor: RegionExtractor,
    argument: str,
    channels: int | None,
    *,
    square: bool = False,
    said: str = "channels={}",
) -> None:
    """Raise a ``ValueError`` unless it fits maps of ``channels`` channels (and has as many rows as columns of parts, if
    asked); ``None``: nobody knows."""
    height, width = extractor.output_size
    if square and height != width:
        raise ValueError(f"{argument} gives {height} x {width} parts, but masks are square: use a size such as 14 x 14")
    made_for = getattr(extractor, "channels", None)
    if None not in (made_for, channels) and made_for != channels:
        name = type(extractor).__name__
        raise ValueError(
            f"{argument} {name} was made for {made_for} channels, but its maps have {channels} "
            f"({said.format(channels)}): leave its channels out (roikit.{name}, or functools.partial of it), or make "
            "both equal"
        )
