"""1-D rules: how much each cell of an axis weighs in each bin of a RoI.

A rule is a module with two forms of one formula, and has a third one in ``gpu.py``:

``taps(lo, size, bins, samples, cells, width)``
    plain PyTorch, differentiable where the rule is: ``(taps [R, bins, width], window [R, bins, 2])``. ``cells`` is the
    number of cells on the axis, an int or ``Tensor[R]``; the window [first, stop) holds every cell whose tap can be
    other than 0 or has a gradient.
``fill(lo, beta, near, far, samples, cells, index, weight)``
    plain Python that Numba compiles: writes the cells and weights of the bin that covers [lo + near, lo + far] into
    ``index`` and ``weight`` and returns their number. Arguments keep the boxes' dtype, so all forms round alike.
``gpu.window``, ``gpu.begin`` and ``gpu.weigh``
    Triton functions of all rules: which cells a bin can have, and what a block of these weighs.

``lo`` is the start of a RoI on the axis and ``size`` its length, in feature cells; β = size / bins. A rule's number is
its place in ``RULES``: append, never reorder, and add it to ``kernels.py`` and ``gpu.py``.
"""

from . import adaptive, cells, cells_floor, edge, hat, inside, integral

RULES = {
    "hat": hat,
    "integral": integral,
    "cells": cells,
    "cells_floor": cells_floor,
    "edge": edge,
    "adaptive": adaptive,
    "inside": inside,
}
NUMBERS = {name: number for number, name in enumerate(RULES)}
NAMES = tuple(RULES)
