"""Runs on videos: trained from one flag, measured by speed, resumed; beside the detector of single frames."""

from __future__ import annotations

import json

import pytest
import tiny_run
import torch
from safetensors.torch import load_file, save_file

from roikit.cli import main
from roikit.data import open_dataset
from roikit.layers import FlowNetS
from roikit.train.motion_metrics import NUMBERS, motion_metrics
from roikit.train.trained import load_trained

MOVING = [*tiny_run.FLAGS, "--data.path=shapes:moving-tiny", "--model.options={box_score_thresh: 0.0}"]
FGFA = ["--video=fgfa", "--video.flow_width=2", "--video.reach=2"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses_of(run) -> list[dict]:
    return [r for r in map(json.loads, (run / "log.jsonl").read_text().splitlines()) if r["kind"] == "train"]


@pytest.mark.parametrize("extractor", ["RoIAlign", "SemanticRoIAlign"])
def test_a_run_from_one_flag(tmp_path, capsys, extractor):
    run = tmp_path / "run"
    flags = ["--optim.steps=3", "--optim.ema=0.5", f"--extractor={extractor}", "--pictures=true", f"--out={run}"]
    assert main(["train", *MOVING, *FGFA, *flags]) == 0
    assert "slow" in capsys.readouterr().out and (run / "predictions.png").is_file()
    assert all(record["loss_flow"] > 0 for record in losses_of(run))
    kept = json.loads((run / "metrics.json").read_text())["bbox"]
    assert set(NUMBERS) <= set(kept) & set(kept["per_class"]["crab"])
    model, _, _ = load_trained(run)
    assert sorted(model([torch.rand(3, 64, 64)])[0]) == ["boxes", "labels", "scores"]
    assert main(["eval", str(run), "--cpu=true", f"--out={tmp_path / 'm.json'}"]) == 0
    again = json.loads((tmp_path / "m.json").read_text())["bbox"]
    assert again["AP"] == pytest.approx(kept["AP"]) and again["video_ap50_fast"] == kept["video_ap50_fast"]


def test_stopped_and_resumed(tmp_path, left):
    length = [*MOVING, *FGFA, "--optim.steps=4", "--save_every=2"]
    assert main(["train", *length, f"--out={tmp_path / 'whole'}"]) == 0
    left[0] = 3
    assert main(["train", *length, f"--out={tmp_path / 'broken'}"]) == 130
    left[0] = 100
    assert main(["train", f"--resume={tmp_path / 'broken'}"]) == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_single_frames_see_the_same_images(tmp_path):
    """The pair of an aggregating run: measured by speed too, with the same first loss of the RPN's boxes but for what
    neighbours change."""
    for name, flags in (("alone", []), ("fgfa", FGFA)):
        assert main(["train", *MOVING, *flags, "--optim.steps=1", f"--out={tmp_path / name}"]) == 0
    alone, fgfa = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", "fgfa"))
    shared = {f"backbone.neck.{key[9:]}" if key.startswith("backbone.") else key for key in alone}
    assert shared <= set(fgfa) and {key.split(".")[1] for key in set(fgfa) - shared} == {"flow", "embeddings"}
    assert "video_ap50_slow" in json.loads((tmp_path / "alone" / "metrics.json").read_text())["bbox"]
    assert "loss_flow" not in losses_of(tmp_path / "alone")[0]


def test_weights_of_the_flow_network(tmp_path, capsys):
    net = FlowNetS(2)
    torch.nn.init.constant_(net.predict[-1].bias, 0.25)
    save_file(net.state_dict(), tmp_path / "flow.safetensors")
    given = [*FGFA, f"--video.flow_weights={tmp_path / 'flow.safetensors'}", "--optim.steps=1", "--optim.lr=1e-9"]
    assert main(["train", *MOVING, *given, f"--out={tmp_path / 'run'}"]) == 0
    kept = load_file(tmp_path / "run" / "model.safetensors")["backbone.flow.predict.4.bias"]
    torch.testing.assert_close(kept, torch.full((2,), 0.25))
    assert main(["train", *MOVING, *given, "--video.flow_width=3", f"--out={tmp_path / 'other'}"]) == 2
    assert "video.flow_weights: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data.crop=[64, 64]"], "data.crop: [64, 64] does not fit; it must be left out where frames are aggregated"),
        (["--video.frames=0"], "video.frames: 0 does not fit; it must be at least 1"),
        (["--video.method=fgfaa"], "video.method"),
    ],
)
def test_wrong_settings(tmp_path, capsys, flags, words):
    assert main(["train", *MOVING, *FGFA, *flags, f"--out={tmp_path / 'run'}"]) == 2
    assert words in capsys.readouterr().err.replace("(64, 64)", "[64, 64]")


def test_still_images_have_no_neighbours(train, tmp_path, capsys):
    assert train(f"--out={tmp_path / 'run'}", *FGFA) == 2
    assert "is no frame of a video" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_ap_by_speed():
    """Found are the objects of one speed alone: its AP is 1, of others 0, and none is counted against it."""
    dataset = open_dataset("shapes:moving-tiny", "val")
    from roikit.data.video import motion, speed_of

    speeds = [speed_of(overlap) for overlap in motion(dataset)]
    which = max((0, 1, 2), key=lambda speed: sum((own == speed).sum() for own in speeds))
    predictions = []
    for index, own in enumerate(speeds):
        target = dataset.target(index)
        mine = torch.from_numpy(own == which)
        found = {key: target[key][mine] for key in ("boxes", "labels")}
        predictions.append(found | {"scores": torch.rand(int(mine.sum()))})
    found = motion_metrics(predictions, dataset)
    for place, number in enumerate(NUMBERS[1:]):
        assert found[number] in ((1.0,) if place == which else (0.0, None))
    assert 0 < found["video_ap50"] <= 1
