"""``python compile_kernels.py OPERATION``: compiles every kernel the operation launches, for an NVIDIA GPU.

No GPU is needed, and the interpreter must be off. The calls of ``calls_OPERATION.py`` run with a launcher that compiles
the kernel for the arguments it is given, instead of running it. What compiles is printed, a line for each.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TARGET = GPUTarget("cuda", 90, 32)
TYPES = {
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.bool: "*i1",
}


def type_of(argument: Any) -> Any:
    """The type Triton's launcher would find."""
    if isinstance(argument, tuple):
        return tuple(type_of(one) for one in argument)
    if isinstance(argument, torch.Tensor):
        return TYPES[argument.dtype]
    if argument is None:
        return "constexpr"
    if isinstance(argument, bool):
        return "i1"
    if isinstance(argument, int):
        return "i32" if -(2**31) <= argument < 2**31 else "i64"
    return "fp32"


def compiler() -> tuple[Callable[..., None], dict[Any, float]]:
    """A stand-in for ``ops.gpu.run``, and what it has compiled: {(kernel, types, constants): seconds}."""
    done: dict[Any, float] = {}

    def run(kernel, programs, like, *arguments, warps=4, **constants):
        assert 1 <= len(programs) <= 3 and all(0 <= n <= 65535 for n in programs[1:]), f"{kernel.__name__}: {programs}"
        names = kernel.arg_names
        signature = {name: type_of(value) for name, value in zip(names, arguments, strict=False)}
        assert len(arguments) + len(constants) == len(names), f"{kernel.__name__} takes {names}"
        nothing = {name: None for name, value in zip(names, arguments, strict=False) if value is None}
        key = (kernel.__name__, tuple(signature.items()), tuple(sorted(constants.items())), warps)
        if key in done:
            return
        began = time.perf_counter()
        source = ASTSource(kernel, {**signature, **dict.fromkeys(constants, "constexpr")}, {**constants, **nothing})
        found = triton.compile(source, target=TARGET, options={"num_warps": warps, "enable_fp_fusion": False})
        assert ".entry" in found.asm["ptx"]
        done[key] = time.perf_counter() - began

    return run, done


def main(operation: str) -> None:
    from roikit.ops import backend, gpu

    calls = importlib.import_module(f"calls_{operation}")
    backend.choose = lambda device: "triton"
    gpu.run, done = compiler()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        calls.make(dtype)
    for (name, _, constants, warps), seconds in done.items():
        print(f"{name} {dict(constants)} {warps} warps: {seconds:.1f} s")
    print(f"compiled {len(done)} kernels")


if __name__ == "__main__":
    main(sys.argv[1])
