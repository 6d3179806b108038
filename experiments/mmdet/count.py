"""How many of mmdetection's configurations build and run with roikit's operators: one prediction on a random picture.

    python experiments/mmdet/count.py [FOLDER ...] [--all] [--out FILE]

The first configuration of every folder is tried, with --all every one. Configurations without a model for pictures
(text, video), and those that need further packages, files to fetch or proposals, count as "other".
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import warnings
from collections import Counter
from pathlib import Path

warnings.filterwarnings("ignore")  # mmdetection's dependencies warn of what is theirs, at every import
os.environ.setdefault("OMP_NUM_THREADS", "1")

from roikit.integrations.openmmlab import install  # noqa: E402  (quiet first)

install()


def attempt(file: Path) -> str:
    """ "runs", or what stopped it."""
    import torch
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmengine.config import Config
    from mmengine.model import revert_sync_batchnorm

    config = Config.fromfile(str(file))
    if "model" not in config or "data_preprocessor" not in config.model:
        return "other: no model for pictures"
    model = config.model
    for part in model.values():
        if isinstance(part, dict):
            part.pop("init_cfg", None)
    torch.manual_seed(0)
    detector = revert_sync_batchnorm(MODELS.build(model)).eval()  # there is one process
    size = (320, 352)
    sample = DetDataSample()
    shapes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), size)
    sample.set_metainfo({**shapes, "scale_factor": (1.0, 1.0)})
    picture = torch.randint(0, 255, (3, *size), dtype=torch.uint8)
    with torch.no_grad():
        data = detector.data_preprocessor({"inputs": [picture], "data_samples": [sample]}, False)
        detector.predict(data["inputs"], data["data_samples"])
    return "runs"


# What has nothing to do with operators: packages that are not asked for here, files to fetch, models of other inputs.
ELSEWHERE = (
    "is not installed",
    "mmpretrain",
    "fairscale",
    "urlopen error",
    "No such file or directory: 'configs/",
    "Only support the 4 dims",  # video
    "'FastRCNN' object has no attribute 'rpn_head'",  # proposals from a file
)


def too_long(*_: object) -> None:
    raise TimeoutError("more than 300 s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", help="of mmdetection's configs; nothing takes all")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    import mmdet
    from mmdet.utils import register_all_modules

    register_all_modules()
    root = Path(mmdet.__file__).parent / ".mim" / "configs"
    found: dict[str, str] = {}
    signal.signal(signal.SIGALRM, too_long)
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name != "_base_"):
        if options.folders and folder.name not in options.folders:
            continue
        files = sorted(folder.glob("*.py"))
        for file in files if options.all else files[:1]:
            signal.alarm(300)
            try:
                result = attempt(file)
            except Exception as error:  # whatever a model of someone else's does
                said = str(error).splitlines()[0][:160] if str(error) else ""
                kind = "other: " if any(words in str(error) for words in ELSEWHERE) else ""
                result = f"{kind}{type(error).__name__}: {' '.join(said.split())}"
            finally:
                signal.alarm(0)
            found[file.relative_to(root).as_posix()] = result
            print(f"{file.relative_to(root)}: {result}", file=sys.stderr, flush=True)
    counts = Counter("runs" if r == "runs" else "other" if r.startswith("other") else "refused"
                     if "is not among those that roikit serves" in r else "fails" for r in found.values())  # fmt: skip
    print(json.dumps(counts))
    if options.out:
        options.out.write_text(json.dumps({"counts": counts, "configurations": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
