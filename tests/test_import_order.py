"""Imports go downwards only: a package imports from those before it in CONTRIBUTING's order, never from those after."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import roikit

PACKAGE = Path(roikit.__file__).parent
ORDER = "documents modes boxes oriented rules sums weights geometry layers extractors ops multiscale detection".split()
# What else a package may import: data knows no detector, analysis no training, and nothing imports the command line.
MAY = {
    "data": {*ORDER},
    "train": {*ORDER, "data", "analysis"},
    "analysis": {*ORDER, "data"},
    "explore": {*ORDER, "data", "analysis"},
    "integrations": {*ORDER},
    "bench": {*ORDER, "train"},
}


def imported(path: Path) -> set[str]:
    """Packages of roikit that a file imports from, at its top or in a function, but for type checkers alone."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = list(parts[: len(parts) - node.level]) if node.level else []
        full = [*base, *(node.module.split(".") if node.module else [])]
        if full[:1] == ["roikit"]:
            found |= {full[1]} if len(full) > 1 else {name.name for name in node.names if name.name[0] != "_"}
    return found


def files(name: str) -> list[Path]:
    return sorted((PACKAGE / name).rglob("*.py")) if (PACKAGE / name).is_dir() else [PACKAGE / f"{name}.py"]


@pytest.mark.parametrize("name", [*ORDER, *MAY])
def test_imports_go_downwards(name):
    allowed = MAY[name] if name in MAY else set(ORDER[: ORDER.index(name)])
    for path in files(name):
        beyond = imported(path) - allowed - {name}
        assert not beyond, f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(beyond))}"


def test_the_package_imports_nothing_beside_it():
    """Experiments and benchmarks are not installed with it."""
    for path in PACKAGE.rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (experiments|benchmarks)\b", path.read_text("utf-8"), re.M), path
