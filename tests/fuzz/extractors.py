"""Every extractor's arguments, good and bad: it works as its definition says, or says which argument it was."""

from __future__ import annotations

import inspect
import os
import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

from roikit.extractors import EXTRACTORS

KINDS = {kind.__name__: kind for kind in EXTRACTORS}
VALUES = st.sampled_from([None, True, False, 0, 1, 2, 3, 7, -1, 8, 0.5, 1e-9, 1e9, float("nan"), float("inf")])
WORDS = st.sampled_from(["max", "average", "warp", "nearest", "bilinear", "caffe", "floor", "", "nonsense"])
TUPLES = st.sampled_from([(1, 2), (2, 0), (4, 2, 1), [], [3], (1, 2, 3, 4), {}])


@st.composite
def calls(draw: Callable) -> tuple[str, tuple[tuple[str, Any], ...], int, int]:
    """(extractor, arguments, channels of the map, RoIs)."""
    name = draw(st.sampled_from(sorted(KINDS)))
    parameters = inspect.signature(KINDS[name]).parameters
    chosen = {}
    if "channels" in parameters:
        chosen["channels"] = draw(st.sampled_from([8, 8, 8, 49, 0, None, 3]))
    others = [key for key in parameters if key != "channels"]
    for key in draw(st.lists(st.sampled_from(others), unique=True, max_size=2)) if others else ():
        chosen[key] = draw(st.one_of(VALUES, WORDS, TUPLES))
    return name, tuple(chosen.items()), draw(st.sampled_from([8, 8, 49, 3])), draw(st.integers(0, 3))


def check(given: tuple[str, tuple[tuple[str, Any], ...], int, int]) -> None:
    """A value equal to the definition's, or a `ValueError` or `TypeError` that names an argument."""
    name, arguments, channels, rois = given
    kind = KINDS[name]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            extractor = kind(**dict(arguments))
            x = torch.randn(1, channels, 6, 7)
            corners = torch.tensor([[4.0, 4.0, 40.0, 30.0], [-9.0, 0.0, 100.0, 8.0], [7.0, 7.0, 7.0, 7.0]])[:rois]
            found = []
            for backend in ("numba", "reference"):
                os.environ["ROIKIT_BACKEND"] = backend
                with torch.no_grad():
                    found.append(extractor(x, [corners], 1 / 8))
        except (ValueError, TypeError) as error:
            words = "|".join(
                [
                    *inspect.signature(kind).parameters,
                    "channels",
                    "group",
                    "bins",
                    "parts",
                    "heads",
                    "grid",
                    "output_size",
                ]
            )
            assert re.search(words, str(error)), f"it does not say what was wrong: {error}"
            return
    assert found[0].isfinite().all(), "values that are not finite"
    torch.testing.assert_close(found[0], found[1], rtol=2e-4, atol=2e-5)
