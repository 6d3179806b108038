"""What has passed stays passed until what it tests changes: a stamp by hash, kept beside these tests.

Interpreting and compiling kernels takes minutes, and most commits touch none. ``passed.json`` is written by the tests
that passed and committed with the change; ``ROIKIT_STAMPS=ignore``, as in ``.ci/run``, runs them all the same, with
whatever versions of torch and Triton are there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from pathlib import Path

import pytest

import roikit

HERE = Path(__file__).parent
PASSED = HERE / "passed.json"
PACKAGE = Path(roikit.__file__).parent


@functools.cache
def sources() -> str:
    """A hash of all that the kernels and their tests are made of."""
    found = hashlib.sha256()
    inside = (path for folder in ("rules", "sums") for path in (PACKAGE / folder).rglob("*.py"))
    for path in sorted([*inside, PACKAGE / "boxes.py", PACKAGE / "modes.py", *HERE.rglob("*.py")]):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]


def _read() -> dict[str, str]:
    return json.loads(PASSED.read_text(encoding="utf-8")) if PASSED.exists() else {}


def skip_if_passed(name: str) -> None:
    if os.environ.get("ROIKIT_STAMPS") != "ignore" and _read().get(name) == sources():
        pytest.skip("passed with these very sources (tests/triton/passed.json; ROIKIT_STAMPS=ignore runs it)")


def passed(name: str) -> None:
    with contextlib.suppress(OSError):  # a checkout that cannot be written
        PASSED.write_text(json.dumps({**_read(), name: sources()}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
