"use strict";

function sortKey(row, column) {
  const cell = row.cells[column];
  const raw = cell.dataset.sort;
  return raw === undefined ? cell.textContent.trim() : Number(raw);
}

function compared(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a.localeCompare(b, "en", { numeric: true });
}

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const down = heads[column].getAttribute("aria-sort") === "ascending";
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => compared(sortKey(a, column), sortKey(b, column)) * (down ? -1 : 1));
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    head.append(button);
  });
}

function markRecords(event) {
  const link = event.target.closest("a[href^='#rec-']");
  if (!link) return;
  for (const row of document.querySelectorAll("tr.source")) row.classList.remove("source");
  const ids = link.dataset.records || link.getAttribute("href").slice(1);
  for (const id of ids.split(" ")) {
    document.getElementById(id)?.closest("tr").classList.add("source");
  }
}

document.addEventListener("click", markRecords);

function unfoldTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const fold = target && target.closest("details");
  if (fold && !fold.open) {
    fold.open = true;
    target.scrollIntoView();
  }
}

addEventListener("hashchange", unfoldTarget);
unfoldTarget();
