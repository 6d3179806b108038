"use strict";
// Where to draw what a method reads: the box as it reads it, its bins, its samples, and how far they are from the box.
// In feature cells, cell u from u to u + 1. A bilinear sample at v is drawn at v + ½: on the centre of cell v.
(function (root) {
  const { rules } = root;
  const rectangle = (x1, y1, x2, y2) => [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];

  // One side of the box: [start, end] of the whole and of each bin, and where on the side its samples are.
  function side(method, a, b, bins, o) {
    const [lo, size, rule] = rules.READ[method](a, b, o), beta = size / bins;
    if (rule === "cells" || rule === "floor") {
      const each = Array.from({ length: bins }, (_, i) => rules.windows[rule](lo, i * beta, (i + 1) * beta));
      return { whole: [each[0][0], each[bins - 1][1]], bins: each, points: each.map(() => []) };
    }
    const each = Array.from({ length: bins }, (_, i) => [lo + i * beta + 0.5, lo + (i + 1) * beta + 0.5]);
    const count = o.samples > 0 ? o.samples : Math.max(1, Math.ceil(beta));
    const points = each.map(([start]) =>
      rule === "hat" ? Array.from({ length: count }, (_, s) => start + ((s + 0.5) * beta) / count)
        : rule === "adaptive" ? [start] : []);
    return { whole: [lo + 0.5, lo + size + 0.5], bins: each, points };
  }

  // {frame, bins, ideal: polygons, points: of each bin, edges: {read, box}: [x1, y1, x2, y2] or null where the box is turned}
  function shape(method, box, grid, o) {
    const [rows, cols] = grid, all = Array.from({ length: rows * cols }, (_, k) => [Math.floor(k / cols), k % cols]);
    const w = (box.x2 - box.x1) / cols, h = (box.y2 - box.y1) / rows;
    const plain = all.map(([i, j]) => [box.x1 + j * w, box.y1 + i * h, box.x1 + (j + 1) * w, box.y1 + (i + 1) * h]);
    const ideal = plain.map((edges) => rectangle(...edges));
    if (!rules.READ[method]) {
      if (method !== "RotatedRoIAlign") return { frame: rectangle(box.x1, box.y1, box.x2, box.y2), bins: [], ideal, points: [] };
      const turn = (polygon) => polygon.map(([x, y]) => turned(x, y, box, o.angle));
      const points = all.map((_, k) => rules.rotatedPoints(box, grid, o, k).map(([x, y]) => [x + 0.5, y + 0.5]));
      return { frame: turn(rectangle(box.x1, box.y1, box.x2, box.y2)), bins: ideal.map(turn), ideal: [], points };
    }
    const x = side(method, box.x1, box.x2, cols, o), y = side(method, box.y1, box.y2, rows, o);
    const move = ([i, j], k) => {
      const [dy, dx] = (method === "DeformRoIPool" && o.offsets[k]) || [0, 0];
      return [o.gamma * dx * (box.x2 - box.x1), o.gamma * dy * (box.y2 - box.y1)];
    };
    const edges = all.map(([i, j], k) => {
      const [dx, dy] = move([i, j], k);
      return [x.bins[j][0] + dx, y.bins[i][0] + dy, x.bins[j][1] + dx, y.bins[i][1] + dy];
    });
    const points = all.map(([i, j], k) => {
      const [dx, dy] = move([i, j], k);
      return y.points[i].flatMap((v) => x.points[j].map((u) => [u + dx, v + dy]));
    });
    const frame = [x.whole[0], y.whole[0], x.whole[1], y.whole[1]];
    return { frame: rectangle(...frame), bins: edges.map((e) => rectangle(...e)), ideal, points,
      off: method === "DeformRoIPool" ? null : errors(frame, edges, plain, box) };
  }

  // How far what is read lies from the box, in cells: its four edges, those of each bin, and the most of all.
  function errors(frame, edges, plain, box) {
    const from = [box.x1, box.y1, box.x2, box.y2], minus = (a, b) => a.map((v, n) => v - b[n]);
    const ofBins = edges.map((e, k) => minus(e, plain[k]));
    return { box: minus(frame, from), bins: ofBins, most: Math.max(...ofBins.flat().map(Math.abs)) };
  }

  // A point of the box after the box is turned about its centre, counter-clockwise as one sees it.
  function turned(x, y, box, angle) {
    const cx = (box.x1 + box.x2) / 2, cy = (box.y1 + box.y2) / 2, u = x - cx, v = y - cy;
    return [cx + u * Math.cos(angle) + v * Math.sin(angle), cy + v * Math.cos(angle) - u * Math.sin(angle)];
  }

  root.geometry = { shape, turned };
})(globalThis.roikit);
