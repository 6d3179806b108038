"""What every test shares: quiet OpenMP threads, one core for each worker, and random numbers whose seed is known."""

from __future__ import annotations

import os
import pathlib

# Before torch is imported: its OpenMP threads otherwise spin after every operator and take the core from a kernel.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # also of the processes that a test starts

import secrets

import oracles
import pytest
import torch

torch.set_num_threads(min(2, torch.get_num_threads()))
SEED = os.environ.get("ROIKIT_SEED") or "0"


@pytest.fixture
def rng() -> torch.Generator:
    """A generator with the seed ``ROIKIT_SEED``, 0 by default; "random" is a new one for each test."""
    seed = secrets.randbits(31) if SEED == "random" else int(SEED)
    print(f"ROIKIT_SEED={seed} repeats this run")  # pytest shows it only when the test fails
    return torch.Generator().manual_seed(seed)


def pytest_xdist_auto_num_workers(config) -> int:
    """A worker for each core; none where files or tests are named, which end sooner than workers start."""
    named = [argument.split("::")[0] for argument in config.args]
    if named and all(argument.endswith(".py") for argument in named):
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture
def threads():
    """Set torch's number of threads, put back at the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def unchecked(monkeypatch):
    """Values are not checked, as on a GPU or in a compiled graph."""
    monkeypatch.setattr("roikit.modes.readable", lambda tensor: False)


@pytest.fixture
def poisoned(monkeypatch):
    """Outputs start as NaN (indices as nonsense), so that a cell no kernel wrote is seen."""
    from roikit.sums import memory

    plain = memory.empty

    def empty(shape, dtype):
        out = plain(shape, dtype)
        return out.fill_(float("nan") if dtype.is_floating_point else -(2**31))

    monkeypatch.setattr(memory, "empty", empty)


def pytest_collection_modifyitems(config, items):
    """In the order that ends soonest; files marked ``own_process`` are left to ``test_own_processes.py``, unless they
    are asked for by name."""
    if os.environ.get("ROIKIT_OWN_PROCESS"):
        return
    # What compiles kernels and what starts processes takes longest, and is in groups: first.
    items.sort(key=lambda item: (item.get_closest_marker("xdist_group") is None, "laws" not in item.path.parts))
    named = {pathlib.Path(argument.split("::")[0]).resolve() for argument in config.args}
    apart = [item for item in items if item.get_closest_marker("own_process") and item.path.resolve() not in named]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in set(apart)]


def pytest_terminal_summary(terminalreporter):
    if os.environ.get("ROIKIT_ORACLES"):
        terminalreporter.write_line("\n".join(oracles.table()))
