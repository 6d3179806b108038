"""The cost columns of Tables 1, 4 and 5 of Semantic RoI Align."""

from __future__ import annotations

import json

import pytest
import torch

from experiments.complexity import sra as c
from experiments.complexity.__main__ import main


@pytest.mark.parametrize("row", c.ROWS, ids=lambda row: f"{row.table}, {row.label}")
def test_tables(row):
    """w/ SA has other sizes here: the paper does not say its own."""
    if row.label == "w/ SA":
        assert c.parameters(row) < row.parameters and c.multiply_adds(row.make()) < row.extra
        return
    assert c.parameters(row) == pytest.approx(row.parameters, abs=0.1 if row.label == "DRoIPooling" else 0.05)
    assert c.multiply_adds(row.make()) == pytest.approx(row.extra, abs=0.15)


def test_average_cells_by_hand():
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [1.0, 2.0, 6.0, 13.0], [0.0, 0.0, 300.0, 1.0]])
    assert c.average_cells(boxes, 64) == (8 * 8 + 5 * 11 + 64) / 3
    with pytest.raises(ValueError, match="no boxes to average over"):
        c.average_cells(boxes[:0], 64)


def test_the_command_shows_and_writes_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(c, "ROWS", [row for row in c.ROWS if row.table == 1 and row.label in ("RoI Align", "SRA")])
    assert main(["sra", f"--json={tmp_path / 'sra.json'}"]) == 0
    shown = capsys.readouterr().out
    assert "SRA" in shown and "41.99" in shown and "3.37" in shown
    found = json.loads((tmp_path / "sra.json").read_text())
    assert [row["row"] for row in found["rows"]] == ["RoI Align", "SRA"]
    assert 40 < found["cells"]["64"] < 55 and found["rois"] == 3000
