"""OpenVINO, on a model of one operator; its inputs are set before the clock starts.

Its PSROIPooling is left out: it reads a box's last pixel, rounds before it scales, and gives other values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from roikit.bench.peers import Peer, Rival
from roikit.bench.scenes import PARTS, Scene

from .keep import keeping


def rival(operation: str, scene: Scene) -> Rival | None:
    x, boxes, scale = scene.maps[0], scene.boxes.numpy(), scene.scale
    if x.dtype != torch.float32:
        return None
    if operation in ("roi_align", "roi_align_adaptive"):
        corners, index = np.ascontiguousarray(boxes[:, 1:]), boxes[:, 0].astype(np.int32)
        samples = 2 if operation == "roi_align" else 0
        return _set(
            lambda ops, *given: ops.roi_align(*given, PARTS, PARTS, samples, scale, "avg", "asymmetric"),
            [x.numpy(), corners, index],
        )
    if operation == "roi_pool":
        return _set(lambda ops, *given: ops.roi_pooling(*given, [PARTS, PARTS], scale, "max"), [x.numpy(), boxes])
    if operation == "deform_ps_roi_pool":
        out = x.shape[1] // PARTS**2

        def make(ops: Any, data: Any, coords: Any, offsets: Any) -> Any:
            bins = (PARTS, "bilinear_deformable", 4, 4, 0.1, PARTS)
            return ops.deformable_psroi_pooling(data, coords, out, scale, *bins, offsets=offsets)

        return _set(make, [x.numpy(), boxes, scene.offset.numpy()])
    return None


def _set(make: Callable[..., Any], inputs: list[np.ndarray]) -> Rival:
    """A request of one operator with torch's number of threads, in float32."""
    import openvino
    from openvino import opset14

    parameters = [opset14.parameter(list(value.shape), value.dtype) for value in inputs]
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = openvino.Model([make(opset14, *parameters)], parameters)
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    for at, value in enumerate(inputs):
        request.set_input_tensor(at, openvino.Tensor(value, shared_memory=True))

    def read(_: object) -> Tensor:
        return torch.from_numpy(request.get_output_tensor(0).data.copy())

    return Rival(keeping(request.infer, inputs), read)


PEER = Peer("OpenVINO", ("openvino",), "openvino", rival)
