"""`roikit train`: train, evaluate, draw. `roikit train --resume RUN` continues a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from roikit.train.config import TrainConfig
from roikit.train.errors import RunError
from roikit.train.parse import checked, make_parser, parse, read
from roikit.train.runfolder import RunFolder, next_folder

DESCRIPTION = """Train a two-stage detector with a chosen region feature extractor, evaluate it and draw what it found.
Without arguments: the easy level of Shapes, a set drawn by this package, a few minutes on two CPU cores.
--data PATH is short for --data.path PATH, --mimic fg for --mimic.regions fg, --video fgfa for --video.method fgfa."""
SHORT = {"--data": "--data.path", "--mimic": "--mimic.regions", "--video": "--video.method"}


def main(arguments: Sequence[str]) -> int:
    arguments = [_long(argument) for argument in arguments]
    if {"-h", "--help"} & set(arguments) or any(a.startswith("--print_config") for a in arguments):
        arguments = checked(arguments)
        parser = make_parser(description=DESCRIPTION)
        if {"-h", "--help"} & set(arguments):
            parser.add_argument("--resume", metavar="RUN", help="Continue the run in this folder with its config.yaml.")
        parser.parse_args(list(arguments))  # prints and ends
    resume = _resume(arguments)
    run: RunFolder | None = None
    if resume is None:
        config, text = parse(arguments)
    else:
        run = RunFolder.open(resume)
        config, text = read(run.config)
        if run.metrics.exists():
            print(f"{run.path}: this run is complete; its metrics are in {run.metrics}")
            return 0
    from roikit.train.devices import make_accelerator

    accelerator = make_accelerator(config.cpu, config.precision)
    try:
        return _train(config, text, run, accelerator)
    finally:
        if accelerator.num_processes > 1 and sys.exc_info()[0] is None:
            accelerator.end_training()


def _long(argument: str) -> str:
    """The flag that a short one stands for; everything else as it is."""
    name, equals, value = argument.partition("=")
    return SHORT.get(name, name) + equals + value


def _resume(arguments: Sequence[str]) -> str | None:
    """RUN of `--resume RUN`; every other argument beside it is an error."""
    for place, argument in enumerate(arguments):
        if argument == "--resume" or argument.startswith("--resume="):
            inline = argument.partition("=")[2]
            rest = [*arguments[:place], *arguments[place + 1 :]]
            if not inline and place < len(arguments) - 1:
                inline = rest.pop(place)
            if not inline:
                raise RunError("--resume: name the run folder")
            if rest:
                raise RunError(f"--resume: takes its configuration from {inline}/config.yaml; remove {rest[0]}")
            return inline
    return None


def _new_run(config: TrainConfig, main_process: bool) -> RunFolder:
    """A folder for the run, the same in every process; not yet made.

    Raises:
        RunError: `out` holds something.
    """
    from accelerate.utils import broadcast_object_list

    chosen: list[Any] = [str(config.out or next_folder(config.data.path)) if main_process else None]
    broadcast_object_list(chosen)
    run = RunFolder(chosen[0])
    run.check_new()
    return run


def _train(config: TrainConfig, text: str, run: RunFolder | None, accelerator: Any) -> int:
    from roikit.commands.pictures import draw
    from roikit.train.datasets import open_splits
    from roikit.train.loop import train
    from roikit.train.table import print_metrics

    main_process = accelerator.is_main_process
    if run is None:
        run = _new_run(config, main_process)
    train_set, eval_set, transform = open_splits(config, accelerator)
    if main_process:
        print(f"run folder {run.path}", flush=True)
    try:
        metrics = train(config, text, run, train_set, eval_set, transform, accelerator)
    except KeyboardInterrupt:
        if main_process:
            print(f"\nstopped; continue with: roikit train --resume {run.path}", file=sys.stderr, flush=True)
        return 130
    if metrics is not None:
        print_metrics(metrics, title=f"{config.data.path}, {config.data.eval_split} split: ")
        print(f"training {metrics['train_seconds']:.0f} s, evaluation {metrics['seconds']:.0f} s")
        files = [run.weights, run.metrics]
        if config.pictures:
            files += draw(run, config, eval_set)
        print("wrote " + ", ".join(str(path) for path in files))
    return 0
