"""`roikit analyze invariance | diversity | masks` on runs, and what a person can get wrong."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_run
import torch
from PIL import Image

from roikit.cli import main


@pytest.fixture(scope="module")
def semantic(coco, tmp_path_factory):
    """A run with Semantic RoI Align, on the data of `finished`."""
    run = tmp_path_factory.mktemp("runs") / "semantic"
    flags = ["--optim.steps=2", "--extractor=SemanticRoIAlign", f"--out={run}"]
    assert main(["train", f"--data.path={coco}", *tiny_run.FLAGS, *flags]) == 0
    return run


def test_invariance_of_trained_runs(call, finished, semantic, tmp_path):
    seeded = shutil.copytree(finished, tmp_path / "seeded")
    config = (seeded / "config.yaml").read_text()
    (seeded / "config.yaml").write_text(config.replace("\nseed: 0\n", "\nseed: 1\n"))
    out = tmp_path / "x.json"
    flags = ["--objects=5", "--repeats=2", "--seed=7", "--cpu=true"]
    result = call("analyze", "invariance", finished, semantic, seeded, *flags, f"--out={out}")
    assert result.code == 0, result.err
    assert "RoIAlign, mean of 2" in result.out and "paper: SRA" in result.out
    assert "Rotation by up to 180°: 5 objects, 5 of them" in result.out
    content = json.loads(out.read_text())
    assert content["draws"] == {"repeats": 2, "angle": 180.0, "scale": 1.5, "shift": 0.25, "seed": 7}
    assert content["paper"]["SRA"] == {"rotation": 0.49, "reflection": 0.69, "scaling and panning": 0.73}
    assert [(run["run"], run["method"]) for run in content["runs"]] == [
        ("finished", "RoIAlign"), ("semantic", "SemanticRoIAlign"), ("seeded", "RoIAlign"),
    ]  # fmt: skip
    for run in content["runs"]:
        for name in ("rotation", "reflection", "scaling and panning"):
            found = run["found"][name]
            assert found["objects"] == 5 and -1 <= found["centred"] < found["cosine"] <= 1 and found["error"] > 0
        assert run["found"]["rotation"]["masks"] == 5
    assert content["runs"][0]["found"] == content["runs"][2]["found"]  # the same weights, the same transforms
    # nothing is drawn from the numbers of others: alone it is the same
    alone = tmp_path / "y.json"
    assert call("analyze", "invariance", semantic, *flags, f"--out={alone}").code == 0
    assert json.loads(alone.read_text())["runs"][0] == content["runs"][1]


def test_diversity_of_trained_runs(call, finished, semantic, tmp_path):
    result = call(
        "analyze", "diversity", finished, semantic, "--objects=4", "--cpu=true", f"--out={tmp_path / 'd.png'}"
    )
    assert result.code == 0, result.err
    assert (tmp_path / "d.png").stat().st_size > 5000
    content = json.loads((tmp_path / "d.json").read_text())
    for run in content["runs"]:
        assert run["objects"] == 4 and sum(run["histogram"]) == pytest.approx(1) and 0 <= run["below"] <= 1
        assert run["pairs"] == 4 * 49 * 48 / 2
    assert content["runs"][0]["below"] > 0.9 and not content["dense"]  # bins of RoI Align lie side by side
    flags = ["--objects=4", "--dense=true", "--cpu=true", f"--out={tmp_path / 'e.png'}"]
    assert call("analyze", "diversity", semantic, *flags).code == 0
    dense = json.loads((tmp_path / "e.json").read_text())["runs"][0]
    assert dense["mean"] != pytest.approx(content["runs"][1]["mean"])  # the cells of the map are others


def test_masks_by_number_name_path_and_box(call, finished, semantic, coco, tmp_path):
    file = coco / "images" / "val" / "002.png"
    own = tmp_path / "own.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)).save(own)
    out = tmp_path / "m.png"
    sizes = []
    for runs, image, flags in (
        ([finished, semantic], "1", []),
        ([semantic], "002.png", ["--angles", "0", "30", "--choose=follow"]),
        ([finished], "002", ["--parts=2", "--object=0", "--angles", "-20"]),
        ([finished], file, ["--show", "0", "48", "--angles", "0"]),
        ([finished], own, ["--box", "5", "6", "50.5", "40", "--angles", "0"]),
        ([finished], "0", ["--box", "5", "6", "50.5", "40", "--angles", "0"]),
    ):
        result = call("analyze", "masks", *runs, image, *flags, "--cpu=true", f"--out={out}")
        assert result.code == 0 and "m.png" in result.out, result.err
        sizes.append(Image.open(out).size)
        out.unlink()
    assert sizes[1][1] < sizes[0][1]  # two angles instead of five


def test_where_nothing_is_said_files_lie_in_the_first_run(call, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    assert call("analyze", "diversity", run, "--objects=1", "--cpu=true").code == 0
    assert call("analyze", "masks", run, "0", "--angles", "0", "--cpu=true").code == 0
    assert (run / "diversity.png").is_file() and (run / "diversity.json").is_file() and (run / "masks.png").is_file()


def test_data_without_masks_is_boxed_by_corners(call, finished, coco, tmp_path):
    plain = shutil.copytree(coco, tmp_path / "coco")
    for file in (plain / "annotations").iterdir():
        content = json.loads(file.read_text())
        for annotation in content["annotations"]:
            del annotation["segmentation"]
        file.write_text(json.dumps(content))
    result = call("analyze", "invariance", finished, f"--data={plain}", "--objects=3", "--cpu=true")
    assert result.code == 0 and "3 objects, 0 of them boxed by their rotated mask" in result.out, result.err


@pytest.mark.parametrize("what", ["invariance", "diversity", "masks"])
def test_runs_that_are_none(fails, what, finished, tmp_path):
    rest = ["0"] if what == "masks" else []
    assert "no such run folder" in fails("analyze", what, tmp_path / "none", *rest)
    assert "is given twice" in fails("analyze", what, finished, finished, *rest)
    young = tmp_path / "young"
    young.mkdir()
    shutil.copy(finished / "config.yaml", young)
    assert "has no model.safetensors" in fails("analyze", what, young, *rest)
    assert "/nowhere: no such file or folder" in fails("analyze", what, finished, *rest, "--data=/nowhere")
    assert "no annotation file for split 'tets'" in fails("analyze", what, finished, *rest, "--split=tets")
    ending = ".json" if what == "invariance" else ".png"
    for out in (f"/nowhere/x{ending}", tmp_path / "x.txt"):
        assert f"must be a {ending} file in a folder that exists" in fails(
            "analyze", what, finished, *rest, f"--out={out}"
        )
    other = shutil.copytree(finished, tmp_path / "other")
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("eval_split: val", "eval_split: train"))
    assert "say which with --split" in fails("analyze", what, finished, other, *rest)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["invariance", "--objects=0"], "--objects must be at least 1"),
        (["invariance", "--repeats=0"], "--repeats must be at least 1"),
        (["invariance", "--angle=200"], "--angle is the largest rotation in degrees, 0 to 180, not 200"),
        (["invariance", "--scale=0.5"], "--scale is the largest factor"),
        (["invariance", "--shift=-1"], "--shift is the largest move"),
        (["invariance", "--seed=-1"], "--seed must be at least 0"),
        (["diversity", "--objects=0"], "--objects must be at least 1"),
        (["masks", "0", "--parts=9"], "--parts must be 1 to 8, not 9"),
        (["masks", "0", "--show", *"012345678"], "--show takes at most 8 parts"),
        (["masks", "0", "--show", "49"], "has no part 49: it has 49"),
        (["masks", "0", "--angles", "inf"], '"angles" element 1: Expected'),
        (["masks", "0", "--angles", "3", "--choose=follow"], "--choose=follow needs two angles"),
        (["masks", "0", "--object=99"], "--object 99: 001.png"),
        (["masks", "6"], "image 6: "),
        (["masks", "none.png"], "none.png: no such file, and no image of "),
        (["masks", "0", "--box", "5", "5", "4", "9"], "--box 5 5 4 9: must be x1 y1 x2 y2"),
        (["masks", "0", "--box", "70", "5", "90", "9"], "in the image of 64×64 pixels"),
        (["masks", "0", "--box", "1", "5", "1e9", "9"], "--box 1 5 1e+09 9: must be"),
        (["masks", "0", "--box", "1", "2"], "--box"),
    ],
)
def test_arguments_that_do_not_fit(fails, finished, tmp_path, flags, words):
    ending = "json" if flags[0] == "invariance" else "png"
    assert words in fails("analyze", flags[0], finished, *flags[1:], "--cpu=true", f"--out={tmp_path / 'x'}.{ending}")
    assert not list(tmp_path.iterdir())


def test_pictures_and_methods_that_do_not_fit(fails, finished, tmp_path, monkeypatch):
    text, out = tmp_path / "text.png", f"--out={tmp_path / 'x.png'}"
    text.write_text("no picture")
    assert "is no image of" in fails("analyze", "masks", finished, text, out)
    assert "text.png: not an image" in fails("analyze", "masks", finished, text, "--box", 1, 1, 9, 9, out)
    # as of a method with one part, such as CenterPool
    monkeypatch.setattr("roikit.analysis.diversity.weights_of_parts", lambda found, dense: torch.ones(1, 4))
    assert "(RoIAlign): regions have a single part" in fails("analyze", "diversity", finished, "--cpu=true", out)
