"use strict";
(async function ({ article, controls, explorer, pointer, questions, served, texts }) {
  await served?.open();
  controls.fill();
  controls.listen();
  pointer.listen();
  texts.table();
  texts.timeline();
  questions.fill();
  explorer.start();
  controls.sync();
  article.start();
})(globalThis.roikit);
