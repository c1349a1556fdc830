"use strict";
// Text of a history enters the page as textContent alone, never as markup.

(function tables() {
  const order = new Intl.Collator("en", { numeric: true });
  const said = document.createElement("p");
  said.className = "shut";
  said.setAttribute("role", "status");
  document.body.append(said);

  function value(row, column) {
    const cell = row.cells[column];
    const number = cell.dataset.value;
    if (number === undefined) return cell.textContent === "-" ? null : cell.textContent;
    return number === "" ? null : Number(number);
  }

  function sort(table, column, direction) {
    const rows = Array.from(table.tBodies[0].rows, (row) => [value(row, column), row]);
    const sign = direction === "ascending" ? 1 : -1;
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // what is missing comes last either way
      return sign * (typeof a === "number" ? a - b : order.compare(a, b));
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", direction);
    said.textContent = `sorted by ${heads[column].textContent}, ${direction}`;
  }

  for (const table of document.querySelectorAll("table.sorts")) {
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      // The largest number first: that is what one looks for.
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      button.addEventListener("click", () => {
        sort(table, column, head.getAttribute("aria-sort") === first ? second : first);
      });
    });
  }

  for (const input of document.querySelectorAll("input[data-table]")) {
    const rows = Array.from(document.getElementById(input.dataset.table).tBodies[0].rows);
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const count = document.querySelector(`output[for="${input.id}"]`);
    const filter = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every((word) => texts[i].includes(word));
        if (!row.hidden) shown += 1;
      });
      count.textContent = `${shown} of ${rows.length} shown`;
    };
    input.addEventListener("input", filter);
    filter();
  }
})();

(function chart() {
  const source = document.getElementById("data");
  if (!source) return;
  const { groups, window: last, runs } = JSON.parse(source.textContent);
  const box = document.getElementById("chart");
  const reading = document.getElementById("reading");
  const showDots = document.getElementById("dots");
  const margin = { left: 58, right: 14, top: 10, bottom: 44 };
  const hidden = new Set();
  let axis = "sample";
  let what = "best"; // or "mean": which curve of a run is drawn
  let view = null; // what is zoomed to, in data; null for the whole
  let at = null; // the run and the step that the keys have come to
  let size = { width: 0, height: 0 };

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, text] of Object.entries(attributes)) node.setAttribute(key, text);
    node.append(...children);
    return node;
  };
  const svg = make("svg", { "aria-hidden": "true" });
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  box.replaceChildren(svg, tip);

  const percent = (y) => `${(100 * y).toFixed(2)} %`;
  const digits = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const place = (x) => (axis === "sample" ? `sample ${digits.format(x)}` : `${digits.format(x)} seconds`);
  const end = (run) => (axis === "sample" ? run.samples : run.seconds);
  const curve = (run) => (what === "mean" ? run.mean : run); // columns: sample, elapsed, fitness
  const visible = () => runs.filter((run) => !hidden.has(run.group));
  const colour = (run) => `var(--c${run.group})`;

  function whole() {
    const dots = [], bests = [], ends = [];
    for (const run of runs) {
      for (const y of run.dots.fitness) dots.push(y);
      if (run.fitness.length) bests.push(run.fitness.at(-1));
      ends.push(end(run));
    }
    dots.sort((a, b) => a - b);
    const quantile = (q) => dots[Math.round(q * (dots.length - 1))];
    // A few networks that learned nothing would flatten the curves of all others (Tukey's outer fence).
    const fence = quantile(0.25) - 3 * (quantile(0.75) - quantile(0.25));
    const most = (values) => values.reduce((a, b) => Math.max(a, b));
    const least = (values) => values.reduce((a, b) => Math.min(a, b));
    const low = Math.min(Math.max(dots[0], fence), least(bests));
    const high = Math.max(most(bests), low + 0.001);
    const room = high - low;
    return { x0: 0, x1: Math.max(most(ends) * 1.02, axis === "sample" ? 2 : 0.1), y0: Math.max(0, low - 0.05 * room), y1: Math.min(1, high + 0.08 * room) };
  }
  let all = whole();
  const now = () => view || all;
  const px = (x) => margin.left + ((x - now().x0) / (now().x1 - now().x0)) * (size.width - margin.left - margin.right);
  const py = (y) => size.height - margin.bottom - ((y - now().y0) / (now().y1 - now().y0)) * (size.height - margin.top - margin.bottom);
  const ux = (p) => now().x0 + ((p - margin.left) / (size.width - margin.left - margin.right)) * (now().x1 - now().x0);
  const uy = (p) => now().y0 + ((size.height - margin.bottom - p) / (size.height - margin.top - margin.bottom)) * (now().y1 - now().y0);

  function ticks(low, high, most, whole) {
    const raw = (high - low) / Math.max(1, most);
    const power = 10 ** Math.floor(Math.log10(raw));
    let step = power * [1, 2, 5, 10].find((n) => n * power >= raw * 0.999);
    if (whole) step = Math.max(1, Math.round(step));
    const found = [];
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + 1e-9 * step; n += 1) found.push(n * step + 0); // never -0
    return [found, step];
  }

  function path(run) {
    const { fitness } = curve(run), xs = curve(run)[axis];
    let drawn = "";
    for (let i = 0; i < xs.length; i += 1) {
      const x = px(xs[i]).toFixed(1), y = py(fitness[i]).toFixed(1);
      if (!i) drawn = `M${x} ${y}`;
      else drawn += what === "best" ? `H${x}V${y}` : `L${x} ${y}`;
    }
    return drawn && what === "best" ? `${drawn}H${px(end(run)).toFixed(1)}` : drawn;
  }

  function draw() {
    size = { width: box.clientWidth, height: box.clientHeight };
    if (!size.width) return;
    svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    const { x0, x1, y0, y1 } = now();
    const right = size.width - margin.right, foot = size.height - margin.bottom;
    const parts = [];
    const [ys, step] = ticks(y0, y1, size.height / 60);
    const places = Math.max(0, Math.ceil(-Math.log10(100 * step) - 1e-9));
    for (const y of ys) {
      parts.push(make("line", { class: "grid", x1: margin.left, x2: right, y1: py(y), y2: py(y) }));
      parts.push(make("text", { x: margin.left - 6, y: py(y) + 4, "text-anchor": "end" }, `${(100 * y).toFixed(places)} %`));
    }
    for (const x of ticks(x0, x1, size.width / 90, axis === "sample")[0]) {
      parts.push(make("line", { class: "grid", x1: px(x), x2: px(x), y1: foot, y2: foot + 5 }));
      parts.push(make("text", { x: px(x), y: foot + 18, "text-anchor": "middle" }, new Intl.NumberFormat("en", { maximumFractionDigits: 3 }).format(x)));
    }
    parts.push(make("line", { class: "grid", x1: margin.left, x2: right, y1: foot, y2: foot }));
    const below = view ? 0 : visible().reduce((n, run) => n + run.dots.fitness.filter((y) => y < y0).length, 0);
    if (below && showDots.checked) {
      parts.push(make("text", { x: right, y: foot - 6, "text-anchor": "end" }, `${below} ${below === 1 ? "dot lies" : "dots lie"} below`));
    }
    const title = axis === "sample" ? "samples (trainings that ended)" : "seconds that the run was going for";
    parts.push(make("text", { x: (margin.left + right) / 2, y: size.height - 6, "text-anchor": "middle" }, title));
    const clip = make("clipPath", { id: "inside" }, make("rect", { x: margin.left, y: margin.top, width: right - margin.left, height: foot - margin.top }));
    const inside = make("g", { "clip-path": "url(#inside)" });
    const crowd = Math.max(1, Math.sqrt(runs.reduce((n, run) => n + run.dots.id.length, 0) / 1000));
    if (showDots.checked) {
      for (const run of visible()) {
        const { fitness } = run.dots, xs = run.dots[axis];
        let drawn = "";
        for (let i = 0; i < xs.length; i += 1) {
          if (xs[i] >= x0 && xs[i] <= x1 && fitness[i] >= y0 && fitness[i] <= y1) drawn += `M${px(xs[i]).toFixed(1)} ${py(fitness[i]).toFixed(1)}h0`;
        }
        const dot = make("path", { class: "dot", d: drawn, "stroke-width": Math.max(2, (5 * Math.min(1, size.width / 700)) / Math.sqrt(crowd)) });
        dot.style.stroke = colour(run);
        inside.append(dot);
      }
    }
    for (const run of visible()) {
      const line = make("path", { class: groups[run.group].runs > 1 ? "line thin" : "line", d: path(run) });
      line.style.stroke = colour(run);
      if (groups[run.group].dashes !== "none") line.style.strokeDasharray = groups[run.group].dashes;
      inside.append(line);
    }
    svg.replaceChildren(clip, ...parts, inside);
  }

  function mark(x, y) {
    svg.querySelectorAll(".mark").forEach((node) => node.remove());
    if (x !== undefined) svg.append(make("circle", { class: "mark", cx: px(x), cy: py(y), r: 5 }));
  }

  function point(text, x, y) {
    mark(x, y);
    tip.textContent = text;
    tip.hidden = false;
    const left = px(x) + 12, wide = tip.offsetWidth;
    tip.style.left = `${Math.max(0, left + wide > size.width ? px(x) - wide - 12 : left)}px`;
    tip.style.top = `${Math.max(0, Math.min(size.height - tip.offsetHeight, py(y) - 12))}px`;
  }

  function clear() {
    tip.hidden = true;
    mark();
  }

  function nearest(mouseX, mouseY) {
    let found = null, distance = 14 ** 2;
    if (showDots.checked) {
      for (const run of visible()) {
        const { fitness, id } = run.dots, xs = run.dots[axis];
        for (let i = 0; i < xs.length; i += 1) {
          const d = (px(xs[i]) - mouseX) ** 2 + (py(fitness[i]) - mouseY) ** 2;
          if (d < distance) [found, distance] = [{ run, x: xs[i], y: fitness[i], said: `trial ${id[i]}` }, d];
        }
      }
      if (found) return found;
    }
    distance = Infinity;
    const x = ux(mouseX);
    for (const run of visible()) {
      const { fitness } = curve(run), xs = curve(run)[axis];
      let i = xs.length - 1;
      while (i >= 0 && xs[i] > x) i -= 1;
      if (i < 0) continue;
      const d = Math.abs(py(fitness[i]) - mouseY);
      const at = what === "best" ? Math.min(x, end(run)) : xs[i];
      const said = what === "best" ? `best so far, trial ${run.id[i]}` : `mean of the last ${last}`;
      if (d < distance) [found, distance] = [{ run, x: at, y: fitness[i], said }, d];
    }
    return found;
  }

  function say(found) {
    const x = axis === "sample" ? Math.round(found.x) : found.x;
    return `${found.run.run}: ${percent(found.y)}\n${found.said}, ${place(x)}`;
  }

  function zoom(factor, x, y) {
    const { x0, x1, y0, y1 } = now();
    x = x ?? (x0 + x1) / 2;
    y = y ?? (y0 + y1) / 2;
    const next = { x0: x - (x - x0) * factor, x1: x + (x1 - x) * factor, y0: y - (y - y0) * factor, y1: y + (y1 - y) * factor };
    next.x0 = Math.max(next.x0, all.x0);
    next.x1 = Math.min(next.x1, all.x1);
    next.y0 = Math.max(next.y0, 0);
    next.y1 = Math.min(next.y1, 1);
    see(next);
  }

  function see(next) {
    if (next && (next.x1 - next.x0 < 1e-6 * all.x1 || next.y1 - next.y0 < 1e-6)) return;
    const isWhole = !next || (next.x0 <= all.x0 && next.x1 >= all.x1 && next.y0 <= all.y0 && next.y1 >= all.y1);
    view = isWhole ? null : next;
    clear();
    draw();
    const edge = (x) => place(axis === "sample" ? Math.round(x) : x);
    reading.textContent = view ? `${edge(view.x0)} to ${edge(view.x1)}, ${percent(view.y0)} to ${percent(view.y1)}` : "the whole";
  }

  let from = null, band = null;
  const spot = (event) => {
    const corner = box.getBoundingClientRect();
    return [event.clientX - corner.left, event.clientY - corner.top];
  };
  box.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = spot(event);
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    const [x, y] = spot(event);
    if (from) {
      clear();
      if (!band) svg.append((band = make("rect", { class: "box" })));
      band.setAttribute("x", Math.min(x, from[0]));
      band.setAttribute("y", Math.min(y, from[1]));
      band.setAttribute("width", Math.abs(x - from[0]));
      band.setAttribute("height", Math.abs(y - from[1]));
      return;
    }
    const found = nearest(x, y);
    if (found) point(say(found), found.x, found.y);
    else clear();
  });
  const finish = (event) => {
    if (band) band.remove();
    band = null;
    if (from && event.type === "pointerup") {
      const [x, y] = spot(event);
      const inX = (p) => Math.min(size.width - margin.right, Math.max(margin.left, p));
      const inY = (p) => Math.min(size.height - margin.bottom, Math.max(margin.top, p));
      const [left, right] = [inX(Math.min(x, from[0])), inX(Math.max(x, from[0]))];
      const [top, foot] = [inY(Math.min(y, from[1])), inY(Math.max(y, from[1]))];
      if (right - left > 8 && foot - top > 8) see({ x0: ux(left), x1: ux(right), y0: uy(foot), y1: uy(top) });
      else if (right - left > 8) see({ ...now(), x0: ux(left), x1: ux(right) });
    }
    from = null;
  };
  box.addEventListener("pointerup", finish);
  box.addEventListener("pointercancel", finish);
  box.addEventListener("pointerleave", clear);
  box.addEventListener("dblclick", () => see(null));
  box.addEventListener("wheel", (event) => {
    if (document.activeElement !== box && !event.ctrlKey) return; // else the page could not be scrolled past it
    event.preventDefault();
    const [x, y] = spot(event);
    zoom(event.deltaY > 0 ? 1.25 : 0.8, ux(x), uy(y));
  }, { passive: false });

  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const keys = { "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7), 0: () => see(null), Escape: clear };
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (keys[event.key]) keys[event.key]();
    else if (moves[event.key]) walk(...moves[event.key]);
    else return;
    event.preventDefault();
  });

  function walk(down, along) {
    const some = visible().filter((run) => curve(run).fitness.length);
    if (!some.length) return;
    const end = (run) => curve(run).fitness.length - 1;
    if (!at || !some.includes(at.run)) at = { run: some[0], step: end(some[0]) };
    else {
      const next = some[Math.min(some.length - 1, Math.max(0, some.indexOf(at.run) + down))];
      const step = next === at.run ? at.step + along : end(next);
      at = { run: next, step: Math.min(end(next), Math.max(0, step)) };
    }
    const { run, step } = at;
    const [x, y] = [curve(run)[axis][step], curve(run).fitness[step]];
    const { x0, x1, y0, y1 } = now();
    if (x < x0 || x > x1 || y < y0 || y > y1) see(null);
    const text = say({ run, x, y, said: what === "best" ? `best so far from trial ${run.id[step]}` : `mean of the last ${last}` });
    point(text, x, y);
    reading.textContent = text.replace("\n", ", ");
  }

  document.getElementById("closer").addEventListener("click", () => zoom(0.7));
  document.getElementById("farther").addEventListener("click", () => zoom(1 / 0.7));
  document.getElementById("whole").addEventListener("click", () => see(null));
  showDots.addEventListener("change", () => { clear(); draw(); });
  for (const input of document.querySelectorAll('input[name="curve"]')) {
    input.addEventListener("change", () => {
      what = input.value;
      at = null;
      clear();
      draw();
    });
  }
  for (const input of document.querySelectorAll('input[name="x"]')) {
    input.addEventListener("change", () => {
      axis = input.value;
      all = whole();
      see(null);
    });
  }

  const legend = document.getElementById("legend");
  groups.forEach((group, number) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "checkbox";
    input.checked = true;
    const line = make("line", { x1: 0, x2: 26, y1: 6, y2: 6, "stroke-width": 3 });
    line.style.stroke = `var(--c${number})`;
    if (group.dashes !== "none") line.style.strokeDasharray = group.dashes;
    const swatch = make("svg", { width: 26, height: 12, "aria-hidden": "true" }, line);
    label.append(input, " ", swatch, group.runs > 1 ? `${group.label} (${group.runs} runs)` : group.label);
    input.addEventListener("change", () => {
      if (input.checked) hidden.delete(number);
      else hidden.add(number);
      clear();
      draw();
    });
    legend.append(label);
  });

  new ResizeObserver(draw).observe(box);
  window.addEventListener("beforeprint", () => { clear(); draw(); });
  draw();
})();

(function print() {
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true; // paper has nothing to click on
  });
})();
