"use strict";
// The explorer: from the state to what is drawn, once a frame.
(function (root) {
  const { geometry, pens, rules, scene } = root, { page } = root, { state } = page;
  const $ = (id) => document.getElementById(id);
  const panels = { image: $("image"), a: $("map-a"), b: $("map-b"), plot: $("plot") };
  const sizes = {}, shown = {}, placed = {}, drawn = { timing: [] };
  const colours = () => ({ a: scene.theme.a, b: scene.theme.b });
  const nameOf = (method) => method.name + (method.detail && !/drag|turn|recorded/.test(method.detail) ? `, ${method.detail}` : "");
  let asked = false, dragging = false, picture = null;

  // One side with all that is drawn of it: where, which weights, which values
  function computed(key) {
    const side = page.side(key), { map, box, grid, o, rule } = side, parts = grid[0] * grid[1];
    const all = side.from ? page.weightsOf(side.from.entry, map, request) : undefined, served = side.method.served?.read(state, request);
    side.shape = geometry.shape(rule ?? "", box, grid, o);
    if (side.method.served) {
      side.values = served?.values ?? null;
      side.weights = served?.part(state.part) ?? null;
    } else if (all === undefined) {
      const cached = {};
      side.values = Array.from({ length: parts }, (_, k) => rules.value(rule, box, grid, map, o, k, cached));
      side.weights = rules.weights(rule, box, grid, map, o, state.part);
    } else {
      side.values = all ? all.map((part) => part.reduce((sum, w, p) => (w ? sum + w * map.values[p] : sum), 0)) : null;
      side.weights = all ? all[state.part] : null;
    }
    return side;
  }

  function windowOf(name, side) {
    const source = page.source(), whole = { x: 0, y: 0, w: source.width, h: source.height };
    if (name === "image") return whole;
    if (!source.url) return { x: -7, y: -7, w: source.width + 14, h: source.height + 14 };
    if (!state.zoom) return whole;
    const { x1, y1, x2, y2 } = side.pixels, last = shown[name], size = Math.max(x2 - x1, y2 - y1), edge = last ? last.w * 0.03 : 0;
    const fits = last && last.source === source && last.stride === side.map.stride[0] && x1 > last.x + edge && y1 > last.y + edge
      && x2 < last.x + last.w - edge && y2 < last.y + last.h - edge && size > last.w * 0.35;
    if (last && (dragging || fits) && last.source === source) return last;
    const w = Math.max(size * 1.12, 1) + 3.2 * side.map.stride[0];
    return { x: (x1 + x2 - w) / 2, y: (y1 + y2 - w) / 2, w, h: w, source, stride: side.map.stride[0] };
  }

  function frame() {
    const began = performance.now();
    asked = false;
    const sides = ["a", "b"].filter((name) => state[name] !== "none").map((name) => ({ ...computed(state[name]), name }));
    drawn.sides = sides;
    const source = page.source(), busy = dragging;
    draw("image", (pen, window) => scene.image(pen, window, { picture, source, state, sides, marks: drawn.marks?.() ?? [], busy: false }));
    for (const side of sides) draw(side.name, (pen, window) => scene.method(pen, window, side, { state, colour: colours()[side.name], busy, picture: under(side), source }), side);
    plot(sides);
    root.readout.show(sides, state);
    drawn.timing.push(performance.now() - began);
    if (drawn.timing.length > 600) drawn.timing.shift();
  }

  // What is drawn under a method's weights: the image for masks, which follow what is seen there, else the map
  const under = ({ from, method }) => ((state.base === "auto" ? from || method.served : state.base === "image") ? picture : null);

  function draw(name, paint, side) {
    const size = sizes[name];
    if (!size?.width) return;
    const window = (shown[name] = windowOf(name, side));
    placed[name] = paint(new pens.CanvasPen(panels[name], size.width, size.height), window);
  }

  // The value of the part while the box moves one cell either way, in steps of a 64th
  function lines(sides) {
    const most = Math.max(1, Math.round(sides[0].map.stride[1])), steps = 64;
    const shifts = Array.from({ length: 2 * steps + 1 }, (_, n) => ((n - steps) / steps) * most);
    const values = sides.map(({ rule, box, grid, map, o, from, method }) => {
      if (method.served) return method.served.line(state, shifts, request);
      if (from) return [];
      const cached = {};
      return shifts.map((shift) => {
        const dx = shift / map.stride[1];
        cached.cols = undefined;
        return rules.value(rule, { ...box, x1: box.x1 + dx, x2: box.x2 + dx }, grid, map, o, state.part, cached);
      });
    });
    return { most, shifts, values };
  }

  function plot(sides) {
    const found = (drawn.lines = lines(sides)), some = found.values.some((line) => line.length);
    if (panels.plot.hidden === some) panels.plot.hidden = !some;
    if (!sizes.plot?.width || !some) return;
    drawPlot(new pens.CanvasPen(panels.plot, sizes.plot.width, sizes.plot.height), sides, found);
  }

  function drawPlot(pen, sides, { shifts, values, most }) {
    scene.plot(pen, values, shifts, { unit: `the box moves right, image pixels (a cell is ${most})`,
      colours: sides.map(({ name }) => colours()[name]), names: sides.map(({ method }) => nameOf(method).replace(/, aligned$/, "")) });
  }

  // The view as a picture, with either pen
  function paintAll(pen, width) {
    const gap = 16, count = 1 + drawn.sides.length, w = (width - gap * (count + 1)) / count, head = 44;
    const sub = (wide, high) => Object.create(pen, { width: { value: wide }, height: { value: high } });
    const high = { image: (w * page.source().height) / page.source().width, map: w };
    pen.rect(0, 0, pen.width, pen.height, { fill: scene.theme.paper });
    const source = page.source();
    const each = [["image", "The image", (p, window) => scene.image(p, window, { picture, source, state, sides: drawn.sides, marks: [], busy: true })]];
    for (const side of drawn.sides) {
      each.push([side.name, nameOf(side.method), (p, window) => scene.method(p, window, side, { state, colour: colours()[side.name], busy: true, picture: under(side), source })]);
    }
    each.forEach(([name, title, paint], n) => {
      const x = gap + n * (w + gap), own = sub(w, name === "image" ? high.image : high.map);
      pen.text(x, head / 2 + 4, title, { size: 15, weight: 600, fill: scene.theme[name] ?? scene.theme.ink, align: "left" });
      pen.move(x, head, () => paint(own, shown[name]));
    });
    if (high.map - high.image > 120 && !panels.plot.hidden) pen.move(gap, head + high.image + 12, () => drawPlot(sub(w, high.map - high.image - 12), drawn.sides, drawn.lines));
    return head + Math.max(high.map, high.image) + gap;
  }

  function request() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(frame);
  }

  // After any change of the state; `kept` is a change within a drag, which the address waits for
  function changed(kept = false) {
    page.settle();
    if (!kept) history.replaceState(null, "", `#${page.toHash()}`);
    root.controls?.sync();
    request();
  }

  function load() {
    const { url, width, height } = page.source();
    panels.image.style.aspectRatio = `${width} / ${height}`;
    if (!url) { picture = null; request(); return; }
    const next = new Image();
    next.onload = () => { picture = next; request(); };
    next.src = url;
  }

  function start() {
    scene.readTheme();
    const observer = new ResizeObserver((entries) => {
      for (const { target, contentRect } of entries) sizes[target.dataset.panel] = { width: contentRect.width, height: contentRect.height };
      request();
    });
    for (const [name, canvas] of Object.entries(panels)) { canvas.dataset.panel = name; observer.observe(canvas); }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { scene.readTheme(); request(); });
    page.fromHash(location.hash);
    addEventListener("hashchange", () => { if (location.hash.slice(1) !== page.toHash()) { page.fromHash(location.hash); load(); root.controls?.sync(); } });
    load();
  }

  root.explorer = { changed, computed, drawn, load, nameOf, paintAll, panels, placed, request, shown, start, drag: (on) => { dragging = on; request(); } };
})(globalThis.roikit);
