"""`roikit explore [RUN] [IMAGE]`: a page on this machine that shows which cells a trained extractor reads of a box."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roikit.train.errors import RunError
from roikit.train.parse import Parser

from .pictured import place_of
from .trained_runs import add_data, headings, open_runs, open_split


def make_parser() -> Parser:
    parser = Parser(
        prog="roikit explore",
        description="See in a browser how a trained detector looks at a region of an image: what it found, and the "
        "weights of any box, while you drag it. Only this machine can open the page. Without a run, the "
        "documentation's page: methods that need no training, on a picture of its own. Needs pip install "
        "'roikit[explore]'.",
    )
    parser.add_argument("run", nargs="?", type=str, default=None, help="Run folder of roikit train.")
    parser.add_argument(
        "image",
        nargs="?",
        type=str,
        default="0",
        help="A picture's file; or a number (from 0) or a file name in the evaluation split.",
    )
    parser.add_argument("--beside", type=str | None, default=None, help="Another run, shown beside it.")
    add_data(parser)
    parser.add_argument("--port", type=int, default=0, help="Of the address; 0 takes a free one.")
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise RunError(f"{' and '.join(missing)} is not installed: pip install 'roikit[explore]' brings it")
    if not 0 <= options.port < 65536:
        raise RunError(f"--port must be from 0 to 65535, not {options.port}")
    if options.run is None and options.beside is not None:
        raise RunError("--beside needs a run to stand beside")
    from roikit.explore import server

    try:
        place = server.listen(options.port)
    except OSError as error:
        raise RunError(f"--port {options.port}: cannot be had ({error.strerror}); choose another, or 0") from None
    with place:
        token = server.new_token()
        app = server.make_app(look(options) if options.run else [], token)
        print(f"http://{server.HOST}:{place.getsockname()[1]}/{token}/  (Ctrl-C stops it)", flush=True)
        server.serve(app, place)
    print("stopped")
    return 0


def look(options: Any) -> list[Any]:
    """The runs, each with its detector and what it makes of the image.

    Raises:
        RunError: no such run or image, a run whose weights cannot be shown.
        DataError: a file that is no image, data that cannot be used.
    """
    from roikit.explore.viewer import Viewer
    from roikit.train.trained import load_trained, pick_device

    runs = open_runs([options.run, *([options.beside] if options.beside else [])])
    for run in runs:
        if run.config.data.proposals is not None:
            raise RunError(f"{run.path}: has no RPN, it reads proposals from a file, so it finds nothing by itself")
    image = find_image(options, runs)
    viewers = []
    for run, name in zip(runs, headings(runs), strict=True):
        model, categories, _ = load_trained(run.path)
        try:
            viewers.append(Viewer(model.to(pick_device(options.cpu)), image, run.name, name, categories))
        except ValueError as error:  # no pooling whose weights can be seen, an extractor that needs more than boxes
            raise RunError(f"{run.path}: its weights cannot be shown ({error})") from None
    return viewers


def find_image(options: Any, runs: Sequence[Any]) -> Any:
    """The picture that was named, uint8 ``Tensor[3, H, W]``."""
    from roikit.data import read_image

    if Path(options.image).is_file():
        return read_image(options.image)
    data, name = open_split(runs[:1], options.data, options.split)
    return data[place_of(data, options.image, name)][0]
