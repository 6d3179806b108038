"""Comparison with an oracle, of which the largest difference is kept.

``ROIKIT_ORACLES=1 python -m pytest tests/ops`` prints them all: the table of docs/conventions.md.
"""

from __future__ import annotations

import torch

DIFFERENCES: dict[tuple[str, str, str], float] = {}


def compare(method: str, oracle: str, found: torch.Tensor, expected: torch.Tensor, atol: float) -> None:
    """Assert that ``found`` is what the oracle says, to ``atol``.

    Args:
        method: of this package, as the table shall name it; "X, gradient" for gradients.
        oracle: where ``expected`` comes from.
    """
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    key = (method, oracle, str(found.dtype).removeprefix("torch."))
    largest = float((found.detach().double() - expected.detach().double()).abs().max()) if found.numel() else 0.0
    DIFFERENCES[key] = max(DIFFERENCES.get(key, 0.0), largest)


def table() -> list[str]:
    """The rows of a Markdown table, sorted."""
    rows = ["| method | oracle | type | largest difference |", "|---|---|---|---|"]
    for (method, oracle, dtype), largest in sorted(DIFFERENCES.items()):
        rows.append(
            f"| {method} | {oracle} | {dtype} | {largest:.1e} |"
            if largest
            else f"| {method} | {oracle} | {dtype} | 0 |"
        )
    return rows
