"use strict";
// The points by columns, which of them are shown, and what all views share.
const exploration = (() => {
  const data = JSON.parse(document.getElementById("exploration-data").textContent);
  const count = data.count;
  const gap = "\u202f";
  const grouped = (text) => text.replace(/\B(?=(\d{3})+$)/g, gap);
  // As people read it: groups of digits, four significant ones behind a point.
  const written = (value) => {
    if (Number.isNaN(value)) return "–";
    if (Number.isInteger(value)) return grouped(String(value));
    const places = Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value))));
    const [whole, part] = String(Number(value.toFixed(Math.min(places, 20)))).split(".");
    return part && !part.includes("e") ? grouped(whole) + "." + part : grouped(whole);
  };

  // Numbers have `numbers`, NaN for none; all others `codes`, places in `texts` and `sizes`.
  const read = (each) => {
    const label = each.unit ? `${each.name} (${each.unit})` : each.name;
    if (each.kind !== "metric" && each.kind !== "number") {
      const texts = each.values.map((value) => (value === null ? "" : String(value)));
      const sizes = each.values.map((value) => (typeof value === "number" ? value : NaN));
      const codes = Uint32Array.from(each.codes);
      const text = (row) => texts[codes[row]];
      return { ...each, label, numeric: false, codes, texts, sizes, text, shown: text };
    }
    const numbers = new Float64Array(count);
    let low = Infinity, high = -Infinity;
    for (let row = 0; row < count; row++) {
      const value = each.codes ? each.values[each.codes[row]] : each.values[row];
      numbers[row] = value ?? NaN;
      if (value < low && value !== null) low = value;
      if (value > high && value !== null) high = value;
    }
    const text = (row) => (Number.isNaN(numbers[row]) ? "" : String(numbers[row]));
    const shown = each.kind === "number" ? text : (row) => written(numbers[row]);
    return { ...each, label, numeric: true, numbers, low, high, text, shown };
  };
  const columns = data.columns.map(read);
  const column = (name) => columns.find((each) => each.name === name);
  const ofKind = (kind) => columns.filter((each) => each.kind === kind);
  const front = new Uint8Array(count);
  for (const row of data.front) front[row] = 1;
  const answers = ["no", "yes"], answer = (row) => answers[front[row]];
  columns.push({ name: "front", kind: "front", label: "front", numeric: false, codes: front,
    texts: answers, sizes: [NaN, NaN], text: answer, shown: answer });
  const varied = ofKind("knob").filter((each) => each.texts.length > 1);
  const metrics = ofKind("metric");
  const objectives = data.objectives.map(column).filter(Boolean);

  // What a filter says: numbers low..high or one, texts a value, or a part of it, or several by |.
  const range = (text) => {
    const [low, high, ...more] = text.split("..").map((part) => part.trim());
    if (more.length) return null;
    if (high === undefined) {
      // One number stands for all that are written so.
      const value = low === "" ? NaN : Number(low);
      const slack = low.includes(".") ? 0.5 * 10 ** -low.split(".")[1].length : 0;
      return Number.isNaN(value) ? null : [value - slack, value + slack];
    }
    const ends = [low === "" ? -Infinity : Number(low), high === "" ? Infinity : Number(high)];
    return ends.some(Number.isNaN) ? null : ends;
  };
  const matching = (each, text) => {
    const found = new Set();
    const lower = each.texts.map((one) => one.toLowerCase());
    const whole = lower.indexOf(text.toLowerCase());
    for (const part of whole >= 0 ? [text] : text.split("|")) {
      const wanted = part.trim().toLowerCase();
      const same = lower.indexOf(wanted);
      if (same >= 0) { found.add(same); continue; }
      const ends = wanted.includes("..") ? range(wanted) : null;
      lower.forEach((one, code) => {
        const inside = ends ? each.sizes[code] >= ends[0] && each.sizes[code] <= ends[1]
          : wanted !== "" && one.includes(wanted);
        if (inside) found.add(code);
      });
    }
    return found;
  };
  const filters = new Map();
  const listeners = { rows: [], hover: [], point: [], colours: [] };
  const on = (event, act) => listeners[event].push(act);
  const tell = (event) => { for (const act of listeners[event]) act(); };

  const state = { rows: new Int32Array(0), all: new Int32Array(0), hover: -1, point: -1 };
  const statuses = column("status");
  const visible = statuses.texts.map((name) => name === "complete");
  if (!visible.includes(true)) visible.fill(true);
  // `all` are the points of the statuses that are shown, `rows` those that no filter takes out.
  const recompute = () => {
    const tests = [...filters.values()].map((filter) => filter.test);
    state.rows = state.all.filter((row) => tests.every((test) => test(row)));
    tell("rows");
  };
  const show = () => {
    state.all = Int32Array.from({ length: count }, (_, row) => row)
      .filter((row) => visible[statuses.codes[row]]);
    recompute();
  };
  // Returns whether the text says something.
  const filter = (name, text) => {
    const each = column(name);
    if (text.trim() === "") {
      if (filters.delete(name)) recompute();
      return true;
    }
    if (each.numeric) {
      const ends = range(text);
      if (!ends) {
        if (filters.delete(name)) recompute();
        return false;
      }
      const [low, high] = ends;
      const test = (row) => each.numbers[row] >= low && each.numbers[row] <= high;
      filters.set(name, { text, low, high, test });
    } else {
      const codes = matching(each, text);
      filters.set(name, { text, codes, test: (row) => codes.has(each.codes[row]) });
    }
    recompute();
    return true;
  };
  const clear = () => { filters.clear(); recompute(); };
  const hover = (row) => {
    if (row === state.hover) return;
    state.hover = row;
    tell("hover");
  };
  const select = (row) => { state.point = row; tell("point"); };

  // Calls of one frame become one.
  const later = (act) => {
    let waiting = false;
    return () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; act(); });
    };
  };
  const number = column("number");
  const describe = (row) => [
    `point ${number.text(row)}: ${statuses.text(row)}${front[row] ? ", on the front" : ""}`,
    varied.map((each) => `${each.name} ${each.text(row)}`).join(", "),
    ...objectives.map((each) => `${each.name}: ${each.shown(row)} ${each.unit}`.trim()),
  ].join("\n");

  // An element with its properties and children.
  const make = (tag, properties = {}, ...children) => {
    const { dataset, ...others } = properties;
    const element = Object.assign(document.createElement(tag), others);
    Object.assign(element.dataset, dataset ?? {});
    element.append(...children);
    return element;
  };
  const drawn = (tag, attributes = {}, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== "") element.textContent = text;
    return element;
  };

  for (const box of document.querySelectorAll("[data-statuses]")) {
    statuses.texts.forEach((name, code) => {
      const many = statuses.codes.reduce((sum, each) => sum + (each === code), 0);
      const input = make("input", { type: "checkbox", checked: visible[code] });
      input.addEventListener("change", () => { visible[code] = input.checked; show(); });
      box.append(make("label", {}, input, ` ${name} (${written(many)})`));
    });
    const only = make("input", { type: "checkbox" });
    only.addEventListener("change", () => filter("front", only.checked ? "yes" : ""));
    on("rows", () => { only.checked = filters.get("front")?.text === "yes"; });
    box.append(make("label", {}, only, ` only the fronts (${written(data.front.length)})`));
  }
  const places = [...document.querySelectorAll("[data-state]")];
  on("rows", () => {
    for (const place of places) {
      const chips = [...filters].map(([name, { text }]) => make("button", {
        type: "button", className: "chip", title: "Remove this filter",
        onclick: () => filter(name, ""),
      }, `${column(name).label}: ${text} ✕`));
      if (chips.length > 1) {
        const all = { type: "button", className: "chip", onclick: clear };
        chips.push(make("button", all, "Clear all"));
      }
      const of = filters.size ? ` of ${written(state.all.length)}` : "";
      const points = state.rows.length === 1 && !of ? "point" : "points";
      const text = `${written(state.rows.length)}${of} ${points}`;
      place.replaceChildren(make("span", {}, text), ...chips);
    }
  });

  return {
    data, count, columns, column, varied, metrics, objectives, front, filters, state, number,
    on, tell, filter, clear, hover, select, later, describe, written, make, drawn, show,
  };
})();
