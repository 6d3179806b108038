"""Feature mimicking in a run: resumed to the bit, absent from the saved weights, the same over processes."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
import tiny_run
import torch
from safetensors.torch import load_file

from roikit.detection import mimic
from roikit.train.build import build_model
from roikit.train.errors import RunError
from roikit.train.mimic import MimicConfig, mimicking
from roikit.train.parse import parse
from roikit.train.sampling import Samplers
from roikit.train.trained import load_trained

LOSSES = {"loss_mimic", "loss_mimic_classifier"}


def logged(run) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "seconds"} for r in records if r["kind"] == "train"]


def weights(run) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_stopped_and_resumed(train, tmp_path, left):
    """The classifier, which the detector does not have, goes on where it was; Ω is drawn by the image's seed."""
    flags = [
        "--mimic=fg+bg",
        "--mimic.size=32",
        "--mimic.rois=4",
        "--optim.steps=5",
        "--save_every=2",
        "--optim.ema=0.9",
    ]
    flags += ["--extractor=ModulatedDeformRoIPool", "--extractor.hidden=16"]
    assert train(f"--out={tmp_path / 'whole'}", *flags) == 0
    left[0] = 3
    assert train(f"--out={tmp_path / 'broken'}", *flags) == 130
    left[0] = 100
    assert train(f"--resume={tmp_path / 'broken'}") == 0
    whole, broken = logged(tmp_path / "whole"), logged(tmp_path / "broken")
    assert whole == broken and set(whole[-1]) > LOSSES and all(record["loss_mimic"] > 0 for record in whole)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "broken"))

    last = [torch.load(tmp_path / name / "checkpoints/step_00000005.pt")["mimic"] for name in ("whole", "broken")]
    assert same(*last) and last[0]["weight"].shape == (3, 16)
    model, categories, config = load_trained(tmp_path / "whole")
    assert config.mimic == MimicConfig("fg+bg", rois=4, size=32)
    assert model.state_dict().keys() == weights(tmp_path / "whole").keys() and len(categories) == 2


def test_a_weight_of_0_is_no_mimicking(train, tmp_path):
    flags = ["--optim.steps=3"]
    assert train(f"--out={tmp_path / 'plain'}", *flags) == 0
    for name, weight in (("zero", 0), ("some", 0.1)):
        assert (
            train(f"--out={tmp_path / name}", *flags, "--mimic=fg", "--mimic.size=32", f"--mimic.weight={weight}") == 0
        )
    plain, zero, some = (weights(tmp_path / name) for name in ("plain", "zero", "some"))
    assert same(plain, zero)
    assert plain.keys() == some.keys() and not torch.equal(
        plain["backbone.body.conv1.0.weight"], some["backbone.body.conv1.0.weight"]
    )
    assert not LOSSES & set(logged(tmp_path / "plain")[0])


def test_losses_are_those_of_the_global_batch():
    """Two images together and one by one: the same regions, whose losses add up."""
    torch.manual_seed(0)
    config, _ = parse([*tiny_run.FLAGS, "--model.norm=frozen", "--model.rois_per_image=512"])
    model = build_model(config, 2)
    training = mimic(model, rois=2, size=32)
    samplers = Samplers(model, training)
    images = [torch.rand(3, 64, 64) for _ in range(2)]
    boxes = (torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([[20.0, 4, 60, 60], [2, 2, 20, 30], [5, 30, 30, 62]]))
    targets = [{"boxes": b, "labels": torch.arange(len(b)) % 2 + 1} for b in boxes]

    def step(which: list[int], others: torch.Tensor | None = None) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        samplers.reseed([10 + i for i in which])
        losses = training([images[i] for i in which], [targets[i] for i in which])
        counts = samplers.counts()
        own = torch.tensor([float(counts.get(name, 1)) for name in losses])
        if others is None:
            return losses, own
        reduce = SimpleNamespace(num_processes=2, device="cpu", reduce=lambda own, how: own + others)
        return samplers.balance(losses, reduce), own

    with torch.no_grad():
        together, total = step([0, 1])
        first, second = step([0])[1], step([1])[1]
        place = list(together).index("loss_mimic_classifier")
        assert first[place] + second[place] == total[place] and first[place] != second[place], (first, second)
        assert second[place] == 2, "of three objects: fewer would not show that both draw the same"
        shares = step([0], second)[0], step([1], first)[0]
    for name in LOSSES:
        assert together[name] > 0
        torch.testing.assert_close((shares[0][name] + shares[1][name]) / 2, together[name])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mimic=all"], "mimic.regions: .*'fg.bg'.* Got value: all"),
        (["--mimic.rois=0"], "mimic.rois: 0 does not fit; it must be at least 1"),
        (["--mimic.weight=-0.1"], "mimic.weight: -0.1 does not fit"),
        (["--mimic.size=0"], "mimic.size: 0 does not fit"),
        (["--mimic=fg", "--mimic.size=50"], "mimic: size must be a multiple of 32"),
        (["--mimic=fg", "--extractor=PSRoIAlign"], "mimic: this detector's box head has no fully connected layers"),
    ],
)
def test_what_it_refuses(train, tmp_path, capsys, flags, message):
    assert train(f"--out={tmp_path / 'run'}", *flags) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line), line
    assert not (tmp_path / "run").exists()


def test_none_is_none():
    assert mimicking(object(), MimicConfig()) is None
    with pytest.raises(RunError, match="mimic: model must be"):
        mimicking(torch.nn.Linear(1, 1), MimicConfig("bg"))
