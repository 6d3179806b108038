"""Which errors are the user's to mend, and their one line."""

from __future__ import annotations

import sys

from roikit.train.errors import RunError


def explain(error: Exception) -> str | None:
    """The line for an error of what the user gave; None for one of the program, which deserves its traceback."""
    data = sys.modules.get("roikit.data.errors")  # where nothing has imported it (it needs an extra), no error is its
    if data is not None and isinstance(error, data.DataError):
        text = str(error)
        if "DataLoader worker" in text:  # torch puts the worker's traceback into the message; the last line says it
            text = text.strip().splitlines()[-1].partition("DataError: ")[2] or text
        lines = text.splitlines()
        return text if len(lines) > 2 else " ".join(line.strip() for line in lines)
    if isinstance(error, RunError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return None
