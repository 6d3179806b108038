"use strict";
// Mouse, touch and keys on the panels: the box moves and changes its size, a bin is dragged, the handle turned.
(function (root) {
  const { explorer, page, scene } = root, { state } = page, { panels, placed, drawn } = explorer;
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
  let held = null; // {name, what, start, box, id}

  function at(name, event) {
    const canvas = panels[name], { left, top } = canvas.getBoundingClientRect();
    return placed[name] ? placed[name].back(event.clientX - left, event.clientY - top) : [0, 0];
  }

  const sideOf = (name) => drawn.sides?.find((side) => side.name === name);
  const inside = ([x, y], polygon) => polygon.reduce((sign, [px, py], n) => {
    const [qx, qy] = polygon[(n + 1) % polygon.length], side = Math.sign((qx - px) * (y - py) - (qy - py) * (x - px));
    return sign === null || (sign && side && sign !== side) ? null : sign || side;
  }, 0) !== null;

  // What is under a point: a handle of the box, the handle that turns, a bin's grip, the box, or nothing
  function hit(name, [x, y], touch) {
    const near = (touch ? 20 : 9) / placed[name].k, side = sideOf(name), { box } = state;
    if (side?.rule === "RotatedRoIAlign") {
      const [hx, hy] = scene.turnHandle(side);
      if (Math.hypot(x - hx, y - hy) < near * 1.3) return "turn";
    }
    if (side?.rule === "DeformRoIPool") {
      const [mx, my] = scene.middleOf(side.shape.bins[state.part]), [sy, sx] = side.map.stride;
      if (Math.hypot(x - mx * sx, y - my * sy) < near * 1.2) return "bin";
    }
    if (!side?.from) {
      const handle = scene.handlesOf(box).map(([what, hx, hy]) => [what, Math.hypot(x - hx, y - hy)]).sort((a, b) => a[1] - b[1])[0];
      if (handle[1] < near) return handle[0];
      const onEdge = (v, edge, low, high, other) => Math.abs(v - edge) < near * 0.7 && other > low && other < high;
      if (onEdge(x, box.x1, box.y1, box.y2, y)) return "w";
      if (onEdge(x, box.x2, box.y1, box.y2, y)) return "e";
      if (onEdge(y, box.y1, box.x1, box.x2, x)) return "n";
      if (onEdge(y, box.y2, box.x1, box.x2, x)) return "s";
    }
    return x > box.x1 && x < box.x2 && y > box.y1 && y < box.y2 ? "box" : null;
  }

  const CURSORS = { box: "grab", turn: "grab", bin: "grab", n: "ns-resize", s: "ns-resize", e: "ew-resize", w: "ew-resize", nw: "nwse-resize", se: "nwse-resize", ne: "nesw-resize", sw: "nesw-resize" };

  function down(name, event) {
    if (event.button || !placed[name]) return;
    const start = at(name, event), what = hit(name, start, event.pointerType === "touch") ?? (event.pointerType === "touch" ? null : "new");
    point(name, start);
    if (!what) return;
    held = { name, what, start, box: { ...state.box }, offset: [...(state.offsets[state.part] ?? [0, 0])], id: event.pointerId };
    panels[name].setPointerCapture(event.pointerId);
    if (what === "box") panels[name].style.cursor = "grabbing";
    explorer.drag(true);
  }

  function move(name, event) {
    if (!placed[name]) return;
    const here = at(name, event);
    if (!held || held.name !== name || held.id !== event.pointerId) {
      panels[name].style.cursor = CURSORS[hit(name, here, false)] ?? "crosshair";
      if (event.pointerType !== "touch") point(name, here);
      return;
    }
    pull(here);
    explorer.changed(true);
  }

  function pull([x, y]) {
    const { what, start, box } = held, { width, height } = page.source(), half = (v) => Math.round(v * 2) / 2;
    const dx = half(x - start[0]), dy = half(y - start[1]);
    if (what === "turn") {
      const cx = (box.x1 + box.x2) / 2, cy = (box.y1 + box.y2) / 2;
      state.angle = Math.round((Math.atan2(-(x - cx), -(y - cy)) * 180) / Math.PI);
    } else if (what === "bin") {
      const move = (v, size, before) => clamp(Math.round((before + v / (page.GAMMA * Math.max(size, 1))) * 100) / 100, -10, 10);
      state.offsets = { ...state.offsets, [state.part]: [move(y - start[1], box.y2 - box.y1, held.offset[0]), move(x - start[0], box.x2 - box.x1, held.offset[1])] };
    } else if (what === "box") {
      place(box.x1 + dx, box.y1 + dy, box);
    } else if (what === "new") {
      if (Math.hypot(x - start[0], y - start[1]) < 4) return;
      const [ax, ay] = [clamp(start[0], 0, width), clamp(start[1], 0, height)], [bx, by] = [clamp(x, 0, width), clamp(y, 0, height)];
      state.box = { x1: half(Math.min(ax, bx)), y1: half(Math.min(ay, by)), x2: half(Math.max(ax, bx)), y2: half(Math.max(ay, by)) };
    } else {
      const next = { ...box };
      if (what.includes("w")) next.x1 = clamp(box.x1 + dx, 0, box.x2 - 1);
      if (what.includes("e")) next.x2 = clamp(box.x2 + dx, box.x1 + 1, width);
      if (what.includes("n")) next.y1 = clamp(box.y1 + dy, 0, box.y2 - 1);
      if (what.includes("s")) next.y2 = clamp(box.y2 + dy, box.y1 + 1, height);
      state.box = next;
    }
  }

  // The box with another corner, inside the image
  function place(x1, y1, { x1: a, y1: b, x2: c, y2: d }) {
    const { width, height } = page.source(), w = c - a, h = d - b;
    const x = clamp(x1, Math.min(0, width - w), Math.max(0, width - w)), y = clamp(y1, Math.min(0, height - h), Math.max(0, height - h));
    state.box = { x1: x, y1: y, x2: x + w, y2: y + h };
  }

  function up(name) {
    if (!held) return;
    const { box, start, what } = held, still = Object.keys(box).every((key) => box[key] === state.box[key]);
    held = null;
    if (still && name === "image" && (what === "box" || what === "new")) root.served?.pick(start);
    panels[name].style.cursor = "";
    explorer.drag(false);
    explorer.changed();
  }

  // The part under the pointer
  function point(name, [x, y]) {
    const side = sideOf(name) ?? drawn.sides?.[0];
    if (!side) return;
    const [sy, sx] = side.map.stride, cell = [x / sx, y / sy], polygons = side.shape.bins.length ? side.shape.bins : side.shape.ideal;
    const over = polygons.map((bin, k) => [k, bin]).filter(([, bin]) => inside(cell, bin));
    if (!over.length) return;
    const far = ([, bin]) => { const [mx, my] = scene.middleOf(bin); return Math.hypot(mx - cell[0], my - cell[1]); };
    choosePart(over.reduce((best, one) => (far(one) < far(best) ? one : best))[0]);
  }

  function choosePart(k) {
    if (k === state.part) return;
    state.part = k;
    explorer.changed(true);
  }

  let speech = 0;
  function say() {
    clearTimeout(speech);
    speech = setTimeout(() => root.readout.set("said", root.readout.sentence(drawn.sides, state)), 350);
  }

  // Arrows move by a pixel, with Alt by a thousandth of a cell; with Shift they move the lower right corner.
  function key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const [sy, sx] = drawn.sides[0].map.stride, { width, height } = page.source(), { box } = state;
    if (step) {
      const dx = step[0] * (event.altKey ? sx / 1000 : 1), dy = step[1] * (event.altKey ? sy / 1000 : 1);
      if (event.shiftKey) state.box = { ...box, x2: clamp(box.x2 + dx, box.x1, width), y2: clamp(box.y2 + dy, box.y1, height) };
      else place(box.x1 + dx, box.y1 + dy, box);
    } else if (event.key === "[" || event.key === "]") {
      state.angle = ((state.angle + (event.key === "[" ? 5 : -5) + 540) % 360) - 180;
    } else return;
    event.preventDefault();
    explorer.changed();
    say();
  }

  // In the table of pooled values, arrows go from part to part.
  function partKey(event) {
    const cell = event.target.closest("[data-part]");
    if (!cell) return;
    const [rows, cols] = drawn.sides[0].grid, k = Number(cell.dataset.part);
    const next = { ArrowLeft: k - 1, ArrowRight: k + 1, ArrowUp: k - cols, ArrowDown: k + cols, Home: 0, End: rows * cols - 1 }[event.key];
    if (next === undefined || next < 0 || next >= rows * cols) return;
    event.preventDefault();
    choosePart(next);
    explorer.changed();
    event.currentTarget.querySelector(`[data-part="${next}"]`).focus();
    say();
  }

  function listen() {
    for (const name of ["image", "a", "b"]) {
      const canvas = panels[name];
      canvas.addEventListener("pointerdown", (event) => down(name, event));
      canvas.addEventListener("pointermove", (event) => move(name, event));
      canvas.addEventListener("pointerup", () => up(name));
      canvas.addEventListener("pointercancel", () => up(name));
      canvas.addEventListener("keydown", key);
      // a finger on the box moves it, elsewhere it scrolls the page
      canvas.addEventListener("touchstart", (event) => {
        const touch = event.changedTouches[0];
        if (event.touches.length === 1 && placed[name] && hit(name, at(name, touch), true)) event.preventDefault();
      }, { passive: false });
    }
    for (const name of ["a", "b"]) {
      const place = document.getElementById(`pooled-${name}`);
      place.addEventListener("pointerover", (event) => { const cell = event.target.closest("[data-part]"); if (cell && !held) choosePart(Number(cell.dataset.part)); });
      place.addEventListener("click", (event) => { const cell = event.target.closest("[data-part]"); if (cell) { choosePart(Number(cell.dataset.part)); explorer.changed(); } });
      place.addEventListener("keydown", partKey);
    }
  }

  root.pointer = { listen };
})(globalThis.roikit);
