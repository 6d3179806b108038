"use strict";
// The controls around the panels: which method, which map, which box; and the pictures that are saved.
(function (root) {
  const { explorer, methods, page, pens } = root, { state } = page, { changed } = explorer;
  const $ = (id) => document.getElementById(id);
  const option = (value, words) => Object.assign(document.createElement("option"), { value, textContent: words });
  const title = ({ name, detail }) => (detail ? `${name} (${detail})` : name);

  function fill() {
    for (const name of ["a", "b"]) {
      const choose = $(`method-${name}`);
      choose.replaceChildren(...methods.METHODS.map((method) => option(method.key, title(method))));
      if (name === "b") choose.append(option("none", "— nothing beside it —"));
    }
    const maps = [];
    for (const [key, source] of Object.entries(page.sources)) {
      source.levels.forEach((level, n) => maps.push(option(`${key} ${n}`, `${source.name}, stride ${Number(level.stride[1].toFixed(1))} (${level.height} × ${level.width})`)));
    }
    $("map").replaceChildren(...maps);
  }

  // The controls say what the state is.
  function sync() {
    const source = page.source(), level = Math.min(state.level, source.levels.length - 1);
    const [a, b] = [page.byKey(state.a), page.byKey(state.b)], uses = (test) => test(a) || (b && test(b));
    const values = { "method-a": state.a, "method-b": state.b, map: `${state.source} ${level}`, bins: state.bins, samples: state.samples, mode: state.mode, base: state.base, angle: state.angle };
    for (const [id, value] of Object.entries(values)) if ($(id).value !== String(value)) $(id).value = String(value);
    $("channel").replaceChildren(...source.levels[level].channels.map((_, n) => option(String(n), `${n + 1}`)));
    $("channel").value = String(Math.min(state.channel, source.levels[level].channels.length - 1));
    for (const [id, text] of Object.entries({ x1: state.box.x1, y1: state.box.y1, x2: state.box.x2, y2: state.box.y2 })) {
      if (document.activeElement !== $(id)) $(id).value = String(Number(text.toFixed(3)));
    }
    $("zoom").checked = state.zoom;
    $("zoom").disabled = !source.url;
    $("bins").disabled = Boolean(a.recorded || b?.recorded || a.served || b?.served);
    $("map").disabled = Boolean(root.served);
    $("samples-label").hidden = !uses((m) => ["RoIAlign", "DeformRoIPool", "RotatedRoIAlign"].includes(m.method));
    $("mode-label").hidden = !uses((m) => m.method === "RoIPool");
    $("turn").hidden = !uses((m) => m.method === "RotatedRoIAlign");
    $("move").hidden = !uses((m) => m.method === "DeformRoIPool");
    const [dy, dx] = state.offsets[state.part] ?? [0, 0];
    $("dx").value = String(dx);
    $("dy").value = String(dy);
    $("side-b").hidden = state.b === "none";
    $("beside").hidden = state.b !== "none";
    for (const name of ["a", "b"]) explorer.panels[name].style.aspectRatio = state.zoom || !source.url ? "1" : `${source.width} / ${source.height}`;
    $("stage").classList.toggle("single", state.b === "none");
    root.texts?.sync();
  }

  const numbers = { bins: "bins", samples: "samples", angle: "angle", channel: "channel" };
  function listen() {
    for (const name of ["a", "b"]) $(`method-${name}`).addEventListener("change", (event) => choose(name, event.target.value));
    for (const [id, key] of Object.entries(numbers)) {
      $(id).addEventListener("input", (event) => {
        const [i, j] = [Math.floor(state.part / state.bins), state.part % state.bins], before = state.bins;
        state[key] = Number(event.target.value);
        if (key === "bins") {
          const to = (n) => Math.min(Math.floor(((n + 0.5) * state.bins) / before), state.bins - 1);
          state.part = to(i) * state.bins + to(j);
          state.offsets = {};
        }
        changed();
      });
    }
    $("map").addEventListener("change", (event) => {
      const [key, level] = event.target.value.split(" ");
      setTo({ source: key, level: Number(level), ...(key === state.source ? {} : { box: boxFor(key) }) });
    });
    for (const id of ["mode", "base"]) $(id).addEventListener("change", (event) => { state[id] = event.target.value; changed(); });
    $("beside").addEventListener("click", () => choose("b", state.a === "align" ? "pool" : "align"));
    $("zoom").addEventListener("change", (event) => { state.zoom = event.target.checked; explorer.shown.a = explorer.shown.b = undefined; changed(); });
    for (const id of ["x1", "y1", "x2", "y2"]) $(id).addEventListener("change", () => setBox(...["x1", "y1", "x2", "y2"].map((n) => Number($(n).value))));
    for (const [id, n] of [["dy", 0], ["dx", 1]]) {
      $(id).addEventListener("input", (event) => {
        const moved = [...(state.offsets[state.part] ?? [0, 0])];
        moved[n] = Number(event.target.value);
        state.offsets = { ...state.offsets, [state.part]: moved };
        changed();
      });
    }
    $("unmove").addEventListener("click", () => { state.offsets = {}; changed(); });
    $("reset").addEventListener("click", () => { page.fromHash(""); explorer.load(); changed(); });
    $("swap").addEventListener("click", () => { if (state.b !== "none") { [state.a, state.b] = [state.b, state.a]; changed(); } });
    $("link").addEventListener("click", async () => {
      await navigator.clipboard?.writeText(location.href).catch(() => {});
      root.readout.set("said", "The address of this view is copied.");
    });
    $("png").addEventListener("click", savePicture);
    $("svg").addEventListener("click", () => download(new Blob([svg()], { type: "image/svg+xml" }), "region.svg"));
  }

  const boxFor = (key) => page.sources[key].box ?? (key === "article" ? { x1: 0, y1: 48, x2: 112, y2: 128 } : { ...page.START.box });

  function choose(name, key) {
    state[name] = key;
    const method = page.byKey(key), other = name === "a" ? "b" : "a";
    if (method?.recorded && state.source !== "scene") { state.source = "scene"; state.box = { ...page.START.box }; explorer.load(); }
    if (method?.recorded && page.byKey(state[other])?.recorded === undefined) state.level = 0; // the recorded maps' stride
    changed();
  }

  // The page set to a case: changes of the state, from a question or a link of the tables.
  function setTo(changes) {
    const before = state.source;
    Object.assign(state, { offsets: {} }, changes);
    if (state.part >= state.bins ** 2) state.part = 0;
    explorer.shown.a = explorer.shown.b = undefined;
    if (state.source !== before) explorer.load();
    changed();
  }

  function setBox(x1, y1, x2, y2) {
    if (![x1, y1, x2, y2].every(Number.isFinite)) return sync();
    state.box = { x1: Math.min(x1, x2), y1: Math.min(y1, y2), x2: Math.max(x1, x2), y2: Math.max(y1, y2) };
    changed();
  }

  function svg() {
    const pen = new pens.SvgPen(1320, 1320);
    const height = explorer.paintAll(pen, 1320);
    pen.height = Math.round(height);
    return pen.finish();
  }

  function savePicture() {
    const width = 1320, canvas = document.createElement("canvas");
    const measure = explorer.paintAll(new pens.CanvasPen(canvas, width, 10), width);
    explorer.paintAll(new pens.CanvasPen(canvas, width, Math.round(measure)), width);
    canvas.toBlob((blob) => download(blob, "region.png"));
  }

  function download(blob, name) {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  root.controls = { choose, download, fill, listen, setBox, setTo, svg, sync };
})(globalThis.roikit);
