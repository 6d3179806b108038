"""The command line: `roikit COMMAND ...`. Each command is a module of `roikit.commands`, imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from roikit import __version__
from roikit.extras import MissingExtra

# libgomp's threads otherwise spin after every operator and take the core from loaders and kernels; read when torch is
# imported, which is why it stands here and why nothing above imports torch
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

COMMANDS = {
    "train": ("roikit.commands.train", "train a detector, evaluate it, draw what it found"),
    "eval": ("roikit.commands.evaluate", "COCO metrics of a trained detector on a data set"),
    "predict": ("roikit.commands.predict", "find objects in images or folders of images"),
    "proposals": ("roikit.commands.proposals", "what a trained detector's RPN proposes, as a file"),
    "data": ("roikit.commands.data", "check a data set and describe it"),
    "analyze": ("roikit.commands.analyze", "what extractors learn"),
    "explore": ("roikit.commands.explore", "see in a browser which cells a trained extractor reads of a box"),
    "bench": ("roikit.bench", "speed of the region feature extractors beside torchvision's"),
    "info": ("roikit.commands.info", "versions, devices, which kernels run and why others cannot"),
}
# What runs in a checkout and the package has no more: the words of a command, and what to type instead.
MOVED: dict[str, str] = {
    "compare": "python -m experiments.compare",
    "claims": "python -m experiments.claims",
    "analyze complexity": "python -m experiments.complexity",
    "analyze receptive-field": "python -m experiments.spatial_support --show receptive-field",
    "analyze saliency": "python -m experiments.spatial_support --show saliency",
    "analyze sampling-locations": "python -m experiments.spatial_support --show sampling-locations",
    "analyze spatial-support": "python -m experiments.spatial_support",
    "bench --targets": "python -m benchmarks.speed --targets",
    "bench --peers": "python -m benchmarks.speed --peers",
    "bench --sweep": "python -m benchmarks.speed --sweep",
    "bench --memory": "python -m benchmarks.speed --memory",
    "bench --markdown": "python -m benchmarks.speed --markdown",
    "bench --plot": "python -m benchmarks.speed --plot",
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: roikit COMMAND [options]        roikit COMMAND --help says more",
            "",
            "Region feature extraction for object detection.",
            "",
            *lines,
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the result is the exit code: 0, 2 for something the user gave, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        print(__version__)
        return 0
    if gone := moved(arguments):
        return fail("roikit", gone)
    if name not in COMMANDS:
        return fail("roikit", f"no command {name!r}; commands are {', '.join(COMMANDS)}")
    return run(f"roikit {name}", lambda: importlib.import_module(COMMANDS[name][0]).main(rest))


def moved(arguments: Sequence[str]) -> str | None:
    """Where a command, or an option of one, has gone; None where it is still here."""
    given = [argument.partition("=")[0] for argument in arguments]
    for old, new in MOVED.items():
        words = old.split()
        plain = [word for word in words if word[0] != "-"]
        if given[: len(plain)] == plain and set(words) <= set(given):
            return f"`roikit {old}` is now `{new}`, to be run in a checkout of roikit's repository"
    return None


def run(program: str, command: Callable[[], int | None]) -> int:
    """The exit code of a command; what the user can mend is one line on stderr."""
    try:
        return int(command() or 0)
    except KeyboardInterrupt:
        return fail(program, "interrupted", code=130)
    except BrokenPipeError:  # `roikit ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MissingExtra as error:
        return fail(program, str(error))
    except (ValueError, OSError) as error:
        from roikit.commands.errors import explain

        message = explain(error)
        if message is None:
            raise
        return fail(program, message)
    except SystemExit as ending:  # argparse: --help and its own errors
        return ending.code if isinstance(ending.code, int) else 1


def fail(program: str, message: str, code: int = 2) -> int:
    """One line on stderr."""
    process = int(os.environ.get("RANK", "0"))
    where = f" [process {process}]" if process else ""
    print(f"{program}: error{where}: {message}", file=sys.stderr, flush=True)
    return code
