"""Spatial supports from the command line: all kinds, several runs and nodes, and what a person can get wrong."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tiny_run
from PIL import Image

from experiments.spatial_support.__main__ import main as spatial_support
from roikit.cli import main


@pytest.fixture
def program():
    return spatial_support


@pytest.fixture(scope="module")
def deformable(coco, tmp_path_factory):
    """A run with deformable pooling on one C5 map, on the data of `finished`."""
    run = tmp_path_factory.mktemp("runs") / "deformable"
    flags = ["--optim.steps=1", "--model.neck=c5", "--extractor=DeformRoIPool", f"--out={run}"]
    flags += ["--model.anchor_sizes=[[8, 16, 32]]"]
    assert main(["train", f"--data.path={coco}", *tiny_run.FLAGS, *flags]) == 0
    return run


def test_all_kinds_of_trained_runs_and_nodes(call, finished, deformable, tmp_path):
    out = tmp_path / "x.png"
    flags = ["--object", "0", "--centre", "0", "--blocks=4", "--cpu=true", f"--out={out}"]
    result = call(finished, deformable, "1", *flags)
    assert result.code == 0, result.err
    lines = [line for line in result.out.splitlines() if " on the object" in line or "of the image, error" in line]
    assert sum(line.startswith("RoIAlign ") for line in lines) == 6  # three kinds of two nodes
    assert sum(line.startswith("DeformRoIPool ") for line in lines) == 6
    assert sum("saliency region, " in line and "error" in line for line in lines) == 4
    assert "backbone node at (" in result.out and "head's node of the box (" in result.out
    six = Image.open(out).size
    result = call("--show=receptive-field", finished, "1", "--cpu=true", f"--out={out}")  # the largest object
    assert result.code == 0 and result.out.count("receptive field, ") == 1, result.err
    one = Image.open(out).size
    assert one[1] < six[1] / 3 and one[0] < six[0]


def test_pictures_of_your_own(call, finished, tmp_path):
    own, out = tmp_path / "own.png", tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)).save(own)
    flags = ["--cpu=true", f"--out={out}"]
    nodes = ["--node", "3.5", "49", "--box", "5", "6", "50.5", "40", "--box", "1", "1", "9", "9"]
    for what, more in (("sampling-locations", ["--layers=1"]), ("receptive-field", [])):
        result = call(f"--show={what}", finished, own, *nodes, *more, *flags)
        assert result.code == 0 and result.out.count("RoIAlign") == 3, result.err
        assert "backbone node at (4, 49): radius" in result.out and "in the box, radius" in result.out
    result = call("--show=sampling-locations", finished, own, *nodes[3:], "--by=features", *flags)
    assert result.code == 0, result.err
    result = call("--show=saliency", finished, own, *nodes[:3], "--bound=0", "--blocks=6", "--most=9", *flags)
    assert result.code == 0 and "not the smallest: ended by --most" in result.out, result.err
    assert "saliency, RoIAlign" not in result.out.splitlines()[-1] and out.is_file()


def test_where_nothing_is_said_the_file_lies_in_the_first_run(call, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    assert call("--show=sampling-locations", run, "0", "--cpu=true").code == 0
    assert (run / "sampling-locations.png").is_file()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["6"], "image 6: "),
        (["none.png"], "none.png: no such file, and no image of "),
        (["0", "--object", "99"], "--object 99: 001.png"),
        (["0", "--centre", "-1"], "--centre -1: 001.png"),
        (["0", "--node", "64", "5"], "--node 64 5: lies outside of the image of 64×64 pixels"),
        (["0", "--node", "a", "5"], "--node a 5: must be 2 numbers"),
        (["0", "--node", "5"], "--node"),
        (["0", "--box", "5", "5", "4", "9"], "--box 5 5 4 9: must be x1 y1 x2 y2"),
        (["0", "--box", "5", "5", "nan", "9"], "--box 5 5 nan 9: must be 4 numbers"),
        (["0", "--object", *"0" * 13], "12 nodes at most"),
        (["0", "--layers=0"], "--layers must be at least 1, not 0"),
        (["0", "--by=bins"], "by"),
        (["0", "--by=features", "--centre", "0"], "--by=features is of the bins of a box"),
        (["0", "--bound=-1"], "--bound is an error and must be 0 or more"),
        (["0", "--bound=nan"], "bound: Expected"),
        (["0", "--blocks=1"], "--blocks must be 2 to 256"),
        (["0", "--batch=0"], "--batch must be at least 1"),
        (["0", "--most=0"], "--most must be at least 1"),
        (["0", "--measure=l1"], "measure"),
        (
            ["0", "--show=everything"],
            "--show must be one of sampling-locations, receptive-field, saliency, not 'everything'",
        ),
    ],
)
def test_arguments_that_do_not_fit(fails, finished, tmp_path, flags, words):
    assert words in fails(finished, *flags, "--cpu=true", f"--out={tmp_path / 'x.png'}")
    assert not list(tmp_path.iterdir())


def test_runs_and_files_that_do_not_fit(fails, finished, tmp_path):
    assert "no such run folder" in fails(tmp_path / "none", "0")
    assert "is given twice" in fails(finished, finished, "0")
    assert "must be a .png file in a folder" in fails(finished, "0", "--out=/nowhere/x.png")
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert "text.png: not an image" in fails(finished, text, "--node", 1, 1)
    assert "is no image of" in fails(finished, text)
