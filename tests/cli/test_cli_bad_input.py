"""What a person can get wrong: one line that says what and where, exit code 2, nothing overwritten."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny_run
from safetensors.torch import load_file, save_file


@pytest.fixture
def train_flags(coco, tmp_path):
    return [f"--data.path={coco}", *tiny_run.FLAGS, "--optim.steps=1", f"--out={tmp_path / 'run'}"]


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, to be spoilt."""
    return shutil.copytree(finished, tmp_path / "copy")


# ---- the command itself


def test_unknown_command(fails):
    assert "no command 'trian'; commands are train, eval" in fails("trian")
    assert "no analysis 'everything'; analyses are divergence" in fails("analyze", "everything")


@pytest.mark.parametrize("command", ["train", "eval", "predict", "data", "info"])
def test_unknown_flag(fails, command, finished, coco, tmp_path):
    needed = {"eval": [finished], "predict": [finished, coco, "--out", tmp_path / "new"], "data": [coco]}
    assert "--bogus" in fails(command, *needed.get(command, []), "--bogus", "3")


@pytest.mark.parametrize("command", ["eval", "predict", "data"])
def test_missing_argument(fails, command):
    assert f"roikit {command}: error:" in fails(command)


# ---- train: configuration


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--optim.lrr=1"], "optim.lrr"),
        (["--optim.lr=fast"], "optim.lr: "),
        (["--optim.lr=-1"], "optim.lr: -1.0 does not fit; it must be above 0"),
        (["--data.scale=[0.5, 2]"], "data.crop"),
        (["--data.scale=[2, 0.5]", "--data.crop=[64, 64]"], "data.scale"),
        (["--model.neck=fpnn"], "model.neck: "),
        (["--model.backbone=resnet5"], "resnet5"),
        (["--model.options={box_score_tresh: 0.1}"], "box_score_tresh"),
        (["--model.options={min_size: 3}"], "model.options: 'min_size' has a key of its own"),
        (["--extractor=RoIAling"], "known: RoIPool, RoIAlign, PrRoIPool"),
        (["--extractor=RoIPool", "--extractor.sampling_ratio=2"], "'sampling_ratio' is not accepted"),
        (["--extractor.expand=-1"], "expand"),
        (["--extractor=torch.nn.Linear"], "torch.nn.Linear"),
        (["--mask_extractor=RoIAlign"], "mask_extractor: needs model.masks true"),
        (["--extractor=DeformRoIPool", "--extractor.channels=32"], "made for 32 channels, but its maps have 16"),
        (["--extractor=DeformPSRoIPool", "--extractor.group_size=7", "--extractor.channels=49"], "·49 = 343"),
        (["--extractor=DeformRoIPool", "--extractor.channels=some"], "channels"),
        (["--extractor=DeformRoIPool", "--extractor.output_size=0"], "output"),
        (["--extractor=PSRoIPool", "--model.masks=true"], "model.masks: the extractor is position-sensitive"),
        (["--extractor=PSRoIAlign", "--model.aggregate=concat"], "aggregate='concat' lays the levels' channels"),
        (["--extractor=PSRoIAlign", "--model.options={fc_dim: 8}"], "'fc_dim' has a key of its own"),
        (["--model.aggregate=mean"], "model.aggregate: "),
        (["--optim.offset_factor=-1"], "optim.offset_factor: -1.0 does not fit"),
        (["--optim.factors={nothing: 0.1}"], "no parameter's name matches 'nothing'"),
        (["--data.train_split=trian"], "trian"),
        (["surplus"], "surplus"),
    ],
)
def test_train_configuration(fails, train_flags, tmp_path, flags, words):
    assert words in fails("train", *train_flags, *flags)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"optim: [lr\n", "is no valid YAML in line 2"),
        (b"optim: {lr: 0.1, lrr: 1}\n", "'lrr'"),
        (b"bogus: 1\n", "bogus"),
        (b"optim: {lr: fast}\n", "optim.lr"),
        (b"extractor: {class_path: RoIPool, init_args: {bogus: 1}}\n", "'bogus'"),
        (b"- a\n- b\n", "has no keys"),
        (b"", "has no keys"),
        (b"\xff\xfe\x00\x01", "is not text"),
    ],
)
@pytest.mark.parametrize("also", [[], ["--print_config"]], ids=["train", "print"])
def test_train_config_file(fails, tmp_path, content, words, also):
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    line = fails("train", "--config", path, *also)
    assert words in line and str(path) in line


def test_train_config_file_absent(fails, tmp_path):
    assert f"{tmp_path / 'no.yaml'}: cannot be read (No such file" in fails("train", f"--config={tmp_path / 'no.yaml'}")
    assert f"{tmp_path}: cannot be read (Is a directory)" in fails("train", "--config", tmp_path)


# ---- train: folders


def test_train_never_overwrites(fails, call, train_flags, tmp_path, snapshot):
    assert call("train", *train_flags).code == 0
    before = snapshot(tmp_path)
    line = fails("train", *train_flags)
    assert f"{tmp_path / 'run'}: is not empty" in line and f"roikit train --resume {tmp_path / 'run'}" in line
    assert snapshot(tmp_path) == before


def test_train_out_of_another_kind(fails, train_flags, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    assert "is a file" in fails("train", *train_flags, f"--out={tmp_path / 'file'}")
    assert "is not empty" in fails("train", *train_flags, f"--out={tmp_path / 'full'}")
    assert "cannot be written" in fails("train", *train_flags, f"--out={tmp_path / 'file' / 'run'}")
    assert (tmp_path / "file").read_text() == "mine"


def test_train_leaves_no_folder_after_an_error(fails, train_flags, tmp_path):
    fails("train", *train_flags, "--model.backbone=resnet5")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume"], "name the run folder"),
        (["--resume", "nowhere"], "nowhere: no such run folder"),
        (["--resume", "{tmp}"], "is no run folder (it has no config.yaml)"),
        (["--resume", "{run}", "--optim.lr=1"], "remove --optim.lr=1"),
        (["--optim.lr=1", "--resume={run}"], "remove --optim.lr=1"),
    ],
)
def test_resume(fails, run, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    arguments = [a.format(run=run, tmp=tmp_path / "empty") for a in arguments]
    assert words in fails("train", *arguments)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("channels: 16", "channels: 24", "model.channels was 16, is 24"),
        ("name: adamw", "name: sgd", "optim.name was adamw, is sgd"),
        ("sampling_ratio: 2", "sampling_ratio: 1", "extractor.init_args.sampling_ratio was 2, is 1"),
        ("lr: 0.001", "lrr: 0.001", "'lrr'"),
        ("log_every: 1", "log_every: [", "is no valid YAML"),
    ],
)
def test_resume_with_another_config(fails, run, old, new, words, snapshot):
    (run / "metrics.json").unlink()
    text = (run / "config.yaml").read_text()
    assert old in text
    (run / "config.yaml").write_text(text.replace(old, new))
    before = snapshot(run / "checkpoints")
    assert words in fails("train", "--resume", run)
    assert snapshot(run / "checkpoints") == before


def test_resume_with_checkpoints_that_cannot_be_read(fails, run):
    (run / "metrics.json").unlink()
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"junk")
    assert "can be read" in fails("train", "--resume", run)


# ---- data, for every command that reads some


@pytest.fixture(params=["absent", "empty", "text file", "broken json", "missing image", "no image"])
def bad_data(request, coco, tmp_path):
    """A path, and what the message must name."""
    path = tmp_path / "bad"
    if request.param == "absent":
        return path, str(path)
    if request.param == "text file":
        path.write_text("hello")
        return path, str(path)
    if request.param == "empty":
        path.mkdir()
        return path, str(path)
    shutil.copytree(coco, path)
    if request.param == "broken json":
        for file in (path / "annotations").iterdir():
            file.write_text('{"images": [')
        return path, "instances_"
    for split in ("train", "val"):
        image = path / "images" / split / "002.png"
        image.unlink()
        if request.param == "no image":
            image.write_text("I am no image")
    return path, "002.png"


@pytest.mark.parametrize("command", ["train", "eval", "data"])
def test_bad_data(fails, train_flags, finished, tmp_path, bad_data, command):
    path, named = bad_data
    arguments = {
        "train": [*train_flags, f"--data.path={path}"],
        "eval": [finished, "--data", path],
        "data": [path],
    }[command]
    assert named in fails(command, *arguments)
    assert not (tmp_path / "run").exists()


def test_bench_arguments(call):
    assert call("bench", "--bogus").code == 2


# ---- eval and predict: runs


@pytest.fixture(params=["eval", "predict"])
def use(request, fails, coco, tmp_path):
    """`use(run)`: the line of `roikit eval RUN` or `roikit predict RUN ...`."""

    def of(folder) -> str:
        images = [coco / "images" / "val", "--out", tmp_path / "out"] if request.param == "predict" else []
        line = fails(request.param, folder, *images)
        assert not (tmp_path / "out").exists()
        return line

    return of


def test_no_run(use, tmp_path):
    assert f"{tmp_path / 'nowhere'}: no such run folder" in use(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "is no run folder" in use(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    assert str(tmp_path / "file") in use(tmp_path / "file")


def test_a_run_that_has_not_ended(use, run):
    (run / "model.safetensors").unlink()
    line = use(run)
    assert "has no model.safetensors" in line and f"roikit train --resume {run}" in line


@pytest.mark.parametrize("spoil", [lambda d: d[:-50], lambda d: b"junk", lambda d: b"", lambda d: b"\xff" * 8 + d])
def test_corrupt_weights(use, run, spoil):
    path = run / "model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    line = use(run)
    assert str(path) in line and "damaged" in line


def test_weights_from_elsewhere(use, run):
    path = run / "model.safetensors"
    save_file(load_file(path), path)
    assert f"{path}: was not written by roikit train" in use(run)


def test_weights_of_another_architecture(use, run):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("fc_dim: 16", "fc_dim: 20"))
    line = use(run)
    assert "another architecture" in line and "roi_heads.box_head" in line and "model.safetensors" in line


def test_broken_config_in_a_run(use, run):
    (run / "config.yaml").write_text("data: {path: [")
    line = use(run)
    assert f"{run / 'config.yaml'}: is no valid YAML" in line


def test_eval_other_categories(fails, finished, coco, tmp_path):
    other = shutil.copytree(coco, tmp_path / "other")
    for file in (other / "annotations").iterdir():
        content = json.loads(file.read_text())
        content["categories"][0]["name"] = "pancake"
        file.write_text(json.dumps(content))
    line = fails("eval", finished, "--data", other)
    assert "pancake, box" in line and "disc, box" in line


def test_eval_unknown_split(fails, finished):
    assert "nosuch" in fails("eval", finished, "--split", "nosuch")


def test_eval_out_exists(fails, finished, tmp_path):
    out = tmp_path / "metrics.json"
    out.write_text("mine")
    assert f"--out {out}: exists already" in fails("eval", finished, "--out", out)
    assert out.read_text() == "mine"
    assert "does not exist" in fails("eval", finished, "--out", tmp_path / "no" / "metrics.json")


@pytest.mark.parametrize("flags", [["--batch=0"], ["--workers=-1"], ["--batch=many"]])
def test_eval_numbers(fails, finished, flags):
    assert flags[0].split("=")[0].strip("-") in fails("eval", finished, *flags)


# ---- predict: images


def test_predict_images(call, fails, finished, coco, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    text = tmp_path / "notes.jpg"
    text.write_text("I am no image")
    cut = tmp_path / "cut.png"
    whole = (coco / "images" / "val" / "001.png").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    for bad in (tmp_path / "absent.jpg", tmp_path / "empty"):
        assert str(bad) in fails("predict", finished, coco / "images" / "val" / "001.png", bad, "--out", out)
        assert not out.exists(), "nothing is written where an argument is wrong"
    done = call("predict", finished, text, coco / "images" / "val" / "001.png", cut, "--out", out)
    assert done.code == 1 and f"{text}: not an image" in done.err and f"{cut}: cannot be decoded" in done.err
    assert (out / "001.png").exists() and (out / "predictions.json").exists()


def test_predict_out(fails, finished, coco, tmp_path, snapshot):
    (tmp_path / "mine").write_text("mine")
    for out in (tmp_path, tmp_path / "mine"):
        before = snapshot(tmp_path)
        assert f"--out {out}: is not a new or empty folder" in fails("predict", finished, coco, "--out", out)
        assert snapshot(tmp_path) == before


def test_data_sheet_exists(fails, coco, tmp_path):
    sheet = tmp_path / "sheet.png"
    sheet.write_text("mine")
    assert f"--sheet {sheet}: exists already" in fails("data", coco, "--sheet", sheet)
    assert sheet.read_text() == "mine"
    assert "--images" in fails("data", coco, "--images", "0")
