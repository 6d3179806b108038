"""Every function in a compiled and in an exported graph: the values of the eager call."""

from __future__ import annotations

import pytest
import torch

from roikit import ops

OFFSET = torch.linspace(-1, 1, 3 * 2 * 4).reshape(3, 2, 2, 2)
FUNCTIONS = {
    "roi_align": lambda x, boxes: ops.roi_align(x, boxes, 3, 1 / 8, 2),
    "roi_pool": lambda x, boxes: ops.roi_pool(x, boxes, 3, 1 / 8),
    "prroi_pool": lambda x, boxes: ops.prroi_pool(x, boxes, 3, 1 / 8),
    "ps_roi_align": lambda x, boxes: ops.ps_roi_align(x, boxes, 2, 1 / 8, 2),
    "ps_roi_pool": lambda x, boxes: ops.ps_roi_pool(x, boxes, 2, 1 / 8),
    "deform_roi_pool": lambda x, boxes: ops.deform_roi_pool(x, boxes, OFFSET, None, 2, 1 / 8),
    "deform_ps_roi_pool": lambda x, boxes: ops.deform_ps_roi_pool(x, boxes, OFFSET, 2, 1 / 8),
    "roi_align_rotated": lambda x, boxes: ops.roi_align_rotated(x, torch.cat([boxes, boxes[:, :1]], 1), 3, 1 / 8, 2),
}


class Function(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        self.function = FUNCTIONS[name]

    def forward(self, x, boxes):
        return self.function(x, boxes)


def test_all_functions_are_here():
    assert set(FUNCTIONS) == set(ops.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_those_of_the_eager_call(name, rng):
    x = torch.randn(2, 8, 13, 17, generator=rng)
    boxes = torch.tensor([[0.0, 10, 20, 90, 80], [1, 5, 5, 60, 70], [0, 30, 40, 90, 100]])
    torch._dynamo.reset()
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, backend="aot_eager")
    expected = FUNCTIONS[name](x, boxes)
    assert torch.equal(compiled(x, boxes), expected)
    assert torch.equal(torch.export.export(Function(name), (x, boxes)).module()(x, boxes), expected)
