"""Comparison with an oracle, of which the largest difference is kept.

``ROIKIT_ORACLES=1 python -m pytest tests/ops tests/extractors`` prints them: the table of docs/conventions.md.
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
    """The rows of a Markdown table, sorted; "–" where a type was not compared."""
    rows = ["| method | oracle | float32 | float64 |", "|---|---|---|---|"]
    for method, oracle in sorted({key[:2] for key in DIFFERENCES}):
        seen = [DIFFERENCES.get((method, oracle, dtype)) for dtype in ("float32", "float64")]
        cells = ["–" if d is None else f"{d:.1e}" if d else "0" for d in seen]
        rows.append(f"| {method} | {oracle} | {' | '.join(cells)} |")
    return rows
