// What all pages share: elements, a panel of details, search, and how one moves about.

const NS = "http://www.w3.org/2000/svg";
const stage = document.getElementById("stage"), panel = document.getElementById("panel"), tools = document.getElementById("tools");

function el(name, attrs, text) {         // an SVG element
  const e = document.createElementNS(NS, name);
  for (const k in attrs) e.setAttribute(k, attrs[k]);
  if (text !== undefined) e.textContent = text;
  return e;
}

function h(name, text, cls) {            // an HTML element
  const e = document.createElement(name);
  if (text !== undefined) e.textContent = text;
  if (cls) e.className = cls;
  return e;
}

function button(text, title, press) {
  const b = h("button", text);
  b.title = title;
  b.addEventListener("click", press);
  tools.append(b);
  return b;
}

const clip = (text, length) => text.length <= length ? text : text.slice(0, length - 1) + "…";

// A titled table or text in the panel.
function section(title, content) {
  panel.append(h("h3", title));
  if (typeof content === "string") { panel.append(h("pre", content)); return; }
  const table = document.createElement("table");
  for (const [k, v] of content) { const r = table.insertRow(); r.insertCell().textContent = k; r.insertCell().textContent = v; }
  panel.append(table);
}

// Drag to move, wheel to zoom, a click or Enter chooses, a double click opens. `on` has drag(dx, dy), zoom(factor, x, y),
// tap(target) and twice(target); x and y are places on the stage.
function gestures(on) {
  let drag = null;
  stage.addEventListener("pointerdown", e => { drag = {x: e.clientX, y: e.clientY, moved: false}; });
  window.addEventListener("pointermove", e => {
    if (!drag) return;
    const dx = e.clientX - drag.x, dy = e.clientY - drag.y;
    if (!drag.moved && Math.abs(dx) + Math.abs(dy) < 4) return;
    drag = {x: e.clientX, y: e.clientY, moved: true};
    stage.classList.add("dragging");
    on.drag(dx, dy);
  });
  window.addEventListener("pointerup", e => {
    const was = drag;
    drag = null;
    stage.classList.remove("dragging");
    if (was && !was.moved && stage.contains(e.target)) on.tap(e.target);
  });
  stage.addEventListener("dblclick", e => on.twice(e.target));
  stage.addEventListener("wheel", e => {
    e.preventDefault();
    const r = stage.getBoundingClientRect();
    on.zoom(Math.exp(-e.deltaY * (e.deltaMode === 1 ? 0.05 : 0.0015)), e.clientX - r.left, e.clientY - r.top);
  }, {passive: false});
  stage.addEventListener("keydown", e => {
    const node = e.target.closest(".node");
    if (node && e.key === "Enter") on.tap(node);
    else if (node && e.key === " ") { e.preventDefault(); on.twice(node); }
  });
  const middle = () => [stage.clientWidth / 2, stage.clientHeight / 2];
  const inward = () => on.zoom(1.25, ...middle()), outward = () => on.zoom(0.8, ...middle());
  document.addEventListener("keydown", e => {
    if (/^(INPUT|SELECT)$/.test(e.target.tagName)) return;
    if (e.key === "+" || e.key === "=") inward();
    else if (e.key === "-") outward();
    else if (e.key === "0") on.fit();
  });
  document.getElementById("in").addEventListener("click", inward);
  document.getElementById("out").addEventListener("click", outward);
  document.getElementById("fit").addEventListener("click", on.fit);
  window.addEventListener("resize", () => on.resize && on.resize());
}

// The search box. `find(text)` gives hits, which `show()` marks; Enter goes from one to the next by `reveal(hit)`.
function finder(find, show, reveal) {
  const search = document.getElementById("search"), found = document.getElementById("found");
  const state = {hits: [], at: 0};
  function run() {
    const want = search.value.trim().toLowerCase();
    state.hits = want ? find(want) : [];
    state.at = 0;
    found.textContent = want ? state.hits.length + " found" : "";
    show();
  }
  search.addEventListener("input", run);
  search.addEventListener("keydown", e => {
    if (e.key === "Escape") { search.value = ""; run(); search.blur(); }
    else if (e.key === "Enter" && state.hits.length) reveal(state.hits[state.at++ % state.hits.length]);
  });
  document.addEventListener("keydown", e => {
    if (e.key === "/" && !/^(INPUT|SELECT)$/.test(e.target.tagName)) { e.preventDefault(); search.focus(); }
  });
  state.again = run;
  return state;
}
