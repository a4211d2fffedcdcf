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
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    head.append(button);
  });
}

// On a narrow screen each row is a card, whose cells carry the headings of their columns.
const narrow = matchMedia("(max-width: 40rem)");

function labelCells() {
  if (!narrow.matches) return;
  narrow.removeEventListener("change", labelCells);
  for (const table of document.querySelectorAll("table")) {
    const texts = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, column) => (cell.dataset.label = texts[column]));
    }
    table.classList.add("stacked");
  }
}

narrow.addEventListener("change", labelCells);
labelCells();

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
  const id = decodeURIComponent(location.hash.slice(1));
  const target = id && document.getElementById(id);
  if (!target) return;
  const inner = target.tagName === "SECTION" && target.querySelector("details.fold");
  let unfolded = false;
  for (let fold = inner || target.closest("details"); fold; ) {
    unfolded ||= !fold.open;
    fold.open = true;
    fold = fold.parentElement.closest("details");
  }
  if (unfolded) target.scrollIntoView();
}

addEventListener("hashchange", unfoldTarget);
unfoldTarget();

// Paper has no folds: conditions are printed, single records are not.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not(.records):not([open])")) {
    fold.open = true;
    fold.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-printed]")) {
    fold.open = false;
    delete fold.dataset.printed;
  }
});
