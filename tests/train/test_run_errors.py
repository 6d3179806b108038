"""What goes wrong while a run goes on."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.data import DataLoader

from roikit.cli import main
from roikit.commands.errors import explain
from roikit.data import DataError
from roikit.train.errors import RunError
from roikit.train.loop import Training
from roikit.train.runfolder import RunFolder, next_folder


class Failing(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int):
        raise DataError("folder/a.jpg: the file is cut short")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_in_a_loader_worker_is_one_line(workers):
    with pytest.raises(DataError) as caught:
        next(iter(DataLoader(Failing(), num_workers=workers)))
    assert explain(caught.value) == "folder/a.jpg: the file is cut short"


def test_errors_of_the_program_keep_their_traceback():
    assert explain(ValueError("a bug")) is None
    assert explain(OSError("no errno")) is None
    assert explain(OSError(28, "No space left on device", "run/x")) == "run/x: No space left on device"


def test_a_loss_that_is_not_finite_ends_the_run(train, tmp_path, monkeypatch, capsys):
    plain = Training.take_step

    def explode(self, *batch):
        if self.step == 3:
            with torch.no_grad():
                next(self.detector.parameters()).fill_(float("nan"))
        return plain(self, *batch)

    monkeypatch.setattr(Training, "take_step", explode)
    run = tmp_path / "run"
    assert train(f"--out={run}", "--optim.steps=9", "--save_every=1", "--log_every=100") == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "not finite at step 4" in error and "optim.lr" in error
    assert [p.name for p in sorted((run / "checkpoints").iterdir())] == ["step_00000002.pt", "step_00000003.pt"]


def test_a_half_written_log_line_goes(tmp_path):
    run = RunFolder(tmp_path)
    lines = [json.dumps({"kind": "train", "step": step}) for step in (1, 2, 3)]
    run.log.write_text("\n".join(lines) + '\n{"kind": "tr')
    run.truncate_log(2)
    assert run.log.read_text() == "\n".join(lines[:2]) + "\n"


def test_folder_names(tmp_path):
    assert next_folder("shapes:easy", tmp_path) == tmp_path / "shapes-easy-1"
    (tmp_path / "bccd-1").mkdir()
    assert next_folder("some/where/bccd/", tmp_path) == tmp_path / "bccd-2"
    assert next_folder("train.json", tmp_path) == tmp_path / "train-1"


def test_a_new_run_needs_an_empty_folder(tmp_path):
    run = RunFolder(tmp_path / "a" / "run")
    run.create("seed: 1\n")
    assert run.config.read_text() == "seed: 1\n"
    with pytest.raises(RunError, match="is not empty"):
        run.create("seed: 2\n")
    assert run.config.read_text() == "seed: 1\n"


def test_interrupted_before_the_run_begins(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("roikit.commands.train.parse", interrupt)
    assert main(["train"]) == 130
    assert "interrupted" in capsys.readouterr().err
