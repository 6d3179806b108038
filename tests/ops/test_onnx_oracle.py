"""ONNX Runtime's RoiAlign as a second, unrelated oracle."""

from __future__ import annotations

import pytest
import torch
from oracles import compare

import roikit

onnx = pytest.importorskip("onnx", reason="onnx, a development dependency, is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime, a development dependency, is not installed")


def session(transformation: str, size: tuple[int, int], scale: float, sampling: int):
    """A graph of one RoiAlign."""
    helper, kind = onnx.helper, onnx.TensorProto
    node = helper.make_node(
        "RoiAlign",
        ["x", "rois", "batch"],
        ["y"],
        mode="avg",
        coordinate_transformation_mode=transformation,
        output_height=size[0],
        output_width=size[1],
        spatial_scale=scale,
        sampling_ratio=sampling,
    )
    graph = helper.make_graph(
        [node],
        "one_operator",
        [
            helper.make_tensor_value_info("x", kind.FLOAT, [None] * 4),
            helper.make_tensor_value_info("rois", kind.FLOAT, [None, 4]),
            helper.make_tensor_value_info("batch", kind.INT64, [None]),
        ],
        [helper.make_tensor_value_info("y", kind.FLOAT, [None] * 4)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("transformation", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("sampling", [0, 2, 3])
@pytest.mark.parametrize("size", [(7, 7), (3, 2)])
def test_roi_align(transformation, sampling, size, rng):
    scale = 0.25
    x = torch.rand(2, 4, 19, 27, generator=rng)
    ends = torch.rand(40, 2, 2, generator=rng) * torch.tensor([27.0, 19.0]) / scale * 1.2 - 8.0
    corners = torch.cat([ends.amin(1), ends.amax(1)], 1)
    batch = torch.randint(2, (40,), generator=rng)
    run = session(transformation, size, scale, sampling)
    (expected,) = run.run(None, {"x": x.numpy(), "rois": corners.numpy(), "batch": batch.numpy()})
    extractor = roikit.RoIAlign(size, sampling, aligned=transformation == "half_pixel")
    found = extractor(x, torch.cat([batch[:, None], corners], 1), scale)
    compare("`RoIAlign`", "ONNX Runtime", found, torch.from_numpy(expected), 2e-6)
