/** Models side by side: what evaluations measured, and how much each has answered. */

import { sayCount, sayMinute, sayShare } from "../shared/format.js";
import { find, make } from "../shared/make.js";

const COLUMNS = ["Model", "Macro F1", "95% interval", "Accuracy", "Calibration error", "Answered", "Measured"];
const EMPTY =
  "No evaluation yet. To have models here, run: make evaluate MODELS=production,previous";

/** Show the newest evaluation of each model on each dataset; `activity` says what each has answered. */
export function showEvaluations(records, activity, current) {
  const element = find("evaluations").querySelector(".content");
  const answered = countByVersion(activity?.rows ?? []);
  const newest = new Map(records.map((record) => [`${record.bundle_digest} ${record.dataset}`, record]));
  const datasets = Map.groupBy ? [...Map.groupBy(newest.values(), (record) => record.dataset)] : group(newest.values());
  const tables = datasets.map(([dataset, mine]) => makeTable(dataset, mine, answered, current));
  const others = [...answered.keys()].filter((version) => !records.some((record) => isVersion(record, version)));
  element.replaceChildren(
    ...(tables.length > 0 ? tables : [make("p", { class: "nothing" }, EMPTY)]),
    others.length > 0 ? make("p", { class: "soft small" }, sayOthers(others, answered)) : "",
  );
}

function group(records) {
  const groups = new Map();
  for (const record of records) groups.set(record.dataset, [...(groups.get(record.dataset) ?? []), record]);
  return [...groups];
}

function countByVersion(rows) {
  const counts = new Map();
  for (const row of rows) counts.set(row.model_version, (counts.get(row.model_version) ?? 0) + row.predictions);
  return counts;
}

/** Return whether a record is of a version as the log calls it: its number, and the start of its digest. */
function isVersion(record, version) {
  return version.split("-").at(-1) === record.bundle_digest.slice(0, 12);
}

function sayOthers(versions, answered) {
  const said = versions.map((version) => `${version} (${sayCount(answered.get(version))})`).join(", ");
  return `Answered in this time, and not evaluated: ${said}.`;
}

function makeTable(dataset, records, answered, current) {
  const best = [...records].sort((a, b) => b.macro_f1 - a.macro_f1);
  const numbers = [1, 3, 4, 5];
  const head = COLUMNS.map((name, place) =>
    make("th", { scope: "col", class: numbers.includes(place) ? "number" : null }, name),
  );
  const scale = [
    Math.floor(10 * Math.min(...best.map((record) => record.macro_f1_low))) / 10,
    Math.ceil(10 * Math.max(...best.map((record) => record.macro_f1_high))) / 10,
  ];
  const rows = best.map((record) => makeRow(record, scale, answered, current));
  const title = make("h3", {}, `${dataset}, ${[...new Set(best.map((one) => sayCount(one.rows)))].join(" or ")} texts`);
  const table = make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows));
  const scroll = { class: "scroll", tabindex: "0", role: "region", "aria-label": `Models on ${dataset}` };
  return make("div", {}, title, make("div", scroll, table));
}

function makeRow(record, [start, end], answered, current) {
  const name = record.version ? `${record.version} · ${record.candidate}` : `${record.model} · ${record.candidate}`;
  const version = [...answered.keys()].find((one) => isVersion(record, one));
  const serves = current && isVersion(record, current);
  const place = (value) => (value - start) / (end - start);
  const range = make("div", { class: "range", "aria-hidden": "true" });
  range.style.setProperty("--low", place(record.macro_f1_low));
  range.style.setProperty("--high", place(record.macro_f1_high));
  range.style.setProperty("--at", place(record.macro_f1));
  const interval = `${sayShare(record.macro_f1_low)} to ${sayShare(record.macro_f1_high)}`;
  const number = (value) => make("td", { class: "number" }, value);
  return make(
    "tr",
    {},
    make("th", { scope: "row" }, name, " ", serves ? make("span", { class: "badge" }, "in service") : ""),
    number(sayShare(record.macro_f1)),
    make("td", {}, make("span", { class: "small" }, interval), range),
    number(sayShare(record.accuracy)),
    number(sayShare(record.calibration_error)),
    number(version ? sayCount(answered.get(version)) : "–"),
    make("td", { class: "soft small" }, sayMinute(record.at)),
  );
}
