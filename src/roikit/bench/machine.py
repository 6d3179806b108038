"""What numbers were measured on."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("roikit", "torch", "torchvision", "numba", "triton", "onnxruntime", "openvino", "mmcv")


def machine(device: str = "cpu") -> dict[str, Any]:
    """Processor, cores, threads, versions; of a GPU its name too."""
    facts: dict[str, Any] = {"cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if device == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**facts, "python": platform.python_version()}


def file_name(facts: dict[str, Any]) -> str:
    """The machine as a name for a file: "amd-epyc-2-cores"."""
    text = facts.get("gpu") or f"{facts['cpu']} {facts['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("(r)", "").replace("(tm)", "")).strip("-")


def described(facts: dict[str, Any]) -> str:
    """One line for below a table."""
    where = facts.get("gpu") or f"{facts['threads']} threads of {facts['cores']} cores, {facts['cpu']}"
    versions = [f"{name} {facts[name]}" for name in PACKAGES if name in facts and name != "roikit"]
    return "; ".join([where, ", ".join(versions)])


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
