"use strict";
// Two metrics against each other, with the front of each target as steps.
(() => {
  const { column, metrics, objectives, front, state, on, hover, select, later,
    describe, make, drawn } = exploration;
  const holder = document.getElementById("scatter");
  const canvas = holder.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const [ground, layer] = holder.querySelectorAll("svg");
  const legend = document.getElementById("fronts");
  const says = document.getElementById("scatter-says");
  const status = column("status"), target = column("target");
  const margin = { left: 62, right: 18, top: 16, bottom: 46 };
  let width = 0, height = 0, marker = null;
  let across = new Float32Array(0), down = new Float32Array(0);

  const axes = ["x", "y"].map((name, at) => {
    const choice = document.getElementById(name + "-axis");
    const log = document.getElementById(name + "-log");
    choice.append(...metrics.map((each) => make("option", { value: each.name }, each.label)));
    const first = [...objectives, ...["latency_ms", "cycles"].map(column), ...metrics]
      .filter((each, place, all) => each && all.indexOf(each) === place);
    // The goal of most is accuracy, which stands upright.
    const start = first[first.length > 1 ? 1 - at : 0];
    const axis = { column: start, log: Boolean(start) && paint.wide(start) };
    const adopt = () => {
      log.disabled = !(axis.column.low > 0);
      if (log.disabled) axis.log = false;
      log.checked = axis.log;
    };
    if (start) { choice.value = start.name; adopt(); }
    choice.addEventListener("change", () => {
      axis.column = column(choice.value);
      axis.log = paint.wide(axis.column);
      adopt();
      redraw();
    });
    log.addEventListener("change", () => { axis.log = log.checked; redraw(); });
    return axis;
  });
  if (!metrics.length) {
    holder.replaceChildren("No point has been measured.");
    return;
  }

  // Points that were given up before a metric was known stand in a strip of their own.
  const strip = 20;
  const scale = (axis, other, start, to) => {
    let low = Infinity, high = -Infinity, lacks = false;
    for (const row of state.all) {
      const value = axis.column.numbers[row];
      if (value < low) low = value;
      if (value > high) high = value;
      lacks ||= Number.isNaN(value) && !Number.isNaN(other.column.numbers[row]);
    }
    const from = lacks ? start + Math.sign(to - start) * strip : start;
    const nowhere = lacks ? (start + from) / 2 : NaN;
    if (!(high >= low)) [low, high] = [1, 2];
    const pass = axis.log && low > 0 ? Math.log10 : (value) => value;
    const back = axis.log && low > 0 ? (value) => 10 ** value : (value) => value;
    let [first, last] = [pass(low), pass(high)];
    const edge = (last - first) * 0.04 || Math.abs(first) * 0.05 || 0.5;
    first -= edge;
    last += edge;
    return {
      low: back(first), high: back(last), log: pass === Math.log10, from, lacks,
      at: (value) => (Number.isNaN(value) ? nowhere
        : from + (pass(value) - first) / (last - first) * (to - from)),
    };
  };

  // The points shown that no other of their target is better than on these two axes, by target.
  const steps = () => {
    const [x, y] = axes.map((axis) => axis.column);
    const better = axes.map((axis) => (axis.column.higher ? 1 : -1));
    const groups = new Map();
    for (const row of state.rows) {
      if (status.text(row) !== "complete") continue;
      if (Number.isNaN(x.numbers[row]) || Number.isNaN(y.numbers[row])) continue;
      const group = target ? target.codes[row] : 0;
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(row);
    }
    return [...groups].sort(([a], [b]) => a - b).map(([group, rows]) => {
      rows.sort((a, b) => better[0] * (x.numbers[b] - x.numbers[a])
        || better[1] * (y.numbers[b] - y.numbers[a]) || a - b);
      const kept = [];
      let best = -Infinity;
      for (const row of rows) {
        if (better[1] * y.numbers[row] > best) {
          best = better[1] * y.numbers[row];
          kept.push(row);
        }
      }
      return { name: target ? target.texts[group] : "", group, rows: kept };
    });
  };

  const axesOf = (x, y) => {
    const bottom = height - margin.bottom, right = width - margin.right;
    const middle = { "text-anchor": "middle" }, end = { "text-anchor": "end" };
    for (const mark of paint.ticks(x.low, x.high, x.log, (width - 80) / 70)) {
      const place = x.at(mark);
      ground.append(drawn("path", { class: "grid", d: `M${place} ${margin.top}V${bottom}` }),
        drawn("text", { x: place, y: bottom + 17, ...middle }, paint.short(mark)));
    }
    for (const mark of paint.ticks(y.low, y.high, y.log, height / 55)) {
      const place = y.at(mark);
      ground.append(drawn("path", { class: "grid", d: `M${margin.left} ${place}H${right}` }),
        drawn("text", { x: margin.left - 7, y: place + 4, ...end }, paint.short(mark)));
    }
    if (y.lacks) {
      ground.append(drawn("path", { class: "lacks", d: `M${margin.left} ${y.from}H${right}` }),
        drawn("text", { class: "lacks", x: margin.left - 7, y: bottom - 6, ...end }, "none"));
    }
    if (x.lacks) {
      ground.append(drawn("path", { class: "lacks", d: `M${x.from} ${margin.top}V${bottom}` }),
        drawn("text", { class: "lacks", x: margin.left, y: bottom + 17, ...middle }, "none"));
    }
    // That of y runs upward, so that its arrow does, too.
    const label = ({ column: each }) => `${each.label} ${each.higher ? "→" : "←"} better`;
    ground.append(
      drawn("text", { class: "name", x: (margin.left + right) / 2, y: height - 8, ...middle },
        label(axes[0])),
      drawn("text", { class: "name", ...middle,
        transform: `translate(13 ${(margin.top + bottom) / 2}) rotate(-90)` }, label(axes[1])),
    );
  };

  // Where colours say something else, dashes tell the targets.
  const dashes = ["", "7 3", "2 3", "9 3 2 3", "12 4", "4 4"];
  const lines = () => {
    const ends = axes.map((axis, at) => (at
      ? (axis.column.higher ? height - margin.bottom : margin.top)
      : (axis.column.higher ? margin.left : width - margin.right)));
    const coloured = Boolean(target) && paint.by() === target;
    legend.replaceChildren();
    for (const { name, group, rows } of steps()) {
      if (!rows.length) continue;
      const places = rows.map((row) => [across[row], down[row]]);
      const path = `M${places[0][0]} ${ends[1]}V${places[0][1]}`
        + places.slice(1).map(([px, py]) => `H${px}V${py}`).join("") + `H${ends[0]}`;
      const dash = coloured ? "" : dashes[group % dashes.length];
      const kind = { class: "front", "stroke-dasharray": dash };
      const line = drawn("path", { ...kind, d: path });
      line.style.stroke = coloured ? paint.ofCode(group) : paint.style("--ink");
      ground.append(line);
      if (!name || coloured) continue;
      const sample = drawn("svg", { viewBox: "0 0 34 10", class: "sample", "aria-hidden": true });
      sample.append(drawn("path", { ...kind, d: "M0 5H34" }));
      legend.append(make("li", {}, sample, `front of ${name}`));
    }
  };

  // A dot is drawn once for each colour, and then copied, which is quicker.
  const stamps = new Map();
  const stamp = (row, radius, edged) => {
    const colour = paint.colour(row), name = `${colour} ${radius}`, side = 2 * radius + 2;
    if (!stamps.has(name)) {
      const ratio = devicePixelRatio || 1;
      const size = Math.ceil(side * ratio), sheet = make("canvas", { width: size, height: size });
      const brush = sheet.getContext("2d");
      brush.scale(size / side, size / side);
      brush.arc(side / 2, side / 2, radius, 0, 7);
      brush.fillStyle = colour;
      brush.fill();
      brush.strokeStyle = paint.style("--surface");
      if (edged) brush.stroke();
      stamps.set(name, sheet);
    }
    pen.drawImage(stamps.get(name), across[row] - side / 2, down[row] - side / 2, side, side);
  };
  const dots = () => {
    pen.clearRect(0, 0, width, height);
    const others = [], hollow = [], best = [];
    for (const row of state.rows) {
      if (Number.isNaN(across[row]) || Number.isNaN(down[row])) continue;
      (status.text(row) !== "complete" ? hollow : front[row] ? best : others).push(row);
    }
    pen.lineWidth = 1;
    pen.strokeStyle = paint.style("--neutral");
    for (const row of hollow) {
      pen.strokeRect(across[row] - 2.5, down[row] - 2.5, 5, 5);
    }
    const many = others.length;
    pen.globalAlpha = many > 2000 ? 0.3 : many > 300 ? 0.45 : 0.6;
    for (const row of others) stamp(row, many > 300 ? 2.4 : 3.2, false);
    pen.globalAlpha = 1;
    for (const row of best) stamp(row, 4.6, true);
  };

  const marks = () => {
    marker?.remove();
    marker = drawn("g");
    for (const [row, kind, size] of [[state.point, "chosen", 8], [state.hover, "over", 7]]) {
      if (row < 0 || Number.isNaN(across[row]) || Number.isNaN(down[row])) continue;
      marker.append(drawn("circle", { class: kind, cx: across[row], cy: down[row], r: size }));
    }
    layer.append(marker);
  };

  function draw() {
    width = holder.clientWidth;
    if (!width) return;
    height = Math.round(Math.min(470, Math.max(320, width * 0.62)));
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    holder.style.aspectRatio = `${width} / ${height}`;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const each of [ground, layer]) {
      each.setAttribute("viewBox", `0 0 ${width} ${height}`);
      each.replaceChildren();
    }
    const x = scale(axes[0], axes[1], margin.left, width - margin.right);
    const y = scale(axes[1], axes[0], height - margin.bottom, margin.top);
    across = Float32Array.from(axes[0].column.numbers, x.at);
    down = Float32Array.from(axes[1].column.numbers, y.at);
    for (let row = 0; row < across.length; row++) {
      if (axes.every((axis) => Number.isNaN(axis.column.numbers[row]))) across[row] = NaN;
    }
    axesOf(x, y);
    dots();
    lines();
    marks();
  }
  const redraw = later(draw);

  // Points under a place, the nearest first; those of the front win.
  const under = (px, py) => {
    const found = [];
    for (const row of state.rows) {
      const apart = Math.hypot(across[row] - px, down[row] - py) - (front[row] ? 3 : 0);
      if (apart < 9) found.push([apart, row]);
    }
    return found.sort(([a], [b]) => a - b).map(([, row]) => row);
  };
  const inside = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const same = (row, other) => Math.hypot(across[row] - across[other], down[row] - down[other]) < 1;
  canvas.addEventListener("pointermove", (event) => {
    const found = under(...inside(event));
    hover(found[0] ?? -1);
    canvas.style.cursor = found.length ? "pointer" : "";
    if (!found.length) { tip.hide(); return; }
    const more = found.filter((row) => same(row, found[0])).length - 1;
    const others = more ? `\n${more} more at this place: click again for the next` : "";
    tip.show(describe(found[0]) + others, event.clientX, event.clientY);
  });
  canvas.addEventListener("pointerleave", () => { hover(-1); tip.hide(); });
  canvas.addEventListener("click", (event) => {
    const found = under(...inside(event));
    const here = found.filter((row) => same(row, found[0]));
    const before = here.indexOf(state.point);
    select(here.length ? here[(before + 1) % here.length] : -1);
  });

  // Keys: the front from left to right, or all points.
  const walk = (by, members) => {
    const order = [...state.rows].filter((row) => members(row) && !Number.isNaN(across[row])
      && !Number.isNaN(down[row]));
    order.sort((a, b) => across[a] - across[b] || down[b] - down[a] || a - b);
    if (!order.length) return;
    const now = order.indexOf(state.hover >= 0 ? state.hover : state.point);
    const next = now < 0 ? (by > 0 ? 0 : order.length - 1) : now + by;
    hover(order[Math.min(Math.max(next, 0), order.length - 1)]);
    says.textContent = describe(state.hover).replaceAll("\n", "; ");
  };
  const keys = {
    ArrowRight: () => walk(1, (row) => front[row]),
    ArrowLeft: () => walk(-1, (row) => front[row]),
    ArrowUp: () => walk(1, () => true),
    ArrowDown: () => walk(-1, () => true),
    Enter: () => { if (state.hover >= 0) select(state.hover); },
    " ": () => { if (state.hover >= 0) select(state.hover); },
    Escape: () => { hover(-1); select(-1); },
  };
  holder.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  holder.addEventListener("blur", () => { hover(-1); says.textContent = ""; });

  on("rows", redraw);
  on("colours", () => { stamps.clear(); redraw(); });
  on("hover", marks);
  on("point", marks);
  addEventListener("beforeprint", draw);
  new ResizeObserver(() => { stamps.clear(); redraw(); }).observe(holder);
})();
