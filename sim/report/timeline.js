"use strict";
// The clock, and the commands of all units over the cycles of the run.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const space = "\u202f";
  const grouped = (value) => Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, space);
  const prefixes = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""],
    [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"], [1e-12, "p"]];
  const prefixed = (value, unit) => {
    if (!value) return unit ? "0" + space + unit : "0";
    const [size, name] = prefixes.find(([least]) => value >= least * 0.9995) ?? prefixes.at(-1);
    const shown = value / size;
    const places = shown >= 99.95 ? 0 : shown >= 9.995 ? 1 : 2;
    const text = String(Number(shown.toFixed(places)));
    return name + unit ? text + space + name + unit : text;
  };

  const plain = (value) => {
    const places = Math.max(0, 2 - Math.floor(Math.log10(value)));
    return places ? String(Number(value.toFixed(places))) : grouped(value);
  };

  const clock = document.getElementById("clock");
  const tick = () => {
    const hertz = Number(clock.value) * 1e6;
    if (!(hertz > 0)) return;
    for (const place of document.querySelectorAll("[data-cycles]")) {
      place.textContent = prefixed(Number(place.dataset.cycles) / hertz, "s");
    }
    for (const place of document.querySelectorAll("[data-rate]")) {
      const value = Number(place.dataset.rate) * hertz;
      place.textContent = place.dataset.unit ? prefixed(value, place.dataset.unit) : plain(value);
    }
  };
  clock.addEventListener("input", tick);

  const holder = document.getElementById("gantt");
  const canvas = holder.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const where = document.getElementById("where");
  const { commands, layers, cycles } = data;
  const lanes = commands.units.map((name) => ({ name, slices: [] }));
  commands.unit.forEach((unit, at) => lanes[unit].slices.push(at));
  // A unit takes one command at a time, so that its slices are in order and do not overlap.
  const order = [1, 0, 2, 3, 4, 6, 5].filter((unit) => unit < lanes.length);
  for (let unit = order.length; unit < lanes.length; unit++) order.push(unit);
  const rows = order.map((unit) => lanes[unit]).filter((lane) => lane.slices.length);
  const left = 84, top = 22, row = 30, gap = 7, bus = 46;
  const height = top + rows.length * row + bus + 16;
  let view = [0, cycles], width = 0, hover = -1;

  const clamp = (begin, end) => {
    const span = Math.min(Math.max(end - begin, Math.min(20, cycles)), cycles);
    const first = Math.min(Math.max(begin, 0), cycles - span);
    view = [first, first + span];
    draw();
  };
  const x = (cycle) => left + (cycle - view[0]) / (view[1] - view[0]) * (width - left);
  const cycle = (place) => view[0] + (place - left) / (width - left) * (view[1] - view[0]);
  // The first slice of a lane that ends behind a cycle.
  const from = (slices, at) => {
    let low = 0, high = slices.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (commands.done[slices[middle]] < at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const readable = (colour) => {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255);
    return 0.3 * red + 0.59 * green + 0.11 * blue > 0.55 ? "#14161a" : "#ffffff";
  };
  const step = (span, room) => {
    const raw = span / Math.max(1, (width - left) / room);
    const power = 10 ** Math.floor(Math.log10(raw));
    return Math.max(1, power * ([1, 2, 5, 10].find((times) => power * times >= raw)));
  };

  const bandwidth = (style) => {
    const base = top + rows.length * row + bus - 4;
    const high = bus - 14;
    pen.fillStyle = style("--soft");
    pen.fillText("bus", 0, base - high / 2);
    const columns = Math.max(1, Math.floor(width - left));
    [["--c0", data.reads], ["--c1", data.writes]].forEach(([colour, beats]) => {
      pen.fillStyle = style(colour);
      const per = (view[1] - view[0]) / columns;
      for (let column = 0; column < columns; column++) {
        const begin = view[0] + per * column;
        const first = Math.floor(begin / data.window);
        const last = Math.max(first, Math.ceil((begin + per) / data.window) - 1);
        let sum = 0;
        for (let at = first; at <= last && at < beats.length; at++) sum += beats[at];
        const level = Math.min(1, sum / ((last - first + 1) * data.window)) * high;
        if (level > 0) pen.fillRect(left + column, base - level, 1, level);
      }
    });
    pen.fillStyle = style("--neutral");
    pen.fillRect(left, base, width - left, 1);
  };

  function draw() {
    const scale = devicePixelRatio || 1;
    width = holder.clientWidth;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const computed = getComputedStyle(document.documentElement);
    const colours = {};
    const style = (name) => (colours[name] ??= computed.getPropertyValue(name).trim());
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const short = step(view[1] - view[0], 64) >= 1e5;
    const every = step(view[1] - view[0], short ? 64 : 110);
    const label = (mark) => (short ? prefixed(mark, "") : grouped(mark));
    pen.textAlign = "center";
    for (let mark = Math.ceil(view[0] / every) * every; mark <= view[1]; mark += every) {
      const place = x(mark);
      pen.fillStyle = style("--grid");
      pen.fillRect(place, top - 4, 1, height - top - 12);
      pen.fillStyle = style("--soft");
      const half = pen.measureText(label(mark)).width / 2;
      if (place - half >= left - 30 && place + half <= width) pen.fillText(label(mark), place, 9);
    }
    pen.textAlign = "left";
    rows.forEach((lane, number) => {
      const y = top + number * row;
      pen.fillStyle = style("--soft");
      pen.fillText(lane.name.toLowerCase(), 0, y + (row - gap) / 2);
      pen.save();
      pen.beginPath();
      pen.rect(left, y, width - left, row);
      pen.clip();
      let last = -1;
      for (let at = from(lane.slices, view[0]); at < lane.slices.length; at++) {
        const command = lane.slices[at];
        if (commands.begun[command] > view[1]) break;
        const begin = x(commands.begun[command]), end = x(commands.done[command] + 1);
        // What falls on a pixel that is painted already would not be seen.
        if (end - begin < 1 && Math.floor(end) === last) continue;
        last = Math.floor(end);
        const name = "--" + (data.colours[commands.layer[command]] ?? "neutral");
        const wide = Math.max(end - begin - (end - begin > 3 ? 1 : 0), 0.8);
        pen.fillStyle = style(name);
        pen.fillRect(begin, y, wide, row - gap);
        if (command === hover) {
          pen.strokeStyle = style("--ink");
          pen.lineWidth = 2;
          pen.strokeRect(Math.max(begin, left) + 1, y + 1, Math.min(wide, width) - 2, row - gap - 2);
        }
        const text = commands.names[commands.what[command]];
        const room = Math.min(end, width) - Math.max(begin, left) - 8;
        if (room > 40 && pen.measureText(text).width < room) {
          pen.fillStyle = readable(style(name));
          pen.fillText(text, Math.max(begin, left) + 4, y + (row - gap) / 2);
        }
      }
      pen.restore();
    });
    bandwidth(style);
    where.textContent = `cycles ${grouped(view[0])} to ${grouped(view[1])}`;
  }

  const find = (px, py) => {
    const lane = rows[Math.floor((py - top) / row)];
    if (!lane || px < left || (py - top) % row > row - gap) return -1;
    const at = cycle(px), slack = (view[1] - view[0]) / (width - left) * 2;
    let best = -1, near = slack;
    for (let k = from(lane.slices, at - slack); k < lane.slices.length; k++) {
      const command = lane.slices[k];
      const apart = Math.max(commands.begun[command] - at, at - commands.done[command] - 1, 0);
      if (commands.begun[command] > at + slack) break;
      if (apart <= near) { best = command; near = apart; if (!apart) break; }
    }
    return best;
  };
  const describe = (at) => {
    const layer = layers[commands.layer[at]];
    const lines = [
      `${commands.kinds[commands.kind[at]]}  ${commands.names[commands.what[at]]}`,
      `cycles ${grouped(commands.begun[at])} to ${grouped(commands.done[at])} ` +
        `(${grouped(commands.done[at] - commands.begun[at] + 1)})`,
      `layer: ${layer ? layer.name : "none"}`,
    ];
    if (commands.token[at] >= 0 && commands.tokens[at]) {
      lines.push(`tokens: ${commands.token[at]} to ${commands.token[at] + commands.tokens[at] - 1}`);
    }
    lines.push(`command ${at} of the program`);
    return lines.join("\n");
  };
  const zoom = (times, centre) => {
    const middle = centre ?? (view[0] + view[1]) / 2;
    clamp(middle - (middle - view[0]) / times, middle + (view[1] - middle) / times);
  };
  const pan = (share) => {
    const by = (view[1] - view[0]) * share;
    clamp(view[0] + by, view[1] + by);
  };
  const all = () => clamp(0, cycles);

  const fingers = new Map();
  const inside = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, inside(event));
    canvas.setPointerCapture(event.pointerId);
    holder.classList.add("drag");
  });
  canvas.addEventListener("pointermove", (event) => {
    const [px, py] = inside(event), before = fingers.get(event.pointerId);
    if (before && fingers.size === 1) {
      const by = cycle(before[0]) - cycle(px);
      if (by) clamp(view[0] + by, view[1] + by);
    } else if (before && fingers.size === 2) {
      const other = [...fingers.entries()].find(([id]) => id !== event.pointerId)[1];
      const apart = Math.abs(before[0] - other[0]), now = Math.abs(px - other[0]);
      if (apart > 8 && now > 8) zoom(now / apart, cycle((px + other[0]) / 2));
    }
    if (before) fingers.set(event.pointerId, [px, py]);
    const found = find(px, py);
    if (found !== hover) { hover = found; draw(); }
    if (found >= 0) tip.show(describe(found), event.clientX, event.clientY);
    else tip.hide();
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) {
    canvas.addEventListener(name, (event) => {
      fingers.delete(event.pointerId);
      holder.classList.remove("drag");
      if (name === "pointerleave") { tip.hide(); hover = -1; draw(); }
    });
  }
  canvas.addEventListener("wheel", (event) => {
    // Without a key the page scrolls, as everywhere.
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
    event.preventDefault();
    const by = event.deltaY || event.deltaX;
    if (event.shiftKey) pan(by / 800);
    else zoom(1.0015 ** -by, cycle(inside(event)[0]));
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoom(3, cycle(inside(event)[0])));
  const keys = {
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), "0": all,
    ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2),
  };
  holder.addEventListener("keydown", (event) => {
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  const buttons = {
    "zoom-in": keys["+"], "zoom-out": keys["-"], "pan-left": keys.ArrowLeft,
    "pan-right": keys.ArrowRight, "zoom-all": all,
  };
  for (const [id, act] of Object.entries(buttons)) {
    document.getElementById(id).addEventListener("click", act);
  }
  const spans = layers.map(() => [Infinity, 0]);
  commands.layer.forEach((layer, at) => {
    // What is fetched far ahead would hide where the layer is worked on.
    if (layer < 0 || !["GEMM", "STORE"].includes(commands.kinds[commands.kind[at]])) return;
    spans[layer][0] = Math.min(spans[layer][0], commands.begun[at]);
    spans[layer][1] = Math.max(spans[layer][1], commands.done[at]);
  });
  const choice = document.getElementById("zoom-layer");
  choice.addEventListener("change", () => {
    const span = spans[Number(choice.value)];
    if (choice.value === "" || !span || span[1] <= span[0]) return all();
    const edge = (span[1] - span[0]) * 0.08;
    clamp(span[0] - edge, span[1] + edge);
  });
  addEventListener("resize", draw);
  addEventListener("themechange", draw);
  draw();
})();
