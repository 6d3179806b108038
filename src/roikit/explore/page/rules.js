"use strict";
// How each method weighs the cells of a feature map: the 1-D rules of roikit.rules, and what a method makes of them.
// Lengths are in feature cells, angles in radians. tests/explore/test_explore_rules.py holds this file to roikit.
(function (root) {
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

  // C's rounding, half away from zero
  function whole(v) {
    const size = Math.abs(v), cut = Math.floor(size);
    return Math.sign(v) * (size - cut >= 0.5 ? cut + 1 : cut);
  }

  // Each rule adds the weights of one bin to `taps`, one entry a cell. The bin is [lo + near, lo + far], β = far - near.
  const RULES = {
    // the mean of S bilinear samples; outside [-1, N] a sample counts as 0; S ≤ 0 takes ⌈β⌉ samples
    hat(taps, lo, beta, near, far, samples) {
      const cells = taps.length, count = samples > 0 ? samples : Math.ceil(beta);
      for (let s = 0; s < count; s++) bilinear(taps, lo + near + ((s + 0.5) * beta) / count, 1 / count, cells);
    },
    // the exact mean of the bilinear interpolant, zero beyond the map
    integral(taps, lo, beta, near) {
      if (beta <= 1e-10) return;
      const start = lo + near, cells = taps.length;
      for (let u = Math.max(0, Math.floor(start)); u < Math.min(cells, Math.ceil(start + beta) + 1); u++) {
        const p = start - u;
        const s0 = clamp((-1 - p) / beta, 0, 1), s1 = clamp(-p / beta, 0, 1), s2 = clamp((1 - p) / beta, 0, 1);
        taps[u] += (s1 - s0) * (1 + p + (beta * (s0 + s1)) / 2) + (s2 - s1) * (1 - p - (beta * (s1 + s2)) / 2);
      }
    },
    // one point at the bin's start, interpolated as wide as the bin
    adaptive(taps, lo, beta, near) {
      const v = lo + near, cells = taps.length;
      if (v < 0 || v >= cells) return;
      const reach = Math.max(1, Math.floor(beta + 0.5)), low = Math.floor(v), part = (v - low) / reach;
      taps[low] += 1 - part;
      if (low + reach < cells) taps[low + reach] += part;
    },
    cells(taps, lo, beta, near, far) {
      mean(taps, ...windows.cells(lo, near, far));
    },
    floor(taps, lo, beta, near, far) {
      mean(taps, ...windows.floor(lo, near, far));
    },
  };

  // the whole cells [first, stop) of a bin of RoI Pooling, before they are clipped to the map
  const windows = {
    cells: (lo, near, far) => [Math.floor(near) + lo, Math.ceil(far) + lo],
    floor(lo, near, far) {
      const first = Math.floor(lo + near);
      return [first, Math.max(Math.floor(lo + far), first + 1)];
    },
  };

  function mean(taps, first, stop) {
    const start = clamp(first, 0, taps.length), end = clamp(stop, 0, taps.length);
    for (let u = start; u < end; u++) taps[u] += 1 / (end - start);
  }

  function bilinear(taps, v, share, cells) {
    if (!(v >= -1 && v <= cells)) return;
    const at = clamp(v, 0, cells - 1), low = Math.floor(at), part = at - low;
    taps[low] += share * (1 - part);
    if (part > 0) taps[low + 1] += share * part;
  }

  // The weights of the N cells of an axis in bin i of K.
  function bin(rule, lo, size, bins, i, samples, cells) {
    const beta = size / bins, taps = new Float64Array(cells);
    RULES[rule](taps, lo, beta, i * beta, (i + 1) * beta, samples);
    return taps;
  }

  // How a method reads one side of a box: where it starts, how long it is, by which rule. `o` are its settings.
  const READ = {
    RoIPool(a, b, o) {
      if (o.rounding === "floor") return [a, b - a, "floor"];
      return [whole(a), Math.max(whole(b) - whole(a) + 1, 1), "cells"];
    },
    RoIAlign: (a, b, o) => (o.aligned ? [a - 0.5, b - 0.5 - (a - 0.5), "hat"] : [a, Math.max(b - a, 1), "hat"]),
    PrRoIPool: (a, b) => [a, b - a, "integral"],
    AdaptiveRoIAlign: (a, b) => [a, b - a + 1, "adaptive"],
    DeformRoIPool: (a, b) => [a - 0.5, b - 0.5 - (a - 0.5), "hat"],
  };

  // The samples of a turned box, (x, y) each: S × S in each bin. The box is turned counter-clockwise as one sees it.
  function rotatedPoints(box, grid, o, k) {
    const cos = Math.cos(o.angle), sin = Math.sin(o.angle), [rows, cols] = grid, S = o.samples || 2;
    const along = (size, bins, bin, s) => (bin + (s + 0.5) / S) * (size / bins) - size / 2;
    return Array.from({ length: S * S }, (_, s) => {
      const v = along(box.y2 - box.y1, rows, Math.floor(k / cols), Math.floor(s / S));
      const u = along(box.x2 - box.x1, cols, k % cols, s % S);
      return [(box.x1 + box.x2) / 2 - 0.5 + u * cos + v * sin, (box.y1 + box.y2) / 2 - 0.5 - u * sin + v * cos];
    });
  }

  // Part k of a region: pairs of row and column weights whose products add up to the weights of the cells.
  // box: {x1, y1, x2, y2} in cells; grid: [rows, columns]; map: {height, width, values}, row after row; o: settings.
  function part(method, box, grid, map, o, k, cached) {
    const [rows, cols] = grid, i = Math.floor(k / cols), j = k % cols;
    if (method === "RotatedRoIAlign") {
      const points = rotatedPoints(box, grid, o, k);
      return points.map(([x, y]) => {
        const row = new Float64Array(map.height), col = new Float64Array(map.width);
        bilinear(row, y, 1 / points.length, map.height);
        bilinear(col, x, 1, map.width);
        return [row, col];
      });
    }
    const [y, h, rule] = READ[method](box.y1, box.y2, o), [x, w] = READ[method](box.x1, box.x2, o);
    if (method === "DeformRoIPool") { // every bin is a region of its own, moved by γ times the box
      const [dy, dx] = o.offsets[k] ?? [0, 0], down = h / rows, across = w / cols;
      const row = bin(rule, y + i * down + o.gamma * h * dy, down, 1, 0, o.samples, map.height);
      return [[row, bin(rule, x + j * across + o.gamma * w * dx, across, 1, 0, o.samples, map.width)]];
    }
    const row = ((cached.rows ??= [])[i] ??= bin(rule, y, h, rows, i, o.samples, map.height));
    return [[row, ((cached.cols ??= [])[j] ??= bin(rule, x, w, cols, j, o.samples, map.width))]];
  }

  // Calls visit(cell, weight) for every cell that part k reads. A maximum is a weight of 1 for the cell that won.
  function read(method, box, grid, map, o, k, visit, cached = {}) {
    const most = method === "RoIPool" && o.mode === "max";
    let best = -1;
    for (const [row, col] of part(method, box, grid, map, o, k, cached)) {
      for (let v = 0; v < map.height; v++) {
        if (row[v] === 0) continue;
        for (let u = 0, p = v * map.width; u < map.width; u++, p++) {
          if (col[u] === 0) continue;
          if (!most) visit(p, row[v] * col[u]);
          else if (best < 0 || map.values[p] > map.values[best]) best = p;
        }
      }
    }
    if (best >= 0) visit(best, 1);
  }

  // The weight of every cell in part k, Float64Array(height · width).
  function weights(method, box, grid, map, o, k) {
    const out = new Float64Array(map.height * map.width);
    read(method, box, grid, map, o, k, (p, w) => { out[p] += w; });
    return out;
  }

  // What part k is: its weights times the map. `cached` is an object that the parts of one region share.
  function value(method, box, grid, map, o, k, cached) {
    let sum = 0;
    read(method, box, grid, map, o, k, (p, w) => { sum += w * map.values[p]; }, cached);
    return sum;
  }

  root.rules = { READ, rotatedPoints, value, weights, whole, windows };
})(globalThis.roikit ??= {});
