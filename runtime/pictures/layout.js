// Where the boxes of a graph are, and where its arrows bend: as layout.py has it, over what is open.

const GAPX = 18, GAPY = 34, PAD = 12, HEAD = 24, LINE = 15, SWEEPS = 6, SPARE = 4;

function drawnEdges() {         // edges between visible ends, each once
  const seen = new Map();
  for (const e of picture.edges) {
    const a = visible(e.source), b = visible(e.target);
    const key = a + ">" + b + ">" + e.kind;
    if (a !== b && !seen.has(key)) seen.set(key, {source: a, target: b, kind: e.kind, label: e.label, type: e.type, change: e.change});
    else if (a !== b && !e.change) seen.get(key).change = "";
    if (a !== b && e.label && seen.get(key).label !== e.label && !seen.get(key).label.split(", ").includes(e.label))
      seen.get(key).label = [seen.get(key).label, e.label].filter(Boolean).join(", ");
  }
  return [...seen.values()];
}

function layout() {
  const boxes = new Map(), inside = new Map(), bends = new Map(), local = new Map();
  const edges = drawnEdges();
  const chain = id => { const c = [id]; while (c[c.length - 1] !== "") c.push(nodes.get(c[c.length - 1]).parent); return c.reverse(); };
  const place = new Map();
  for (const kids of children.values()) kids.forEach((k, i) => place.set(k.id, i));
  edges.forEach((e, number) => {
    const a = chain(e.source), b = chain(e.target);
    let d = 0;
    while (d < a.length && d < b.length && a[d] === b[d]) d++;
    if (d < a.length && d < b.length) {
      if (!local.has(a[d - 1])) local.set(a[d - 1], []);
      local.get(a[d - 1]).push([number, place.get(a[d]), place.get(b[d])]);
    }
  });

  function container(id, head) {
    const kids = kidsOf(id);
    for (const k of kids) {
      if (isOpen(k)) container(k.id, HEAD + LINE * (lines(k).length - 1));
      else {
        const ls = lines(k);
        boxes.set(k.id, {x: 0, y: 0, w: Math.max(7 * Math.max(1, ...ls.map(l => l.length)) + 20 + (k.container ? 16 : 0), 44),
          h: LINE * ls.length + 12});
      }
    }
    const items = kids.map(k => ({w: boxes.get(k.id).w, h: boxes.get(k.id).h, rank: 0, x: 0, up: [], down: []}));
    const forward = new Map();
    for (const [number, a, b] of local.get(id) || []) if (a < b) {
      const key = a * 1e6 + b;
      if (!forward.has(key)) forward.set(key, {a, b, numbers: []});
      forward.get(key).numbers.push(number);
    }
    const pairs = [...forward.values()];
    pairs.sort((p, q) => p.b - q.b || p.a - q.a);
    for (const {a, b} of pairs) items[b].rank = Math.max(items[b].rank, items[a].rank + 1);
    const span = p => items[p.b].rank - items[p.a].rank - 1;
    let room = SPARE * items.length + 200;    // what would need more place holders than that is drawn straight
    for (const p of [...pairs].sort((p, q) => span(p) - span(q) || p.a - q.a || p.b - q.b)) p.bends = (room -= span(p)) >= 0;
    pairs.sort((p, q) => p.a - q.a || p.b - q.b);
    const holders = new Map();
    const join = (a, b) => { items[a].down.push(b); items[b].up.push(a); };
    for (const {a, b, numbers, bends} of pairs) {
      let last = a;
      for (let r = items[a].rank + 1; bends && r < items[b].rank; r++) {
        items.push({w: 8, h: 8, rank: r, x: 0, up: [], down: []});
        holders.set(items.length - 1, numbers);
        join(last, items.length - 1);
        last = items.length - 1;
      }
      join(last, b);
    }
    const layers = [];
    items.forEach((it, n) => { while (layers.length <= it.rank) layers.push([]); layers[it.rank].push(n); });
    const at = new Map();
    layers.forEach(l => l.forEach((n, i) => at.set(n, i)));
    const mean = v => v.reduce((s, x) => s + x, 0) / v.length;
    for (let s = 0; s < SWEEPS; s++) {
      const down = s % 2 === 0;
      for (const l of down ? layers : [...layers].reverse()) {
        const want = new Map(l.map(n => { const near = down ? items[n].up : items[n].down; return [n, near.length ? mean(near.map(m => at.get(m))) : at.get(n)]; }));
        l.sort((p, q) => want.get(p) - want.get(q) || p - q);
        l.forEach((n, i) => at.set(n, i));
      }
    }
    for (const l of layers) { let x = 0; for (const n of l) { items[n].x = x; x += items[n].w + GAPX; } }
    for (let s = 0; s < SWEEPS; s++) {
      const down = s % 2 === 0;
      for (const l of down ? layers : [...layers].reverse()) {
        const want = l.map(n => { const near = down ? items[n].up : items[n].down; return near.length ? mean(near.map(m => items[m].x + items[m].w / 2)) - items[n].w / 2 : items[n].x; });
        const right = [], left = [];
        let edge = -Infinity;
        l.forEach((n, i) => { right.push(Math.max(want[i], edge)); edge = right[i] + items[n].w + GAPX; });
        edge = Infinity;
        for (let i = l.length - 1; i >= 0; i--) { left[i] = Math.min(want[i], edge - items[l[i]].w); edge = left[i] - GAPX; }
        l.forEach((n, i) => { items[n].x = (right[i] + left[i]) / 2; });
      }
    }
    const least = items.length ? items.reduce((m, i) => Math.min(m, i.x), Infinity) : 0;
    let y = PAD + head, width = 0;
    for (const it of items) { it.x -= least; width = Math.max(width, it.x + it.w); }
    for (const l of layers) {
      const tall = l.reduce((m, n) => Math.max(m, items[n].h), 0);
      for (const n of l) {
        if (n < kids.length) { const b = boxes.get(kids[n].id); b.x = items[n].x + PAD; b.y = y + (tall - items[n].h) / 2; }
        else for (const number of holders.get(n)) {
          if (!inside.has(id)) inside.set(id, []);
          const x = items[n].x + PAD + items[n].w / 2;
          inside.get(id).push([number, x, y], [number, x, y + tall]);
        }
      }
      y += tall + GAPY;
    }
    const title = id === "" ? 0 : 7 * Math.max(0, ...lines(nodes.get(id)).map(l => l.length)) + 46;
    boxes.set(id, {x: 0, y: 0, w: Math.max(width + 2 * PAD, title, 60), h: Math.max(y - GAPY + PAD, HEAD + head)});
  }

  function settle(id, x, y) {
    for (const [number, bx, by] of inside.get(id) || []) {
      if (!bends.has(number)) bends.set(number, []);
      bends.get(number).push([bx + x, by + y]);
    }
    for (const k of kidsOf(id)) {
      const b = boxes.get(k.id);
      b.x += x; b.y += y;
      if (isOpen(k)) settle(k.id, b.x, b.y);
    }
  }
  container("", 0);
  settle("", 0, 0);
  return {boxes, bends, edges};
}

function edgePath(a, b, bends) {
  const f = v => v.toFixed(1);
  if (b.y >= a.y + a.h) {
    const p = [[a.x + a.w / 2, a.y + a.h], ...bends, [b.x + b.w / 2, b.y]];
    let d = "M" + f(p[0][0]) + " " + f(p[0][1]);
    for (let i = 1; i < p.length; i++) {
      const h = (p[i][1] - p[i - 1][1]) / 2;
      d += " C" + [p[i - 1][0], p[i - 1][1] + h, p[i][0], p[i][1] - h, p[i][0], p[i][1]].map(f).join(" ");
    }
    return d;
  }
  if (a.x <= b.x && a.y <= b.y && a.x + a.w >= b.x + b.w && a.y + a.h >= b.y + b.h)
    return "M" + f(a.x) + " " + f(b.y + b.h / 2) + " L" + f(b.x) + " " + f(b.y + b.h / 2);
  const x0 = a.x + a.w, y0 = a.y + a.h / 2, x1 = b.x + b.w, y1 = b.y + b.h / 2, o = Math.max(x0, x1) + 26;
  return "M" + [x0, y0].map(f).join(" ") + " C" + [o, y0, o, y1, x1, y1].map(f).join(" ");
}
