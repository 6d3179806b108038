// Reads {map, grid, boxes, cases: [{method, options}]}, writes every weight as a float64: case, box, part, row, column.
"use strict";
const fs = require("fs");
require(process.argv[2]);
const { map, grid, boxes, cases } = JSON.parse(fs.readFileSync(0, "utf8"));
const { rules } = globalThis.roikit;
const blocks = [];
for (const { method, options } of cases) {
  boxes.forEach(([x1, y1, x2, y2], r) => {
    const own = Object.fromEntries(Object.entries(options).map(([k, v]) => [k, v && v.each ? v.each[r] : v]));
    for (let k = 0; k < grid[0] * grid[1]; k++) {
      blocks.push(Buffer.from(rules.weights(method, { x1, y1, x2, y2 }, grid, map, own, k).buffer));
    }
  });
}
fs.writeFileSync(process.argv[3], Buffer.concat(blocks));
