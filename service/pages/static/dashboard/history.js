/** The prediction history: searched, a page at a time, every text as plain text. */

import { ask } from "../shared/api.js";
import { sayConfidence, sayCount, sayMany, sayMilliseconds, sayMinute, sayMoment, sayShare } from "../shared/format.js";
import { withKey } from "../shared/key.js";
import { makeLabel, sortLabels } from "../shared/labels.js";
import { find, make, showProblem } from "../shared/make.js";

const PAGE = 15;
const section = find("history");
const content = section.querySelector(".content");
const form = find("search");
const body = make("tbody");
let older = null;
let pages = 0;
let newest = "";
let turn = 0;

/** Read the first page again where nobody is reading further down. */
export async function refreshHistory() {
  const isRead = pages > 1 || body.querySelector("details[open]") || body.contains(document.activeElement);
  if (!isRead) await search();
}

/** Search as soon as something else is chosen. */
export function listenToSearch() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  form.addEventListener("change", (event) => event.target.type !== "search" && search());
}

/** Offer these labels and versions to choose from, and keep what is chosen. */
export function offerChoices(labels, versions) {
  offer(form.elements.label, sortLabels(labels));
  offer(form.elements.version, versions);
}

function offer(select, values) {
  const known = [...select.options].map((option) => option.value);
  for (const value of values) if (!known.includes(value)) select.append(make("option", { value }, value));
}

async function search() {
  pages = 0;
  older = null;
  await readPage();
}

async function readPage() {
  const mine = (turn += 1);
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  query.set("limit", PAGE);
  if (older) query.set("before", older);
  try {
    const page = await withKey(() => ask(`dashboard/predictions?${query}`));
    if (mine !== turn) return;
    showProblem(section.querySelector(".problem"), null);
    showPage(page);
  } catch (problem) {
    if (mine !== turn) return;
    content.replaceChildren();
    newest = "";
    showProblem(section.querySelector(".problem"), problem);
  }
}

function showPage(page) {
  const isFirst = pages === 0;
  const first = `${page.rows[0]?.id} ${page.rows.map((row) => row.feedback).join()} ${page.before}`;
  pages += 1;
  older = page.before;
  if (isFirst && first === newest && content.hasChildNodes()) return;
  if (isFirst) newest = first;
  const rows = page.rows.map(makeRow);
  if (isFirst) body.replaceChildren(...rows);
  else body.append(...rows);
  const count = body.childElementCount;
  find("found").textContent = `${sayMany(count, "prediction")} shown.`;
  const shown = count > 0 ? makeTable() : make("p", { class: "nothing" }, sayNone(page));
  content.replaceChildren(shown, count > 0 || page.before ? makeMore(page) : "");
}

function sayNone(page) {
  if (page.before) return `None of the newest ${sayCount(page.looked_at)} predictions fits.`;
  const isSearched = [...new FormData(form).values()].some((value) => value);
  if (isSearched) return "No prediction fits. Ask for less, or for other words.";
  return "Nothing was predicted yet. Try it on the first page.";
}

function makeTable() {
  const names = { When: "when", Text: "text", Answer: "said", Feedback: "short", Model: "short" };
  const head = Object.entries(names).map(([name, look]) => make("th", { scope: "col", class: look }, name));
  return make("table", { class: "rows" }, make("thead", {}, make("tr", {}, head)), body);
}

function makeMore(page) {
  if (!page.before) return make("p", { class: "soft small more" }, "That is all there is.");
  const isFull = page.rows.length === PAGE;
  const read = async (event) => {
    event.target.disabled = true;
    await readPage();
  };
  const reached = page.reached ? `Looked back to ${sayMoment(page.reached)}.` : "";
  return make(
    "div",
    { class: "more" },
    make("button", { type: "button", onclick: read }, isFull ? "Show older ones" : "Look further back"),
    make("span", { class: "soft small" }, isFull ? "" : reached),
  );
}

function makeRow(row) {
  const text = row.text === null ? make("span", { class: "soft" }, "(the text was not kept)") : row.text;
  const doubts = [row.uncertain && "uncertain", row.truncated && "cut"].filter(Boolean).join(", ");
  const said = [sayConfidence(row.confidence), doubts].filter(Boolean).join(", ");
  return make(
    "tr",
    {},
    make("td", { class: "when" }, make("time", { datetime: row.at }, sayMinute(row.at))),
    make("td", { class: "text" }, make("div", { class: "start", dir: "auto" }, text), makeDetails(row)),
    make("td", { class: "said" }, makeLabel(row.label), make("div", { class: "soft small" }, said)),
    make("td", { class: "short" }, makeFeedback(row)),
    make("td", { class: "short soft small" }, row.model_version),
  );
}

function makeFeedback(row) {
  const last = row.feedback.at(-1);
  if (last === undefined) return "";
  if (last === row.label) return make("span", { class: "small" }, "✓ right");
  return make("span", { class: "small" }, "should be ", makeLabel(last));
}

function makeDetails(row) {
  const scores = sortLabels(Object.keys(row.scores)).map((label) => `${label} ${sayShare(row.scores[label])}`);
  const facts = {
    Scores: scores.join(", "),
    Took: sayMilliseconds(row.latency_ms),
    Tokens: sayCount(row.tokens),
    Prediction: row.id,
    Request: row.request_id,
    "Digest of the text": row.text_digest,
  };
  const pairs = Object.entries(facts)
    .filter(([, value]) => value)
    .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  return make("details", {}, make("summary", {}, "More"), make("dl", { class: "facts" }, pairs));
}
