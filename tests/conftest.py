"""What every test shares: quiet OpenMP threads, and fresh random numbers whose seed a failing test prints."""

from __future__ import annotations

import os
import pathlib

# Before torch is imported: its OpenMP threads otherwise spin after every operator and take the core from a kernel.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import secrets

import oracles
import pytest
import torch

torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture
def rng() -> torch.Generator:
    """A generator with a fresh seed; ``ROIKIT_SEED=… pytest …`` repeats a failure."""
    seed = int(os.environ.get("ROIKIT_SEED") or secrets.randbits(31))
    print(f"ROIKIT_SEED={seed} repeats this run")  # pytest shows it only when the test fails
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def threads():
    """Set torch's number of threads, put back at the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def unchecked(monkeypatch):
    """Values are not checked, as on a GPU or in a compiled graph."""
    monkeypatch.setattr("roikit.boxes.checkable", lambda tensor: False)


@pytest.fixture
def poisoned(monkeypatch):
    """Outputs start as NaN (indices as nonsense), so that a cell no kernel wrote is seen."""
    from roikit.ops import memory

    plain = memory.empty

    def empty(shape, dtype):
        out = plain(shape, dtype)
        return out.fill_(float("nan") if dtype.is_floating_point else -(2**31))

    monkeypatch.setattr(memory, "empty", empty)


def pytest_collection_modifyitems(config, items):
    """Leave files marked ``own_process`` to ``test_own_processes.py``, unless they are asked for by name."""
    if os.environ.get("ROIKIT_OWN_PROCESS"):
        return
    named = {pathlib.Path(argument.split("::")[0]).resolve() for argument in config.args}
    apart = [item for item in items if item.get_closest_marker("own_process") and item.path.resolve() not in named]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in set(apart)]


def pytest_terminal_summary(terminalreporter):
    if os.environ.get("ROIKIT_ORACLES"):
        terminalreporter.write_line("\n".join(oracles.table()))
