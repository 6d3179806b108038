"""Learned Region Features written from the paper's Eqs. 7 to 11 alone, one region, part and cell at a time."""

from __future__ import annotations

import math

import torch


def embedding(z, size: int) -> torch.Tensor:
    """E_2i(z) = sin(z / 1000^(2i / C_E)), E_2i+1(z) = cos(z / 1000^(2i / C_E))."""
    values = []
    for i in range(size // 2):
        angle = z / 1000.0 ** (2 * i / size)
        values += [torch.sin(angle), torch.cos(angle)]
    return torch.stack(values)


def inside(box, u: int, v: int, stride: float) -> bool:
    x1, y1, x2, y2 = (float(c) for c in box)
    x, y = (u + 0.5) * stride, (v + 0.5) * stride
    return x1 <= x < x2 and y1 <= y < y2


def cells_in(box, size: tuple[int, int], stride: float) -> list[tuple[int, int]]:
    """The cells (v, u) whose centre is inside; without any, the one nearest to the box's centre."""
    height, width = size
    found = [(v, u) for v in range(height) for u in range(width) if inside(box, u, v, stride)]
    if found:
        return found
    x, y = (float(box[0] + box[2])) / 2, (float(box[1] + box[3])) / 2
    cells = [(v, u) for v in range(height) for u in range(width)]
    return [min(cells, key=lambda c: ((c[1] + 0.5) * stride - x) ** 2 + ((c[0] + 0.5) * stride - y) ** 2)]


def twice(box):
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    w, h = (box[2] - box[0]) * math.sqrt(2), (box[3] - box[1]) * math.sqrt(2)
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def support(box, size, stride, kind, n_in, n_out) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(Ω^In, Ω^Out) as cells (v, u), of a map of ``size`` cells."""
    box = [float(c) for c in box]
    mine = cells_in(box, size, stride)
    first_v, first_u = min(v for v, _ in mine), min(u for _, u in mine)
    step_x = step_y = step_out = 1
    if n_in is not None:
        step_x = max(1, math.ceil((box[2] - box[0]) / stride / math.sqrt(n_in)))  # Eq. 10
        step_y = max(1, math.ceil((box[3] - box[1]) / stride / math.sqrt(n_in)))
    if n_out is not None:
        step_out = math.ceil(math.sqrt(size[0] * size[1] / n_out))  # Eq. 11
    within = [(v, u) for v, u in mine if (v - first_v) % step_y == 0 and (u - first_u) % step_x == 0]
    everything = [(v, u) for v in range(size[0]) for u in range(size[1])]
    allowed = {"image": everything, "2x": cells_in(twice(box), size, stride), "roi": []}[kind]
    beyond = [(v, u) for v, u in allowed if (v, u) not in mine and v % step_out == 0 and u % step_out == 0]
    return within, beyond


def region_features(
    extractor, x, boxes, stride, kind="image", n_in=None, n_out=None, geometry=True, appearance=True, sizes=None
):
    """y [R, K, C] of ``x`` [B, C, H, W], with the extractor's parameters; sizes: cells of each unpadded image."""
    parts, size = extractor.parts, extractor.embed_dim
    out = []
    for row in boxes:
        image, box = int(row[0]), row[1:]
        cells_of_image = (x.shape[2], x.shape[3]) if sizes is None else sizes[image]
        within, beyond = support(box.detach(), cells_of_image, stride, kind, n_in, n_out)
        cells = sorted({*within, *beyond})
        assert len(cells) == len(within) + len(beyond)
        if geometry:
            box_code = extractor.box_shared.weight @ torch.cat([embedding(c, size) for c in box])
            queries = (extractor.box_parts.weight @ box_code).reshape(parts, -1)
        for k in range(parts):
            logits = []
            for v, u in cells:
                logit = x.new_zeros(())
                if geometry:
                    code = [embedding(x.new_tensor((c + 0.5) * stride), size) for c in (u, v)]
                    logit = logit + queries[k] @ (extractor.position.weight @ torch.cat(code))  # Eq. 8
                if appearance:
                    logit = logit + extractor.appearance.weight[k, :, 0, 0] @ x[image, :, v, u]  # Eq. 9
                logits.append(logit)
            w = torch.softmax(torch.stack(logits), 0)  # Eq. 7
            out.append(sum(w[i] * x[image, :, v, u] for i, (v, u) in enumerate(cells)))
    return torch.stack(out).reshape(len(boxes), parts, x.shape[1])
