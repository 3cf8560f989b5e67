// Asks a report of itself, from inside the page.
"use strict";
let checks = 0;
addEventListener("load", () => {
  const ask = (ok, what) => { checks += 1; if (!ok) faults.push(what); };
  for (const svg of document.querySelectorAll("figure.plot svg")) {
    const box = svg.getBoundingClientRect();
    ask(box.width > 100 && box.height > 50, "a figure without size: " + svg.getAttribute("aria-label"));
    ask(svg.getAttribute("aria-label"), "a figure without a name");
  }
  for (const img of document.images) ask(img.alt && img.naturalWidth > 0, "an image without text or content");
  ask(performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length === 0, "a request left the page");
  const th = document.querySelector("#t-table4_best th.n");
  const values = () => [...document.querySelectorAll("#t-table4_best tbody tr")].map(r => Number(r.cells[1].dataset.v));
  for (const sign of [-1, 1]) {
    th.querySelector("button").click();
    const v = values();
    ask(v.length > 1 && v.every((x, i) => i === 0 || sign * (x - v[i - 1]) >= 0), "a table does not sort: " + v);
  }
  for (const a of document.querySelectorAll('a[href^="#"]')) {
    const id = a.getAttribute("href").slice(1);
    if (!/^x\d+$/.test(id)) ask(document.getElementById(id), "a link leads nowhere: " + id);
  }
  const link = document.querySelector('#t-table6_best a[href^="#x"]');
  link.click();
  setTimeout(() => {
    const row = document.querySelector("#explorer tr.hit");
    ask(row && "#" + row.id === link.getAttribute("href"), "a link does not reach its row");
    const filter = document.getElementById("filter");
    filter.value = "kerneldensity";
    filter.dispatchEvent(new Event("input"));
    ask([...document.querySelectorAll("#explorer tbody tr")].every(r => r.cells[6].textContent === "KernelDensity"), "the search does not narrow");
    ask(document.documentElement.scrollWidth <= innerWidth, "the page is wider than the window: " + document.documentElement.scrollWidth);
    const pre = document.createElement("pre");
    pre.id = "answer";
    pre.textContent = "BEGIN\n" + faults.join("\n") + "\n" + checks + " checks END";
    document.body.append(pre);
  }, 500);
});
