"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import roikit

PACKAGES = ["boxes", "ops", "weights", "extractors", "multiscale", "integrations", "analysis", "layers", "detection"]
PACKAGES += ["data", "oriented", "train"]
BESIDE = ["experiments.complexity", "experiments.spatial_support", "experiments.tables"]  # of scripts in a checkout


def modules() -> list[str]:
    found = []
    for name in [*(f"roikit.{name}" for name in PACKAGES), *BESIDE]:
        module = importlib.import_module(name)
        found.append(module.__name__)
        if hasattr(module, "__path__"):
            found += [info.name for info in pkgutil.walk_packages(module.__path__, module.__name__ + ".")]
    return found


@pytest.mark.parametrize("name", modules())
def test_examples(name):
    module = importlib.import_module(name)
    names = {"torch": torch, "roikit": roikit}
    outcome = doctest.testmod(module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.failed == 0


@pytest.mark.parametrize("name", ["MultiScale", "PrRoIPool", "RoIAlign", "RoIPool", "Rois", "replace_roi"])
def test_public_names_have_an_example(name):
    assert ">>> " in (getattr(roikit, name).__doc__ or "")


@pytest.mark.parametrize("name", ["prroi_pool", "roi_align", "roi_pool"])
def test_public_functions_have_an_example(name):
    assert ">>> " in (getattr(roikit.ops, name).__doc__ or "")
