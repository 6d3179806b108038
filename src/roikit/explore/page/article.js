"use strict";
// The worked example of 8 × 8 cells, one step after another; its numbers come from rules.js.
(function (root) {
  const { methods, pens, rules, scene } = root, $ = (id) => document.getElementById(id);
  const map = { height: 8, width: 8, values: methods.ARTICLE }, box = { x1: 0, y1: 3, x2: 7, y2: 8 }, GRID = [2, 2];
  const o = { rounding: "floor", mode: "max" };
  const rows = [[3, 5], [5, 8]], cols = [[0, 3], [3, 7]];
  const sections = rows.flatMap((row) => cols.map((col) => ({ row, col })));
  const values = sections.map((_, k) => rules.value("RoIPool", box, GRID, map, o, k));
  const winners = sections.map((_, k) => rules.weights("RoIPool", box, GRID, map, o, k).indexOf(1));
  const STEPS = [
    ["The feature map", "8 × 8 numbers that a convolutional network made of an image: one channel of hundreds."],
    ["The region", "A proposal from column 0, row 3 to column 7, row 8, the ends not included: 7 × 5 cells."],
    ["Its sections", "The output has 2 × 2 parts, so the region is cut into 2 × 2 sections. 7 and 5 do not halve: ends are rounded down, and the sections have 3 × 2, 4 × 2, 3 × 3 and 4 × 3 cells."],
    ...["first", "second", "third", "last"].map((word, k) => [`Maximum of the ${word}: ${values[k].toFixed(2)}`, `The largest of the ${sections[k].row[1] - sections[k].row[0]} × ${sections[k].col[1] - sections[k].col[0]} cells (rows × columns) is ${values[k].toFixed(2)}.`]),
    ["The output", `${values[0].toFixed(2)}, ${values[1].toFixed(2)}; ${values[2].toFixed(2)}, ${values[3].toFixed(2)}. Whatever the size of the region, the output has this shape, so the same layers can read it; and every region reads the same map, which is computed once.`],
  ];
  const COLOURS = ["#0072b2", "#c2500a", "#009e73", "#a8528a"];
  let step = 0, timer = 0, size = { width: 0, height: 0 };

  function draw() {
    if (!size.width) return;
    const pen = new pens.CanvasPen($("steps"), size.width, size.height), cell = size.width / 8, { theme } = scene, last = STEPS.length - 1;
    map.values.forEach((value, p) => {
      const u = p % 8, v = Math.floor(p / 8), k = sections.findIndex(({ row, col }) => v >= row[0] && v < row[1] && u >= col[0] && u < col[1]);
      const outside = step >= 1 && k < 0, coloured = step >= 2 && k >= 0, won = coloured && winners[k] === p && step >= 3 + k;
      const colour = scene.shade(value);
      pen.rect(u * cell, v * cell, cell, cell, { fill: colour, alpha: outside ? 0.35 : 1 });
      if (coloured) pen.rect(u * cell, v * cell, cell, cell, { fill: COLOURS[k], alpha: won ? 0.95 : step - 3 === k ? 0.42 : 0.2 });
      pen.text((u + 0.5) * cell, (v + 0.5) * cell, value.toFixed(2), { size: cell * (won ? 0.34 : 0.28), weight: won ? 700 : 400, fill: won ? "#ffffff" : outside ? theme.quiet : scene.inkOn(coloured ? theme.low : colour) });
      pen.rect(u * cell, v * cell, cell, cell, { stroke: theme.line, line: 1, alpha: 0.7 });
    });
    if (step >= 2) sections.forEach(({ row, col }, k) => pen.rect(col[0] * cell + 2, row[0] * cell + 2, (col[1] - col[0]) * cell - 4, (row[1] - row[0]) * cell - 4, { stroke: COLOURS[k], line: step - 3 === k ? 5 : 3 }));
    if (step >= 1) pen.rect(1.5, 3 * cell, 7 * cell - 1.5, 5 * cell - 1.5, { stroke: theme.ink, line: 3 });
    if (step >= 3) output(pen, cell, step === last ? 4 : step - 2);
  }

  // The parts found so far, on the rows above the region
  function output(pen, cell, count) {
    const side = cell * 1.25, left = size.width / 2 - side, top = cell * 0.2;
    pen.rect(left - 8, top - 8, side * 2 + 16, side * 2 + 16, { fill: scene.theme.paper, stroke: scene.theme.ink, line: 2 });
    for (let k = 0; k < 4; k++) {
      const x = left + (k % 2) * side, y = top + Math.floor(k / 2) * side;
      pen.rect(x + 2, y + 2, side - 4, side - 4, k < count ? { fill: COLOURS[k] } : { stroke: scene.theme.line });
      if (k < count) pen.text(x + side / 2, y + side / 2, values[k].toFixed(2), { size: side * 0.3, weight: 700, fill: "#ffffff" });
    }
  }

  function go(to) {
    step = Math.min(Math.max(to, 0), STEPS.length - 1);
    [...$("step-list").children].forEach((item, n) => (n === step ? item.setAttribute("aria-current", "step") : item.removeAttribute("aria-current")));
    $("step-words").textContent = STEPS[step][1];
    if (step === STEPS.length - 1) stop();
    draw();
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    $("step-play").textContent = "Play";
  }

  function play() {
    if (timer) return stop();
    if (step === STEPS.length - 1) go(0);
    timer = setInterval(() => go(step + 1), 1700);
    $("step-play").textContent = "Pause";
  }

  function start() {
    $("step-list").replaceChildren(...STEPS.map(([name], n) => {
      const item = document.createElement("li");
      item.append(Object.assign(document.createElement("button"), { className: "inline", textContent: name, onclick: () => { stop(); go(n); } }));
      return item;
    }));
    $("step-back").addEventListener("click", () => { stop(); go(step - 1); });
    $("step-on").addEventListener("click", () => { stop(); go(step + 1); });
    $("step-play").addEventListener("click", play);
    new ResizeObserver(([{ contentRect }]) => { size = { width: contentRect.width, height: contentRect.height }; draw(); }).observe($("steps"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => requestAnimationFrame(draw));
    go(0);
  }

  root.article = { go, start, values };
})(globalThis.roikit);
