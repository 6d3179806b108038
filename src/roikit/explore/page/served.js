"use strict";
// With `roikit explore`: a run's image, what it found there, and its weights for any box, asked of the server.
(function (root) {
  const { methods, page } = root, { state } = page, $ = (id) => document.getElementById(id);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const level = (map) => ({ ...map, channels: map.channels.map((text) => Float32Array.from(bytes(text), (v) => v / 255)) });
  const corners = ({ x1, y1, x2, y2 }) => [x1, y1, x2, y2].map((v) => Math.round(v * 10000) / 10000).join(",");
  let runs = [], proposals = false;

  async function ask(address) {
    try {
      const answer = await fetch(address);
      if (!answer.ok) throw new Error(answer.status < 500 ? await answer.text() : "the server failed; its terminal says why");
      $("notice").hidden = true;
      return await answer.json();
    } catch (error) {
      $("notice").textContent = error instanceof TypeError ? "The server does not answer: start roikit explore again and open its new address." : `${error.message}.`;
      $("notice").hidden = false;
      return null;
    }
  }

  // One run: asks for the newest box, one question at a time, and keeps the last answer
  class Run {
    constructor(about, number) {
      Object.assign(this, { about, number, grid: about.grid, levels: about.levels.map(level), answer: null, asking: false, failed: null, lines: null });
    }
    level() {
      return this.levels[this.answer?.level ?? 0];
    }
    box({ box }) {
      if (!this.answer) return box;
      const [x1, y1, x2, y2] = this.answer.box;
      return { x1, y1, x2, y2 };
    }
    read({ box, channel }, request) {
      const wanted = corners(box);
      if (!this.asking && wanted !== this.answer?.wanted && wanted !== this.failed) this.fetch(wanted, request);
      if (!this.answer) return null;
      const { answer } = this, values = answer.values[Math.min(channel, answer.values.length - 1)];
      return { values, part: (k) => this.part(answer, k) };
    }
    async fetch(wanted, request) {
      this.asking = true;
      const answer = await ask(`weights.json?run=${this.number}&box=${wanted}`);
      this.asking = false;
      this.failed = answer ? null : wanted;
      if (answer) {
        this.answer = { ...answer, wanted, steps: bytes(answer.steps), parts: {} };
        if (this.number === 0 || runs.length === 1) state.level = answer.level;
        root.controls.sync();
      }
      request();
    }
    part(answer, k) {
      if (answer.parts[k]) return answer.parts[k];
      const { height, width } = this.levels[answer.level], out = new Float64Array(height * width);
      for (let v = 0, p = k * answer.height * answer.width; v < answer.height; v++) {
        for (let u = 0; u < answer.width; u++, p++) out[(answer.top + v) * width + answer.left + u] = (answer.steps[p] / 255) * answer.scale[k];
      }
      return (answer.parts[k] = out);
    }
    // The plot's line, asked for once the box rests
    line({ box, channel, part }, shifts, request) {
      const wanted = corners(box);
      if (this.lines?.wanted !== wanted) {
        clearTimeout(this.waiting);
        this.waiting = setTimeout(async () => {
          const found = this.failed === wanted ? null : await ask(`line.json?run=${this.number}&box=${wanted}&shifts=${shifts.join(",")}`);
          if (found) { this.lines = { wanted, values: found.values }; request(); }
        }, 200);
      }
      if (this.lines?.wanted !== wanted || this.lines.values.length !== shifts.length) return [];
      return this.lines.values.map((channels) => channels[Math.min(channel, channels.length - 1)][part]);
    }
    get note() {
      return this.answer ? `level ${this.answer.level + 1} of ${this.levels.length}; weights in ${this.answer.milliseconds} ms` : "";
    }
  }

  async function open() {
    const about = await ask("about.json");
    if (!about) return;
    runs = about.runs.map((run, n) => new Run(run, n));
    const live = methods.METHODS.filter((method) => !method.recorded);
    methods.METHODS.splice(0, methods.METHODS.length, ...about.runs.map((run, n) => methodOf(run, n)), ...live);
    for (const name of Object.keys(page.sources)) delete page.sources[name];
    const best = about.runs[0].detections[0]?.box ?? [about.width / 4, about.height / 4, (about.width * 3) / 4, (about.height * 3) / 4];
    const box = { x1: best[0], y1: best[1], x2: best[2], y2: best[3] };
    page.sources.run = { name: "image", width: about.width, height: about.height, url: "image.png", levels: runs[0].levels, objects: [], box };
    const [rows, cols] = runs[0].grid;
    Object.assign(page.START, { source: "run", level: 0, a: "run0", b: runs.length > 1 ? "run1" : "align", box, bins: rows === cols ? rows : 7, part: Math.floor((rows * cols) / 2) });
    root.explorer.drawn.marks = marks;
    $("more").replaceChildren(button("NPZ", "Save the weights of the runs that are shown", saveWeights));
  }

  function methodOf(run, n) {
    const base = methods.METHODS.find(({ extractor }) => run.method.startsWith(extractor)) ?? { code: [], about: "", page: "index", extractor: run.method.split("(")[0] };
    return { ...base, key: `run${n}`, name: run.name, detail: run.method, method: undefined, recorded: undefined, settings: {}, served: runs[n], about: base.about.replace(/ Recorded.*$/, "") };
  }

  const button = (words, title, onclick) => Object.assign(document.createElement("button"), { textContent: words, title, onclick });

  function saveWeights() {
    for (const key of new Set([state.a, state.b])) {
      const run = page.byKey(key)?.served;
      if (run) Object.assign(document.createElement("a"), { href: `weights.npz?run=${run.number}&box=${corners(state.box)}`, download: `${run.about.name}.npz` }).click();
    }
  }

  // What can be picked: what the first run found, and its proposals where they are shown
  function marks() {
    const { detections, proposals: all } = runs[0].about;
    return [...(proposals ? all.map((box) => ({ box, faint: true })) : []), ...detections.filter(({ score }) => score >= 0.5).map(({ box, name, score }) => ({ box, name: `${name} ${score.toFixed(2)}` }))];
  }

  function pick([x, y]) {
    const size = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
    const over = marks().map(({ box }) => box).filter(([x1, y1, x2, y2]) => x >= x1 && x <= x2 && y >= y1 && y <= y2).sort((a, b) => size(a) - size(b));
    if (over.length) root.controls.setBox(...over[0]);
  }

  function chips() {
    const { detections } = runs[0].about, check = Object.assign(document.createElement("input"), { type: "checkbox", checked: proposals });
    check.addEventListener("change", () => { proposals = check.checked; root.explorer.request(); });
    const label = document.createElement("label");
    label.append(check, " proposals");
    return [label, ...detections.slice(0, 30).map(({ box, name, score }) => button(`${name} ${score.toFixed(2)}`, "Take this box", () => root.controls.setBox(...box)))];
  }

  root.served = "served" in document.documentElement.dataset ? { chips, open, pick, runs: () => runs } : null;
})(globalThis.roikit);
