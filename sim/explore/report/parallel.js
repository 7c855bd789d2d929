"use strict";
// Knobs and metrics side by side, a line per point; what is brushed on an axis filters all views.
(() => {
  const { count, varied, objectives, metrics, front, filters, state, on, filter, hover, select,
    later, describe, make, drawn } = exploration;
  const scroll = document.getElementById("parallel-lines");
  const holder = scroll.querySelector(".layers");
  const canvases = [...holder.querySelectorAll("canvas")];
  const layer = holder.querySelector("svg");
  const choices = document.getElementById("parallel-axes");
  const top = 74, bottom = 376, height = 392, left = 26, right = 66, least = 88;
  const limited = metrics.filter((each) => each.limit && !objectives.includes(each));
  const chosen = new Set([...varied, ...objectives, ...limited]);
  const candidates = [...new Set([...varied, ...objectives, ...metrics])];
  if (!candidates.length) { scroll.hidden = true; return; }
  // Parts of a drawing look like the whole where points do not come in the order of the grid.
  const shuffled = Int32Array.from({ length: count }, (_, row) => row)
    .sort((a, b) => (Math.imul(a + 1, 2246822507) >>> 0) - (Math.imul(b + 1, 2246822507) >>> 0));
  const shown = new Uint8Array(count);
  let axes = [], width = 0, marker = null, hurry = false, drag = null;
  // Whether axes or the lines behind are those of other points.
  let laid = null, stale = true;

  for (const each of candidates) {
    const input = make("input", { type: "checkbox", checked: chosen.has(each) });
    input.addEventListener("change", () => {
      chosen[input.checked ? "add" : "delete"](each);
      renew();
    });
    choices.append(make("label", {}, input, " " + each.label));
  }

  // An axis: place of a row, share of the axis a value lies at, and back.
  const axisOf = (column, x) => {
    const size = bottom - top;
    const y = new Float32Array(count);
    if (!column.numeric) {
      const n = column.texts.length, spread = Math.min(size / n * 0.3, 9);
      // Lines through one value are told apart where they do not meet.
      for (let row = 0; row < count; row++) {
        const aside = (row * 0.6180339887) % 1 - 0.5;
        y[row] = bottom - (column.codes[row] + 0.5) / n * size + aside * 2 * spread;
      }
      return { column, x, y, step: 1 / n };
    }
    let low = Infinity, high = -Infinity;
    for (const row of state.all) {
      const value = column.numbers[row];
      if (value < low) low = value;
      if (value > high) high = value;
    }
    if (!(high > low)) [low, high] = high === low ? [low - 0.5, high + 0.5] : [0, 1];
    const log = paint.wide({ low, high });
    const [pass, back] = log ? [Math.log, Math.exp] : [(value) => value, (value) => value];
    const share = (value) => (pass(value) - pass(low)) / (pass(high) - pass(low));
    for (let row = 0; row < count; row++) y[row] = bottom - share(column.numbers[row]) * size;
    const value = (part) => back(pass(low) + part * (pass(high) - pass(low)));
    return { column, x, y, low, high, log, share, value, step: 0.02 };
  };

  const line = (pen, row) => {
    let down = false;
    pen.beginPath();
    for (const axis of axes) {
      const y = axis.y[row];
      if (Number.isNaN(y)) { down = false; continue; }
      if (down) pen.lineTo(axis.x, y);
      else pen.moveTo(axis.x, y);
      down = true;
    }
    pen.stroke();
  };
  // A canvas and the lines on it, so many a frame that brushes follow the hand.
  const sheet = (canvas) => {
    const pen = canvas.getContext("2d");
    let turn = 0, many = 250;
    return { pen, draw: (rows, before) => {
      const mine = ++turn, ratio = devicePixelRatio || 1;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.lineJoin = "round";
      let at = 0, last = performance.now();
      const go = (now) => {
        if (mine !== turn) return;
        // How long a frame takes says what the machine can draw.
        if (now - last > 40) many = Math.max(150, many / 2);
        else if (now !== undefined) many = Math.min(3000, many * 1.5);
        last = now ?? last;
        const end = hurry ? rows.length : Math.min(rows.length, at + many);
        for (; at < end; at++) {
          before(rows[at]);
          line(pen, rows[at]);
        }
        if (at < rows.length) requestAnimationFrame(go);
      };
      go();
    } };
  };
  const [back, fore] = canvases.map(sheet);
  const strength = (many) => (many > 4000 ? 0.1 : many > 1000 ? 0.2 : many > 200 ? 0.4 : 0.7);
  const lines = () => {
    shown.fill(0);
    for (const row of state.rows) shown[row] = 1;
    const others = [], best = [];
    for (const row of shuffled) if (shown[row]) (front[row] ? best : others).push(row);
    const alpha = strength(state.rows.length);
    fore.draw([...others, ...best], (row) => {
      fore.pen.globalAlpha = front[row] ? Math.min(1, alpha * 3) : alpha;
      fore.pen.strokeStyle = paint.colour(row);
    });
    // All lines, faint, behind those that are left.
    const filtered = state.rows.length < state.all.length;
    canvases[0].style.visibility = filtered ? "" : "hidden";
    if (!filtered || !stale) return;
    stale = false;
    const visible = new Uint8Array(count);
    for (const row of state.all) visible[row] = 1;
    const faint = paint.style("--faint");
    back.draw(shuffled.filter((row) => visible[row]), () => {
      back.pen.globalAlpha = Math.min(0.5, strength(state.all.length));
      back.pen.strokeStyle = faint;
    });
  };

  // A name in lines of about twelve letters.
  const wrapped = (name) => {
    const rows = [""];
    for (const part of name.match(/[^_@.]*[_@.]?/g)) {
      if (rows.at(-1) && rows.at(-1).length + part.length > 13) rows.push("");
      rows[rows.length - 1] += part;
    }
    return rows.slice(0, 3);
  };
  const names = (group, axis) => {
    const { column, x, log } = axis;
    const goal = column.objective;
    const unit = [column.unit, log ? "log" : ""].filter(Boolean).join(", ");
    const rows = [...wrapped(column.name), ...(unit ? [unit] : [])];
    // The last one has no room behind it.
    const last = axes.length > 1 && axis === axes.at(-1);
    const side = last ? { x: x + 40, "text-anchor": "end" } : { x: x - 6 };
    const named = rows.length - (unit ? 1 : 0);
    rows.forEach((text, at) => group.append(drawn("text", {
      class: at < named ? "axis-name" : "", ...side, y: top - 26 - (rows.length - 1 - at) * 14,
    }, text)));
    if (goal) {
      group.append(drawn("text", { class: "goal", ...side, y: top - 11 },
        goal === "maximize" ? "▲ maximize" : "▼ minimize"));
      // The end that is good.
      const end = goal === "maximize" ? top : bottom;
      group.append(drawn("path", { class: "goal", d: `M${x - 7} ${end}H${x + 7}` }));
    }
  };
  const labels = (group, { column, x, low, high, log, share }) => {
    const size = bottom - top;
    const put = (y, text, on) => group.append(drawn("text", {
      class: on ? "limit" : "limit off", x: x + 6, y: y + 4 }, text));
    const kept = filters.get(column.name);
    if (column.numeric) {
      for (const mark of paint.ticks(low, high, log, 6)) {
        const y = bottom - share(mark) * size;
        group.append(drawn("path", { class: "tick", d: `M${x - 3} ${y}H${x + 3}` }));
        put(y, paint.short(mark), true);
      }
      return;
    }
    const n = column.texts.length, every = Math.ceil(n / 16);
    column.texts.forEach((text, code) => {
      if (code % every) return;
      const on = !kept || kept.codes.has(code);
      const short = text.length > 12 ? text.slice(0, 11) + "…" : text || "none";
      put(bottom - (code + 0.5) / n * size, short, on);
    });
  };
  const shares = (axis) => {
    const kept = filters.get(axis.column.name);
    if (!kept) return [0, 1];
    if (axis.column.numeric) {
      return [kept.low, kept.high].map((value, at) => (
        Number.isFinite(value) ? Math.min(Math.max(axis.share(value) || 0, 0), 1) : at));
    }
    const codes = [...kept.codes];
    if (!codes.length) return [0, 0];
    return [Math.min(...codes) * axis.step, (Math.max(...codes) + 1) * axis.step];
  };
  const brushes = (group, axis) => {
    const kept = filters.get(axis.column.name);
    if (!kept) return;
    const size = bottom - top;
    const bars = axis.column.numeric ? [shares(axis)]
      : [...kept.codes].map((code) => [code * axis.step, (code + 1) * axis.step]);
    for (const [low, high] of bars) {
      group.append(drawn("rect", { class: "brush", x: axis.x - 7, width: 14,
        y: bottom - high * size, height: Math.max((high - low) * size, 2) }));
    }
  };
  const limitTo = (axis, low, high) => {
    const { column } = axis;
    const [from, to] = [Math.max(0, low), Math.min(1, high)];
    if (from <= 0 && to >= 1) return filter(column.name, "");
    if (!column.numeric) {
      const n = column.texts.length;
      const at = (code) => (code + 0.5) / n;
      const inside = column.texts.filter((_, code) => at(code) >= from && at(code) <= to);
      const nearest = column.texts[Math.min(n - 1, Math.floor((from + to) / 2 * n))];
      return filter(column.name, (inside.length ? inside : [nearest]).join("|"));
    }
    const text = (share) => String(Number(axis.value(share).toPrecision(4)));
    return filter(column.name, `${from > 0 ? text(from) : ""}..${to < 1 ? text(to) : ""}`);
  };

  const keyed = (axis, event) => {
    const [low, high] = shares(axis);
    const by = { ArrowUp: axis.step, ArrowDown: -axis.step }[event.key];
    if (event.key === "Escape" || event.key === "Delete") filter(axis.column.name, "");
    else if (by && event.shiftKey) limitTo(axis, low, Math.max(high + by, low + axis.step));
    else if (by) limitTo(axis, Math.min(low + by, high - axis.step), high);
    else return;
    event.preventDefault();
  };
  const pressed = (axis, event) => {
    const size = bottom - top;
    const place = () => {
      const box = layer.getBoundingClientRect();
      const scale = height / box.height;
      const share = (moved) => (bottom - (moved.clientY - box.top) * scale) / size;
      return (moved) => Math.min(Math.max(share(moved), 0), 1);
    };
    const at = place(), from = at(event), before = shares(axis);
    const held = filters.has(axis.column.name) && axis.column.numeric
      && from > before[0] && from < before[1];
    drag = { move: (moved) => {
      const to = at(moved);
      if (Math.abs(to - from) < 0.012 && !drag.begun) return;
      drag.begun = true;
      const by = Math.min(Math.max(to - from, -before[0]), 1 - before[1]);
      if (held) limitTo(axis, before[0] + by, before[1] + by);
      else limitTo(axis, Math.min(from, to), Math.max(from, to));
    }, end: () => {
      // A click takes the value under it, or lets all through again.
      if (!drag.begun && (axis.column.numeric || filters.has(axis.column.name))) {
        filter(axis.column.name, "");
      } else if (!drag.begun) limitTo(axis, from, from);
      drag = null;
    } };
    event.preventDefault();
    layer.setPointerCapture(event.pointerId);
  };
  layer.addEventListener("pointermove", (event) => { if (drag) drag.move(event); });
  layer.addEventListener("pointerup", () => { if (drag) drag.end(); });
  layer.addEventListener("pointercancel", () => { drag = null; });

  const grips = [];
  const frame = () => {
    const held = grips.findIndex((grip) => grip === document.activeElement);
    layer.setAttribute("viewBox", `0 0 ${width} ${height}`);
    layer.replaceChildren();
    grips.length = 0;
    for (const axis of axes) {
      const kept = filters.get(axis.column.name);
      const group = drawn("g", { class: "axis", tabindex: 0, role: "slider",
        "aria-orientation": "vertical",
        "aria-label": `Filter by ${axis.column.label}`, "aria-valuemin": 0, "aria-valuemax": 100,
        "aria-valuenow": Math.round(shares(axis)[0] * 100),
        "aria-valuetext": kept ? kept.text : "all" });
      group.append(drawn("path", { class: "rail", d: `M${axis.x} ${top}V${bottom}` }));
      names(group, axis);
      labels(group, axis);
      brushes(group, axis);
      const hit = drawn("rect", { class: "grip", x: axis.x - 13, y: top - 6, width: 26,
        height: bottom - top + 12 });
      hit.addEventListener("pointerdown", (event) => {
        group.focus({ preventScroll: true });
        pressed(axis, event);
      });
      group.append(hit);
      group.addEventListener("keydown", (event) => keyed(axis, event));
      layer.append(group);
      grips.push(group);
    }
    // The axis that was held is another element now.
    if (held >= 0) grips[held]?.focus({ preventScroll: true });
    marks();
  };
  const marks = () => {
    marker?.remove();
    marker = drawn("g");
    for (const [row, kind] of [[state.point, "chosen"], [state.hover, "over"]]) {
      if (row < 0) continue;
      let path = "", down = false;
      for (const { x, y } of axes) {
        const known = !Number.isNaN(y[row]);
        if (known) path += `${down ? "L" : "M"}${x} ${y[row]}`;
        down = known;
      }
      if (path) marker.append(drawn("path", { class: kind, d: path }));
    }
    layer.prepend(marker);
  };
  const lay = () => {
    const columns = candidates.filter((each) => chosen.has(each));
    width = Math.max(scroll.clientWidth, left + right + (columns.length - 1) * least);
    holder.style.width = width + "px";
    holder.style.aspectRatio = `${width} / ${height}`;
    const step = (width - left - right) / Math.max(1, columns.length - 1);
    axes = columns.map((each, at) => axisOf(each, left + at * step));
    laid = state.all;
    stale = true;
  };
  function draw() {
    if (!scroll.clientWidth) return;
    if (laid !== state.all) lay();
    frame();
    lines();
  }
  const redraw = later(draw);
  const renew = () => { laid = null; redraw(); };

  const nearest = (px, py) => {
    const at = axes.findIndex((axis, place) => place && axis.x >= px);
    if (at < 1 || py < top - 4 || py > bottom + 4) return -1;
    const [one, two] = [axes[at - 1], axes[at]];
    const share = (px - one.x) / (two.x - one.x);
    let best = -1, apart = 5;
    for (const row of state.rows) {
      const y = one.y[row] + (two.y[row] - one.y[row]) * share;
      const now = Math.abs(y - py) - (front[row] ? 1 : 0);
      if (now < apart) { apart = now; best = row; }
    }
    return best;
  };
  const inside = (event) => {
    const box = layer.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    return [x * width / box.width, y * height / box.height];
  };
  // Shared hover texts close over what is no mark, so that this one comes behind them.
  layer.addEventListener("pointermove", (event) => {
    if (drag || event.target.classList.contains("grip")) return;
    const row = nearest(...inside(event));
    hover(row);
    event.stopPropagation();
    if (row >= 0) tip.show(describe(row), event.clientX, event.clientY);
    else tip.hide();
  });
  layer.addEventListener("pointerleave", () => { if (!drag) { hover(-1); tip.hide(); } });
  layer.addEventListener("click", (event) => {
    if (event.target.classList.contains("grip")) return;
    const row = nearest(...inside(event));
    if (row >= 0) select(row);
  });
  on("rows", redraw);
  on("colours", renew);
  on("hover", marks);
  on("point", marks);
  addEventListener("beforeprint", () => { hurry = true; draw(); hurry = false; });
  new ResizeObserver(renew).observe(scroll);
})();
