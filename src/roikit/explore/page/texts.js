"use strict";
// Everything around the explorer that is made of what methods.js says: cards of formula and code, table, timeline.
(function (root) {
  const { methods, page } = root, { state } = page, $ = (id) => document.getElementById(id);
  const make = (tag, properties, ...inside) => { const node = Object.assign(document.createElement(tag), properties); node.append(...inside); return node; };
  const title = ({ name, detail }) => `${name}${detail ? `, ${detail}` : ""}`;
  const inDocs = !root.served && /\/explore\/(index\.html)?$/.test(location.pathname); // where the documentation lies around it
  const toDocs = (href, textContent) => (inDocs ? make("a", { href, textContent }) : document.createTextNode(textContent));

  const ROWS = [["rounds", "Rounds"], ["off", "Off by, at most"], ["shape", "Shape"], ["gradient", "Gradient to the box"], ["cost", "Complexity"], ["time", "Time"], ["parameters", "Parameters"], ["best", "Best for"]];

  function table() {
    const head = make("tr", {}, make("th", { textContent: "Method", scope: "col" }), ...ROWS.map(([, words]) => make("th", { textContent: words, scope: "col" })));
    const body = methods.METHODS.filter(({ served }) => !served).map((method) => {
      const button = make("button", { className: "inline", textContent: title(method), onclick: () => show(method.key) });
      const row = make("tr", {}, make("th", { scope: "row" }, button, make("br", {}), make("small", { textContent: method.year })), ...ROWS.map(([key]) => make("td", { textContent: method[key] })));
      row.dataset.key = method.key;
      return row;
    });
    $("table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
  }

  function show(key) {
    if (state.b !== key) root.controls.choose("a", key);
    document.getElementById("explorer").scrollIntoView();
  }

  function timeline() {
    $("times").replaceChildren(...methods.TIMELINE.map(([year, name, paper, link, words, key]) => make("li", {},
      make("b", { textContent: year }),
      key ? make("button", { className: "inline", textContent: name, onclick: () => show(key) }) : make("strong", { textContent: name }),
      make("p", { textContent: words }), make("p", {}, make("a", { href: link, textContent: paper })))));
    const reading = methods.TIMELINE.map(([, , paper, link]) => make("li", {}, make("a", { href: link, textContent: paper })));
    reading.push(make("li", {}, make("a", { href: "https://arxiv.org/abs/1612.03144", textContent: "Lin et al., Feature Pyramid Networks, CVPR 2017" }), ": which level a box is read from"));
    reading.push(make("li", {}, make("a", { href: "https://arxiv.org/abs/1712.00726", textContent: "Cai and Vasconcelos, Cascade R-CNN, CVPR 2018" }), ": boxes refined in stages"));
    $("reading").replaceChildren(...reading);
  }

  function card(key, name) {
    const method = page.byKey(key), code = make("pre", {}, make("code", { textContent: method.code.join("\n") }));
    const formula = make("p", { className: "formula", innerHTML: method.formula });
    const paper = method.link ? make("a", { href: method.link, textContent: method.paper }) : document.createTextNode(method.paper);
    const more = make("p", { className: "small" }, paper, " · ", toDocs(`../methods/${method.page}.html`, `roikit.${method.extractor}`));
    return make("article", { className: `card side-${name}` }, make("h3", { textContent: title(method) }), make("p", { textContent: method.about }), formula, code, more);
  }

  let said = "";
  function sync() {
    const now = `${state.a} ${state.b} ${state.source}`;
    if (now === said) return;
    said = now;
    $("cards").replaceChildren(...["a", "b"].filter((name) => page.byKey(state[name])?.formula).map((name) => card(state[name], name)));
    for (const row of document.querySelectorAll("#table tbody tr")) {
      row.classList.toggle("in-a", row.dataset.key === state.a);
      row.classList.toggle("in-b", row.dataset.key === state.b);
    }
    const source = page.source();
    $("size").textContent = `${source.width} × ${source.height} px`;
    if (!inDocs) for (const link of document.querySelectorAll("a.docs")) link.removeAttribute("href");
    if (root.served) $("boxes").replaceChildren(...root.served.chips());
    else $("boxes").replaceChildren(...source.objects.map(({ box, name }) => make("button", { textContent: name, onclick: () => root.controls.setBox(...box) })));
  }

  root.texts = { make, show, sync, table, timeline };
})(globalThis.roikit);
