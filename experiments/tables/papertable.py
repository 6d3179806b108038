"""A table of a paper as a folder: `table.yaml` says its rows and what the paper prints, a YAML per row how to train it.

experiments/lrf/table4/
  table.yaml                  title, columns, rows
  coco/aligned.yaml, …        the rows at the paper's scale
  shapes/aligned.yaml, …      the same rows at a scale of minutes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roikit.train.bases import read_config
from roikit.train.errors import RunError
from roikit.train.table import MORE_COLUMNS

_BOXES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")
METRICS = (*_BOXES, *(f"mask_{name}" for name in _BOXES), *MORE_COLUMNS)


@dataclass(frozen=True)
class Row:
    """A row: its label, the name of its configuration, and the paper's numbers in percent by column."""

    label: str
    run: str
    paper: dict[str, float]


@dataclass(frozen=True)
class PaperTable:
    """What `table.yaml` holds.

    Attributes:
        folder: where it lies.
        title: the paper and the table.
        columns: of METRICS: of boxes, of masks (mask_AP), or of another protocol (MORE_COLUMNS).
        rows: in the paper's order.
        about: what is special about it, for the reader; may be empty.
    """

    folder: Path
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    about: str = ""

    @classmethod
    def read(cls, folder: str | Path) -> PaperTable:
        """The table in a folder.

        Raises:
            RunError: no table.yaml, or something in it that does not fit; the file is named.
        """
        folder = Path(folder)
        file = folder / "table.yaml"
        if not file.is_file():
            known = sorted(str(path.parent) for path in folder.rglob("table.yaml"))
            hint = f"tables below it: {', '.join(known)}" if known else "give a folder such as experiments/lrf/table4"
            raise RunError(f"{folder}: has no table.yaml; {hint}")
        content = read_config(file)
        unknown = set(content) - {"title", "columns", "rows", "about"}
        if unknown:
            raise RunError(f"{file}: unknown key {min(unknown)!r}; known are title, columns, rows, about")
        title, columns, rows = content.get("title"), content.get("columns"), content.get("rows")
        if not isinstance(title, str) or not isinstance(columns, list) or not isinstance(rows, list) or not rows:
            raise RunError(f"{file}: needs a title, a list of columns and a list of rows")
        wrong = [column for column in columns if column not in METRICS]
        if wrong:
            raise RunError(f"{file}: unknown column {wrong[0]!r}; known are {', '.join(METRICS)}")
        read = tuple(_row(file, columns, row) for row in rows)
        return cls(folder, title, tuple(columns), read, str(content.get("about", "")).strip())

    def scales(self) -> list[str]:
        """The scales that have configurations."""
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and any(path.glob("*.yaml")))

    def config(self, row: Row, scale: str) -> Path:
        """The configuration of a row.

        Raises:
            RunError: the table has no such scale, or the row no file there.
        """
        if scale not in self.scales():
            raise RunError(f"{self.folder}: has no scale {scale!r}; it has {', '.join(self.scales()) or 'none'}")
        file = self.folder / scale / f"{row.run}.yaml"
        if not file.is_file():
            raise RunError(f"{file}: does not exist, but table.yaml has a row {row.run!r}")
        return file

    def chosen(self, names: Sequence[str] | None) -> tuple[Row, ...]:
        """The rows with these names, or all.

        Raises:
            RunError: a name that no row has.
        """
        if names is None:
            return self.rows
        known = [row.run for row in self.rows]
        for name in names:
            if name not in known:
                raise RunError(f"--rows: no row {name!r} in {self.folder}; rows are {', '.join(known)}")
        return tuple(row for row in self.rows if row.run in names)


def _row(file: Path, columns: list[str], row: Any) -> Row:
    if not isinstance(row, dict) or not {"label", "run"} <= set(row) <= {"label", "run", "paper"}:
        raise RunError(f"{file}: a row has a label, the name of its run and the paper's numbers, not {row!r}")
    paper = row.get("paper") or []
    numbers = isinstance(paper, list) and all(isinstance(number, int | float) for number in paper)
    if not numbers or len(paper) not in (0, len(columns)):
        raise RunError(f"{file}: row {row['label']!r} needs {len(columns)} numbers, one a column, not {paper!r}")
    return Row(str(row["label"]), str(row["run"]), dict(zip(columns, map(float, paper), strict=False)))
