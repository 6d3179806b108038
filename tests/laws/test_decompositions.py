"""What stands for each operator in exported programs, against the operator, in float64."""

from __future__ import annotations

import pytest
import torch
from test_compile import arguments_of_the_operators

from roikit.sums import decompositions
from roikit.sums.flops import FORMULAS

TABLE = {operator.name().split("::")[1]: (operator, stands) for operator, stands in decompositions.table().items()}
DERIVATIVES = ("spread", "rows", "cols", "scatter", "backward", "second")


def test_every_operator_but_derivatives_has_one():
    assert set(TABLE) == {name for name in FORMULAS if not name.endswith(DERIVATIVES)}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_it_is_the_operator(name, rng):
    operator, stands = TABLE[name]
    given = arguments_of_the_operators(rng, torch.float64)[name]
    expected, found = operator(*given), stands(*given)
    if isinstance(expected, torch.Tensor):
        expected, found = [expected], [found]
    for mine, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-14)


def test_bins_of_the_same_channels_for_every_roi(rng):
    operator, stands = TABLE["bin_pool"]
    maps, batch, level, rows, cols, _, numbers = arguments_of_the_operators(rng, torch.float64)["bin_pool"]
    for count in (4, 0):
        shared = torch.tensor([0, 2, 1, 0]).expand(count, 4)
        given = (maps, batch[:count], level[:count], rows[:count], cols[:count], shared, numbers)
        torch.testing.assert_close(stands(*given), operator(*given), rtol=0, atol=1e-14)


@pytest.mark.parametrize("samples", [0, 3])
def test_roi_align(samples, rng):
    """Starts and sizes of which no sum is exact; also RoIs turned round, without a size, and off the map."""
    operator, stands = TABLE["grid_pool"]
    x = torch.rand(2, 3, 11, 14, generator=rng, dtype=torch.float64)
    rows, cols = (torch.randn(200, 2, generator=rng, dtype=torch.float64) * 9 + 4 for _ in range(2))
    rows[:20, 1], cols[10:40, 1] = 0, 6
    batch = torch.randint(2, (200,), generator=rng)
    given = ([x], batch, torch.zeros_like(batch), rows, cols, [3, 2, 0, 0, samples, samples])
    torch.testing.assert_close(stands(*given), operator(*given), rtol=0, atol=1e-13)
