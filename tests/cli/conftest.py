"""A small data set, a finished run on it, and a way to call commands in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_run
from accelerate.state import AcceleratorState

from roikit.cli import main


@pytest.fixture(scope="session")
def coco(tmp_path_factory) -> Path:
    return tiny_run.make_coco(tmp_path_factory.mktemp("data") / "coco")


@pytest.fixture(scope="session")
def finished(coco, tmp_path_factory) -> Path:
    """The folder of a run that has ended (with boxes of any score, so that there are some). Do not change it."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    flags = ["--optim.steps=2", "--model.options={box_score_thresh: 0.0}", f"--out={run}"]
    assert main(["train", f"--data.path={coco}", *tiny_run.FLAGS, *flags]) == 0
    return run


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def program() -> Callable[[list[str]], int]:
    """What `call` calls: the commands. A file whose subject is a script beside the package has its own."""
    return main


@pytest.fixture
def call(capsys, program) -> Iterator[Callable[..., Result]]:
    """`call("predict", ...)` -> exit code and output."""

    def command(*arguments: object) -> Result:
        capsys.readouterr()
        code = program([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    yield command
    AcceleratorState._reset_state(reset_partial_state=True)  # a process has one precision; the next test wants its own


@pytest.fixture
def fails(call) -> Callable[..., str]:
    """`fails("predict", ...)` -> the one line on stderr of a command that ends with exit code 2."""

    def run(*arguments: object) -> str:
        result = call(*arguments)
        assert result.code == 2, (result.code, result.out, result.err)
        lines = result.err.splitlines()
        assert len(lines) == 1, result.err
        assert lines[0].startswith(("roikit", "python -m "))
        assert "error: " in lines[0] and "Traceback" not in lines[0]
        return lines[0]

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    return contents
