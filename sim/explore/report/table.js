"use strict";
// All points as rows: sorted, filtered by column, a page at a time, and as CSV.
(() => {
  const { data, columns, front, varied, objectives, metrics, filters, state, on, filter, hover,
    select, later, make, written, number, column } = exploration;
  const table = document.getElementById("points-table");
  const [head, body] = [table.tHead, table.tBodies[0]];
  const where = document.getElementById("page-where");
  const size = document.getElementById("page-size");
  // First what differs and what counts.
  const limited = metrics.filter((each) => each.limit && !objectives.includes(each));
  const first = [number, column("status"), column("front"), ...varied, ...objectives, ...limited];
  const order = [...new Set([...first, ...metrics, ...columns])]
    .filter((each) => each.kind !== "knob" || each.texts.length > 1);
  let sorted = { by: number, descending: false }, rows = [], page = 0;

  const rank = (each) => {
    if (each.numeric) return each.numbers;
    const codes = each.texts.map((_, code) => code);
    const text = (a, b) => each.texts[a].localeCompare(each.texts[b], "en", { numeric: true });
    codes.sort((a, b) => (each.sizes[a] - each.sizes[b]) || text(a, b));
    const places = new Float64Array(codes.length);
    // What has no value stays last.
    codes.forEach((code, place) => { places[code] = each.texts[code] === "" ? NaN : place; });
    return Float64Array.from(each.codes, (code) => places[code]);
  };
  const sort = () => {
    const keys = rank(sorted.by), sign = sorted.descending ? -1 : 1;
    rows = [...state.rows].sort((a, b) => (Number.isNaN(keys[a]) - Number.isNaN(keys[b]))
      || sign * (keys[a] - keys[b]) || a - b);
  };

  // Texts stand left; what is in no figure of the page is left out on paper.
  const kind = (each) => (each.numeric ? "" : "text") + (first.includes(each) ? "" : " rest");
  const titles = make("tr"), inputs = make("tr", { className: "filters" });
  const boxes = new Map();
  for (const each of order) {
    const button = make("button", { type: "button" }, each.label);
    const className = kind(each), title = each.meaning ?? "";
    const header = make("th", { scope: "col", className, title }, button);
    button.addEventListener("click", () => {
      const down = each.numeric && each.kind === "metric" && each.higher;
      sorted = sorted.by === each ? { by: each, descending: !sorted.descending }
        : { by: each, descending: down };
      for (const other of titles.cells) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", sorted.descending ? "descending" : "ascending");
      page = 0;
      sort();
      show();
    });
    titles.append(header);
    const ranged = each.numeric || !each.sizes.some(Number.isNaN);
    const input = make("input", { type: "text", placeholder: ranged ? "min..max" : "text" });
    input.setAttribute("aria-label", `Filter by ${each.label}`);
    input.addEventListener("input", () => {
      input.setAttribute("aria-invalid", String(!filter(each.name, input.value)));
    });
    boxes.set(each.name, input);
    inputs.append(make("td", { className }, input));
  }
  titles.cells[0].setAttribute("aria-sort", "ascending");
  head.append(titles, inputs);

  const rowOf = (row) => {
    const cells = order.map((each, at) => {
      if (at) {
        const cell = make("td", { className: kind(each) }, each.shown(row));
        if (each.kind === "reason" || each.kind === "artifact") {
          cell.classList.add("long");
          cell.title = each.text(row);
        }
        return cell;
      }
      const select = { type: "button", title: "Select this point" };
      return make("th", { scope: "row" }, make("button", select, each.text(row)));
    });
    const className = row === state.point ? "chosen" : "";
    return make("tr", { dataset: { row }, className }, ...cells);
  };
  function show() {
    const per = Number(size.value);
    const last = Math.max(0, Math.ceil(rows.length / per) - 1);
    page = Math.min(Math.max(page, 0), last);
    const from = page * per, to = Math.min(rows.length, from + per);
    body.replaceChildren(...rows.slice(from, to).map(rowOf));
    const all = `${written(from + 1)} to ${written(to)} of ${written(rows.length)}`;
    where.textContent = rows.length ? all : "no point";
    for (const [id, off] of [["page-first", !page], ["page-before", !page],
      ["page-next", page === last], ["page-last", page === last]]) {
      document.getElementById(id).disabled = off;
    }
  }
  const turn = { "page-first": () => 0, "page-before": () => page - 1, "page-next": () => page + 1,
    "page-last": () => Infinity };
  for (const [id, to] of Object.entries(turn)) {
    document.getElementById(id).addEventListener("click", () => { page = to(); show(); });
  }
  size.addEventListener("change", () => { page = 0; show(); });

  const over = (event) => event.target.closest("tr[data-row]");
  body.addEventListener("click", (event) => {
    const found = over(event);
    if (found) select(Number(found.dataset.row));
  });
  body.addEventListener("pointermove", (event) => hover(Number(over(event)?.dataset.row ?? -1)));
  body.addEventListener("pointerleave", () => hover(-1));
  on("point", () => {
    for (const each of body.rows) {
      each.classList.toggle("chosen", Number(each.dataset.row) === state.point);
    }
  });

  document.getElementById("csv").addEventListener("click", () => {
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    // The columns of points.csv, so that the same notebook reads both.
    const cells = data.table.map((name) => {
      if (name === "front") return (row) => String(Boolean(front[row]));
      if (name in data.origin) return () => data.origin[name];
      return column(name)?.text ?? (() => "");
    });
    const lines = [data.table, ...[...rows].map((row) => cells.map((text) => text(row)))];
    const content = lines.map((line) => line.map(quoted).join(",") + "\r\n").join("");
    const file = new Blob([content], { type: "text/csv" });
    const link = make("a", { href: URL.createObjectURL(file), download: "points.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });

  const refresh = later(() => { sort(); show(); });
  on("rows", () => {
    for (const [name, input] of boxes) {
      if (input === document.activeElement) continue;
      input.value = filters.get(name)?.text ?? "";
      input.removeAttribute("aria-invalid");
    }
    page = 0;
    refresh();
  });
})();
