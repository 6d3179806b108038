"""Functions name an argument of another type than the one they state, before any kernel sees it."""

from __future__ import annotations

import inspect

import pytest
import torch

from roikit import ops

OWN = {"input", "boxes", "output_size", "spatial_scale"}  # tests/laws/test_bad_rois.py
WRONG = {"int": [2.5, 2.0, "2"], "float": ["x", [0.1]], "bool": [1, "yes"], "Tensor": [[0.5], 3]}
ASKED = [
    (name, parameter.name, value)
    for name in ops.__all__
    for parameter in inspect.signature(getattr(ops, name)).parameters.values()
    if parameter.name not in OWN
    for value in WRONG[parameter.annotation.removesuffix(" | None")]
]


@pytest.mark.parametrize(("name", "argument", "value"), ASKED)
def test_the_wrong_argument_is_named(name, argument, value):
    boxes = torch.zeros(2, 6 if "rotated" in name else 5)
    with pytest.raises(TypeError, match=f"{argument} must be .*, not "):
        getattr(ops, name)(torch.ones(1, 4, 5, 5), boxes, output_size=1, **{argument: value})
