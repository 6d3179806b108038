"""KL between parts and of masks, by hand and by loops; and over the checkpoints of a run."""

from __future__ import annotations

import json
import math

import pytest
import tiny_run
import torch

from roikit.analysis.divergence import (
    Divergence,
    as_distribution,
    by_size,
    divergence_between_parts,
    divergence_from_mask,
    draw_divergence,
)
from roikit.cli import main


def kl(p, q) -> float:
    return sum(float(a) * math.log(float(a) / float(b)) for a, b in zip(p, q, strict=True))


def lifted(weights) -> list[float]:
    """Normalised, 1e-6 added, normalised again."""
    total = sum(weights)
    values = [w / total + 1e-6 for w in weights]
    return [v / sum(values) for v in values]


def test_between_parts_is_the_mean_over_ordered_pairs(rng):
    weights = torch.rand(5, 3, 4, generator=rng).double()
    weights[0, :2] = 0  # zeros stay finite
    flat = [lifted(w.flatten().tolist()) for w in weights]
    pairs = [kl(flat[a], flat[b]) for a in range(5) for b in range(5) if a != b]
    assert divergence_between_parts(weights) == pytest.approx(sum(pairs) / len(pairs), rel=1e-10)


def test_equal_parts_do_not_diverge_and_disjoint_ones_do():
    assert divergence_between_parts(torch.ones(9, 4, 4)) == 0
    assert divergence_between_parts(torch.ones(1, 4, 4)) == 0
    apart = torch.eye(2).reshape(2, 1, 2)
    assert divergence_between_parts(apart) == pytest.approx(math.log(1e6), rel=1e-3)


def test_of_a_mask_by_hand():
    weights = torch.zeros(3, 2, 2)
    weights[0, 0, 0], weights[1, 0, 1], weights[2, 0, 0] = 0.5, 0.5, 0.2
    # The mask covers the left cell of the upper row, and half of the lower left one; cells are 4 × 3 pixels.
    mask = torch.zeros(8, 6)
    mask[:6, :3] = 1
    expected = kl(lifted([2, 0, 1, 0]), lifted([1, 1, 0, 0]))
    assert divergence_from_mask(weights, mask, (4.0, 3.0)) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match="the mask is empty"):
        divergence_from_mask(weights, mask * 0, (4.0, 3.0))


def test_a_mask_that_is_what_the_parts_look_at():
    mask = torch.zeros(16, 24)
    mask[4:12, 8:20] = 1
    weights = torch.nn.functional.avg_pool2d(mask[None], 4) / 6
    assert divergence_from_mask(weights, mask, (4.0, 4.0)) == pytest.approx(0, abs=1e-12)


def test_cells_whose_borders_lie_between_pixels(rng):
    """Pixels are shared by the cells that cover them: refining the pixels changes nothing."""
    mask = (torch.rand(7, 9, generator=rng) > 0.4).double()
    weights = torch.rand(2, 3, 4, generator=rng)
    fine = mask.repeat_interleave(3, 0).repeat_interleave(3, 1)
    a, b = divergence_from_mask(weights, mask, (2.4, 2.3)), divergence_from_mask(weights, fine, (7.2, 6.9))
    assert a == pytest.approx(b, rel=1e-10)


def test_as_distribution():
    p = as_distribution(torch.tensor([[0.0, 2.0], [0.0, 0.0]]))
    assert p.sum(1).tolist() == pytest.approx([1, 1])
    assert p[0].tolist() == pytest.approx([1e-6, 1.0], rel=1e-5) and p[1].tolist() == [0.5, 0.5]


def test_by_size():
    found = [Divergence("small", 1.0, 2.0), Divergence("small", 3.0, None), Divergence("large", 5.0, 4.0)]
    table = by_size(found)
    assert table["small"] == {"parts": 2.0, "mask": 2.0, "objects": 2}
    assert table["all"] == {"parts": 3.0, "mask": 3.0, "objects": 3} and "medium" not in table
    assert by_size([Divergence("medium", 1.0, None)])["all"]["mask"] is None


def test_the_picture(tmp_path):
    table = {"all": {"parts": 1.0, "mask": None, "objects": 1}}
    path = draw_divergence(tmp_path / "x.png", {0: table, 10: table})
    assert path.stat().st_size > 5000
    with pytest.raises(ValueError, match="no step"):
        draw_divergence(tmp_path / "y.png", {})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lrf")
    data = tiny_run.make_coco(folder / "coco")
    flags = ["--optim.steps=4", "--save_every=2", "--keep_checkpoints=0", f"--out={folder / 'run'}"]
    extractor = ["--extractor=LearnedRegionFeatures", "--extractor.channels=16", "--extractor.embed_dim=16"]
    assert main(["train", f"--data.path={data}", *tiny_run.FLAGS, *flags, *extractor]) == 0
    return folder / "run"


def test_over_the_checkpoints_of_a_run(run, capsys):
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        f"step_{step:08d}.pt" for step in (0, 2, 4)
    ]
    assert main(["analyze", "divergence", str(run), "--objects=5", "--cpu=true"]) == 0
    out = capsys.readouterr().out
    assert "divergence.png" in out
    steps = json.loads((run / "divergence.json").read_text())
    assert list(steps) == ["0", "2", "4"]
    for found in steps.values():
        assert found["all"]["objects"] == 5 and found["all"]["parts"] > 0 and found["all"]["mask"] > 0
    assert (run / "divergence.png").stat().st_size > 5000


def test_wrong_arguments(run, capsys, tmp_path):
    for arguments, message in (
        ([str(tmp_path / "none")], "no such run folder"),
        ([str(run), "--objects=0"], "--objects must be at least 1"),
        ([str(run), "--out=/nowhere/x.png"], "must be a .png file in a folder that exists"),
        ([str(run), "--data=/nowhere"], "/nowhere: no such file or folder"),
    ):
        assert main(["analyze", "divergence", *arguments]) == 2
        assert message in capsys.readouterr().err
    damaged = run / "checkpoints" / "step_00000002.pt"
    damaged.write_bytes(b"no checkpoint")
    assert main(["analyze", "divergence", str(run), "--objects=1", "--cpu=true"]) == 2
    assert "step_00000002.pt: cannot be read" in capsys.readouterr().err
