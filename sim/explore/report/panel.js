"use strict";
// The selected point: its knobs and figures, and the command that makes its RTL.
(() => {
  const { data, columns, column, metrics, front, state, number, on, select, make } = exploration;
  const panel = document.getElementById("point");
  const brief = document.getElementById("point-brief");
  const empty = [...panel.childNodes];
  const pairs = (rows) => {
    const list = make("dl", { className: "pairs close" });
    for (const [name, value, title] of rows) {
      list.append(make("dt", { title: title ?? "" }, name), make("dd", {}, value));
    }
    return list;
  };
  const command = (row) => {
    const text = `rootshift explore --pick ${number.text(row)} --out ${data.folder}`;
    // Lines break between words alone, not behind a hyphen.
    const words = text.split(" ").flatMap((word) => [make("span", {}, word), " "]).slice(0, -1);
    const code = make("code", {}, ...words);
    const button = make("button", { type: "button" }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        // Where pages from disk may not, the text is marked so that a key copies it.
        getSelection().selectAllChildren(code);
        button.textContent = "Marked";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    return make("div", { className: "tools command" }, code, button);
  };
  const show = () => {
    const row = state.point;
    if (row < 0) {
      panel.replaceChildren(...empty);
      brief.hidden = true;
      return;
    }
    const status = column("status").text(row), reason = column("reason").text(row);
    const title = `Point ${number.text(row)}`;
    const knobs = columns.filter((each) => each.kind === "knob" && each.text(row) !== "");
    const measured = metrics.filter((each) => each.text(row) !== "");
    const artifact = column("artifact").text(row);
    const close = make("button", { type: "button", title: "Select no point" }, "✕");
    close.setAttribute("aria-label", "Select no point");
    close.addEventListener("click", () => select(-1));
    panel.replaceChildren(
      make("div", { className: "tools head" }, make("h3", {}, title),
        make("span", { className: `badge ${status}` }, status),
        ...(front[row] ? [make("span", { className: "badge" }, "front")] : []), close),
      ...(reason ? [make("p", { className: "note" }, reason)] : []),
      make("p", { className: "note" }, "Its RTL, again:"), command(row),
      make("h4", {}, "Knobs"), pairs(knobs.map((each) => [each.name, each.text(row)])),
      ...(measured.length ? [make("h4", {}, "Figures"), pairs(measured.map((each) => [
        each.name, `${each.shown(row)} ${each.unit}`.trim(), each.meaning]))] : []),
      ...(artifact ? [make("h4", {}, "Quantized model"),
        make("p", { className: "note digest", title: artifact }, artifact)] : []),
    );
    const link = make("a", { href: "#front" }, title);
    brief.replaceChildren(make("span", {}, link, ":"), command(row));
    brief.hidden = false;
  };
  on("point", show);
  // Links from other parts of the page.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("[data-point]");
    if (link) select(Number(link.dataset.point));
  });
})();

// All views stand: draw them.
paint.change();
exploration.show();
