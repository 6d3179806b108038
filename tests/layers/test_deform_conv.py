"""Deformable convolution against torch's convolution, and against a loop written from the formula."""

from __future__ import annotations

from math import floor

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from roikit.layers import DeformConv
from roikit.train.config import OptimConfig
from roikit.train.optim import parameter_groups

SETTINGS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2, "groups": 4, "bias": False},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": "same", "dilation": 3},
    {"kernel_size": (1, 5), "padding": (0, 2), "stride": (2, 1), "groups": 8},
    {"kernel_size": 2, "padding": "valid"},
]


def given(conv: DeformConv) -> dict:
    """The arguments of ``conv2d`` that make a plain convolution of it."""
    return {key: getattr(conv, key) for key in ("stride", "padding", "dilation", "groups")}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_at_the_start_it_is_a_convolution_or_half_of_one(settings, layout):
    x = torch.randn(2, 8, 13, 17).to(memory_format=layout)
    for modulated, share in ((False, 1.0), (True, 0.5)):
        conv = DeformConv(8, 16, **settings, modulated=modulated).to(memory_format=layout)
        expected = conv2d(x, conv.weight * share, conv.bias, **given(conv))
        torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-5)  # of sums of up to 72 products


def between(plane: list[list[float]], y: float, x: float) -> float:
    """The bilinear value at (y, x), with 0 outside."""
    total = 0.0
    for v in (floor(y), floor(y) + 1):
        for u in (floor(x), floor(x) + 1):
            if 0 <= v < len(plane) and 0 <= u < len(plane[0]):
                total += plane[v][u] * (1 - abs(y - v)) * (1 - abs(x - u))
    return total


def written_out(x, weight, bias, offset, factor, stride, padding, dilation, groups) -> list[float]:
    """Eq. 1 for one image, cell by cell: y(p) = Σ_k w_k · x(p + p_k + Δp_k) · Δm_k, in the order of the output."""
    size, out, each = weight.shape[2], [], weight.shape[0] // groups
    planes = x.tolist()
    for c in range(weight.shape[0]):
        inputs = range(c // each * weight.shape[1], (c // each + 1) * weight.shape[1])
        for i in range(offset.shape[1]):
            for j in range(offset.shape[2]):
                total = float(bias[c])
                for k in range(size * size):
                    y = i * stride - padding + k // size * dilation + float(offset[2 * k, i, j])
                    x_ = j * stride - padding + k % size * dilation + float(offset[2 * k + 1, i, j])
                    for at, plane in enumerate(inputs):
                        w = float(weight[c, at, k // size, k % size])
                        total += w * between(planes[plane], y, x_) * float(factor[k, i, j])
                out.append(total)
    return out


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("settings", [{}, {"stride": (2, 1), "dilation": (1, 2), "bias": False}], ids=str)
def test_a_channel_a_group_is_torchvision_s(modulated, settings, rng):
    from torchvision.ops import deform_conv2d

    conv = DeformConv(6, 6, (3, 5), padding=(1, 2), groups=6, modulated=modulated, **settings).double()
    with torch.no_grad():
        for parameter in conv.offset.parameters():  # samples in every place, far outside too
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype))
    x = torch.randn(2, 6, 9, 11, generator=rng, dtype=torch.float64).requires_grad_()
    offset, factor = conv.predict(x)
    expected = deform_conv2d(x, offset, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, factor)
    leaves = [x, *conv.parameters()]
    upstream = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-12)
    found, truth = (torch.autograd.grad((out * upstream).sum(), leaves) for out in (conv(x), expected))
    for mine, theirs in zip(found, truth, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)])
def test_the_formula_written_out(modulated, stride, dilation, groups):
    conv = DeformConv(2, 4, 3, stride, dilation, dilation, groups, modulated=modulated).double()
    nn.init.normal_(conv.offset.weight, std=0.4)
    nn.init.normal_(conv.offset.bias, std=1.5)
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        found = conv(x)
        # what the second convolution says, from torch's own
        said = conv2d(x, conv.offset.weight, conv.offset.bias, stride, dilation, dilation)[0]
    offset, factor = said[:18], said[18:].sigmoid() if modulated else torch.ones(9, *said.shape[1:])
    assert offset.abs().max() > 2, "samples move by cells, and some leave the map"
    weight, bias = conv.weight.detach(), conv.bias.detach()
    expected = written_out(x[0], weight, bias, offset, factor, stride, dilation, dilation, groups)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("modulated", [False, True])
def test_gradients(modulated):
    conv = DeformConv(1, 2, 3, padding=1, modulated=modulated).double()
    nn.init.normal_(conv.offset.weight, std=0.03)
    nn.init.uniform_(conv.offset.bias, 0.3, 0.4)  # between cells, where the interpolation is smooth
    x = torch.rand(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    parameters = dict(conv.named_parameters())

    def run(x, *values):
        return torch.func.functional_call(conv, dict(zip(parameters, values, strict=True)), x)

    assert torch.autograd.gradcheck(run, (x, *parameters.values()))


def test_the_second_convolution_learns_from_the_first_step():
    conv = DeformConv(4, 4, 3, padding=1)
    conv(torch.randn(1, 4, 6, 6)).square().sum().backward()
    gradient = conv.offset.weight.grad
    assert (gradient[:18] != 0).any() and (gradient[18:] != 0).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_sampled_in_float32(dtype):
    """Under autocast the result is float32's; a layer in half precision rounds once, at its end."""
    conv = DeformConv(8, 8, 3, padding=1)
    nn.init.normal_(conv.offset.weight, std=0.1)
    x = torch.randn(1, 8, 9, 9)
    with torch.no_grad():
        exact = conv(x)
        with torch.autocast("cpu", dtype=dtype):
            assert torch.equal(conv(x), exact)
            assert torch.equal(conv(x.to(dtype)), conv(x.to(dtype).float()).to(dtype))
        conv.weight.data, conv.bias.data = conv.weight.to(dtype), conv.bias.to(dtype)
        conv.offset.to(dtype)
        half = conv(x.to(dtype))
    assert half.dtype == dtype
    assert half.float().sub(exact).abs().max() < 0.1 * exact.abs().max()


def test_a_convolution_made_deformable_keeps_its_parameters():
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 12, 3, 2, 2, 2, groups=4, bias=False).double().eval()
    following = torch.rand(1)
    torch.manual_seed(0)
    nn.Conv2d(8, 12, 3, 2, 2, 2, groups=4, bias=False)
    conv = DeformConv.of(plain, modulated=False)
    assert torch.equal(torch.rand(1), following), "no random number is used up"
    assert conv.weight is plain.weight and conv.bias is None and not conv.training
    assert conv.offset.weight.dtype == torch.float64 and conv.offset.weight.device.type == "cpu"
    x = torch.randn(2, 8, 11, 10, dtype=torch.float64)
    torch.testing.assert_close(conv(x), plain(x), rtol=0, atol=1e-12)
    conv.load_state_dict(plain.state_dict(), strict=False)
    assert set(conv.state_dict()) - set(plain.state_dict()) == {"offset.weight", "offset.bias"}


def test_it_is_built_on_the_meta_device():
    with torch.device("meta"):
        conv = DeformConv(8, 16, 3, padding=1, stride=2)
        assert conv(torch.empty(1, 8, 10, 12)).shape == (1, 16, 5, 6)
    assert {parameter.device.type for parameter in conv.parameters()} == {"meta"}


def test_the_rate_of_the_second_convolution():
    """0.1 under SGD, as the paper says; `optim.offset_factor` overrides it."""
    net = nn.Sequential(DeformConv(2, 2, 3), nn.Conv2d(2, 2, 1))
    for optim, factor in ((OptimConfig(name="sgd"), 0.1), (OptimConfig(), 0.01), (OptimConfig(offset_factor=0.5), 0.5)):
        steering = optim.steering
        groups = parameter_groups(net, lr=1.0, weight_decay=0, factors={}, decay_norms=True, steering=steering)
        rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
        found = {name: rates[id(parameter)] for name, parameter in net.named_parameters()}
        assert found == {name: factor if "offset" in name else 1.0 for name in found}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeformConv(4, 4, 2, padding="same"), 'padding="same" of a kernel of \\(2, 2\\) is uneven'),
        (lambda: DeformConv(4, 6, 3, groups=3), "in_channels must be divisible by groups"),
        (lambda: DeformConv.of(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")), "pads with 'reflect'"),
        (lambda: DeformConv(4, 4, 3)(torch.rand(1, 3, 8, 8)), r"takes Tensor\[B, 4, H, W\], not .* \[1, 3, 8, 8\]"),
        (lambda: DeformConv(4, 4, 3)(torch.rand(4, 8, 8)), r"not one of shape \[4, 8, 8\]"),
    ],
)
def test_what_it_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
