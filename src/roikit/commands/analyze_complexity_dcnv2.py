"""The table of `roikit analyze complexity dcnv2`."""

from __future__ import annotations

from typing import Any


def count(images: list[Any]) -> dict[str, Any]:
    """The rows; they ask for no boxes."""
    from roikit.analysis import complexity_dcnv2

    return {"table 1": complexity_dcnv2.count()}


def show(found: dict[str, Any], source: str) -> None:
    from rich.table import Table

    from roikit.analysis.complexity_dcnv2 import HEIGHT, ROIS, WIDTH
    from roikit.train.screen import wide

    table = Table(
        title="Table 1: parameters in millions (M), and 10⁹ multiply-adds (G) of an image of "
        f"{HEIGHT} × {WIDTH} with {ROIS} RoIs, more than the regular detector has",
        caption="paper: differences of numbers printed with one decimal. counted: the running detectors' parameters "
        "and products. R-50.",
    )
    table.add_column("detector", no_wrap=True)
    table.add_column("row", no_wrap=True)
    for column in ("M, paper", "counted", "G, paper", "counted"):
        table.add_column(column, justify="right", no_wrap=True)
    names, before = {"faster": "Faster, C5", "mask": "Mask, FPN"}, None
    for row in found["table 1"]:
        if before not in (None, row["detector"]):
            table.add_section()
        cells = []
        for key in ("parameters", "multiply-adds"):
            cells += [f"{row['paper'][key]:.1f}", f"{row['counted'][key]:.2f}"]
        table.add_row("" if before == row["detector"] else names[row["detector"]], row["row"], *cells)
        before = row["detector"]
    wide().print(table)
