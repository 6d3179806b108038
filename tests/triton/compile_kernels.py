"""``python compile_kernels.py DTYPE …``: compiles every kernel that an operation launches, for an NVIDIA GPU.

No GPU is needed, and the interpreter must be off. The calls of ``calls_SUM.py`` run with a launcher that compiles
the kernel for the arguments it is given, instead of running it. What compiles is printed, a line for each.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import BaseBackend, GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import native_specialize_impl

TARGET = GPUTarget("cuda", 90, 32)


def described(argument: Any, place: tuple[int, ...], constants: dict, attributes: dict) -> Any:
    """The type Triton's launcher finds, which makes a constant of a 1 and tells the compiler of multiples of 16."""
    if argument is None:
        constants[place] = None
        return "constexpr"
    if isinstance(argument, tuple):
        return tuple(described(one, (*place, i), constants, attributes) for i, one in enumerate(argument))
    kind, known = native_specialize_impl(BaseBackend, argument, False, True, True)
    if kind == "constexpr":
        constants[place] = known
    elif known == "D":
        attributes[place] = [["tt.divisibility", 16]]
    return kind


def compiler() -> tuple[Callable[..., None], dict[Any, float]]:
    """A stand-in for ``sums.gpu.run``, and what it has compiled: {(kernel, types, constants): seconds}."""
    done: dict[Any, float] = {}

    def run(kernel, programs, like, *arguments, warps=4, **constants):
        assert 1 <= len(programs) <= 3 and all(0 <= n <= 65535 for n in programs[1:]), f"{kernel.__name__}: {programs}"
        names = kernel.arg_names
        assert len(arguments) + len(constants) == len(names), f"{kernel.__name__} takes {names}"
        fixed: dict[Any, Any] = dict(constants)
        attributes: dict[Any, Any] = {}
        signature = {
            name: described(value, (i,), fixed, attributes)
            for i, (name, value) in enumerate(zip(names, arguments, strict=False))
        }
        key = (kernel.__name__, str(signature), str(fixed), str(attributes), warps)
        if key in done:
            return
        began = time.perf_counter()
        source = ASTSource(kernel, {**signature, **dict.fromkeys(constants, "constexpr")}, fixed, attributes)
        found = triton.compile(source, target=TARGET, options={"num_warps": warps, "enable_fp_fusion": False})
        assert ".entry" in found.asm["ptx"]
        done[key] = time.perf_counter() - began

    return run, done


def main(*dtypes: str) -> None:
    from roikit.sums import backend, gpu

    backend.choose = lambda device: "triton"
    for path in sorted(Path(__file__).parent.glob("calls_*.py")):
        gpu.run, done = compiler()
        for dtype in dtypes:
            importlib.import_module(path.stem).make(getattr(torch, dtype))
        for (name, _, constants, _, warps), seconds in done.items():
            print(f"{name} {constants} {warps} warps: {seconds:.1f} s")
        print(f"{path.stem.removeprefix('calls_')}: compiled {len(done)} kernels")


if __name__ == "__main__":
    main(*sys.argv[1:])
