"""`roikit info`: what a report of a problem needs."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from roikit import __version__
from roikit.extras import MissingExtra
from roikit.train.errors import RunError

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "numba",
    "triton",
    "timm",
    "accelerate",
    "torchmetrics",
    "faster-coco-eval",
)


class Parser(argparse.ArgumentParser):
    """Python's own: this command also runs where the extra `train`, with a larger one, is not installed."""

    def error(self, message: str) -> NoReturn:
        raise RunError(message)


def make_parser() -> Parser:
    parser = Parser(prog="roikit info", description="Versions, devices, and which kernels run here.")
    parser.add_argument("--extractors", action="store_true", help="List the region feature extractors.")
    parser.add_argument("--detectors", action="store_true", help="List detectors, necks and backbones by their flags.")
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    if options.extractors or options.detectors:
        from roikit.commands import detectors, extractors

        for chosen, module in ((options.extractors, extractors), (options.detectors, detectors)):
            for line in module.listing() if chosen else ():
                print(line)
        return 0
    for name, text in facts():
        print(f"{name:18} {text}")
    return 0


def facts() -> list[tuple[str, str]]:
    """(name, value) of everything worth knowing."""
    import torch

    from roikit.sums import backend

    rows = [("python", f"{platform.python_version()} on {platform.platform()}"), ("roikit", __version__)]
    for package in PACKAGES:
        try:
            rows.append((package, version(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    rows.append(("cpu", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"))
    rows.append(("GOMP_SPINCOUNT", os.environ.get("GOMP_SPINCOUNT", "not set")))
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    rows.append(("gpu", ", ".join(gpus) or "none that torch can use"))
    for name in backend.NAMES:
        reason = backend.unavailable(name)
        rows.append((f"backend {name}", "can run" if reason is None else f"cannot run: {reason}"))
    rows += [(f"weights {name}", where) for name, where in packages()]
    forced = os.environ.get("ROIKIT_BACKEND")
    rows.append(("ROIKIT_BACKEND", forced or "not set: the backend follows the device"))
    for device in ["cpu"] + (["cuda"] if gpus else []):
        rows.append((f"runs on {device}", _ran(device)))
    return rows


def packages() -> list[tuple[str, str]]:
    """(backbone, where its ImageNet weights are without a network) of the listed weights packages."""
    try:
        from roikit.detection.state_dicts import WEIGHTS_PACKAGES, missing_package
    except MissingExtra as missing:
        return [("packages", str(missing))]
    return [
        (name, str(package) if package.path() else f"{package.distribution} is not installed: {missing_package(name)}")
        for name, package in WEIGHTS_PACKAGES.items()
    ]


def _ran(device: str) -> str:
    """The backend of a small RoIAlign on the device, which is really computed."""
    import torch

    from roikit.ops import roi_align
    from roikit.sums import backend

    try:
        features = torch.ones(1, 1, 4, 4, device=device)
        roi_align(features, torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]], device=device), 2)
        return backend.choose(torch.device(device))
    except Exception as error:  # a broken installation is what this command is asked about
        return f"failed: {error}"
