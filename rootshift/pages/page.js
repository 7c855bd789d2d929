"use strict";
// Shared by all pages: hover texts, sorting, and light colours on paper.
const tip = (() => {
  const box = document.createElement("div");
  box.id = "tip";
  document.body.append(box);
  const hide = () => { box.style.display = "none"; };
  const show = (text, x, y) => {
    box.textContent = text;
    box.style.display = "block";
    const { width, height } = box.getBoundingClientRect();
    const left = x + 14 + width > innerWidth ? x - 14 - width : x + 14;
    const top = y + 16 + height > innerHeight ? y - 10 - height : y + 16;
    box.style.left = Math.max(4, left) + "px";
    box.style.top = Math.max(4, top) + "px";
  };
  // The browser's own hover text would come late, and not at all on a touch.
  for (const title of document.querySelectorAll("svg .mark > title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  const over = (event) => {
    const mark = event.target.closest && event.target.closest("[data-tip]");
    if (mark) show(mark.dataset.tip, event.clientX, event.clientY);
    else if (!event.target.closest || !event.target.closest("canvas")) hide();
  };
  document.addEventListener("pointermove", over);
  document.addEventListener("pointerdown", over);
  addEventListener("scroll", hide, { passive: true });
  document.addEventListener("pointerleave", hide);
  return { show, hide };
})();

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
}
for (const header of document.querySelectorAll("table.sortable thead th")) {
  header.querySelector("button").addEventListener("click", () => {
    const table = header.closest("table");
    const place = header.cellIndex;
    const body = table.tBodies[0];
    const numbers = !header.classList.contains("text");
    const before = header.getAttribute("aria-sort");
    const first = numbers ? "descending" : "ascending";
    const second = numbers ? "ascending" : "descending";
    // A third click brings the order back in which the rows came.
    const order = before === first ? second : before === second ? "" : first;
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    if (order) header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => {
      if (!order) return -Number(row.dataset.place);
      const cell = row.cells[place];
      return numbers ? Number(cell.dataset.key ?? NaN) : cell.textContent;
    };
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => {
      if (order && !numbers) return sign * a.localeCompare(b, "en", { numeric: true });
      // What has no value stays last.
      return (isNaN(a) - isNaN(b)) || sign * (a - b) || 0;
    });
    body.append(...rows.map(([, row]) => row));
  });
}

for (const box of document.querySelectorAll(".choices")) {
  const select = box.querySelector("select");
  const contents = [...box.querySelectorAll(":scope > .choice")];
  const show = () => {
    contents.forEach((content, place) => { content.hidden = place !== select.selectedIndex; });
  };
  select.addEventListener("change", show);
  show();
}

addEventListener("beforeprint", () => {
  document.documentElement.dataset.theme = "light";
  for (const part of document.querySelectorAll("details")) part.open = true;
  dispatchEvent(new Event("themechange"));
});
addEventListener("afterprint", () => {
  delete document.documentElement.dataset.theme;
  dispatchEvent(new Event("themechange"));
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  dispatchEvent(new Event("themechange"));
});
