// Keeps the page up to date. Without it the page reads the same and is reloaded by hand.
"use strict";
const live = document.getElementById("live"), said = document.getElementById("said");
const query = new URLSearchParams(location.search);
const asked = { show: query.get("show") || "", find: query.get("find") || "" };
// The sorted column of each table, and the place that is looked at in each chart.
const sorts = new Map(), places = new Map();
let paused = false, running = false, last = Date.now();

// Makes the old tree like the fresh one, and touches nothing that is the same: focus and selection stay.
function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.hasAttribute("data-keep")) return;
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  const key = node => node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-k") || node.id : "";
  const keyed = new Map([...old.childNodes].filter(key).map(node => [key(node), node]));
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    let same = key(child) ? keyed.get(key(child)) : next;
    if (same && !key(child) && key(same)) same = null;
    if (!same || same.nodeName !== child.nodeName) {
      old.insertBefore(child, next);
      continue;
    }
    keyed.delete(key(same));
    if (same === next) next = next.nextSibling;
    else old.insertBefore(same, next);
    morph(same, child);
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    if (!gone.classList || !gone.classList.contains("ours")) gone.remove();
  }
}

// Sorts the rows of a table, and makes its headings buttons.
function prepare(root) {
  for (const table of root.querySelectorAll("table")) {
    const heads = [...table.tHead.rows[0].cells], sort = sorts.get(table.id);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.textContent = head.textContent;
      button.dataset.table = table.id;
      button.dataset.column = column;
      head.replaceChildren(button);
      if (sort && sort.column === column) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    });
    if (!sort) continue;
    const value = row => {
      const cell = row.cells[sort.column], number = cell.dataset.v;
      return number === undefined ? cell.textContent : Number(number);
    };
    const rows = [...table.tBodies[0].rows].map(row => [value(row), row]);
    const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    rows.sort(([a], [b]) => sort.down ? compare(b, a) : compare(a, b));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  }
}

async function refresh() {
  if (running) return;
  running = true;
  const { show, find } = asked;
  try {
    const answer = await fetch("/live?" + new URLSearchParams(asked), { signal: AbortSignal.timeout(10000), credentials: "same-origin" });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString("<div id=live>" + await answer.text() + "</div>", "text/html").getElementById("live");
    last = Date.now();
    if (show === asked.show && find === asked.find) put(fresh);
    status("");
  } catch (error) {
    status("no answer since " + new Date(last).toISOString().slice(11, 19));
  } finally {
    running = false;
  }
  if (show !== asked.show || find !== asked.find) refresh();
}

function put(fresh) {
  prepare(fresh);
  const state = () => document.getElementById("state").textContent, before = state();
  morph(live, fresh);
  for (const [plot, at] of places) point(plot, at);
  if (state() !== before) {
    said.textContent = state();
    document.title = state() + " – latticegate";
  }
}

const word = document.createElement("span"), button = document.createElement("button");
word.className = "late";
button.type = "button";
document.getElementById("refresh").append(word, button);
function status(text) {
  word.textContent = text;
  button.textContent = paused ? "Resume" : "Pause";
  button.setAttribute("aria-pressed", paused);
}
button.addEventListener("click", () => {
  paused = !paused;
  status(paused ? "paused" : "");
  if (!paused) refresh();
});

async function run() {
  const begun = performance.now();
  if (!paused && !document.hidden) await refresh();
  // A slow line is not kept busy.
  setTimeout(run, Math.max(2000, 3 * (performance.now() - begun)));
}

document.addEventListener("click", event => {
  const { table, column } = event.target.dataset || {};
  if (table === undefined) return;
  const before = sorts.get(table), number = Number(column);
  const isNumber = event.target.closest("th").classList.contains("n");
  sorts.set(table, { column: number, down: before && before.column === number ? !before.down : isNumber });
  const copy = live.cloneNode(true);
  copy.querySelectorAll(".ours").forEach(node => node.remove());
  copy.querySelectorAll("[aria-sort]").forEach(head => head.removeAttribute("aria-sort"));
  put(copy);
});

// Which connections: at once, without a new page.
const which = document.getElementById("which");
let typing;
which.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(choose, 300);
});
which.addEventListener("submit", event => {
  event.preventDefault();
  choose();
});
function choose() {
  for (const [name, value] of new FormData(which)) {
    asked[name] = value;
    if (value) query.set(name, value);
    else query.delete(name);
  }
  history.replaceState(null, "", "?" + query + location.hash);
  refresh();
}

// What a chart says at one place.
const units = {
  count: value => value.toLocaleString("en").replaceAll(",", "\u202f"),
  rate: value => value + "/s",
  bytes: value => {
    let unit = 0;
    for (; value >= 1000 && unit < 5; unit++) value /= 1024;
    return +value.toPrecision(3) + " " + ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit] + "/s";
  },
  millis: value => value + " ms",
  percent: value => value + " %",
};
function point(plot, at) {
  const { unit, step, most, end, a = "", aName, b, bName } = plot.dataset;
  const lines = [[a, aName], [b, bName]].filter(([values]) => values).map(([values, name]) => [values.split(","), name]);
  if (!lines.length) return;
  const count = lines[0][0].length, first = most - count;
  at = Math.max(first, Math.min(most - 1, at));
  const time = new Date((end - (most - 1 - at) * step) * 1000).toISOString();
  const shown = lines.map(([values, name]) => (lines.length > 1 ? name + " " : "") + (values[at - first] === "" ? "–" : units[unit](Number(values[at - first]))));
  let [mark, tip] = plot.querySelectorAll(".ours");
  if (!tip) {
    [mark, tip] = ["mark", "tip"].map(name => {
      const span = document.createElement("span");
      span.className = name + " ours";
      return span;
    });
    plot.append(mark, tip);
  }
  const left = 100 * at / (most - 1);
  mark.style.left = left + "%";
  tip.style.left = left > 50 ? "" : left + "%";
  tip.style.right = left > 50 ? 100 - left + "%" : "";
  tip.textContent = (step >= 60 ? time.slice(5, 16).replace("T", " ") : time.slice(11, 19)) + "  " + shown.join(", ");
  places.set(plot, at);
  return tip.textContent;
}
const leave = plot => {
  plot.querySelectorAll(".ours").forEach(node => node.remove());
  places.delete(plot);
};
document.addEventListener("pointermove", event => {
  const plot = event.target.closest && event.target.closest(".plot");
  for (const other of places.keys()) if (other !== plot && other !== document.activeElement) leave(other);
  if (!plot) return;
  const box = plot.getBoundingClientRect();
  point(plot, Math.round((event.clientX - box.left) / box.width * (plot.dataset.most - 1)));
});
document.addEventListener("keydown", event => {
  const plot = event.target.closest && event.target.closest(".plot");
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1000, End: 1000 }[event.key];
  if (!plot || !step) return;
  event.preventDefault();
  said.textContent = point(plot, (places.get(plot) ?? plot.dataset.most - 1) + step) || "";
});
document.addEventListener("focusout", event => {
  if (event.target.classList.contains("plot")) leave(event.target);
});

status("");
prepare(live);
setTimeout(run, 2000);
