"""What has passed here stays passed until what it tests changes: a stamp by hash in pytest's cache folder.

Interpreting and compiling kernels takes minutes, and most commits touch none. ``.ci/run`` starts without stamps, in a
fresh clone, and a failed test leaves none.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from pathlib import Path

import pytest

import roikit

SOURCES = (Path(roikit.__file__).parent / "ops", Path(roikit.__file__).parent / "boxes.py", Path(__file__).parent)


@functools.cache
def sources() -> str:
    """Of all that the kernels and their tests are made of, and of what runs them."""
    found = hashlib.sha256()
    for package in ("torch", "triton", "numpy"):
        found.update(f"{package} {importlib.metadata.version(package)};".encode())
    for place in SOURCES:
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            found.update(path.read_bytes())
    return found.hexdigest()


class Stamp:
    """Whether a test of this name has passed with these sources."""

    def __init__(self, cache: pytest.Cache, name: str) -> None:
        self._cache, self._key = cache, f"roikit/passed/{name}"

    def skip_if_passed(self) -> None:
        if self._cache.get(self._key, None) == sources():
            pytest.skip("passed here before, and no source of the kernels has changed (pytest --cache-clear runs it)")

    def set(self) -> None:
        self._cache.set(self._key, sources())
