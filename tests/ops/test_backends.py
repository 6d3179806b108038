"""Which implementation runs, and what is said where one cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import roikit
from roikit.sums import backend, maps

X, BOXES = torch.rand(1, 2, 6, 6), [torch.tensor([[1.0, 1.0, 4.0, 5.0]])]


def test_the_backend_follows_the_device(monkeypatch):
    monkeypatch.delenv("ROIKIT_BACKEND", raising=False)
    assert backend.choose(torch.device("cpu")) == "numba"
    assert backend.choose(torch.device("meta")) == "reference"


def test_the_backend_of_a_gpu(monkeypatch):
    monkeypatch.delenv("ROIKIT_BACKEND", raising=False)
    monkeypatch.setattr(backend, "unavailable", lambda name: None)
    assert backend.choose(torch.device("cuda")) == "triton"
    monkeypatch.setattr(backend, "unavailable", lambda name: "it is not installed" if name == "triton" else None)
    assert backend.choose(torch.device("cuda")) == "reference"


def test_triton_on_the_cpu_is_for_the_interpreter(monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", "triton")
    monkeypatch.setattr(backend, "unavailable", lambda name: None)
    monkeypatch.setattr(backend, "interpreted", lambda: False)
    with pytest.raises(RuntimeError, match="Triton's kernels run on a GPU and the tensors are on cpu"):
        backend.choose(torch.device("cpu"))
    monkeypatch.setattr(backend, "interpreted", lambda: True)
    assert backend.choose(torch.device("cpu")) == "triton"
    with pytest.raises(RuntimeError, match="the tensors are on meta"):
        backend.choose(torch.device("meta"))


def test_why_triton_cannot_run(monkeypatch):
    backend.unavailable.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(backend, "interpreted", lambda: False)
    assert backend.unavailable("triton") == "torch can use no GPU here"
    backend.unavailable.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert backend.unavailable("triton") == "Triton is not installed"
    backend.unavailable.cache_clear()


def test_without_numba_the_reference_runs(monkeypatch):
    monkeypatch.delenv("ROIKIT_BACKEND", raising=False)
    monkeypatch.setattr(backend, "unavailable", lambda name: "Numba is not installed" if name == "numba" else None)
    backend._without_kernels.cache_clear()
    with pytest.warns(UserWarning, match=r"Numba is not installed, so plain PyTorch computes .* times slower") as said:
        for _ in range(3):
            assert backend.choose(torch.device("cpu")) == "reference"
    assert len(said) == 1
    backend._without_kernels.cache_clear()


@pytest.mark.parametrize("name", ["numba", "reference"])
def test_one_can_be_forced(name, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", name)
    assert backend.choose(torch.device("cpu")) == name
    roikit.RoIAlign(2)(X, BOXES)


def test_a_forced_one_that_cannot_run_says_why(monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", "numba")
    with pytest.raises(RuntimeError, match="Numba's kernels run on the CPU and the tensors are on cuda"):
        backend.choose(torch.device("cuda"))
    monkeypatch.setenv("ROIKIT_BACKEND", "triton")
    monkeypatch.setattr(backend, "unavailable", lambda name: "torch can use no GPU here")
    with pytest.raises(RuntimeError, match=r"ROIKIT_BACKEND=triton cannot run: .*Unset it, or choose another"):
        roikit.RoIAlign(2)(X, BOXES)


@pytest.mark.parametrize("kind", [roikit.RoIAlign(2), roikit.RoIPool(2)], ids=repr)
def test_an_unknown_one_lists_the_known_ones(kind, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", "cuda")
    with pytest.raises(ValueError, match="ROIKIT_BACKEND='cuda' is no backend: choose one of reference, numba, triton"):
        kind(X, BOXES)


def test_geometry_is_float32_except_for_float64():
    assert maps.geometry_dtype(X.bfloat16()) == torch.float32 == maps.geometry_dtype(X)
    assert maps.geometry_dtype(X.double()) == torch.float64


@pytest.mark.parametrize("size", [0, -1, (1, 2, 3), (2, 0), 2.5, (2.0, 2)])
def test_output_sizes_that_are_none(size):
    for make in (roikit.RoIAlign, roikit.RoIPool, roikit.PrRoIPool):
        with pytest.raises((ValueError, TypeError), match="output_size must be a positive int or a pair"):
            make(size)


def test_output_sizes_may_be_whole_numbers_of_any_type():
    for size in (np.int64(3), (np.int32(3), 3), [3, np.uint8(3)]):
        assert roikit.RoIAlign(size).output_size == (3, 3)
        assert all(type(n) is int for n in roikit.RoIAlign(size).output_size)


@pytest.mark.parametrize("expand", [0, -1.0, float("nan"), float("inf")])
def test_area_factors_that_are_none(expand):
    with pytest.raises(ValueError, match="expand is an area factor and must be positive"):
        roikit.RoIAlign(expand=expand)


def test_settings_of_roi_pool():
    with pytest.raises(ValueError, match='mode must be "max" or "average", not \'mean\''):
        roikit.RoIPool(mode="mean")
    with pytest.raises(ValueError, match='rounding must be "caffe" or "floor", not \'round\''):
        roikit.RoIPool(rounding="round")


def test_repr_shows_the_settings():
    assert repr(roikit.RoIAlign((7, 5), 0, expand=2)) == (
        "RoIAlign(output_size=(7, 5), sampling_ratio=0, aligned=True, expand=2.0)"
    )
    assert repr(roikit.RoIPool(3)) == "RoIPool(output_size=(3, 3), mode='max', rounding='caffe')"
