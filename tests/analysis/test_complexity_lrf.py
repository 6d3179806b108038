"""The cost columns of Tables 1 and 3 of Learned Region Features."""

from __future__ import annotations

import json

import pytest
import torch

from experiments.complexity import lrf as c
from experiments.complexity.__main__ import main
from roikit.extractors import LearnedRegionFeatures


@pytest.mark.parametrize(("label", "cells"), [("dense", 1737 + 282), ("sampled", 114 + 86)])
def test_table_1(label, cells):
    counted = c.paper_order(cells)
    for step, printed in c.TABLE_1[label].items():
        if step == "P4":  # printed with one digit
            assert round(counted[step], 2) == printed
        else:
            assert counted[step] == pytest.approx(printed, rel=0.015 if step == "sum" else 0.03), step


def test_table_3():
    for _, averages, printed in c.TABLE_3:
        assert c.paper_order(sum(averages))["sum"] == pytest.approx(printed, rel=0.015)


def test_the_counted_form_computes_learned_region_features(rng):
    """What is counted is a form that gives this package's numbers."""
    torch.manual_seed(0)
    module = LearnedRegionFeatures(5, (2, 3), 16, 8, max_inside=None, max_outside=None).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(1, 5, 6, 7, generator=rng, dtype=torch.float64)
    boxes = torch.rand(9, 4, generator=rng, dtype=torch.float64) * 60
    every = torch.arange(42).expand(9, -1)
    torch.testing.assert_close(
        c.written_out(module, x, boxes, 1 / 8, every), module(x, [boxes], 1 / 8), rtol=0, atol=1e-13
    )


def test_a_column_counted_by_hand():
    """N, K, C_E, C_g, C_f = 300, 49, 512, 256, 256 on 38 × 63 cells, in G."""
    counted, ours, giga = c.paper_order(200), c.separable_order(2019), 2.0**30
    assert counted["P1"] * giga == 2 * 38 * 63 * 512 * 256
    assert counted["P2"] * giga == 300 * 512 * (49 * 256 + 4 * 512)
    assert counted["P3"] * giga == counted["P5"] * giga == 300 * 49 * 200 * 256
    assert counted["P4"] * giga == 38 * 63 * 49 * 256
    assert ours["P1"] * giga == (38 + 63) * 512 * 256
    assert ours["P3"] * giga == pytest.approx(300 * 49 * (38 + 63) * 256)
    assert ours["sum"] == pytest.approx(9.6, abs=0.05)


def test_averages_by_hand():
    boxes = torch.tensor([[0.0, 0.0, 64.0, 32.0], [16.0, 16.0, 48.0, 48.0]])
    found = c.average_samples([(boxes[:1], (64, 96)), (boxes[1:], (64, 96))], None, None)
    assert (found.inside, found.outside, found.rois) == ((8 + 4) / 2, (16 + 20) / 2, 2)
    found = c.average_samples([(boxes, (64, 96))], 6, 4)  # stride 2 outside; the first RoI keeps every second column
    assert (found.inside, found.outside) == ((4 + 4) / 2, (4 + 5) / 2)


def test_the_command(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "180")
    file = tmp_path / "cost.json"
    assert main(["lrf", f"--json={file}"]) == 0
    out = capsys.readouterr().out
    assert "Table 1" in out and "17.1" in out and "Table 3" in out
    found = json.loads(file.read_text())
    assert found["table 1"]["dense"]["separable"]["sum"] == pytest.approx(9.6, abs=0.05)
    assert found["table 3"][5]["rois"] == 3000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fast"], "no complexity of 'fast'; known: lrf"),
        (["lrf", "--data=/nowhere"], "/nowhere: no such file or folder"),
        (["lrf", "--json=/nowhere/x.json"], "--json: the folder /nowhere does not exist"),
        (["lrf", "--size=[0, 5]"], "--size: both sides must be positive"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


def test_help(capsys):
    assert main(["--help"]) == 0 and "--data" in capsys.readouterr().out
