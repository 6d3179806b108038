"""Exporting modules with roikit's layers to ONNX, as standard operators."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..sums import decompositions as _decompositions


def to_onnx(
    module: nn.Module,
    args: Sequence[Any],
    file: str | os.PathLike[str] | None = None,
    *,
    dynamic_shapes: Any = None,
    **options: Any,
) -> torch.onnx.ONNXProgram:
    """Export a module in evaluation mode to ONNX by torch's exporter, without operators of roikit's own.

    RoI Align becomes ``RoiAlign``, max pooling ``MaxRoiPool``, everything else ``Gather``, ``MatMul`` and the like (see
    the page on exporting). The module itself is not changed.

    Args:
        module: an extractor, a detector's head, or any module that has some.
        args: an example of its positional arguments, with at least 2 RoIs where their number is dynamic.
        file: where to write the model; ``None``: nowhere.
        dynamic_shapes: what ``torch.export.export`` takes: which sizes are not those of the example. ``Dim.DYNAMIC``
            makes an error of a size that turns out to be fixed, ``Dim.AUTO`` fixes it.
        options: of ``torch.onnx.export``: ``input_names``, ``output_names``, ``opset_version``, …

    Returns:
        The program; ``.save(file)`` writes it, ``.model_proto`` is the model.

    Raises:
        ImportError: onnx or onnxscript is not installed (`MissingExtra`, which says what to install).
        ValueError: the module cannot be exported: it has samples or sizes that depend on values.

    Example:
        >>> import torch, roikit
        >>> from roikit.integrations.onnx import to_onnx
        >>> class Head(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.pool = roikit.RoIAlign(7)
        ...     def forward(self, features, boxes):
        ...         return self.pool(features, [boxes], 1 / 16).flatten(1)
        >>> example = (torch.rand(1, 8, 20, 30), torch.tensor([[0.0, 0.0, 64.0, 64.0], [32.0, 32.0, 96.0, 64.0]]))
        >>> program = to_onnx(Head(), example, dynamic_shapes=(None, {0: torch.export.Dim.DYNAMIC}))
        >>> "RoiAlign" in [node.op_type for node in program.model.graph]
        True
    """
    import onnxscript  # noqa: F401  (with which torch's exporter is written)

    training = {each: each.training for each in module.modules()}
    module.eval()
    try:
        with torch.no_grad():  # with gradients to boxes other operators would be recorded
            program = torch.export.export(module, tuple(args), dynamic_shapes=dynamic_shapes, strict=False)
            program = program.run_decompositions(decompositions())
    except NotImplementedError as error:  # our own words
        raise ValueError(f"{type(module).__name__} cannot be exported to ONNX: {error}") from error
    finally:
        for each, mode in training.items():
            each.training = mode
    _refuse(program, f"{type(module).__name__} cannot be exported to ONNX")
    translations_ = {**translations(), **options.pop("custom_translation_table", {})}
    options = {"verbose": False, "dynamo": True, "custom_translation_table": translations_, **options}
    found = torch.onnx.export(program, tuple(args), **options)
    assert found is not None
    if file is not None:
        found.save(file)
    return found


def _refuse(program: torch.export.ExportedProgram, what: str) -> None:
    """Raise for what has no standard operator."""
    left = sorted({str(n.target) for n in program.graph.nodes if str(n.target).startswith("roikit.")})
    if left:
        raise ValueError(
            f"{what}: it computes derivatives ({', '.join(left)}); export a module whose forward does not differentiate"
        )
    for node in program.graph.nodes:
        if node.target is operator.getitem and node.users and node.args[1] == 1:
            if str(node.args[0].target) == "torchvision.roi_pool.default":
                raise ValueError(f"{what}: MaxRoiPool says the maxima and not in which cells they are, which it reads")


def decompositions() -> dict[Any, Callable[..., Any]]:
    """What stands for each of roikit's operators: a table for ``torch.export.ExportedProgram.run_decompositions``.

    For an export of your own: a program after it has torch's and torchvision's operators alone.

    Example:
        >>> import torch, roikit
        >>> from roikit.integrations.onnx import decompositions
        >>> class Head(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.pool = roikit.RoIAlign(7)
        ...     def forward(self, features, boxes):
        ...         return self.pool(features, [boxes], 1 / 16)
        >>> example = (torch.rand(1, 8, 20, 30), torch.rand(5, 4))
        >>> program = torch.export.export(Head(), example).run_decompositions(decompositions())
        >>> [str(node.target) for node in program.graph.nodes if "roi" in str(node.target)]
        ['torchvision.roi_align.default']
    """
    return _decompositions.table()


def translations() -> dict[Any, Callable[..., Any]]:
    """For ``torch.onnx.export``'s ``custom_translation_table``: what torch's exporter does not translate itself.

    That is ``torchvision::roi_pool``, which ``decompositions`` puts for max pooling, and a comparison with a number
    that no int64 holds, which is left of RoIs that are chosen by level. ``to_onnx`` uses both tables.
    """
    import onnx
    import torchvision  # noqa: F401  (registers the operator)
    from onnxscript import opset18 as op

    def roi_pool(input, rois, spatial_scale: float, pooled_height: int, pooled_width: int):
        shape = [pooled_height, pooled_width]
        return (
            op.MaxRoiPool(input, rois, pooled_shape=shape, spatial_scale=spatial_scale),
        )  # the first of two results

    def at_most(a, b):
        if isinstance(b, int) and b > 2**63 - 1:  # what is known of a number of RoIs, which no int64 can break
            return op.Constant(value=onnx.helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True]))
        return op.LessOrEqual(a, b)

    return {torch.ops.torchvision.roi_pool.default: roi_pool, operator.le: at_most}
