// The page of a graph, or of what passes did to one: DATA has style, texts and steps.

const STYLE = DATA.style, STEPS = DATA.steps, GONE = new Set(DATA.gone), FRESH = new Set(["added", "moved"]);
const MANY = 200, PART = 100;   // a box with more than MANY inside shows them in parts

// ---- data -----------------------------------------------------------------------------------------
let picture = null, nodes = null, children = null, closed = null, mode = "both";

function load(step) {
  picture = STEPS[step].picture;
  nodes = new Map(picture.nodes.map(n => [n.id, {...n}]));
  children = new Map();
  for (const n of nodes.values()) {
    if (!children.has(n.parent)) children.set(n.parent, []);
    children.get(n.parent).push(n);
  }
  closed = new Set();
  for (const id of [...children.keys()]) part(id);
  if (picture.nodes.length > 400) for (const n of nodes.values()) if (n.container && n.parent !== "") closed.add(n.id);
}

function part(id) {             // neighbours of a full box go into boxes of their own, closed at first
  const kids = children.get(id);
  if (kids.length <= MANY) return;
  const parts = [];
  for (let at = 0; at < kids.length; at += PART) {
    const inside = kids.slice(at, at + PART);
    const made = {id: "part" + nodes.size, kind: "part", op: "", label: `${at + 1} to ${at + inside.length} of ${kids.length}`,
      note: inside[0].label + " … " + inside[inside.length - 1].label, group: "region", parent: id, container: true, types: [],
      details: [], counts: {}, problems: [], change: "", into: []};
    for (const kid of inside) kid.parent = made.id;
    nodes.set(made.id, made);
    children.set(made.id, inside);
    closed.add(made.id);
    parts.push(made);
  }
  children.set(id, parts);
  part(id);
}

const isOpen = n => n.container && !closed.has(n.id);
const kidsOf = id => (id === "" || isOpen(nodes.get(id))) ? (children.get(id) || []) : [];
const there = n => mode === "both" || !(mode === "before" ? FRESH : GONE).has(n.change);
const text = i => DATA.texts[i];

function visible(id) {          // the node itself, or the closed container that hides it
  let shown = id;
  for (let at = nodes.get(id); at; at = nodes.get(at.parent)) if (at.parent && closed.has(at.parent)) shown = at.parent;
  return shown;
}

function lines(n) {
  const counted = Object.entries(n.counts).map(([k, v]) => k + " " + v).join(", ");
  return [n.label, n.note, counted].filter(Boolean).map(t => clip(t, 46));
}

// ---- drawing --------------------------------------------------------------------------------------
const view = {x: 0, y: 0, k: 1};
let placed = null, svg = null, world = null, chosen = null;

function draw() {
  placed = layout();
  stage.textContent = "";
  svg = el("svg", {"font-size": "12", role: "img", "aria-label": picture.name});
  const defs = el("defs", {});
  for (const kind in STYLE.edges) {
    const m = el("marker", {id: "arrow-" + kind, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto"});
    m.append(el("path", {d: "M0 0 8 4 0 8z", fill: STYLE.edges[kind]}));
    defs.append(m);
  }
  world = el("g", {});
  const walk = id => { for (const k of kidsOf(id)) if (there(k)) { drawNode(k); walk(k.id); } };
  walk("");
  placed.edges.forEach((e, i) => {
    if (mode !== "both" && e.change === (mode === "before" ? "added" : "removed")) return;
    if (!there(nodes.get(e.source)) || !there(nodes.get(e.target))) return;
    const ghost = mode === "both" && e.change === "removed" ? " ghost" : "";
    const p = el("path", {class: "edge" + ghost, d: edgePath(placed.boxes.get(e.source), placed.boxes.get(e.target), placed.bends.get(i) || []),
      stroke: STYLE.edges[e.kind], "stroke-dasharray": STYLE.dashes[e.kind], "marker-end": "url(#arrow-" + e.kind + ")",
      "data-source": e.source, "data-target": e.target});
    p.append(el("title", {}, e.label + (e.type ? ": " + e.type : "")));
    world.append(p);
  });
  if (mode === "both") drawInto();
  svg.append(defs, world);
  stage.append(svg);
  move();
  mark();
}

function drawNode(n) {
  const b = placed.boxes.get(n.id), [fill, border] = STYLE.groups[n.group];
  const cls = mode !== "both" || !n.change ? "" : GONE.has(n.change) ? " ghost" : FRESH.has(n.change) ? " fresh" : " altered";
  const g = el("g", {class: "node" + cls, "data-id": n.id, tabindex: 0, role: "button", "aria-label": n.label});
  g.append(el("rect", {x: b.x, y: b.y, width: b.w, height: b.h, rx: n.group === "io" && !n.container ? b.h / 2 : 6, fill,
    stroke: n.problems.length ? STYLE.problem : border, "stroke-width": n.problems.length ? 2 : 1}));
  const open = isOpen(n);
  lines(n).forEach((line, i) => {
    const t = el("text", {y: b.y + 16 + LINE * i, x: open ? b.x + 26 : b.x + (b.w + (n.container ? 16 : 0)) / 2, "text-anchor": open ? "start" : "middle"}, line);
    if (i === 0) t.setAttribute("font-weight", 600); else t.setAttribute("fill", "#4a5568");
    g.append(t);
  });
  if (n.container) g.append(el("text", {class: "toggle", x: b.x + 9, y: b.y + 16, "data-toggle": n.id}, open ? "▾" : "▸"));
  world.append(g);
}

function intoPath(a, b) {        // from the side of `a` that faces `b`; around on the right if one stands above the other
  const y0 = a.y + a.h / 2, y1 = b.y + b.h / 2, left = b.x + b.w < a.x, right = a.x + a.w < b.x;
  const x0 = left ? a.x : a.x + a.w, x1 = right ? b.x : b.x + b.w;
  const h = left || right ? (x1 - x0) / 2 : Math.max(x0, x1) - x0 + 40, k = left || right ? x1 - h : Math.max(x0, x1) + 40;
  return `M${x0} ${y0} C${x0 + h} ${y0} ${k} ${y1} ${x1} ${y1}`;
}

function drawInto() {           // from each ghost to what stands for it now
  for (const n of nodes.values()) for (const target of n.into) {
    const from = visible(n.id), to = visible(target);
    if (from === to) continue;
    const d = intoPath(placed.boxes.get(from), placed.boxes.get(to));
    const p = el("path", {class: "into", d, "data-source": from, "data-target": to});
    p.append(el("title", {}, DATA.changes[n.change]));
    world.append(p);
  }
}

function move() { svg.classList.toggle("far", view.k < 0.15); world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`); }

function zoom(factor, cx, cy) {
  const k = Math.min(6, Math.max(0.002, view.k * factor));
  view.x = cx - (cx - view.x) * (k / view.k);
  view.y = cy - (cy - view.y) * (k / view.k);
  view.k = k;
  move();
}

function fit() {
  const all = placed.boxes.get(""), w = stage.clientWidth || 800, h = stage.clientHeight || 600;
  view.k = Math.min(1.5, 0.96 * Math.min(w / (all.w + 40), h / all.h));
  view.x = (w - all.w * view.k) / 2;
  view.y = Math.max(8, (h - all.h * view.k) / 2);
  move();
}

function toggle(id) {
  const before = placed.boxes.get(id), sx = before.x * view.k + view.x, sy = before.y * view.k + view.y;
  if (closed.has(id)) closed.delete(id); else closed.add(id);
  draw();
  const after = placed.boxes.get(id);       // what was clicked stays under the pointer
  view.x = sx - after.x * view.k;
  view.y = sy - after.y * view.k;
  move();
}

// ---- panel and search -----------------------------------------------------------------------------
function choose(id) {
  chosen = id;
  panel.textContent = "";
  if (id === null) { about(); mark(); return; }
  const n = nodes.get(id);
  panel.append(h("h2", n.label));
  if (n.note) panel.append(h("div", n.note));
  if (n.change) {
    const into = n.into.map(i => nodes.get(i).label).join(", ");
    section("Change", DATA.changes[n.change] + (into ? ": " + into : ""));
  }
  for (const p of n.problems) panel.append(h("div", "! " + p, "problem"));
  if (Object.keys(n.counts).length) section("Counts", Object.entries(n.counts));
  for (const [title, i] of n.details) section(title, text(i));
  mark();
}

function about() {
  const step = STEPS[now];
  panel.append(h("h2", picture.name), h("div", `${picture.nodes.length} nodes, ${picture.edges.length} edges`));
  for (const f of picture.findings) panel.append(h("div", "! " + f, "problem"));
  panel.append(h("p", "Drag to move, scroll to zoom. Click a node for its prompt, types and counts; the triangle of a box closes it."));
  if (!step.name) return;
  const counts = new Map();
  for (const n of picture.nodes) if (n.change) counts.set(n.change, (counts.get(n.change) || 0) + 1);
  section(`${step.name} [${step.label}]`, Object.entries(step.counters));
  section("Nodes", counts.size ? [...counts].map(([c, n]) => [DATA.changes[c], n]) : "nothing was changed");
}

function mark() {
  const hit = new Set(search.hits.filter(id => nodes.has(id)).map(visible));
  for (const g of world.querySelectorAll(".node")) {
    g.classList.toggle("chosen", g.dataset.id === chosen);
    g.classList.toggle("hit", hit.has(g.dataset.id));
  }
  for (const p of world.querySelectorAll(".edge"))
    p.classList.toggle("near", chosen !== null && (p.dataset.source === chosen || p.dataset.target === chosen));
}

function find(want) {
  const says = n => [n.label, n.note, n.op, ...n.types, ...n.details.map(d => text(d[1]))].join("\n").toLowerCase().includes(want);
  return picture.nodes.filter(n => there(n) && says(n)).map(n => n.id);
}

function reveal(id) {           // open what hides it, and bring it to the middle
  for (let at = nodes.get(id); at; at = nodes.get(at.parent)) if (at.parent) closed.delete(at.parent);
  draw();
  const b = placed.boxes.get(id);
  view.k = Math.max(view.k, 0.6);
  view.x = stage.clientWidth / 2 - (b.x + b.w / 2) * view.k;
  view.y = stage.clientHeight / 2 - (b.y + b.h / 2) * view.k;
  move();
  choose(id);
}
const search = finder(find, () => mark(), reveal);

// ---- events ---------------------------------------------------------------------------------------
gestures({
  drag: (dx, dy) => { view.x += dx; view.y += dy; move(); },
  zoom, fit,
  tap: target => {
    const g = target.closest(".node");
    if (target.dataset.toggle) toggle(target.dataset.toggle);
    else choose(g ? g.dataset.id : null);
  },
  twice: target => {
    const g = target.closest(".node");
    if (g && !target.dataset.toggle && nodes.get(g.dataset.id).container) toggle(g.dataset.id);
  },
});
const all = () => [...nodes.values()].filter(n => n.container && n.parent !== "");
button("Close all", "Close every region", () => { all().forEach(n => closed.add(n.id)); draw(); fit(); });
button("Open all", "Open every region", () => { closed.clear(); draw(); fit(); });

// ---- passes: which one, and before, after or both with ghosts --------------------------------------
let now = 0;

function show(step) {
  now = step;
  load(step);
  draw();
  fit();
  choose(null);
  search.again();
}

function look(at) {
  mode = at;
  for (const b of tools.querySelectorAll(".views button")) b.setAttribute("aria-pressed", b.dataset.mode === at);
  draw();
  if (chosen !== null && !there(nodes.get(chosen))) choose(null);
}

function passes() {
  const label = h("label", "Pass"), pick = h("select"), slide = h("input"), views = h("span", undefined, "views");
  STEPS.forEach((s, i) => { const o = h("option", s.name + (s.picture.nodes.some(n => n.change) ? "" : " (no change)")); o.value = i; pick.append(o); });
  Object.assign(slide, {type: "range", id: "slide", min: 0, max: STEPS.length - 1, value: first, title: "Which pass"});
  pick.id = "pass";
  pick.value = first;
  const go = i => { pick.value = slide.value = i; show(Number(i)); };
  pick.addEventListener("change", () => go(pick.value));
  slide.addEventListener("input", () => go(slide.value));
  label.append(pick);
  if (STEPS.length > 1) label.append(slide);
  for (const [at, name] of [["before", "Before"], ["both", "Both"], ["after", "After"]]) {
    const b = h("button", name);
    b.dataset.mode = at;
    b.addEventListener("click", () => look(at));
    views.append(b);
  }
  tools.append(label, views);
}

const first = Math.max(0, STEPS.findIndex(s => s.picture.nodes.some(n => n.change)));
if (STEPS[0].name) passes();
show(first);
if (STEPS[0].name) look("both");
