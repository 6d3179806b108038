"""Every extractor of the listing trains on Shapes through the code of `roikit train`, by its name alone."""

from __future__ import annotations

import inspect

import pytest
import tiny_run
import torch
from accelerate.state import AcceleratorState

from roikit.extractors import EXTRACTORS
from roikit.train.datasets import open_splits
from roikit.train.devices import make_accelerator
from roikit.train.loop import Training
from roikit.train.parse import parse
from roikit.train.runfolder import RunFolder

STEPS = 3
FLAGS = [
    *tiny_run.FLAGS,
    "--data.path=shapes:tiny",
    f"--optim.steps={STEPS}",
    "--optim.warmup=0",
    "--optim.weight_decay=0",
]

NAMES = [[f"--extractor={kind.__name__}"] for kind in EXTRACTORS]
# an extractor with channel groups of its own choice is position-sensitive when it is told so
NAMES += [
    [f"--extractor={kind.__name__}", "--extractor.group_size=7"]
    for kind in EXTRACTORS
    if "group_size" in inspect.signature(kind).parameters
]


@pytest.fixture(scope="module")
def opened():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config, _ = parse(FLAGS)
    accelerator = make_accelerator(config.cpu, config.precision)
    yield accelerator, *open_splits(config, accelerator)
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("flags", NAMES, ids=lambda flags: "-".join(f.partition("=")[2] for f in flags))
def test_every_extractor_trains(opened, tmp_path, flags):
    accelerator, train_set, eval_set, transform = opened
    config, text = parse([*FLAGS, *flags])
    training = Training(config, text, RunFolder(tmp_path), train_set, eval_set, transform, accelerator)
    layers = training.detector.roi_heads.box_roi_pool
    before = {name: value.clone() for name, value in layers.named_parameters()}
    training.model.train()
    for batch in training.loader():
        training.take_step(*batch)
    assert training.step == STEPS
    losses = training.window.take(accelerator, STEPS)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert all(0 <= value < 10 for value in losses.values())
    # no decay of weights here: what has changed had a gradient
    after = dict(layers.named_parameters())
    assert [name for name, value in before.items() if torch.equal(value, after[name])] == []
