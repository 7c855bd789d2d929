"use strict";
// One colour per point, by a knob or a metric, and the ticks of axes.
const paint = (() => {
  const { column, varied, metrics, number, on, tell, make, written } = exploration;
  const palette = 10;
  let names = {}, by = number, stops = [];
  const style = (name) => (names[name] ??= getComputedStyle(document.documentElement)
    .getPropertyValue(name).trim());
  const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  // Between three colours of the style sheet.
  const ramp = (share) => {
    const three = ["--ramp0", "--ramp1", "--ramp2"];
    if (!stops.length) stops = three.map((each) => channels(style(each)));
    const place = Math.min(Math.max(share, 0), 1) * 2, first = Math.min(Math.floor(place), 1);
    const mix = stops[first].map((from, at) => (
      Math.round(from + (stops[first + 1][at] - from) * (place - first))));
    return `rgb(${mix.join(",")})`;
  };
  const ofCode = (code) => (by.texts.length <= palette ? style("--c" + code)
    : ramp(code / (by.texts.length - 1)));
  const colour = (row) => {
    if (by === number) return style("--c0");
    if (!by.numeric) return ofCode(by.codes[row]);
    const share = (by.numbers[row] - by.low) / (by.high - by.low || 1);
    return Number.isNaN(share) ? style("--neutral") : ramp(share);
  };

  const choice = document.getElementById("colour");
  const legend = document.getElementById("colours");
  const fill = () => {
    legend.replaceChildren();
    if (by === number) return;
    const entry = (name, shade) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = shade;
      legend.append(make("li", {}, swatch, name));
    };
    if (!by.numeric && by.texts.length <= palette) {
      by.texts.forEach((text, code) => entry(`${by.name} ${text}`, ofCode(code)));
      return;
    }
    const last = by.numeric ? 4 : by.texts.length - 1;
    const steps = by.numeric ? [0, 1, 2, 3, 4] : [0, Math.round(last / 2), last];
    for (const step of steps) {
      const value = by.low + (by.high - by.low) * step / last;
      entry(`${by.label} ${by.numeric ? written(value) : by.texts[step]}`, ramp(step / last));
    }
  };
  const option = (each) => make("option", { value: each.name }, each.label);
  choice.append(
    make("option", { value: "" }, "one colour"),
    make("optgroup", { label: "knobs" }, ...varied.map(option)),
    make("optgroup", { label: "metrics" }, ...metrics.map(option)),
  );
  const target = varied.find((each) => each.name === "target");
  choice.value = (target ?? varied[0])?.name ?? "";
  const change = () => {
    by = choice.value ? column(choice.value) : number;
    names = {};
    stops = [];
    fill();
    tell("colours");
  };
  choice.addEventListener("change", change);
  addEventListener("themechange", change);

  // Round numbers over a range; on a log axis 1, 2, 5, or powers alone where there are many.
  const linear = (low, high, most) => {
    const raw = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * ([1, 2, 2.5, 5, 10].find((times) => power * times >= raw * 0.999999));
    const marks = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) {
      marks.push(Number((at * step).toPrecision(12)));
    }
    return marks;
  };
  const ticks = (low, high, log, most) => {
    if (!(high > low)) return [low];
    if (!log) return linear(low, high, most);
    for (const steps of [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
      const marks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        for (const step of steps) {
          const mark = Number((step * 10 ** power).toPrecision(6));
          if (mark >= low * 0.999999 && mark <= high * 1.000001) marks.push(mark);
        }
      }
      if (marks.length <= most + 1) return marks.length > 1 ? marks : linear(low, high, most);
    }
    return linear(low, high, most);
  };
  // As short as an axis needs it.
  const short = (mark) => {
    const [size, sign] = [[1e9, "G"], [1e6, "M"], [1e4, "k"]].find(
      ([least]) => Math.abs(mark) >= least) ?? [1, ""];
    return written(Number((mark / (sign === "k" ? 1e3 : size)).toPrecision(6))) + sign;
  };
  // Whether values reach so far that only a log axis shows them.
  const wide = (each) => each.low > 0 && each.high / each.low > 50;

  return { style, colour, ofCode, ticks, short, wide, change, by: () => by };
})();
