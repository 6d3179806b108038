"use strict";
// Draws the panels: the image, what a method reads of its map, and the plot. Positions are in image pixels until `to`.
(function (root) {
  const theme = {};

  function readTheme() {
    const css = getComputedStyle(document.documentElement);
    for (const name of ["ink", "quiet", "paper", "panel", "line", "a", "b", "low", "high"]) theme[name] = css.getPropertyValue(`--${name}`).trim();
    theme.ramp = Array.from({ length: 256 }, (_, n) => mix(theme.low, theme.high, n / 255));
    pictures.clear();
  }

  const channels = (colour) => [1, 3, 5].map((n) => parseInt(colour.slice(n, n + 2), 16));
  const mix = (from, to, t) => "#" + channels(from).map((v, n) => Math.round(v + (channels(to)[n] - v) * t).toString(16).padStart(2, "0")).join("");
  const shade = (value) => theme.ramp[Math.min(Math.max(Math.round(value * 255), 0), 255)];
  const light = (colour) => { const [r, g, b] = channels(colour); return 0.299 * r + 0.587 * g + 0.114 * b > 140; };
  const inkOn = (colour) => (light(colour) ? "#14181f" : "#f4f6f8");

  // A map as a picture of one pixel a cell, kept until the colours change
  const pictures = new Map();
  function pictureOf(map) {
    let canvas = pictures.get(map.values);
    if (canvas) return canvas;
    canvas = Object.assign(document.createElement("canvas"), { width: map.width, height: map.height });
    const context = canvas.getContext("2d");
    map.values.forEach((value, p) => {
      context.fillStyle = shade(value);
      context.fillRect(p % map.width, Math.floor(p / map.width), 1, 1);
    });
    pictures.set(map.values, canvas);
    return canvas;
  }

  // From image pixels to a panel: `window` {x, y, w, h} is what it shows.
  function placer(pen, window) {
    const k = Math.min(pen.width / window.w, pen.height / window.h);
    const left = (pen.width - window.w * k) / 2, top = (pen.height - window.h * k) / 2;
    return { k, x: (v) => left + (v - window.x) * k, y: (v) => top + (v - window.y) * k,
      back: (x, y) => [(x - left) / k + window.x, (y - top) / k + window.y] };
  }

  function cellLines(pen, to, map, alpha) {
    const [sy, sx] = map.stride, style = { stroke: theme.line, alpha, line: 1 };
    for (let u = 0; u <= map.width; u++) pen.poly([[to.x(u * sx), to.y(0)], [to.x(u * sx), to.y(map.height * sy)]], style, false);
    for (let v = 0; v <= map.height; v++) pen.poly([[to.x(0), to.y(v * sy)], [to.x(map.width * sx), to.y(v * sy)]], style, false);
  }

  function mapOn(pen, to, map) {
    const [sy, sx] = map.stride;
    pen.image(pictureOf(map), 0, 0, map.width, map.height, to.x(0), to.y(0), map.width * sx * to.k, map.height * sy * to.k, false);
  }

  // The picture, paler so that weights can be seen on it
  function imageOn(pen, to, picture, source, pale) {
    const at = [to.x(0), to.y(0), source.width * to.k, source.height * to.k];
    pen.image(picture, 0, 0, picture.naturalWidth, picture.naturalHeight, ...at, true);
    if (pale) pen.rect(...at, { fill: theme.paper, alpha: pale });
  }

  const strength = (weight, most) => (weight > most * 0.004 ? 0.1 + 0.72 * (weight / most) : 0);

  // The weights of the part that is chosen; the result is the largest
  function weightsOn(pen, to, { weights, map }, colour) {
    const [sy, sx] = map.stride;
    let most = 0;
    for (const w of weights ?? []) most = Math.max(most, w);
    weights?.forEach((w, p) => {
      const alpha = strength(w, most), u = p % map.width, v = Math.floor(p / map.width);
      if (alpha) pen.rect(to.x(u * sx), to.y(v * sy), sx * to.k, sy * to.k, { fill: colour, alpha });
    });
    return most;
  }

  const handlesOf = ({ x1, y1, x2, y2 }) => [
    ["nw", x1, y1], ["n", (x1 + x2) / 2, y1], ["ne", x2, y1], ["e", x2, (y1 + y2) / 2],
    ["se", x2, y2], ["s", (x1 + x2) / 2, y2], ["sw", x1, y2], ["w", x1, (y1 + y2) / 2]];

  function boxOn(pen, to, box, handles, dash) {
    const at = [to.x(box.x1), to.y(box.y1), (box.x2 - box.x1) * to.k, (box.y2 - box.y1) * to.k];
    pen.rect(...at, { stroke: theme.paper, line: 4, alpha: 0.75 });
    pen.rect(...at, { stroke: theme.ink, line: 2, dash });
    if (!handles) return;
    for (const [, x, y] of handlesOf(box)) pen.rect(to.x(x) - 4, to.y(y) - 4, 8, 8, { fill: theme.paper, stroke: theme.ink, line: 1.5 });
  }

  function image(pen, window, { picture, source, state, sides, marks, busy }) {
    const to = placer(pen, window), level = sides[0].map;
    pen.clip(0, 0, pen.width, pen.height, () => {
      if (picture) {
        imageOn(pen, to, picture, source, 0);
        cellLines(pen, to, level, 0.28);
      } else {
        mapOn(pen, to, level);
        cellLines(pen, to, level, 0.5);
        values(pen, to, level, null, 0, theme.ink);
      }
      for (const mark of marks) {
        pen.rect(to.x(mark.box[0]), to.y(mark.box[1]), (mark.box[2] - mark.box[0]) * to.k, (mark.box[3] - mark.box[1]) * to.k,
          { stroke: theme.paper, line: 2.5, alpha: mark.faint ? 0.35 : 0.9 });
        pen.rect(to.x(mark.box[0]), to.y(mark.box[1]), (mark.box[2] - mark.box[0]) * to.k, (mark.box[3] - mark.box[1]) * to.k,
          { stroke: theme.ink, line: 1, dash: [3, 3], alpha: mark.faint ? 0.4 : 0.9 });
        if (mark.name) pen.text(to.x(mark.box[0]) + 3, to.y(mark.box[1]) - 8, mark.name, { size: 11, fill: theme.ink, halo: theme.paper, align: "left" });
      }
      sides.forEach((side, n) => {
        if (!side.shape.bins.length) weightsOn(pen, to, side, n ? theme.b : theme.a);
        const bin = side.shape.bins[state.part], [sy, sx] = side.map.stride;
        if (bin) pen.poly(bin.map(([x, y]) => [to.x(x * sx), to.y(y * sy)]), { stroke: n ? theme.b : theme.a, line: 2.5 });
      });
      boxOn(pen, to, state.box, !busy);
    });
    return to;
  }

  // The map's numbers, where cells are large enough; below, the weight. All of a small map, else of the cells that count.
  function values(pen, to, map, weights, most, colour) {
    const [sy, sx] = map.stride, size = Math.min(sx, sy) * to.k, every = map.width <= 8 || size >= 46;
    if (size < 25) return;
    const [left, top] = to.back(0, 0), [right, bottom] = to.back(pen.width, pen.height);
    for (let v = Math.max(0, Math.floor(top / sy)); v < Math.min(map.height, bottom / sy); v++) {
      for (let u = Math.max(0, Math.floor(left / sx)); u < Math.min(map.width, right / sx); u++) {
        const value = map.values[v * map.width + u], weight = weights ? weights[v * map.width + u] : 0, alpha = strength(weight, most);
        if (!alpha && !every) continue;
        const both = alpha > 0 && size >= 30, x = to.x((u + 0.5) * sx), y = to.y((v + 0.5) * sy);
        const fill = inkOn(alpha ? mix(shade(value), colour, alpha) : shade(value)), words = weight >= 0.9995 ? "1" : weight.toFixed(weight < 0.1 ? 3 : 2).replace(/^0/, "");
        pen.text(x, both ? y - size * 0.14 : y, value.toFixed(2), { size: Math.min(14, size * 0.34), fill, weight: alpha ? 600 : 400 });
        if (both) pen.text(x, y + size * 0.22, `× ${words}`, { size: Math.min(12, size * 0.27), fill });
      }
    }
  }

  function method(pen, window, side, { state, colour, busy, picture, source }) {
    const to = placer(pen, window), { map, shape, weights } = side, [sy, sx] = map.stride;
    const at = ([x, y]) => [to.x(x * sx), to.y(y * sy)];
    pen.clip(0, 0, pen.width, pen.height, () => {
      if (picture) imageOn(pen, to, picture, source, 0.45);
      else mapOn(pen, to, map);
      const most = weightsOn(pen, to, side, colour);
      cellLines(pen, to, map, picture ? 0.35 : 0.6);
      if (shape.ideal[state.part] && shape.off) pen.poly(shape.ideal[state.part].map(at), { stroke: theme.ink, line: 1.5, dash: [4, 3] });
      for (const bin of shape.bins) pen.poly(bin.map(at), { stroke: colour, line: 1, alpha: 0.55 });
      if (shape.bins[state.part]) pen.poly(shape.bins[state.part].map(at), { stroke: colour, line: 3 });
      shape.points.forEach((points, k) => points.forEach((point) => {
        const [x, y] = at(point), own = k === state.part;
        pen.circle(x, y, own ? 4 : 1.8, own ? { fill: colour, stroke: theme.paper, line: 1.5 } : { fill: colour, alpha: 0.75 });
      }));
      if (!picture) values(pen, to, map, weights, most, colour);
      boxOn(pen, to, side.pixels, !busy && !side.from, side.rule === "RotatedRoIAlign" ? [5, 4] : []);
      if (side.rule === "RotatedRoIAlign") turnOn(pen, to, side, at, colour);
      if (side.rule === "DeformRoIPool") grips(pen, side, at, state, colour);
      if (shape.off) arrowsOn(pen, to, side, at, colour);
    });
    return to;
  }

  // From each edge of the box to where it is read, with the distance in image pixels
  function arrowsOn(pen, to, { shape, pixels, map }, at, colour) {
    const { x1, y1, x2, y2 } = pixels, [sy, sx] = map.stride, middle = [(x1 + x2) / 2, (y1 + y2) / 2];
    const starts = [[x1, middle[1]], [middle[0], y1], [x2, middle[1]], [middle[0], y2]];
    shape.off.box.forEach((cells, n) => {
      const across = n % 2 === 0, pixelsOff = cells * (across ? sx : sy), length = pixelsOff * to.k;
      if (Math.abs(pixelsOff) < 0.05) return;
      const x = to.x(starts[n][0]), y = to.y(starts[n][1]), ex = across ? x + length : x, ey = across ? y : y + length;
      const sign = Math.sign(length), tip = Math.min(7, Math.abs(length) * 0.7) * sign;
      pen.poly([[x, y], [ex, ey]], { stroke: theme.paper, line: 7 }, false);
      pen.poly([[x, y], [ex, ey]], { stroke: colour, line: 3 }, false);
      pen.poly(across ? [[ex, ey], [ex - tip, ey - 5], [ex - tip, ey + 5]] : [[ex, ey], [ex - 5, ey - tip], [ex + 5, ey - tip]], { fill: colour });
      const words = `${pixelsOff > 0 ? "+" : "−"}${Math.abs(pixelsOff).toFixed(1)} px`, style = { size: 12, weight: 650, fill: theme.ink, halo: theme.paper };
      const far = n < 2 ? Math.min : Math.max, beyond = n < 2 ? -1 : 1; // outside of both edges
      if (across) pen.text(Math.min(Math.max(far(x, ex) + beyond * 34, 34), pen.width - 34), y - 14, words, style);
      else pen.text(x, Math.min(Math.max(far(y, ey) + beyond * 15, 9), pen.height - 9), words, style);
    });
  }

  function turnOn(pen, to, side, at, colour) {
    const handle = turnHandle(side), [sy, sx] = side.map.stride, box = side.box;
    const top = root.geometry.turned((box.x1 + box.x2) / 2, box.y1, box, side.o.angle);
    pen.poly(side.shape.frame.map(at), { stroke: colour, line: 2 });
    pen.poly([at(top), [to.x(handle[0]), to.y(handle[1])]], { stroke: colour, line: 2 }, false);
    pen.circle(to.x(handle[0]), to.y(handle[1]), 7, { fill: theme.paper, stroke: colour, line: 2.5 });
  }

  // Where the handle is that turns the box, in image pixels
  function turnHandle({ box, o, map }) {
    const [x, y] = root.geometry.turned((box.x1 + box.x2) / 2, box.y1 - Math.max(0.6, (box.y2 - box.y1) * 0.1), box, o.angle);
    return [x * map.stride[1], y * map.stride[0]];
  }

  const middleOf = (polygon) => [0, 1].map((n) => polygon.reduce((sum, point) => sum + point[n], 0) / polygon.length);

  function grips(pen, { shape }, at, state, colour) {
    shape.bins.forEach((bin, k) => {
      const from = at(middleOf(shape.ideal[k])), [x, y] = at(middleOf(bin));
      if (Math.hypot(x - from[0], y - from[1]) > 2) pen.poly([from, [x, y]], { stroke: theme.ink, line: 1.5, alpha: 0.8 }, false);
      if (k === state.part) pen.circle(x, y, 7, { fill: theme.paper, stroke: colour, line: 2.5 });
    });
  }

  // The value of a part against the shift of the box, a line each
  function plot(pen, lines, shifts, { unit, colours, names }) {
    const left = 38, right = pen.width - 10, top = 24, bottom = pen.height - 34, all = lines.flat().filter(Number.isFinite);
    let low = Math.min(...all), high = Math.max(...all);
    if (!all.length) [low, high] = [0, 1];
    const room = Math.max((high - low) * 0.08, 0.02);
    low -= room; high += room;
    const most = shifts[shifts.length - 1], x = (v) => left + ((v + most) / (2 * most)) * (right - left), y = (v) => bottom - ((v - low) / (high - low)) * (bottom - top);
    pen.rect(left, top, right - left, bottom - top, { fill: theme.panel, stroke: theme.line });
    for (const value of [low + room, (low + high) / 2, high - room]) {
      pen.poly([[left, y(value)], [right, y(value)]], { stroke: theme.line, alpha: 0.7 }, false);
      pen.text(left - 5, y(value), value.toFixed(2), { size: 11, fill: theme.quiet, align: "right" });
    }
    pen.rect(x(0), top, Math.max(x(1) - x(0), 1.5), bottom - top, { fill: theme.ink, alpha: 0.14 });
    pen.poly([[x(0), top], [x(0), bottom]], { stroke: theme.ink, line: 1.5 }, false);
    for (const at of [-most, -most / 2, 0, most / 2, most]) {
      pen.text(Math.min(Math.max(x(at), left + 8), right - 12), bottom + 11, at ? `${at > 0 ? "+" : "−"}${Math.abs(at)}` : "here", { size: 11, fill: theme.quiet });
    }
    pen.text((left + right) / 2, pen.height - 8, unit, { size: 11, fill: theme.quiet });
    lines.forEach((line, n) => {
      if (!line.length) return;
      pen.poly(line.map((v, s) => [x(shifts[s]), y(v)]), { stroke: colours[n], line: 2.5, dash: n ? [7, 3] : [] }, false);
      const here = line[(line.length - 1) / 2];
      pen.circle(x(0), y(here), 4, { fill: colours[n], stroke: theme.paper, line: 1.5 });
    });
    names.forEach((name, n) => pen.text(n ? right : left, 10, name, { size: 11.5, weight: 650, fill: colours[n], align: n ? "right" : "left" }));
  }

  root.scene = { handlesOf, image, inkOn, method, middleOf, placer, plot, readTheme, shade, theme, turnHandle };
})(globalThis.roikit);
