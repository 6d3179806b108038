"""Text files as people have them: UTF-8, UTF-16 (what PowerShell's `>` writes), and old Western encodings."""

from __future__ import annotations

import codecs
from pathlib import Path

from roikit.data.errors import DataError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(file: Path) -> str:
    """The text of a file in whatever encoding it says or shows; what is not UTF-8 is taken for Windows-1252.

    Raises:
        DataError: it cannot be read, or is no text (it holds zero bytes).
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if encoding is None and data[:2] and b"\0" in data[:2]:  # UTF-16 without a mark: every other byte is zero
        encoding = "utf-16-be" if data[0] == 0 else "utf-16-le"
    try:
        return data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding is not None or b"\0" in data:
            raise DataError(f"{file}: no text ({error.reason} at byte {error.start})") from None
        return data.decode("cp1252", errors="replace")


def is_litter(file: Path) -> bool:
    """Whether a system left it beside the data: macOS' `._x.jpg` and `.DS_Store`, Windows' `Thumbs.db`."""
    return file.name.startswith(".") or file.name.lower() in ("thumbs.db", "desktop.ini") or "__MACOSX" in file.parts
