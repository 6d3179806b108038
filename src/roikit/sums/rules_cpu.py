"""The rules as one compiled function, chosen by number. Imports Numba: only ``cpu.py`` modules import this."""

from __future__ import annotations

from ..rules import adaptive, cells, cells_floor, edge, hat, inside, integral
from . import jit

_hat, _integral = jit.helper(hat.fill), jit.helper(integral.fill)
_cells, _cells_floor = jit.helper(cells.fill), jit.helper(cells_floor.fill)
_edge, _adaptive = jit.helper(edge.fill), jit.helper(adaptive.fill)
_inside = jit.helper(inside.fill)


@jit.helper
def fill(rule, lo, beta, near, far, samples, cells, index, weight):
    """Cells and weights of one bin, by the rule's place in ``RULES``; returns their number."""
    if rule == 0:
        return _hat(lo, beta, near, far, samples, cells, index, weight)
    if rule == 1:
        return _integral(lo, beta, near, far, samples, cells, index, weight)
    if rule == 2:
        return _cells(lo, beta, near, far, samples, cells, index, weight)
    if rule == 3:
        return _cells_floor(lo, beta, near, far, samples, cells, index, weight)
    if rule == 4:
        return _edge(lo, beta, near, far, samples, cells, index, weight)
    if rule == 5:
        return _adaptive(lo, beta, near, far, samples, cells, index, weight)
    return _inside(lo, beta, near, far, samples, cells, index, weight)


def capacity(rule: int, samples: int, cells: int) -> int:
    """How many entries one bin can have: two for each sample of a fixed count, else every cell."""
    if rule in _SAMPLED and samples > 0:
        return 2 * samples + 2
    return max(2 * samples, cells) + 2


_SAMPLED = (0, 4)  # hat, edge
