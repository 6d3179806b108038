"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console


def wide() -> Console:
    """The terminal; a pipe or a file, which has no width, counts as 120 wide, so that no number is folded."""
    console = Console()
    return console if console.is_terminal else Console(width=120)
