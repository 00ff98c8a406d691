// The page of a run's prefix tree: width is calls, depth is tokens, colour is computed or reused.

const PARTS = ["once", "again", "reused", "rest"], TINY = 1.5;   // pixels: narrower neighbours are drawn as one

// ---- data: places in calls and tokens --------------------------------------------------------------
let tree = null, nodes = [], deep = 1, chosen = null;

function load(i) {
  tree = DATA.trees[i];
  nodes = tree.nodes.map((n, id) => ({calls: 0, ends: 0, visits: 0, computed: 0, reused: 0, again: 0, fewest: 0, folded: 0,
    text: "", nodes: {}, rows: [], ...n, id, kids: [], x: 0, y: 0, right: 0}));
  deep = 1;
  for (const n of nodes) {                // parents come first
    n.h = n.calls ? n.visits / n.calls : 0;
    const up = nodes[n.parent];
    n.tail = up ? (up.tail + up.text).slice(-200) : "";   // a text that is looked for may begin above
    if (up) { n.x = up.right; n.y = up.y + up.h; up.right += n.calls; up.kids.push(n); }
    n.right = n.x;
    deep = Math.max(deep, n.y + n.h);
  }
}

function parts(n) {
  const once = Math.min(n.computed, n.fewest);
  return {once, again: n.computed - once, reused: n.reused, rest: n.visits - n.computed - n.reused};
}

const total = name => nodes.reduce((s, n) => s + n[name], 0);
const number = n => Math.round(n).toLocaleString("en-US");
const share = (part, whole) => whole ? (100 * part / whole).toFixed(1) + " %" : "-";

// ---- drawing: only what is in view and wide enough -------------------------------------------------
const view = {x: 0, y: 0, kx: 1, ky: 1};
let svg = null;

function box(g, x, y, w, h, counts, sum) {
  let at = x;
  for (const part of PARTS) {
    const wide = sum ? w * counts[part] / sum : 0;
    if (wide > 0) g.append(el("rect", {class: part, x: at, y, width: wide, height: h, fill: DATA.colors[part]}));
    at += wide;
  }
}

function draw() {
  const wide = stage.clientWidth, high = stage.clientHeight, hit = new Set(search.hits);
  svg = el("svg", {"font-size": "12", role: "img", "aria-label": DATA.name});
  const row = kids => {                  // brothers: those too narrow to be seen stand as one
    let run = null;
    const flush = () => { if (run) tiny(run); run = null; };
    for (const n of kids) {
      const w = n.calls * view.kx, x = view.x + n.x * view.kx, y = view.y + n.y * view.ky;
      if (x > wide || x + w < 0 || y > high) continue;
      if (w >= TINY) { flush(); one(n, x, y, w, n.h * view.ky); continue; }
      run = run || {x, y, end: x, visits: 0, calls: 0, count: 0, first: n, counts: {once: 0, again: 0, reused: 0, rest: 0}};
      run.end = Math.max(run.end, x + w);
      run.visits += n.visits; run.calls += n.calls; run.count++;
      const c = parts(n);
      for (const part of PARTS) run.counts[part] += c[part];
    }
    flush();
  };
  const one = (n, x, y, w, h) => {
    if (n.visits) {
      const cls = "node" + (n.id === chosen ? " chosen" : "") + (hit.has(n.id) ? " hit" : "") + (n.folded ? " folded" : "");
      const g = el("g", {class: cls, "data-id": n.id, tabindex: 0, role: "button", "aria-label": label(n)});
      if (y + h >= 0) {
        g.append(el("title", {}, `${number(n.calls)} calls, ${number(n.h)} ${tree.unit}`));
        box(g, x, y, w, h, parts(n), n.visits);
        g.append(el("rect", {class: "frame", x, y, width: w, height: h, fill: "none", stroke: "#fff", "stroke-width": Math.min(1, w / 4)}));
        const from = Math.max(x, 0), room = Math.floor((Math.min(x + w, wide) - from - 8) / 7.2);
        if (h >= 14 && room >= 4)
          g.append(el("text", {x: from + 4, y: Math.min(Math.max(y, 0) + 13, y + h - 3)}, clip(label(n), room)));
      }
      svg.append(g);
    }
    todo.push(n.kids);
  };
  const tiny = run => {
    const g = el("g", {class: "tiny", "data-id": run.first.id});
    g.append(el("title", {}, `${run.count} branches of ${number(run.calls)} calls: zoom in to see them`));
    box(g, run.x, run.y, Math.max(run.end - run.x, 0.5), view.ky * run.visits / Math.max(run.calls, 1), run.counts, run.visits);
    svg.append(g);
  };
  const todo = [[nodes[0]]];
  while (todo.length) row(todo.shift());
  stage.textContent = "";
  stage.append(svg);
}

const label = n => n.folded ? `${number(n.folded)} smaller branches` : n.text.replace(/\s+/g, " ").trim() || JSON.stringify(n.text);

function fit() {
  view.kx = Math.max(stage.clientWidth - 16, 50) / Math.max(nodes[0].calls, 1);
  view.ky = Math.max(stage.clientHeight - 16, 50) / deep;
  view.x = view.y = 8;
  draw();
}

function into(n) {                       // the node and what is below it fill the stage
  let low = n.y + n.h;
  const todo = [n];
  while (todo.length) { const at = todo.pop(); low = Math.max(low, at.y + at.h); todo.push(...at.kids); }
  view.kx = (stage.clientWidth - 16) / n.calls;
  view.ky = (stage.clientHeight - 16) / (low - n.y);
  view.x = 8 - n.x * view.kx;
  view.y = 8 - n.y * view.ky;
  draw();
}

// ---- panel and search -----------------------------------------------------------------------------
function choose(id) {
  chosen = id;
  panel.textContent = "";
  if (id === null) { about(); draw(); return; }
  const n = nodes[id], above = [];
  for (let at = nodes[n.parent]; at; at = nodes[at.parent]) above.unshift(at.text);
  panel.append(h("h2", clip(label(n), 80)));
  const rows = [["calls", number(n.calls)], ["of them end here", number(n.ends)], [tree.unit, n.folded ? `${number(n.h)} on average` : `${number(n.begin)} to ${number(n.end)}`],
    ["asked for", number(n.visits)], ["at least to compute", number(n.fewest)], ["computed", number(n.computed)],
    ["reused", `${number(n.reused)} (${share(n.reused, n.visits)})`]];
  if (n.again) rows.push(["computed once more", number(n.again)]);
  section("Counts", rows);
  section("Predictors", Object.entries(n.nodes).map(([k, v]) => [k || "(none)", number(v) + " calls"]));
  if (n.rows.length) section("Rows", n.rows.join(", ") + (n.ends > n.rows.length ? ", …" : ""));
  if (n.text) section("Text", n.text);
  if (above.join("")) section("Text before it", above.join(""));
  draw();
}

function about() {
  const asked = total("visits"), computed = total("computed") + total("again"), fewest = total("fewest"), reused = total("reused");
  panel.append(h("h2", `${DATA.name}: ${tree.model}`));
  section("Bound and achieved", [["calls", number(nodes[0].calls)], [`prompt ${tree.unit} asked for`, number(asked)],
    ["bound: the tree needs", number(fewest)], ["computed", number(computed)],
    ["beside the bound", fewest ? (computed / fewest).toFixed(3) + "x" : "-"], ["reused", `${number(reused)} (${share(reused, asked)})`],
    ["reuse if each were computed once", share(asked - fewest, asked)]]);
  if (!DATA.complete) panel.append(h("div", "! the run was too large: not all of its calls are here", "problem"));
  panel.append(h("p", "A box is a stretch of text that its calls have in common: as wide as they are many, as deep as it has " + tree.unit +
    ". What they go on with stands below it. Click a box for its text, calls and counts; a double click or the space bar fills the page with it; scroll to zoom."));
}

function reveal(id) { into(nodes[id]); choose(id); }
const search = finder(want => nodes.filter(n => n.visits && [n.tail.slice(-want.length + 1 || 200) + n.text, ...Object.keys(n.nodes), ...n.rows.map(r => "row " + r)]
  .join("\n").toLowerCase().includes(want)).map(n => n.id), () => draw(), reveal);

// ---- events ---------------------------------------------------------------------------------------
const near = target => { const g = target.closest("[data-id]"); return g ? nodes[Number(g.dataset.id)] : null; };
gestures({
  drag: (dx, dy) => { view.x += dx; view.y += dy; draw(); },
  zoom: (factor, x, y) => {
    view.x = x - (x - view.x) * factor; view.y = y - (y - view.y) * factor;
    view.kx *= factor; view.ky *= factor;
    draw();
  },
  fit,
  tap: target => { const n = near(target); choose(n ? n.id : null); },
  twice: target => { const n = near(target); if (n) into(n); },
  resize: fit,
});

if (DATA.trees.length > 1) {
  const pick = h("select");
  DATA.trees.forEach((t, i) => { const o = h("option", t.model); o.value = i; pick.append(o); });
  pick.addEventListener("change", () => start(Number(pick.value)));
  tools.append(pick);
}
const legend = h("span", undefined, "legend");
for (const part of PARTS) {
  const mark = h("span"), swatch = h("i");
  swatch.style.background = DATA.colors[part];
  mark.append(swatch, DATA.names[part]);
  legend.append(mark);
}
tools.append(legend);

function start(i) {
  load(i);
  fit();
  choose(null);
}
start(0);
