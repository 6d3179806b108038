"""ONNX Runtime, on a graph of one operator; its inputs are bound before the clock starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from roikit.bench.peers import Peer, Rival
from roikit.bench.scenes import PARTS, Scene

from .keep import keeping


def rival(operation: str, scene: Scene) -> Rival | None:
    x = scene.maps[0]
    if x.dtype not in (torch.float32, torch.float64):
        return None
    boxes = scene.boxes.numpy()  # in the maps' type already
    if operation in ("roi_align", "roi_align_adaptive"):
        settings = {
            "mode": "avg",
            "coordinate_transformation_mode": "output_half_pixel",  # RoI Align without the shift by half a cell
            "output_height": PARTS,
            "output_width": PARTS,
            "spatial_scale": scene.scale,
            "sampling_ratio": 2 if operation == "roi_align" else 0,
        }
        corners = {"rois": np.ascontiguousarray(boxes[:, 1:]), "batch": boxes[:, 0].astype(np.int64)}
        return _bound("RoiAlign", settings, {"x": x.numpy(), **corners})
    if operation == "roi_pool":
        settings = {"pooled_shape": [PARTS, PARTS], "spatial_scale": scene.scale}
        return _bound("MaxRoiPool", settings, {"x": x.numpy(), "rois": boxes})
    return None


def _bound(operator: str, settings: dict[str, Any], inputs: dict[str, np.ndarray]) -> Rival:
    """A session of one operator with torch's number of threads."""
    import onnx
    import onnxruntime

    helper = onnx.helper
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    kind = helper.np_dtype_to_tensor_dtype(inputs["x"].dtype)
    result = helper.make_tensor_value_info("y", kind, [None] * 4)
    graph = helper.make_graph([helper.make_node(operator, list(inputs), ["y"], **settings)], "one", given, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # its threads would go on spinning while the next contender is timed
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in inputs.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    binding.bind_output("y")

    def read(_: object) -> Tensor:
        return torch.from_numpy(binding.get_outputs()[0].numpy())

    return Rival(keeping(lambda: session.run_with_iobinding(binding), inputs, values), read)


PEER = Peer("ONNX Runtime", ("onnxruntime", "onnx"), "onnxruntime onnx", rival)
