"""CONTRIBUTING.md shows code that exists and code that runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "CONTRIBUTING.md"

pytestmark = pytest.mark.skipif(not GUIDE.exists(), reason="CONTRIBUTING.md is not part of this installation")


def blocks(marker: str) -> list[str]:
    return re.findall(rf"<!-- {re.escape(marker)} -->\n```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)


def test_the_extractor_it_shows_is_the_real_one():
    path = "src/roikit/extractors/pr_roi_pool.py"
    (shown,) = blocks(path)
    assert shown == (ROOT / path).read_text("utf-8")
    assert len(shown.splitlines()) <= 40


def test_its_examples_run():
    found = blocks("runs as a test")
    assert found
    for code in found:
        exec(compile(code, str(GUIDE), "exec"), {"__name__": "contributing"})


def test_every_path_it_names_exists():
    for path in re.findall(r"`((?:src|tests|docs|experiments|benchmarks|\.ci)/[\w./-]+)`", GUIDE.read_text("utf-8")):
        assert (ROOT / path).exists() or "your" in path, path
