"use strict";
// Questions that readers ask under articles on RoI Pooling, each with a case that the page is set to.
(function (root) {
  const { make } = root.texts, ARTICLE = { source: "article", level: 0, mode: "max" };
  const px = (x1, y1, x2, y2) => ({ x1, y1, x2, y2 });

  const QUESTIONS = [
    ["How does a region of the image become one of the feature map?",
      "Its corners are divided by the stride. The box (30, 30)–(50, 40) of a 299 × 299 image is (1.88, 1.88)–(3.13, 2.5) at stride 16. Caffe's RoI Pooling rounds that to whole cells, and is already off by up to 10 pixels; RoI Align does not round. The layer scales the boxes itself: you give image pixels and spatial_scale = 1/16.",
      [["That box", { source: "scene", level: 1, box: px(30, 30, 50, 40), bins: 2, a: "pool", b: "align", part: 0 }]]],
    ["What if the region has fewer cells than the output?",
      "Nothing is dropped. RoI Pooling repeats cells: here one cell gives all 49 parts. RoI Align places its samples closer together, and each part is still another value.",
      [["One cell, 7 × 7 parts", { ...ARTICLE, box: px(48, 48, 64, 64), bins: 7, a: "floor", b: "align", part: 24 }], ["One cell, 2 × 2", { ...ARTICLE, box: px(48, 48, 64, 64), bins: 2, a: "pool", b: "align", part: 3 }]]],
    ["What if 7 × 5 cells do not divide into 2 × 2?",
      "The bins differ in size: 3 × 2, 4 × 2, 3 × 3 and 4 × 3 cells. Every cell is in exactly one. Point at the parts to see them.",
      [["The example", { ...ARTICLE, box: px(0, 48, 112, 128), bins: 2, a: "floor", b: "none", part: 3 }]]],
    ["Some implementations use 3 × 2 for all bins. Is that the same?",
      "No: then a row and a column of the region are never read, here the 0.91 and the 0.96. The original rounds outwards instead, so bins may share cells, and its last cell is counted in: it gives 0.85, 0.96, 0.97, 0.91 where the half-open formula gives 0.85, 0.84, 0.97, 0.96.",
      [["Both roundings", { ...ARTICLE, box: px(0, 48, 112, 128), bins: 2, a: "floor", b: "pool", part: 1 }]]],
    ["Does the output depend on how the sections are chosen?",
      "Yes. Any fixed choice can be trained with, but a model must be run as it was trained. How much it matters: move the box by one pixel and watch the jump.",
      [["Two roundings, one box", { source: "scene", level: 1, box: px(206, 49, 329, 171), bins: 7, a: "pool", b: "floor", part: 16 }]]],
    ["Is (0, 3)–(7, 8) counted from 0 or from 1?",
      "From 0, and the end is not included: columns 0 to 6 and rows 3 to 7. A box says where its edges are, not which cells it names; its width is x₂ − x₁ = 7.",
      [["The region on its map", { ...ARTICLE, box: px(0, 48, 112, 128), bins: 1, a: "floor", b: "none", part: 0 }]]],
    ["Up to 16 pixels of error, really?",
      "More. At stride 16, Caffe's rounding reads an edge of the box up to 1½ cells, 24 pixels, from where it is, and an edge of a bin up to 2.2 cells, 35 pixels. At stride 32, the last map of a ResNet, it is twice that. RoI Align reads where the box is.",
      [["A bad case", { source: "scene", level: 1, box: px(207.5, 56, 342.5, 136), bins: 7, a: "pool", b: "align", part: 35 }], ["Stride 32", { source: "scene", level: 2, box: px(206, 49, 329, 171), bins: 7, a: "pool", b: "align", part: 24 }]]],
    ["Why does one pixel matter?",
      "RoI Pooling's value stays the same for many pixels and then jumps by a whole cell. RoI Align's changes a little with every pixel, so a gradient can say which way the box should move.",
      [["Jump and slope", { source: "scene", level: 1, box: px(206, 49, 329, 171), bins: 7, a: "pool", b: "align", part: 16, samples: 2 }]]],
    ["Are ground-truth boxes needed?",
      "To train, yes. At test time the regions come from the detector's own proposals (or any other source), and the layer only reads the map there.", []],
    ["Can features of several layers be pooled and joined?",
      "Yes: a box can be read from every level, side by side or added up; roikit.MultiScale(aggregate=\"concat\"). Usually it is read from the one level that suits its size.",
      [["Stride 8", { source: "scene", level: 0, box: px(206, 49, 329, 171), bins: 7, a: "align", b: "precise", part: 24 }], ["Stride 32", { source: "scene", level: 2, box: px(206, 49, 329, 171), bins: 7, a: "align", b: "precise", part: 24 }]]],
    ["What does aligned=False do?",
      "It forgets that a cell's value belongs to its centre and reads half a cell too far to the lower right: 8 pixels at stride 16. torchvision's function does so by default.",
      [["Both", { source: "scene", level: 1, box: px(206, 49, 329, 171), bins: 3, a: "unaligned", b: "align", part: 0, samples: 2 }]]],
    ["Are 2 × 2 samples enough?",
      "While bins are up to two cells wide. On a fine map samples step over cells, which then count for nothing; the integral misses none.",
      [["Wide bins", { source: "scene", level: 0, box: px(100, 20, 370, 250), bins: 3, samples: 2, a: "align", b: "precise", part: 4 }]]],
  ];

  function fill() {
    document.getElementById("answers").replaceChildren(...QUESTIONS.map(([question, answer, cases]) => make("article", { className: "answer" },
      make("h3", { textContent: question }), make("p", { textContent: answer }),
      make("p", { className: "buttons" }, ...cases.map(([words, changes]) => { const button = make("button", { textContent: words }); button.dataset.set = JSON.stringify(changes); return button; })))));
    document.addEventListener("click", (event) => {
      const button = event.target.closest("[data-set]");
      if (!button) return;
      root.controls.setTo(JSON.parse(button.dataset.set));
      document.getElementById("explorer").scrollIntoView();
      root.explorer.panels.image.focus({ preventScroll: true });
    });
  }

  root.questions = { QUESTIONS, fill };
})(globalThis.roikit);
