"""One case measured: its contenders' times, how far peers agree, and what may be said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..sums import memory
from . import gate
from .cases import Case
from .measure import Times, take_turns
from .operations import Pool
from .peers import Peer, Rival
from .scenes import Scene

DIRECTIONS = ("forward", "backward", "both")
LAYOUTS = {"nchw": torch.contiguous_format, "last": torch.channels_last}
Call = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A peer's result beside roikit's.

    Args:
        difference: the largest one, relative to the largest value; of float16 the root mean square of both.
        agrees: it is within the rounding of the type.
        contradicts_itself: its gradient is not the gradient of its own output.
    """

    difference: float
    agrees: bool
    contradicts_itself: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """A case in one direction.

    Args:
        times: by contender: "nchw" and "last" (this package, in and out), "copy" (of the output, or of the gradient,
            into memory allocated the same way), peers by name, on a GPU "deterministic" (the backward, "nchw").
        verdicts: of the peers.
        notes: why a peer is not among them.
        refused: why no ratio may be shown.
        peaks: MB over what was there before, by contender, where it was measured.
    """

    case: Case
    direction: str
    times: dict[str, Times]
    verdicts: dict[str, Verdict]
    notes: dict[str, str]
    refused: str | None = None
    peaks: dict[str, float] = dataclasses.field(default_factory=dict)

    def ratio(self, name: str, layout: str) -> float | None:
        """A contender's time over roikit's; None where it was not timed, or nothing may be said."""
        if name not in self.times or self.withheld(name):
            return None
        return self.times[name].median / self.times[layout].median

    def withheld(self, name: str) -> str | None:
        """Why a contender's ratio is not shown."""
        if self.refused is not None:
            return self.refused
        verdict = self.verdicts.get(name)
        if verdict is not None and verdict.contradicts_itself:
            return "its gradient is not that of its output"
        if verdict is not None and not verdict.agrees:
            return f"the results disagree by {verdict.difference:.1e}"
        return None

    def as_json(self) -> dict[str, Any]:
        ratios = {
            name: {layout: self.ratio(name, layout) for layout in LAYOUTS} for name in self.times if name not in LAYOUTS
        }
        fields = dataclasses.asdict(self)
        return {
            "label": self.case.of.label,
            "map": self.case.maps.label,
            **fields.pop("case"),
            **fields,
            "ratios": ratios,
        }


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a case is measured.

    Args:
        directions: some of ``DIRECTIONS``.
        repeats, seconds: of each contender's turns, see ``take_turns``.
        gated: check the kernels first.
    """

    directions: Sequence[str] = DIRECTIONS
    repeats: int = 9
    seconds: float = float("inf")
    gated: bool = True


def measure(case: Case, peers: Mapping[str, Peer], plan: Plan, checked: dict[tuple, str | None]) -> list[Row]:
    """The rows of a case.

    Args:
        checked: what the gate has said so far; filled.
    """
    refused = None
    if plan.gated:
        key = (case.operation, case.pyramid, case.dtype, case.device)
        if key not in checked:
            checked[key] = gate.check(case)
        refused = checked[key]
    scene = case.scene()
    rivals, notes, verdicts = {}, {}, {}
    for name, peer in peers.items():
        try:
            rival = peer.rival(case.operation, scene)
            if rival is None:
                notes[name] = "it has no such operation, or not in this type"
                continue
            verdicts[name] = {"forward": _forward_verdict(case, scene, rival)}
        except Exception as error:
            notes[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            continue
        rivals[name] = rival
    rows = []
    for direction in plan.directions:
        agreed, missing = {}, dict(notes)
        taking_part = {}
        for name, rival in rivals.items():
            if direction == "forward":
                agreed[name] = verdicts[name]["forward"]
            elif rival.pool is None:
                missing[name] = "it has no gradient"
                continue
            else:
                try:
                    if "gradient" not in verdicts[name]:
                        verdicts[name]["gradient"] = _gradient_verdict(case, scene, rival)
                except Exception as error:
                    missing[name] = f"its gradient fails, {type(error).__name__}: {error}"
                    continue
                agreed[name] = max(verdicts[name].values(), key=lambda v: (not v.agrees, v.difference))
            taking_part[name] = rival
        with torch.set_grad_enabled(direction != "forward"):
            calls = contenders(case, scene, taking_part, direction)
            times = take_turns(calls, plan.repeats, plan.seconds, case.device)
        rows.append(Row(case, direction, times, agreed, missing, refused))
    return rows


def contenders(case: Case, scene: Scene, rivals: Mapping[str, Rival], direction: str) -> dict[str, Call]:
    """What takes turns: this package in both layouts, the copy, the peers."""
    calls = {name: ready(case, scene, name, None, direction) for name in LAYOUTS}
    if direction == "forward":
        out = case.of.ours(scene)(scene.maps)
        calls["copy"] = lambda: allocate(out).copy_(out)
    elif direction == "backward":
        if case.device == "cuda":
            calls["deterministic"] = _deterministic(calls["nchw"])
        calls["copy"] = lambda: [allocate(x).copy_(x) for x in scene.maps]
    return calls | {name: ready(case, scene, name, rival, direction) for name, rival in rivals.items()}


def ready(case: Case, scene: Scene, name: str, rival: Rival | None, direction: str) -> Call:
    """The call of one contender, with what it needs laid out in memory; no rival: this package in a layout.

    Of a backward the gradient of the maps alone is computed.
    """
    form = LAYOUTS.get(name, torch.contiguous_format)
    if rival is not None and direction == "forward":
        return rival.run
    pool = case.of.ours(scene) if rival is None else rival.pool
    assert pool is not None
    if direction == "forward":
        maps = [x.to(memory_format=form) for x in scene.maps]
        return lambda: pool(maps)
    leaves = _leaves(scene, form)
    out = pool(leaves)
    upstream = _upstream(out, form)
    if direction == "backward":
        return lambda: torch.autograd.grad(out, leaves, upstream, retain_graph=True)
    return lambda: torch.autograd.grad(pool(leaves), leaves, upstream)


def _deterministic(call: Call) -> Call:
    def run() -> None:
        torch.use_deterministic_algorithms(True)
        try:
            call()
        finally:
            torch.use_deterministic_algorithms(False)

    return run


def allocate(like: Tensor) -> Tensor:
    """Memory for a copy, from where the kernels' outputs come."""
    if like.device.type == "cpu" and like.dtype in memory.NUMPY:
        return memory.empty(like.shape, like.dtype)
    return torch.empty_like(like)


def _leaves(scene: Scene, form: torch.memory_format) -> list[Tensor]:
    return [x.detach().clone(memory_format=form).requires_grad_() for x in scene.maps]


def _upstream(out: Tensor, form: torch.memory_format) -> Tensor:
    values = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return values.to(out.device, out.dtype).contiguous(memory_format=form)


def _comparable(case: Case, scene: Scene, rival: Rival) -> Pool:
    if rival.plain:
        assert case.of.plain is not None
        return case.of.plain(scene)
    return case.of.ours(scene)


def _forward_verdict(case: Case, scene: Scene, rival: Rival) -> Verdict:
    with torch.no_grad():
        mine, its = _comparable(case, scene, rival)(scene.maps), rival.read(rival.run())
    return _verdict([mine], [its.to(mine.device)], case.torch_dtype)


def _gradient_verdict(case: Case, scene: Scene, rival: Rival) -> Verdict:
    assert rival.pool is not None
    found, leaves = [], []
    for pool in (_comparable(case, scene, rival), rival.pool):
        leaves = _leaves(scene, LAYOUTS["nchw"])
        out = pool(leaves)
        upstream = _upstream(out, LAYOUTS["nchw"])
        found.append(list(torch.autograd.grad(out, leaves, upstream)))
    verdict = _verdict(found[0], found[1], case.torch_dtype)
    return (
        verdict
        if verdict.agrees
        else dataclasses.replace(verdict, contradicts_itself=not _adjoint(out.detach(), upstream, leaves, found[1]))
    )


def _adjoint(out: Tensor, upstream: Tensor, maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> bool:
    """Whether a gradient is the one of an output, ⟨g, f(x)⟩ = ⟨f'(x)ᵀ g, x⟩: a pooling of twice the map is twice the
    pooling."""
    products = torch.cat([(g.double() * x.detach().double()).flatten() for g, x in zip(gradients, maps, strict=True)])
    gap = (upstream.double() * out.double()).sum() - products.sum()
    return float(gap.abs()) < 1e-3 * float(products.norm())  # of random numbers, whose sum is about as large


def _verdict(mine: Sequence[Tensor], its: Sequence[Tensor], dtype: torch.dtype) -> Verdict:
    if dtype in (torch.float32, torch.float64):
        # float32 positions on a wide map round differently
        limit = 1e-4 if dtype == torch.float32 else 1e-10
        gaps = [float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in zip(mine, its, strict=True)]
    else:
        # torchvision computes positions and weights of samples in the half type, too: single values may be far off
        limit = 0.05
        gaps = [
            float((a.float() - b.float()).square().mean().sqrt() / b.float().square().mean().sqrt())
            for a, b in zip(mine, its, strict=True)
        ]
    return Verdict(max(gaps), all(gap <= limit for gap in gaps))  # NaN agrees with nothing
