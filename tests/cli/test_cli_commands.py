"""What the commands do when everything is right."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_run
import yaml
from PIL import Image

import roikit
from roikit.cli import MOVED
from roikit.extractors import EXTRACTORS

ROOT = Path(__file__).parents[2]


def test_help_and_version_need_no_torch():
    code = "import sys; from roikit.cli import main; main([{!r}]); print('torch' in sys.modules)"
    for argument, words in (("--help", "train a detector"), ("--version", "0.")):
        result = subprocess.run(
            [sys.executable, "-c", code.format(argument)], capture_output=True, text=True, check=True
        )
        assert words in result.stdout and result.stdout.endswith("False\n")


def test_openmp_is_set_before_torch_loads():
    code = (
        "import os, sys\n"
        "class Spy:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': print('at import of torch:', os.environ.get('GOMP_SPINCOUNT')); sys.exit()\n"
        "sys.meta_path.insert(0, Spy())\n"
        "from roikit.cli import main\n"
        "main(['info'])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "at import of torch: 1000" in result.stdout


@pytest.mark.parametrize("command", ["train", "eval", "predict", "data", "info", "bench"])
def test_every_command_has_help(call, command):
    result = call(command, "--help")
    assert result.code == 0
    assert result.out.startswith("usage: roikit")


@pytest.mark.parametrize("words", MOVED)
def test_what_has_left_the_package_says_where_it_went(fails, words):
    assert f"`{MOVED[words]}`" in fails(*words.split(), "lrf")


@pytest.mark.parametrize("module", sorted({command.split()[2] for command in MOVED.values()}))
def test_where_it_went_errors_are_lines_too(module):
    command = [sys.executable, "-m", module, "--nonsense"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"python -m {module}: error: ") and "--nonsense" in result.stderr


def test_analyze_lists_what_it_knows(call):
    result = call("analyze", "--help")
    assert result.code == 0 and "divergence" in result.out


def test_train_help_explains_every_field(call):
    text = " ".join(call("train", "--help").out.split())
    for words in ("--resume RUN", "Images per step over all processes", "Learning rate for the batch", "--extractor"):
        assert words in text


def test_print_config_is_a_config(call, tmp_path):
    flags = [
        "--extractor=PrRoIPool",
        "--extractor.output_size=5",
        "--optim.factors={body: 0.1}",
        "--data.crop=[64, 96]",
    ]
    first = call("train", *flags, "--print_config").out
    (tmp_path / "c.yaml").write_text(first)
    second = call("train", f"--config={tmp_path / 'c.yaml'}", "--print_config").out
    assert yaml.safe_load(first) == yaml.safe_load(second)
    config = yaml.safe_load(first)
    assert config["extractor"]["class_path"].endswith("PrRoIPool")
    assert config["extractor"]["init_args"]["output_size"] == 5
    assert config["optim"]["factors"] == {"body": 0.1}


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("extractor: RoIPool", "RoIPool", {"mode": "max"}),
        ("extractor: {class_path: RoIPool, init_args: {mode: average}}", "RoIPool", {"mode": "average"}),
        ("extractor: {class_path: roikit.extractors.PrRoIPool}", "PrRoIPool", {}),
        ("extractor: {init_args: {sampling_ratio: 0}}", "RoIAlign", {"sampling_ratio": 0}),
        ("optim: {lr: 0.1}", "RoIAlign", {"sampling_ratio": 2}),
    ],
)
def test_extractors_in_yaml(call, tmp_path, text, name, arguments):
    (tmp_path / "c.yaml").write_text(text)
    extractor = yaml.safe_load(call("train", "--config", tmp_path / "c.yaml", "--print_config").out)["extractor"]
    assert extractor["class_path"].endswith(name)
    assert arguments.items() <= extractor["init_args"].items()


@pytest.mark.parametrize(
    "flags",
    [
        ["--extractor=RoIPool"],
        ["--extractor=PrRoIPool", "--model.neck=c5"],
        ["--extractor=DeformRoIPool", "--model.extractor_per_level=true"],
        ["--extractor=RoIAlign", "--model.aggregate=concat"],
        ["--extractor=PSRoIAlign", "--model.aggregate=sum"],
        ["--extractor=DeformPSRoIPool", "--extractor.group_size=7", "--model.neck=c5"],
    ],
    ids=" ".join,
)
def test_swapping_the_extractor_is_one_flag(call, coco, tmp_path, flags):
    if "--model.neck=c5" in flags:
        flags = [*flags, "--model.anchor_sizes=[[16, 32, 64]]", "--extractor.expand=2.0"]
    run = tmp_path / "run"
    flags = [*flags, "--model.options={box_score_thresh: 0.0}"]
    result = call("train", f"--data={coco}", *tiny_run.FLAGS, *flags, "--optim.steps=1", f"--out={run}")
    assert result.code == 0, result.err
    assert flags[0].partition("=")[2] in yaml.safe_load((run / "config.yaml").read_text())["extractor"]["class_path"]
    assert call("eval", run, "--out", tmp_path / "again.json").code == 0  # rebuilt from the folder alone
    written = (run / "metrics.json", tmp_path / "again.json")
    assert len({json.dumps(json.loads(path.read_text())["bbox"]) for path in written}) == 1
    assert call("predict", run, coco / "images" / "val", "--out", tmp_path / "out").code == 0
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())


@pytest.mark.parametrize("name", ["DeformRoIPool", "DeformPSRoIPool"])
def test_channels_may_be_left_out_and_may_be_given(call, coco, tmp_path, name):
    printed = call("train", f"--extractor={name}", "--print_config").out
    assert yaml.safe_load(printed)["extractor"]["init_args"]["channels"] is None
    (tmp_path / "c.yaml").write_text(printed)
    again = call("train", f"--config={tmp_path / 'c.yaml'}", "--extractor.channels=16", "--print_config").out
    assert yaml.safe_load(again)["extractor"]["init_args"]["channels"] == 16
    flags = [f"--config={tmp_path / 'c.yaml'}", f"--data={coco}", *tiny_run.FLAGS, "--optim.steps=1"]
    for number, more in enumerate([[], ["--extractor.channels=16"]]):
        result = call("train", *flags, *more, f"--out={tmp_path / str(number)}")
        assert result.code == 0, result.err


def test_a_run_folder_holds_what_it_should(finished, coco):
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "log.jsonl", "tensorboard", "checkpoints", "model.safetensors", "metrics.json"} <= names
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["images"] == 6 and set(metrics["bbox"]["per_class"]) == {"disc", "box"}
    assert yaml.safe_load((finished / "config.yaml").read_text())["data"]["path"] == str(coco)


def test_eval_repeats_the_metrics_of_the_run(call, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # from any folder
    result = call("eval", finished, "--out", "metrics.json")
    assert result.code == 0
    for words in ("boxes, COCO metrics in %", "AP_small", "disc", "box", "all"):
        assert words in result.out
    again = json.loads((tmp_path / "metrics.json").read_text())
    assert again["bbox"] == json.loads((finished / "metrics.json").read_text())["bbox"]


def test_predict_writes_pictures_and_results(call, finished, coco, tmp_path):
    image = coco / "images" / "val" / "001.png"
    twin = tmp_path / "001.png"
    Image.open(image).convert("L").resize((90, 70)).save(twin)
    out = tmp_path / "out"
    result = call("predict", finished, coco / "images" / "val", twin, "--out", out, "--score", "0.1")
    assert result.code == 0, result.err
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [*(f"{n:03d}.png" for n in range(1, 7)), "001-2.png", "predictions.json"]
    )
    assert Image.open(out / "001.png").size == (64, 64)
    assert Image.open(out / "001-2.png").size == (90, 70)
    rows = json.loads((out / "predictions.json").read_text())
    assert rows and {row["image_id"] for row in rows} <= set(range(1, 8))
    for row in rows:
        x, y, w, h = row["bbox"]
        width, height = (90, 70) if row["file_name"] == str(twin) else (64, 64)
        assert 0 <= x and 0 <= y and x + w <= width + 0.02 and y + h <= height + 0.02
        assert row["category"] == ("disc", "box")[row["category_id"] - 1]


def test_data_describes_and_draws(call, coco, tmp_path):
    result = call("data", coco, "--masks", "true", "--sheet", tmp_path / "sheet.png", "--images", "3")
    assert result.code == 0
    assert "disc" in result.out and "6 images" in result.out
    assert Image.open(tmp_path / "sheet.png").width > 64
    assert "instances_val" not in call("data", coco, "--split", "train").out


def test_info(call):
    result = call("info")
    assert result.code == 0
    for words in ("torch ", "backend numba", "backend triton", "runs on cpu", "threads"):
        assert words in result.out


def test_info_lists_detectors_necks_and_backbones(call):
    """Every function that builds one, every neck, and each backbone that is not timm's own."""
    from roikit import detection
    from roikit.commands.detectors import TABLE
    from roikit.detection.necks import NECKS

    result = call("info", "--detectors")
    detectors, necks, backbones = ([name for name, _, _ in rows] for _, rows in TABLE)
    assert result.code == 0 and all(f"  {name} " in result.out for name in (*detectors, *necks, *backbones))
    assert {name for name in detection.__all__ if name.endswith("rcnn")} | {"rfcn", "fgfa"} == set(detectors)
    assert set(necks) == set(NECKS) and backbones == ["internimage_tiny", "vit_adapter_tiny"]


def test_info_lists_every_extractor():
    """Run as `python -m roikit`; values worked out by hand, columns where the heading says."""
    result = tiny_run.roikit("info", "--extractors")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    heading = next(line for line in lines if line.startswith("extractor "))
    titles = ("extractor", "weights", "parameters", "gradient to box", "further arguments")
    places = [heading.index(title) for title in titles]
    rows = {}
    for line, after in itertools.pairwise(lines[lines.index(heading) + 1 :]):
        if line and not line.startswith(" "):
            name, *cells = (line[a:b].strip() for a, b in zip(places, [*places[1:], None], strict=True))
            rows[name] = cells
            assert after == f"  {getattr(roikit, name).paper}" and after.strip()
            assert line[places[1] - 1] == line[places[2] - 1] == " "
    assert list(rows) == [extractor.__name__ for extractor in EXTRACTORS]
    assert rows["RoIPool"] == ["Selection", "0", "no", "none"]
    assert rows["RoIAlign"] == ["Separable", "0", "yes", "none"]
    assert rows["MaskedRoIPool"] == ["Separable", "0", "no", "masks"]
    assert rows["PSRoIAlign"] == ["ShiftedBins", "0", "yes", "none"]
    inputs = 256 * 49
    assert rows["DeformRoIPool"] == ["ShiftedBins", f"{(inputs + 1) * 98:,}", "yes", "none"]
    assert rows["ModulatedDeformRoIPool"][1] == f"{(inputs + 1) * 1024 + 1025 * 147:,}"
    assert "  channels, output_size=7, sampling_ratio=2, gamma=0.1, expand=1.0, part_size=None" in lines


def test_numbered_run_folders(call, coco, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert call("train", f"--data={coco}", *tiny_run.FLAGS, "--optim.steps=1").code == 0
        assert (tmp_path / "runs" / f"coco-{number}" / "metrics.json").exists()


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_ctrl_c(coco, tmp_path, workers):
    run = tmp_path / "run"
    flags = ["--optim.steps=100000", "--save_every=5", f"--data.workers={workers}", f"--out={run}"]
    # Ctrl-C is ignored by a job in the background of a script, which passes that on: put it back first.
    code = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code += "; runpy.run_module('roikit', run_name='__main__', alter_sys=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", f"--data.path={coco}", *tiny_run.FLAGS, *flags],
        env=tiny_run.ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that the signal can go to the whole group, as the terminal sends it
    )
    limit = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < limit:
        if (run / "log.jsonl").exists() and len((run / "log.jsonl").read_text().splitlines()) > 6:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert errors.strip().splitlines() == [f"stopped; continue with: roikit train --resume {run}"]


def test_worker_is_quiet_when_the_training_process_hangs_up():
    code = """
import multiprocessing.resource_sharer as sharer, multiprocessing.util, socket, sys, time
if sys.argv[1] == "quiet":
    from roikit.train.stream import quiet_worker
    quiet_worker(0)
shared = sharer.DupFd(1)  # what a tensor on its way to another process is
address = shared._id[0]
with socket.socket(socket.AF_UNIX) as other:
    other.connect(address)  # and goes away in the middle of the greeting
time.sleep(0.5)
"""
    for how, silent in (("quiet", True), ("as it is", False)):
        command = [sys.executable, "-c", code, how]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0
        assert (result.stderr == "") == silent, result.stderr


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision(call, coco, tmp_path, precision):
    flags = [*tiny_run.FLAGS, f"--precision={precision}", "--model.masks=true", "--optim.steps=2"]
    result = call("train", f"--data={coco}", *flags, f"--out={tmp_path / 'run'}")
    assert result.code == 0, result.err
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(0 < record["loss"] < 10 for record in log if record["kind"] == "train")
