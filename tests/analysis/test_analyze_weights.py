"""Pictures of weights before and after training, the detectors at the two ends of a run, and the command."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny_run
import torch
from pngs import read_png

import roikit
from roikit.analysis import RegionView, region_weights_of, view_region
from roikit.analysis.learned_weights import _drawable, draw_learned_weights
from roikit.analysis.regions import region_terms_of
from roikit.cli import main
from roikit.train import checkpoint
from roikit.train.parse import read
from roikit.train.runfolder import RunFolder
from roikit.train.stages import first_stage, last_stage


def test_terms_of_a_detector(image):
    torch.manual_seed(0)
    model = roikit.detection.faster_rcnn(
        "test_resnet",
        extractor=roikit.LearnedRegionFeatures,
        num_classes=3,
        channels=8,
        fc_dim=8,
        min_size=64,
        weights=None,
    )
    box = torch.tensor([20.0, 12.0, 84.0, 76.0])
    views = region_terms_of(model, image, box)
    assert list(views) == ["geometry", "appearance", "all"] and model.training
    whole = region_weights_of(model, image, box)
    assert torch.equal(views["all"].weights, whole.weights) and views["all"].title == whole.title
    assert not torch.equal(views["geometry"].weights, whole.weights)
    assert "\n" not in whole.title  # layers are not listed
    with pytest.raises(ValueError, match="four finite numbers"):
        region_terms_of(model, image, box[:3])


def colour(value: float) -> torch.Tensor:
    """Half the scale's colour, half a grey of 0.5: 0-255."""
    from matplotlib import colormaps

    return torch.tensor([round(255 * (0.25 + 0.5 * c)) for c in colormaps["inferno"](value)[:3]])


def test_the_picture_is_half_image_half_weights(tmp_path):
    weights = torch.zeros(1, 1, 4, 6)
    weights[0, 0, 1, 2], weights[0, 0, 2, 4] = 0.02, 0.01
    view = RegionView((2.0, 2.0, 8.0, 8.0), weights, (16.0, 16.0), (1, 1), "title")
    path = draw_learned_weights(tmp_path / "x.png", torch.full((3, 64, 96), 0.5), [view], [{"all": view}])
    pixels = torch.from_numpy(255 * read_png(path)).flatten(0, 1)
    area = {}
    for value in (0.0, 0.5, 1.0):
        near = (pixels - colour(value)).abs().amax(1) <= 3
        area[value] = int(near.sum())
    assert area[1.0] > 1000 and area[0.5] == pytest.approx(area[1.0], rel=0.1)
    assert area[0.0] > 15 * area[1.0]


def test_dots_of_a_large_map_do_not_vanish(rng):
    values = torch.zeros(300, 500).numpy()
    values[17, 333] = 1
    small = _drawable(values, 90, 40)
    assert small.shape == (40, 90) and small.max() == 1 and 1 <= (small > 0).sum() <= 4
    assert small[17 * 40 // 300, 333 * 90 // 500] == 1
    assert _drawable(values, 500, 300) is values


def test_pictures_are_larger_for_more(tmp_path, image):
    x, box = torch.rand(1, 4, 24, 32), torch.tensor([20.0, 12.0, 84.0, 76.0])
    one = view_region(roikit.RoIAlign(3), x, box, 4)
    pyramid = view_region(roikit.SpatialPyramidPool(), x, box, 4)
    plain = read_png(draw_learned_weights(tmp_path / "a.png", image, [one], [{"all": one}], title="title"))
    views = {"geometry": pyramid, "appearance": pyramid, "all": pyramid}
    terms = read_png(draw_learned_weights(tmp_path / "b.png", image, [pyramid], [views]))
    two = read_png(draw_learned_weights(tmp_path / "c.png", image, [one, pyramid], [{"all": one}, views]))
    assert plain.shape[0] + 200 < terms.shape[0] < two.shape[0] - 200
    for initial, final, titles, message in (
        ([], [], (), "no region"),
        ([one], [], (), "1 initial views, 0 final ones"),
        ([one], [{"all": one}], ("a", "b"), "2 titles"),
    ):
        with pytest.raises(ValueError, match=message):
            draw_learned_weights(tmp_path / "d.png", image, initial, final, titles=titles)
    assert not (tmp_path / "d.png").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lrf")
    data = tiny_run.make_coco(folder / "coco")
    flags = ["--optim.steps=2", "--keep_checkpoints=0", "--seed=5", "--optim.ema=0.5", f"--out={folder / 'run'}"]
    extractor = ["--extractor=LearnedRegionFeatures", "--extractor.channels=16", "--extractor.embed_dim=16"]
    assert main(["train", f"--data.path={data}", *tiny_run.FLAGS, *flags, *extractor]) == 0
    return folder / "run"


def copy_of(run, tmp_path, *, without: tuple[str, ...]):
    shutil.copytree(run, tmp_path / "copy")
    for name in without:
        (tmp_path / "copy" / name).unlink()
    return tmp_path / "copy"


STEP_0 = "checkpoints/step_00000000.pt"
LAST = "model.safetensors"


def test_a_detector_built_anew_is_the_one_that_began(run, tmp_path):
    ends = []
    for folder in (run, copy_of(run, tmp_path, without=(STEP_0, LAST))):
        opened = RunFolder.open(folder)
        config, _ = read(opened.config)
        last = last_stage(opened, config, lambda: 2)
        ends.append((first_stage(opened, config, last), last))
    (kept, final), (anew, newest) = ends
    assert (kept.source, final.source) == ("checkpoint of step 0", "model.safetensors")
    assert (anew.source, newest.source) == ("built anew with seed 5", "checkpoint of step 2")
    saved = checkpoint.load(run / "checkpoints", 0)["model"]
    for a, b in ((kept, anew), (final, newest)):
        first, second = a.model.state_dict(), b.model.state_dict()
        assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(saved[name], value) for name, value in kept.model.state_dict().items())
    moved = final.model.state_dict()["roi_heads.box_roi_pool.extractor.appearance.weight"]
    assert not torch.equal(moved, saved["roi_heads.box_roi_pool.extractor.appearance.weight"])


def test_the_command(run, capsys, tmp_path):
    before = {path.name for path in run.iterdir()}
    assert main(["analyze", "weights", str(run), "2", "--cpu=true"]) == 0
    assert capsys.readouterr().out.strip() == f"wrote {run / 'weights-003.png'}"
    assert {path.name for path in run.iterdir()} - before == {"weights-003.png"}
    assert read_png(run / "weights-003.png").std() > 0.05
    shutil.copy(run.parent / "coco" / "images" / "val" / "003.png", tmp_path / "mine.png")
    box = ["--box", "-5", "10.5", "30", "70"]
    assert main(["analyze", "weights", str(run), str(tmp_path / "mine.png"), *box, "--cpu=true"]) == 0
    assert (run / "weights-mine.png").is_file()


def test_what_is_drawn(run, monkeypatch):
    """The two largest objects, or the boxes given; the untrained detector's weights first."""
    drawn = []
    monkeypatch.setattr(
        "roikit.analysis.learned_weights.draw_learned_weights", lambda *a, **more: drawn.append((*a, more["titles"]))
    )
    data = json.loads((run.parent / "coco" / "annotations" / "instances_val.json").read_text())
    objects = [one for one in data["annotations"] if one["image_id"] == 3]
    largest = sorted(objects, key=lambda one: -one["area"])[:2]
    file = run.parent / "coco" / "images" / "val" / "003.png"
    for given in ("2", "003.png", "val/003.png", str(file)):
        assert main(["analyze", "weights", str(run), given, "--cpu=true"]) == 0
    assert main(["analyze", "weights", str(run), "2", "--box", "1", "2", "30", "40", "--cpu=true"]) == 0
    assert main(["analyze", "weights", str(run), "2", "--sampled=true", "--cpu=true"]) == 0
    opened = RunFolder.open(run)
    config, _ = read(opened.config)
    last = last_stage(opened, config, lambda: 2)
    first = first_stage(opened, config, last)
    for path, image, initial, final, titles in drawn[:4]:
        assert path.name == "weights-003.png" and image.shape == (3, 64, 64) and len(titles) == len(largest)
        for one, before, after, title in zip(largest, initial, final, titles, strict=True):
            x, y, w, h = one["bbox"]
            assert before.box == after["all"].box == (x, y, x + w, y + h)
            assert title.startswith(f"{tiny_run.CATEGORIES[one['category_id'] - 1]}: ({x}, {y}) to ")
            box = torch.tensor(before.box)
            assert torch.equal(before.weights, region_weights_of(first.model, image, box, whole=True).weights)
            assert torch.equal(after["all"].weights, region_weights_of(last.model, image, box, whole=True).weights)
            assert list(after) == ["geometry", "appearance", "all"]
            assert not torch.equal(before.weights, after["all"].weights)
    assert [view.box for view in drawn[4][2]] == [(1, 2, 30, 40)]
    for before, sampled in zip(drawn[0][2], drawn[5][2], strict=True):  # on all cells, and on some of them alone
        assert torch.equal(sampled.weights, region_weights_of(first.model, image, torch.tensor(before.box)).weights)
        assert before.weights.all() and not sampled.weights.all()


def test_wrong_arguments(run, capsys, tmp_path):
    (tmp_path / "no.png").write_text("no image")
    shutil.copy(run.parent / "coco" / "images" / "val" / "003.png", tmp_path / "mine.png")
    mine = str(tmp_path / "mine.png")
    for arguments, message in (
        ([str(tmp_path / "none"), "0"], "no such run folder"),
        ([str(run), "6"], "has 6 images, numbers 0 to 5"),
        ([str(run), "-1"], "numbers 0 to 5"),
        ([str(run), "elsewhere.png"], "elsewhere.png: no such file, and no image of that name in"),
        ([str(run), mine], "so its objects are not known; give --box X1 Y1 X2 Y2"),
        ([str(run), str(tmp_path / "no.png"), "--box", "1", "1", "5", "5"], "no.png: not an image"),
        ([str(run), "0", "--box", "1", "1", "5"], "--box: expected 4 arguments"),
        ([str(run), "0", "--box", "1", "1", "5", "x"], "--box 1 1 5 x: must be four numbers"),
        ([str(run), "0", "--box", "5", "1", "1", "5"], "must have X1 < X2 and Y1 < Y2"),
        ([str(run), "0", "--box", "0", "0", "nan", "5"], "must have X1 < X2 and Y1 < Y2"),
        ([str(run), "0", *["--box", "0", "0", "5", "5"] * 21], "21 boxes are too many"),
        ([str(run), mine, "--box", "64", "0", "70", "5"], "lies outside of"),
        ([str(run), "0", "--out=/nowhere/x.png"], "must be a .png file in a folder that exists"),
        ([str(run), "0", "--out=x.jpg"], "must be a .png file"),
        ([str(run), "0", "--data=/nowhere"], "/nowhere: no such file or folder"),
        ([str(run), "0", "--split=test"], "test"),
    ):
        assert main(["analyze", "weights", *arguments]) == 2, arguments
        error = capsys.readouterr().err
        assert message in error and len(error.strip().splitlines()) == 1, (arguments, error)


def test_a_run_without_an_end(run, capsys, tmp_path):
    folder = copy_of(run, tmp_path, without=(LAST, "checkpoints/step_00000002.pt"))
    assert main(["analyze", "weights", str(folder), "0", "--cpu=true"]) == 2
    assert "nothing has been trained yet" in capsys.readouterr().err
    (folder / STEP_0).write_bytes(b"no checkpoint")
    shutil.copy(run / LAST, folder / LAST)
    assert main(["analyze", "weights", str(folder), "0", "--cpu=true"]) == 2
    assert "step_00000000.pt: cannot be read" in capsys.readouterr().err


def test_published_weights_that_are_gone(run, tmp_path, monkeypatch):
    """What began with weights that cannot be fetched now cannot be built anew: said, not drawn wrongly."""
    from roikit.detection import pretrained

    def gone(name):
        raise pretrained.Unreachable("no network")

    monkeypatch.setattr("roikit.detection.backbones.timm_source", gone)
    opened = RunFolder.open(copy_of(run, tmp_path, without=(STEP_0,)))
    config, _ = read(opened.config)
    last = last_stage(opened, config, lambda: 2)
    config.model.weights = "imagenet"
    last = type(last)(last.model, {**last.built, "weights": "imagenet"}, last.categories, last.source)
    with pytest.raises(ValueError, match=r"began with weights \(imagenet\) that cannot be had now, and its checkpoint"):
        first_stage(opened, config, last)
