"""The tables of `roikit analyze complexity sra`."""

from __future__ import annotations

from typing import Any


def count(images: list[Any]) -> dict[str, Any]:
    from roikit.analysis import complexity_sra

    return complexity_sra.count(images)


def show(found: dict[str, Any], source: str) -> None:
    from rich.table import Table

    from roikit.analysis.complexity_sra import ROIS
    from roikit.train.screen import wide

    console = wide()
    table = Table(
        title=f"Tables 1, 4 and 5: parameters of Faster R-CNN R-50-FPN in millions; 10⁹ multiply-adds that {ROIS} RoIs "
        "add to RoI Align's",
        caption="paper: as printed. counted: the running code's parameters and matrix products. The paper does not say "
        "the sizes of w/ SA.",
    )
    table.add_column("table")
    table.add_column("row")
    for column in ("parameters, paper", "counted", "multiply-adds, paper", "counted"):
        table.add_column(column, justify="right")
    for row in found["rows"]:
        printed, counted = row["paper"], row["counted"]
        cells = [f"{printed['parameters']:.1f}", f"{counted['parameters']:.2f}"]
        cells += [f"{printed['extra']:.1f}", f"{counted['extra']:.2f}"]
        table.add_row(str(row["table"]), row["row"], *cells)
    console.print(table)
    table = Table(title=f"Cells that the Dynamic Feature Sampler gives {found['rois']} RoIs ({source})")
    table.add_column("S, at most")
    table.add_column("on average", justify="right")
    table.add_column("of S", justify="right")
    for most, average in found["cells"].items():
        table.add_row(most, f"{average:.1f}", f"{average / int(most):.0%}")
    console.print(table)
