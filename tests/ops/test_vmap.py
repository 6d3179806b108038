"""``torch.vmap`` over boxes, maps, or both, of every function that torchvision has: torchvision's values."""

from __future__ import annotations

import pytest
import torch
import torchvision

from roikit import ops

FUNCTIONS = {
    "roi_align": (7, 1 / 8, 2),
    "roi_pool": (5, 1 / 8),
    "ps_roi_align": (2, 1 / 8, 2),
    "ps_roi_pool": (2, 1 / 8),
}
OVER = {"boxes": (None, 0), "maps": (0, None), "both": (0, 0)}


@pytest.fixture
def scene(rng):
    """Two sets of maps and two of boxes, of images that differ between the sets."""
    maps = torch.randn(2, 2, 8, 13, 17, generator=rng)
    corner = torch.rand(2, 6, 2, generator=rng) * 80
    image = torch.randint(2, (2, 6, 1), generator=rng).float()
    return maps, torch.cat([image, corner, corner + 5 + 60 * torch.rand(2, 6, 2, generator=rng)], 2)


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_torchvisions(name, over, scene):
    given = [each if dim == 0 else each[0] for each, dim in zip(scene, OVER[over], strict=True)]
    settings = FUNCTIONS[name]
    found = torch.vmap(lambda x, boxes: getattr(ops, name)(x, boxes, *settings), in_dims=OVER[over])(*given)
    for at in range(2):
        one = [each[at] if dim == 0 else each for each, dim in zip(given, OVER[over], strict=True)]
        torch.testing.assert_close(found[at], getattr(torchvision.ops, name)(*one, *settings), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", [ops.roi_align, ops.prroi_pool], ids=["roi_align", "prroi_pool"])
def test_gradients_under_vmap_are_those_of_each_entry(function, scene):
    maps, boxes = (t.double() for t in scene)

    def total(x, boxes):
        return function(x, boxes, 3, 1 / 8).square().sum()

    found = torch.vmap(torch.func.grad(total, argnums=(0, 1)))(maps, boxes)
    for at in range(2):
        for mine, alone in zip(found, torch.func.grad(total, argnums=(0, 1))(maps[at], boxes[at]), strict=True):
            torch.testing.assert_close(mine[at], alone)
