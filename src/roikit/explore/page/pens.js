"use strict";
// Two pens with one hand: the same calls draw on a canvas, or write the elements of an SVG.
(function (root) {
  const path = (points, closed) => "M" + points.map(([x, y]) => `${round(x)} ${round(y)}`).join("L") + (closed ? "Z" : "");
  const round = (v) => Math.round(v * 100) / 100;

  class CanvasPen {
    constructor(canvas, width, height) {
      const ratio = Math.min(globalThis.devicePixelRatio || 1, 2), context = canvas.getContext("2d");
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      Object.assign(this, { context, width, height });
    }
    style({ fill, stroke, line = 1, dash = [], alpha = 1 }, draw) {
      const c = this.context;
      c.globalAlpha = alpha;
      if (fill) { c.fillStyle = fill; draw("fill"); }
      if (stroke) { c.strokeStyle = stroke; c.lineWidth = line; c.setLineDash(dash); draw("stroke"); }
      c.globalAlpha = 1;
    }
    rect(x, y, w, h, style) {
      this.style(style, (how) => (how === "fill" ? this.context.fillRect(x, y, w, h) : this.context.strokeRect(x, y, w, h)));
    }
    poly(points, style, closed = true) {
      const c = this.context;
      c.beginPath();
      points.forEach(([x, y], n) => (n ? c.lineTo(x, y) : c.moveTo(x, y)));
      if (closed) c.closePath();
      this.style(style, (how) => c[how]());
    }
    circle(x, y, r, style) {
      this.context.beginPath();
      this.context.arc(x, y, r, 0, 2 * Math.PI);
      this.style(style, (how) => this.context[how]());
    }
    text(x, y, words, { size = 12, fill, align = "center", weight = 400, halo }) {
      const c = this.context;
      c.font = `${weight} ${size}px system-ui, sans-serif`;
      c.textAlign = align;
      c.textBaseline = "middle";
      if (halo) { c.strokeStyle = halo; c.lineWidth = 3; c.lineJoin = "round"; c.setLineDash([]); c.strokeText(words, x, y); }
      c.fillStyle = fill;
      c.fillText(words, x, y);
    }
    image(picture, sx, sy, sw, sh, x, y, w, h, smooth) {
      this.context.imageSmoothingEnabled = smooth;
      this.context.drawImage(picture, sx, sy, sw, sh, x, y, w, h);
    }
    move(x, y, draw) {
      this.context.save();
      this.context.translate(x, y);
      draw();
      this.context.restore();
    }
    clip(x, y, w, h, draw) {
      this.context.save();
      this.context.beginPath();
      this.context.rect(x, y, w, h);
      this.context.clip();
      draw();
      this.context.restore();
    }
  }

  class SvgPen {
    constructor(width, height) {
      Object.assign(this, { width, height, parts: [] });
    }
    attributes({ fill, stroke, line = 1, dash = [], alpha = 1 }) {
      return ` fill="${fill || "none"}"` + (alpha < 1 ? ` opacity="${round(alpha)}"` : "")
        + (stroke ? ` stroke="${stroke}" stroke-width="${line}"` + (dash.length ? ` stroke-dasharray="${dash}"` : "") : "");
    }
    rect(x, y, w, h, style) {
      this.parts.push(`<rect x="${round(x)}" y="${round(y)}" width="${round(w)}" height="${round(h)}"${this.attributes(style)}/>`);
    }
    poly(points, style, closed = true) {
      this.parts.push(`<path d="${path(points, closed)}"${this.attributes(style)}/>`);
    }
    circle(x, y, r, style) {
      this.parts.push(`<circle cx="${round(x)}" cy="${round(y)}" r="${r}"${this.attributes(style)}/>`);
    }
    text(x, y, words, { size = 12, fill, align = "center", weight = 400, halo }) {
      const anchor = { left: "start", center: "middle", right: "end" }[align];
      const around = halo ? ` stroke="${halo}" stroke-width="3" paint-order="stroke" stroke-linejoin="round"` : "";
      const escaped = words.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);
      this.parts.push(`<text x="${round(x)}" y="${round(y)}" font-family="system-ui, sans-serif" font-size="${size}"`
        + ` font-weight="${weight}" text-anchor="${anchor}" dominant-baseline="central" fill="${fill}"${around}>${escaped}</text>`);
    }
    image(picture, sx, sy, sw, sh, x, y, w, h, smooth) {
      const canvas = Object.assign(document.createElement("canvas"), { width: Math.ceil(sw) || 1, height: Math.ceil(sh) || 1 });
      canvas.getContext("2d").drawImage(picture, sx, sy, sw, sh, 0, 0, canvas.width, canvas.height);
      this.parts.push(`<image x="${round(x)}" y="${round(y)}" width="${round(w)}" height="${round(h)}" preserveAspectRatio="none"`
        + ` href="${canvas.toDataURL()}"${smooth ? "" : ' style="image-rendering:pixelated"'}/>`);
    }
    clip(x, y, w, h, draw) {
      const name = `clip${this.parts.length}`;
      this.parts.push(`<clipPath id="${name}"><rect x="${round(x)}" y="${round(y)}" width="${round(w)}" height="${round(h)}"/></clipPath><g clip-path="url(#${name})">`);
      draw();
      this.parts.push("</g>");
    }
    move(x, y, draw) {
      this.parts.push(`<g transform="translate(${round(x)} ${round(y)})">`);
      draw();
      this.parts.push("</g>");
    }
    finish() {
      return `<svg xmlns="http://www.w3.org/2000/svg" width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}">${this.parts.join("")}</svg>`;
    }
  }

  root.pens = { CanvasPen, SvgPen };
})(globalThis.roikit);
