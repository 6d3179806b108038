"""Two rows of a comparison, seed by seed: how far apart they are, and how surely.

Runs with one seed share the first weights of everything that the rows have in common, the order of the images, their
augmentation and what is sampled of them, so that a row's difference from another is measured within each pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev, variance

# Student's t, two-sided 95%, for 1 to 30 degrees of freedom
_T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def t95(freedom: int) -> float:
    """Student's t for a two-sided interval of 95%.

    Example:
        >>> t95(2), round(t95(60), 2)
        (4.303, 2.0)
    """
    return _T95[freedom - 1] if freedom <= len(_T95) else 1.96 + 2.4 / freedom


@dataclass(frozen=True)
class Measured:
    """A number of one run, and the same over draws of the images (none where it has no such draws)."""

    value: float
    rounds: Sequence[float] = ()


@dataclass(frozen=True)
class Spread:
    """The variance over seeds of paired differences, from several of them together."""

    variance: float
    freedom: int


@dataclass(frozen=True)
class Difference:
    """One row less another.

    Attributes:
        seeds: the difference with each seed that both have.
        images: standard error of their mean that comes of the choice of the images; 0 where it is not measured.
    """

    seeds: Mapping[int, float]
    images: float = 0.0

    @property
    def mean(self) -> float:
        return mean(self.seeds.values())

    def interval(self, pooled: Spread | None = None) -> tuple[float, float] | None:
        """95%, over seeds and images together; None for a single seed, which proves nothing.

        Args:
            pooled: the spread of several differences of one kind. Of that and its own the larger counts: three seeds
                that happen to agree are no proof.
        """
        count = len(self.seeds)
        if count < 2:
            return None
        own = Spread(variance(self.seeds.values()), count - 1)
        known = [own] if pooled is None or not pooled.freedom else [own, pooled]
        over_seeds = max(spread.variance for spread in known) / count
        t = t95(max(spread.freedom for spread in known))
        half = math.sqrt(t**2 * over_seeds + 1.96**2 * self.images**2)
        return self.mean - half, self.mean + half


def difference(first: Mapping[int, Measured], second: Mapping[int, Measured]) -> Difference | None:
    """The first row less the second, by seed; None where they share no seed."""
    seeds = sorted(set(first) & set(second))
    if not seeds:
        return None
    rounds = [
        [a - b for a, b in zip(first[seed].rounds, second[seed].rounds, strict=True)]
        for seed in seeds
        if len(first[seed].rounds) == len(second[seed].rounds) > 1
    ]
    images = stdev(map(mean, zip(*rounds, strict=True))) if rounds else 0.0
    return Difference({seed: first[seed].value - second[seed].value for seed in seeds}, images)


def pooled(differences: Iterable[Difference]) -> Spread:
    """The spread of differences of one kind: the median of their variances over seeds.

    Each variance is divided by where a χ² of its freedom has its median, so that the result has no bias, and a pair
    that differs much from seed to seed does not make all others uncertain. It counts with half the degrees of freedom,
    which is about what a median is worth. Of fewer than three differences there is none.
    """
    several = [d for d in differences if len(d.seeds) > 1]
    if len(several) < 3:
        return Spread(0.0, 0)
    freedoms = [len(d.seeds) - 1 for d in several]
    # χ² of n degrees has its median near n · (1 - 2/9n)³ (Wilson and Hilferty)
    centred = [variance(d.seeds.values()) / (1 - 2 / (9 * n)) ** 3 for d, n in zip(several, freedoms, strict=True)]
    return Spread(median(centred), max(1, sum(freedoms) // 2))
