"use strict";
(() => {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.getElementById("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; });

  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  // Missing values come last, whichever way the others go.
  const sorted = (list, key, down) => list.map((item, i) => [key(item), i, item]).sort((x, y) => {
    const none = (x[0] === null) - (y[0] === null);
    return none || (x[0] === null ? 0 : (down ? -1 : 1) * compare(x[0], y[0])) || x[1] - y[1];
  }).map(x => x[2]);
  const heading = (th, on) => {
    const down = th.getAttribute("aria-sort") ? th.getAttribute("aria-sort") === "ascending" : th.classList.contains("n");
    for (const other of th.parentNode.children) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
    on(th.cellIndex, down);
  };
  for (const table of document.querySelectorAll("figure.table table")) {
    table.tHead.addEventListener("click", event => {
      const th = event.target.closest("th");
      if (!th) return;
      heading(th, (column, down) => {
        const body = table.tBodies[0];
        const key = row => {
          const cell = row.cells[column];
          if (!th.classList.contains("n")) return cell.textContent;
          return cell.dataset.v === "" ? null : Number(cell.dataset.v);
        };
        body.append(...sorted([...body.rows], key, down));
      });
    });
  }

  // What follows is the list of all experiments, which other pages do not have.
  const rows = document.getElementById("rows");
  if (!rows) return;
  const data = JSON.parse(rows.textContent);
  const table = document.getElementById("explorer"), body = table.tBodies[0];
  const failed = new Map(data.failed);
  const page = 50;
  const texts = data.settings.map(s => [s[0], s[1], s[2], s[3] ? "augmented" : "originals", s[4], s[5]].join(" ").toLowerCase());
  const all = data.number.map((_, i) => i);
  let list = all, from = 0, marked = -1, order = null;
  const columns = [
    i => data.number[i], i => data.objects[data.object[i]],
    ...[0, 1, 2].map(k => i => data.settings[data.setting[i]][k]),
    i => data.settings[data.setting[i]][3] ? "yes" : "no",
    ...[4, 5].map(k => i => data.settings[data.setting[i]][k]),
    i => data.auroc[i], i => data.train[i], i => data.test[i],
  ];
  const numeric = [0, 8, 9, 10];
  const show = () => {
    from = Math.max(0, Math.min(from, list.length - 1));
    from -= from % page;
    const rows = list.slice(from, from + page).map(i => {
      const row = document.createElement("tr");
      row.id = "x" + data.number[i];
      if (i === marked) row.className = "hit";
      columns.forEach((column, c) => {
        const cell = row.insertCell();
        if (numeric.includes(c)) cell.className = "n";
        let value = column(i);
        if (c === 8) value = value === null ? (failed.has(i) ? "failed" : "–") : value.toFixed(4);
        cell.textContent = value === null ? "–" : value;
        if (c === 8 && failed.has(i)) cell.title = failed.get(i);
      });
      return row;
    });
    body.replaceChildren(...rows);
    document.getElementById("found").textContent = list.length.toLocaleString("en") + " found";
    document.getElementById("where").textContent = list.length ? `${from + 1} to ${Math.min(from + page, list.length)}` : "none";
    document.getElementById("previous").disabled = from === 0;
    document.getElementById("next").disabled = from + page >= list.length;
  };
  const apply = () => {
    const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    list = all.filter(i => words.every(w => w === "failed" ? failed.has(i)
      : data.objects[data.object[i]].toLowerCase().includes(w) || texts[data.setting[i]].includes(w)));
    if (order) list = sorted(list, columns[order[0]], order[1]);
    from = 0;
    show();
  };
  document.getElementById("filter").addEventListener("input", apply);
  document.getElementById("previous").addEventListener("click", () => { from -= page; show(); });
  document.getElementById("next").addEventListener("click", () => { from += page; show(); });
  table.tHead.addEventListener("click", event => {
    const th = event.target.closest("th");
    if (th) heading(th, (column, down) => { order = [column, down]; apply(); });
  });
  const follow = () => {
    const match = /^#x(\d+)$/.exec(location.hash);
    if (!match) return;
    const i = data.number.indexOf(Number(match[1]));
    if (i < 0) return;
    document.getElementById("filter").value = "";
    order = null;
    for (const th of table.tHead.rows[0].cells) th.removeAttribute("aria-sort");
    list = all;
    marked = i;
    from = i;
    show();
    document.getElementById("x" + match[1]).scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", follow);
  // A second click on the same link changes no address.
  document.addEventListener("click", event => {
    const link = event.target.closest('a[href^="#x"]');
    if (link && link.hash === location.hash) follow();
  });
  show();
  follow();
})();
