"use strict";
// What the page shows: one state, the maps that it reads, and the state as the address's hash, so that it can be linked.
(function (root) {
  const { ARTICLE, METHODS } = root.methods, recorded = root.recorded;
  const GAMMA = 0.1;
  const START = { source: "scene", level: 1, channel: 0, box: { x1: 206, y1: 49, x2: 329, y2: 171 }, bins: 7, samples: 2,
    mode: "max", base: "auto", a: "pool", b: "align", part: 16, angle: 25, offsets: {}, zoom: true };
  const state = structuredClone(START);
  const byKey = (key) => METHODS.find((method) => method.key === key);

  // Sources: {name, width, height (image pixels), url, levels: [{stride: [y, x], height, width, channels}]}
  const bytes = (text) => Float32Array.from(atob(text), (c) => c.charCodeAt(0) / 255);
  const level = (map) => ({ stride: [map.stride, map.stride], height: map.height, width: map.width, channels: map.channels.map(bytes) });
  const sources = {
    scene: { name: "picture", ...recorded.image, levels: recorded.levels.map(level), objects: recorded.objects },
    article: { name: "8 × 8 example", width: 128, height: 128, url: null, objects: [],
      levels: [{ stride: [16, 16], height: 8, width: 8, channels: [Float32Array.from(ARTICLE)] }] },
  };
  const runs = Object.fromEntries(Object.entries(recorded.runs).map(([name, run]) => [name, { ...run, map: level(run.map) }]));

  const source = () => sources[state.source];
  const clamped = (n, list) => list[Math.min(n, list.length - 1)];

  // One side of the comparison: its method, its map, its box in cells, the settings that rules.js takes.
  function side(key) {
    const method = byKey(key), from = method.recorded ? nearest(method.recorded) : null;
    const given = from ? runs[method.recorded].map : method.served ? method.served.level(state) : clamped(state.level, source().levels);
    const map = { ...given, values: clamped(state.channel, given.channels) }, [sy, sx] = map.stride;
    const pixels = from ? from.pixels : method.served ? method.served.box(state) : state.box;
    const box = { x1: pixels.x1 / sx, y1: pixels.y1 / sy, x2: pixels.x2 / sx, y2: pixels.y2 / sy };
    const o = { ...method.settings, samples: state.samples, mode: state.mode, gamma: GAMMA, offsets: state.offsets,
      angle: (state.angle * Math.PI) / 180 };
    return { key, method, map, box, pixels, o, grid: method.served ? method.served.grid : [state.bins, state.bins], from, rule: method.method };
  }

  function nearest(name) {
    const { x1, y1, x2, y2 } = state.box;
    const far = (b) => Math.abs(b[0] - x1) + Math.abs(b[1] - y1) + Math.abs(b[2] - x2) + Math.abs(b[3] - y2);
    const entry = runs[name].boxes.reduce((best, one) => (far(one.box) < far(best.box) ? one : best));
    const [a, b, c, d] = entry.box;
    return { entry, pixels: { x1: a, y1: b, x2: c, y2: d }, exact: far(entry.box) === 0 };
  }

  // Recorded weights: a grey picture, decoded on first use. Null until then; `ready` is called when they are there.
  function weightsOf(entry, map, ready) {
    if (entry.weights) return entry.weights;
    if (entry.loading) return null;
    entry.loading = true;
    const picture = new Image();
    picture.onload = () => {
      const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height), cols = canvas.width / entry.width;
      entry.weights = entry.scale.map((scale, k) => {
        const out = new Float64Array(map.height * map.width), top = Math.floor(k / cols) * entry.height, left = (k % cols) * entry.width;
        for (let v = 0; v < entry.height; v++) {
          for (let u = 0; u < entry.width; u++) {
            out[(entry.top + v) * map.width + entry.left + u] = (data[4 * ((top + v) * canvas.width + left + u)] / 255) * scale;
          }
        }
        return out;
      });
      ready();
    };
    picture.src = entry.url;
    return null;
  }

  // The address: only what differs from the start
  function toHash() {
    const { box } = state, words = [];
    for (const key of ["source", "level", "channel", "bins", "samples", "mode", "base", "a", "b", "part", "angle", "zoom"]) {
      if (state[key] !== START[key]) words.push(`${key}=${state[key]}`);
    }
    const corners = [box.x1, box.y1, box.x2, box.y2].map((v) => Math.round(v * 1000) / 1000).join(",");
    if (corners !== Object.values(START.box).join(",")) words.push(`box=${corners}`);
    return words.join("&");
  }

  function fromHash(hash) {
    const next = structuredClone(START);
    for (const [key, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
      if (key === "box") {
        const [x1, y1, x2, y2] = value.split(",").map(Number);
        if ([x1, y1, x2, y2].every(Number.isFinite) && x2 >= x1 && y2 >= y1) next.box = { x1, y1, x2, y2 };
      } else if (key === "zoom") next.zoom = value === "true";
      else if (typeof START[key] === "number" && Number.isFinite(Number(value))) next[key] = Number(value);
      else if (key === "mode" && ["max", "average"].includes(value)) next.mode = value;
      else if (key === "base" && ["auto", "map", "image"].includes(value)) next.base = value;
      else if (key === "source" && Object.hasOwn(sources, value)) next.source = value;
      else if ((key === "a" && byKey(value)) || (key === "b" && (byKey(value) || value === "none"))) next[key] = value;
    }
    next.bins = Math.min(Math.max(Math.round(next.bins), 1), 14);
    next.samples = Math.min(Math.max(Math.round(next.samples), 0), 8);
    next.part = Math.min(Math.max(Math.round(next.part), 0), next.bins ** 2 - 1);
    next.level = Math.min(Math.max(Math.round(next.level), 0), 9);
    next.channel = Math.min(Math.max(Math.round(next.channel), 0), 9);
    Object.assign(state, next);
    settle();
  }

  // What cannot be together: recorded weights are of the picture and of 7 × 7 parts.
  function settle() {
    for (const name of ["a", "b"]) {
      const method = byKey(state[name]);
      if (method?.served && method.served.grid[0] === method.served.grid[1] && state.bins !== method.served.grid[0]) {
        state.bins = method.served.grid[0];
        state.part = Math.min(state.part, state.bins ** 2 - 1);
      }
      if (!method?.recorded) continue;
      if (state.source !== "scene") state[name] = "align";
      else if (state.bins !== 7) { state.bins = 7; state.part = 24; }
    }
  }

  root.page = { GAMMA, START, byKey, fromHash, runs, settle, side, source, sources, state, toHash, weightsOf };
})(globalThis.roikit);
