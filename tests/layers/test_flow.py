"""Maps carried along a flow: what is known of shifts; FlowNet-S by its size, and that it learns one."""

from __future__ import annotations

import math

import pytest
import torch

from roikit.layers.flow import FlowNetS, flow_loss, resized_flow, warp


def smooth(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A picture of waves of 20 and more cells."""
    return torch.sin(x / 4) * torch.cos(y / 5) + 0.3 * torch.sin((x + y) / 7)


def test_no_flow_is_the_identity(rng):
    maps = torch.rand(2, 3, 7, 9, generator=rng)
    torch.testing.assert_close(warp(maps, torch.zeros(2, 2, 7, 9)), maps, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-4, 5)])
def test_whole_cells_are_undone_exactly(rng, dx, dy):
    maps = torch.rand(1, 3, 20, 24, generator=rng)
    moved = torch.roll(maps, (dy, dx), (2, 3))
    flow = torch.tensor([float(dx), float(dy)]).reshape(1, 2, 1, 1).expand(1, 2, 20, 24)
    back = warp(moved, flow)
    torch.testing.assert_close(back[..., 5:-5, 5:-5], maps[..., 5:-5, 5:-5], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dx", "dy"), [(0.5, 0.0), (2.25, -1.7)])
def test_a_known_shift_is_undone_to_the_error_of_interpolation(dx, dy):
    """Of a linear interpolant that is at most a quarter of the second derivatives in all: 1/16 and 1/25 of 1, twice
    over, and 0.3 / 49."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    image, moved = smooth(x, y)[None, None], smooth(x - dx, y - dy)[None, None]
    flow = torch.tensor([dx, dy]).reshape(1, 2, 1, 1).expand(1, 2, 40, 48)
    apart = (warp(moved, flow) - image)[..., 4:-4, 4:-4].abs().max().item()
    assert apart < (1 / 16 + 1 / 25 + 2 * 0.3 / 49) / 8
    assert (moved - image).abs().max() > 10 * apart


def test_a_flow_of_a_coarser_map():
    """4 pixels to the right are half a cell of stride 8, 4 rows of stride 4 one."""
    flow = torch.tensor([4.0, 4.0]).reshape(1, 2, 1, 1).expand(1, 2, 16, 16)
    coarse = resized_flow(flow, (8, 4), (1 / 4, 1 / 8))
    assert coarse.shape == (1, 2, 8, 4) and coarse[0, :, 3, 2].tolist() == [0.5, 1.0]
    assert resized_flow(flow, (32, 32), (1.0, 1.0)).shape == (1, 2, 32, 32)


def test_it_is_flownet_simple():
    """38.68 million weights, as published, at the paper's width."""
    with torch.device("meta"):
        count = sum(p.numel() for p in FlowNetS(64).parameters())
    assert count / 1e6 == pytest.approx(38.68, abs=0.01)
    flows = FlowNetS(2)(torch.rand(2, 3, 40, 72), torch.rand(2, 3, 40, 72))
    assert [tuple(flow.shape[-2:]) for flow in flows] == [(10, 18), (5, 9), (3, 5), (2, 3), (1, 2)]
    assert all(not flow.any() for flow in flows)  # untrained, nothing moves
    with pytest.raises(ValueError, match="width is a number of channels"):
        FlowNetS(0)


def test_its_loss_by_hand():
    flows = [torch.zeros(1, 2, 2, 2), torch.tensor([3.0, 0.0]).reshape(1, 2, 1, 1)]
    known = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1).repeat(1, 1, 4, 4)
    assert flow_loss(flows, known).item() == pytest.approx((5 + 4) / 2, abs=1e-3)
    known[:, 0, :2] = math.nan  # a half is not known
    assert flow_loss(flows[:1], known).item() == pytest.approx(5, abs=1e-3)
    assert flow_loss(flows, torch.full_like(known, math.nan)).item() == 0


def test_it_learns_shifts():
    torch.manual_seed(0)
    net = FlowNetS(8)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 24, 24), (96, 96), mode="bilinear")
    shifts = ((4, -2), (-4, 2), (0, 6))
    first = image.expand(3, -1, -1, -1)
    second = torch.cat([torch.roll(image, (dy, dx), (2, 3)) for dx, dy in shifts])
    known = torch.tensor(shifts).float()[:, :, None, None].expand(-1, -1, 96, 96)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    found = []
    for _ in range(50):
        loss = flow_loss(net(first, second), known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found[0] == pytest.approx((2 * 20**0.5 + 6) / 3, abs=0.01) and found[-1] < 1
