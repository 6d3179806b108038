"""Parameter groups, optimisers, running averages."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import roikit
from roikit.train.config import OptimConfig
from roikit.train.errors import RunError
from roikit.train.optim import averaged, make_optimizer, parameter_groups


class Moving(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = roikit.ModulatedDeformRoIPool(1, output_size=1, hidden=2)
        self.head = nn.Linear(1, 1)


def test_layers_that_move_bins_have_a_rate_of_their_own():
    """AdamW's steps do not shrink with the gradient, which is what γ relies on."""
    assert OptimConfig().steering == {"bins": 0.01, "cells": 0.3, "places": 0.01, "samples": 0.01}
    assert OptimConfig(name="sgd").steering == {"bins": 1, "cells": 1, "places": 1, "samples": 0.1}
    assert OptimConfig(offset_factor=0.5).steering == {"bins": 0.5, "cells": 0.5, "places": 0.5, "samples": 0.5}
    rates = {name: rate for name, (rate, _) in groups_of(Moving(), steering={"bins": 0.01}).items()}
    hidden, last = ("pool.both.0.weight", "pool.both.0.bias"), ("pool.both.2.weight", "pool.both.2.bias")
    assert rates == pytest.approx({"head.weight": 0.1, "head.bias": 0.1, **dict.fromkeys(hidden + last, 1e-3)})
    both = groups_of(Moving(), steering={"bins": 0.01}, factors={"both.0": 0.5})
    assert both["pool.both.0.bias"][0] == pytest.approx(5e-4) and both["pool.both.2.bias"][0] == pytest.approx(1e-3)


def test_a_layer_that_starts_at_zero_but_steers_nothing_learns_as_the_rest():
    pool = roikit.RoIAttention(4, layers=1, heads=2)
    assert not pool.layers[0].attention.write.weight.any()
    assert {rate for rate, _ in groups_of(pool, steering={"bins": 0.01, "cells": 0.01}).values()} == {0.1}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
        self.head = nn.Linear(2, 2)


def groups_of(net: nn.Module, **changes):
    settings = {"lr": 0.1, "weight_decay": 0.01, "factors": {}, "decay_norms": False} | changes
    groups = parameter_groups(net, **settings)
    names = {id(p): n for n, p in net.named_parameters()}
    return {names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def test_norms_and_biases_do_not_decay():
    assert groups_of(Net()) == {
        "body.0.weight": (0.1, 0.01),
        "body.0.bias": (0.1, 0.0),
        "body.1.weight": (0.1, 0.0),
        "body.1.bias": (0.1, 0.0),
        "head.weight": (0.1, 0.01),
        "head.bias": (0.1, 0.0),
    }
    assert set(groups_of(Net(), decay_norms=True).values()) == {(0.1, 0.01)}


def test_factors_multiply_and_zero_freezes():
    net = Net()
    rates = groups_of(net, factors={r"^body": 0.5, r"\.weight$": 0.1, r"^head": 0})
    assert rates["body.0.weight"][0] == pytest.approx(0.005)
    assert rates["body.0.bias"][0] == pytest.approx(0.05)
    assert not any(name.startswith("head") for name in rates)
    assert not net.head.weight.requires_grad


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"boddy": 0.1}, "no parameter's name matches 'boddy'"),
        ({"(": 1}, "is no regular expression"),
        ({"": 0}, "frozen"),
    ],
)
def test_bad_factors(factors, message):
    with pytest.raises(RunError, match=message):
        groups_of(Net(), factors=factors)


def test_optimisers():
    groups = parameter_groups(Net(), lr=0.1, weight_decay=0.01, factors={}, decay_norms=False)
    assert isinstance(make_optimizer(copy.deepcopy(groups), name="sgd", lr=0.1, momentum=0.9), torch.optim.SGD)
    assert isinstance(make_optimizer(copy.deepcopy(groups), name="adamw", lr=0.1, momentum=0.9), torch.optim.AdamW)
    with pytest.raises(ValueError, match="unknown optimiser 'adam'"):
        make_optimizer(groups, name="adam", lr=0.1, momentum=0.9)


def test_running_average():
    net = nn.BatchNorm1d(1)
    ema = averaged(net, 0.5)
    expected = None
    for n, value in enumerate([1.0, 5.0, -3.0, 2.0]):
        with torch.no_grad():
            net.weight.fill_(value)
            net.running_mean.fill_(2 * value)
            net.num_batches_tracked.fill_(n)
        ema.update_parameters(net)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = value if n == 0 else decay * expected + (1 - decay) * value
    assert float(ema.module.weight.detach()) == pytest.approx(expected)
    assert float(ema.module.running_mean) == pytest.approx(2 * expected)
    assert int(ema.module.num_batches_tracked) == 3
    assert not any(p.requires_grad for p in ema.parameters())
