"use strict";
// What the panels say in words and numbers: the pooled values, the part that is chosen, the error, the plot in a sentence.
(function (root) {
  const { scene } = root, $ = (id) => document.getElementById(id);
  const grids = {};
  const signed = (v, digits = 1) => { const words = Math.abs(v).toFixed(digits); return `${Number(words) === 0 ? "" : v < 0 ? "−" : "+"}${words}`; };

  function gridOf(name, [rows, cols]) {
    const had = grids[name];
    if (had?.size === `${rows} ${cols}`) return had;
    const place = $(`pooled-${name}`);
    place.style.setProperty("--cols", cols);
    place.classList.toggle("fine", cols > 8);
    const cells = [];
    place.replaceChildren(...Array.from({ length: rows }, (_, i) => {
      const row = Object.assign(document.createElement("div"), { className: "row" });
      row.setAttribute("role", "row");
      for (let j = 0; j < cols; j++) {
        const cell = document.createElement("span");
        cell.setAttribute("role", "gridcell");
        cell.dataset.part = cells.push(cell) - 1;
        cell.tabIndex = -1;
        row.append(cell);
      }
      return row;
    }));
    return (grids[name] = { size: `${rows} ${cols}`, cells, colours: [], words: [], chosen: -1 });
  }

  function pooled(side, part) {
    const grid = gridOf(side.name, side.grid);
    grid.cells.forEach((cell, k) => {
      const value = side.values?.[k], colour = value === undefined ? scene.theme.panel : scene.shade(value);
      const words = value === undefined ? "…" : value.toFixed(2);
      if (grid.words[k] !== words) cell.textContent = grid.words[k] = words;
      if (grid.colours[k] === colour) return;
      grid.colours[k] = cell.style.background = colour;
      cell.style.color = scene.inkOn(colour);
    });
    if (grid.chosen !== part) {
      grid.cells[grid.chosen]?.classList.remove("chosen");
      if (grid.cells[grid.chosen]) grid.cells[grid.chosen].tabIndex = -1;
      grid.cells[part]?.classList.add("chosen");
      if (grid.cells[part]) grid.cells[part].tabIndex = 0;
      grid.chosen = part;
    }
  }

  // How a part's value came about
  function how({ rule, weights, shape, o, from }, part) {
    if (!weights) return "";
    const cells = weights.reduce((n, w) => n + (w > 1e-9), 0), many = `${cells} cell${cells === 1 ? "" : "s"}`;
    const [sizeX, sizeY] = shape.bins[part] ? [shape.bins[part][1][0] - shape.bins[part][0][0], shape.bins[part][2][1] - shape.bins[part][1][1]] : [0, 0];
    if (rule === "RoIPool") return `${o.mode === "max" ? "the largest" : "the mean"} of ${Math.round(sizeX)} × ${Math.round(sizeY)} cells`;
    if (rule === "PrRoIPool") return `the integral over ${many}`;
    if (from || !rule) return `a mask over ${many}`;
    return `the mean of ${shape.points[part]?.length ?? 0} sample${shape.points[part]?.length === 1 ? "" : "s"}, ${many}`;
  }

  function off(side, part) {
    const { shape, map, method, from, rule } = side, [sy, sx] = map.stride;
    if (method.served) return method.served.note;
    if (from) return from.exact ? "recorded for this very box" : "recorded for the nearest box, the one drawn here";
    if (rule === "DeformRoIPool") {
      const [dy, dx] = side.o.offsets[part] ?? [0, 0], { x1, x2, y1, y2 } = side.pixels;
      return `this bin is moved by ${signed(side.o.gamma * dx * (x2 - x1))}, ${signed(side.o.gamma * dy * (y2 - y1))} px (δ = ${signed(dx, 2)}, ${signed(dy, 2)})`;
    }
    if (!shape.off) return rule === "RotatedRoIAlign" ? `turned by ${Math.round((side.o.angle * 180) / Math.PI)}°; nothing is rounded` : (method.served?.note ?? "");
    const { box, bins, most } = shape.off, pixels = box.map((v, n) => v * (n % 2 ? sy : sx));
    if (most * sx < 0.005) return "read exactly where the box is: 0 px off";
    const worst = Math.max(...bins[part].map((v, n) => Math.abs(v * (n % 2 ? sy : sx))));
    return `off by ${pixels.map((v) => signed(v)).join(", ")} px (left, top, right, bottom); this part by up to ${worst.toFixed(1)}, the worst by ${(most * Math.max(sx, sy)).toFixed(1)} px`;
  }

  const last = {};
  function set(id, words) {
    if (last[id] !== words) $(id).textContent = last[id] = words;
  }

  // What one pixel does, from the plot's lines
  function jump(line, shifts) {
    const pixel = 1 / (shifts[1] - shifts[0]), here = (line.length - 1) / 2, ahead = Math.round(pixel);
    let most = 0;
    for (let n = 0; n + ahead < line.length; n++) most = Math.max(most, Math.abs(line[n + ahead] - line[n]));
    return { now: line[Math.min(here + ahead, line.length - 1)] - line[here], most };
  }

  function show(sides, { part }) {
    for (const side of sides) {
      pooled(side, part);
      const label = `Pooled values, ${root.explorer.nameOf(side.method)}`, grid = grids[side.name];
      if (grid.label !== label) $(`pooled-${side.name}`).setAttribute("aria-label", (grid.label = label));
      const [rows, cols] = side.grid, value = side.values?.[part];
      set(`value-${side.name}`, value === undefined ? "…" : value.toFixed(3));
      set(`part-${side.name}`, `part ${Math.floor(part / cols) + 1}, ${(part % cols) + 1} of ${rows} × ${cols}`);
      set(`how-${side.name}`, how(side, part));
      set(`off-${side.name}`, off(side, part));
    }
    const { values, shifts } = root.explorer.drawn.lines ?? { values: [] };
    set("plot-words", sides.map((side, n) => {
      if (!values[n]?.length) return side.from ? `${root.explorer.nameOf(side.method)}: recorded for single boxes, so there is no line.` : "";
      const { now, most } = jump(values[n], shifts);
      return `${root.explorer.nameOf(side.method)}: one pixel to the right changes this part by ${signed(now, 3)}; in this window by up to ${most.toFixed(3)}.`;
    }).join(" "));
  }

  // For a screen reader: where the box is and what came out
  function sentence(sides, { box, part }) {
    const [x1, y1, x2, y2] = [box.x1, box.y1, box.x2, box.y2].map((v) => Number(v.toFixed(2)));
    const values = sides.filter(({ values }) => values).map((side) => `${root.explorer.nameOf(side.method)} ${side.values[part]?.toFixed(3)}`);
    return `Box ${x1}, ${y1} to ${x2}, ${y2} pixels. Part ${part + 1}: ${values.join("; ")}.`;
  }

  root.readout = { jump, sentence, set, show };
})(globalThis.roikit);
