/** The answers to many texts: totals, a table that can be sorted, and a file to take away. */

import { sayConfidence, sayCount, sayMany, sayShare } from "../shared/format.js";
import { makeLabel, makeShares, sortLabels } from "../shared/labels.js";
import { make, sayProblem } from "../shared/make.js";
import { writeTable } from "./texts.js";

const ROWS_PER_PAGE = 100;
const COLUMNS = [
  { name: "#", key: (row) => row.number, number: true },
  { name: "Text", key: (row) => row.text },
  { name: "Label", key: (row) => row.label ?? "~" },
  { name: "Sure", key: (row) => row.confidence ?? -1, number: true },
];
const FIELDS = ["label", "confidence", "uncertain", "truncated", "model_version", "prediction_id"];

/** Return the results of texts; `left` were not asked about, because of a `problem` or because there are too many. */
export function makeResults(texts, answers, left, problem) {
  const rows = answers.map((answer, place) => ({ number: place + 1, text: texts[place], ...answer }));
  return make(
    "div",
    { class: "card answer" },
    makeHead(rows),
    makeRest(left, problem),
    makeTotals(rows),
    makeTable(rows),
  );
}

function makeHead(rows) {
  const save = make("button", { type: "button", onclick: () => download(rows) }, "Download as CSV");
  return make("div", { class: "head" }, make("h2", {}, sayMany(rows.length, "text")), save);
}

function makeRest(left, problem) {
  if (problem) {
    const said = `${sayProblem(problem)} ${sayMany(left, "text")} had no answer yet.`;
    return make("p", { class: "problem", role: "alert" }, said);
  }
  return left > 0 ? make("p", { class: "note" }, `${sayMany(left, "text")} more were not asked about.`) : null;
}

function makeTotals(rows) {
  const answered = rows.filter((row) => row.label);
  const labels = sortLabels(new Set(answered.flatMap((row) => Object.keys(row.scores))));
  const count = (label) => answered.filter((row) => row.label === label).length;
  const shares = labels.map((label) => {
    const share = count(label) / answered.length;
    return [label, share, `${sayCount(count(label))} · ${sayShare(share)}`];
  });
  const doubts = [
    [rows.filter((row) => row.uncertain).length, "uncertain"],
    [rows.filter((row) => row.truncated).length, "cut to what the model reads"],
    [rows.length - answered.length, "without an answer"],
  ].filter(([found]) => found > 0);
  const said = doubts.map(([found, what]) => `${sayCount(found)} ${what}`).join(", ");
  return make("div", { class: "notes totals" }, makeShares(shares), said && make("p", { class: "soft small" }, said));
}

function makeTable(rows) {
  const body = make("tbody");
  const more = make("button", { type: "button" });
  const heads = COLUMNS.map((column) => make("th", { scope: "col", class: column.number ? "number" : null }));
  let order = { column: COLUMNS[0], up: true };
  let shown = ROWS_PER_PAGE;
  const draw = () => {
    const sorted = [...rows].sort((a, b) => compare(order.column.key(a), order.column.key(b)) * (order.up ? 1 : -1));
    body.replaceChildren(...sorted.slice(0, shown).map(makeRow));
    more.hidden = shown >= rows.length;
    more.textContent = `Show ${sayCount(Math.min(ROWS_PER_PAGE, rows.length - shown))} more`;
    heads.forEach((head, place) => {
      const mine = COLUMNS[place] === order.column;
      if (mine) head.setAttribute("aria-sort", order.up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  };
  heads.forEach((head, place) => {
    const column = COLUMNS[place];
    const sort = () => {
      order = { column, up: order.column === column ? !order.up : true };
      draw();
    };
    head.append(make("button", { type: "button", onclick: sort }, column.name));
  });
  more.addEventListener("click", () => {
    shown += ROWS_PER_PAGE;
    draw();
  });
  draw();
  const table = make("table", { class: "texts" }, make("thead", {}, make("tr", {}, heads)), body);
  return make("div", {}, table, more);
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b);
}

function makeRow(row) {
  const doubts = [row.uncertain && "uncertain", row.truncated && "cut"].filter(Boolean).join(", ");
  const answer = row.error
    ? [make("td", { colspan: 2, class: "soft" }, sayProblem(row.error))]
    : [
        make("td", {}, makeLabel(row.label), doubts && make("div", { class: "soft small" }, doubts)),
        make("td", { class: "number" }, sayConfidence(row.confidence)),
      ];
  const number = make("td", { class: "number soft" }, sayCount(row.number));
  return make("tr", {}, number, make("td", { class: "text", dir: "auto" }, row.text), answer);
}

function download(rows) {
  const head = ["text", ...FIELDS, "error"];
  const lines = rows.map((row) => [row.text, ...FIELDS.map((field) => row[field]), row.error?.message]);
  const address = URL.createObjectURL(new Blob(["\ufeff", writeTable([head, ...lines])], { type: "text/csv" }));
  make("a", { href: address, download: "sentiment.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
