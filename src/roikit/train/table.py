"""Metrics as a table for the eye."""

from __future__ import annotations

from typing import Any

COLUMNS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")
MORE_COLUMNS = {  # where they were measured: by other protocols
    "voc_ap50_07": "VOC07",
    "voc_ap50": "VOC",
    "oriented_ap": "oAP",
    "oriented_ap50": "oAP50",
    "oriented_ap50_07": "oAP07",
    "video_ap50": "vAP50",
    "video_ap50_slow": "slow",
    "video_ap50_medium": "medium",
    "video_ap50_fast": "fast",
}
_NOTES = {
    "voc": "VOC07, VOC: AP50 with 11 points, with all",
    "video": "vAP50, slow, medium, fast: AP50 with all points, and of objects by their speed",
    "oriented": "oAP, oAP50, oAP07: of oriented boxes, the mean over the IoUs, at 0.5, at 0.5 with 11 points",
}


def cell(value: float | None) -> str:
    """Percent with one decimal; a dash where nothing could be measured."""
    return "-" if value is None else f"{100 * value:.1f}"


def print_metrics(metrics: dict[str, Any], *, title: str = "") -> None:
    """One COCO-style table per kind (boxes, masks): a row per class and one for all, in percent."""
    from rich.table import Table

    from .screen import wide

    console = wide()
    names = {"bbox": "boxes", "segm": "masks"}
    for kind in (k for k in names if k in metrics):
        numbers = metrics[kind]
        more = [name for name in MORE_COLUMNS if name in numbers]
        notes = [text for kind_of, text in _NOTES.items() if any(name.startswith(kind_of) for name in more)]
        also = f" ({'; '.join(notes)})" if notes else ""
        console.print(f"{title}{names[kind]}, COCO metrics in %{also}", markup=False, highlight=False, soft_wrap=True)
        table = Table()
        table.add_column("class", no_wrap=True)
        for column in (*COLUMNS, *(MORE_COLUMNS[name] for name in more)):
            table.add_column(column, justify="right", no_wrap=True)
        for name, row in numbers["per_class"].items():
            table.add_row(name, *(cell(row[column]) for column in (*COLUMNS, *more)))
        table.add_section()
        table.add_row("all", *(cell(numbers[column]) for column in (*COLUMNS, *more)), style="bold")
        console.print(table)


def flatten(metrics: dict[str, Any]) -> dict[str, float]:
    """{"bbox": {"AP": 0.5, ...}} to {"bbox/AP": 0.5, ...}, without the classes."""
    kinds = (k for k in ("bbox", "segm") if k in metrics)
    return {f"{kind}/{name}": v for kind in kinds for name, v in metrics[kind].items() if isinstance(v, float)}


def summary(metrics: dict[str, Any]) -> str:
    """'boxes AP 31.0 AP50 55.2, masks ...'"""
    words = {"bbox": "boxes", "segm": "masks"}
    return ", ".join(
        f"{words[k]} AP {cell(metrics[k]['AP'])} AP50 {cell(metrics[k]['AP50'])}" for k in words if k in metrics
    )
