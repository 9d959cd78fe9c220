/** The model that answers, from its card. */

import { sayCount, sayMilliseconds, sayMoment, sayShare } from "../shared/format.js";
import { makeLabel, sortLabels } from "../shared/labels.js";
import { find, make } from "../shared/make.js";
import { SCORES, listOthers, readLabel } from "./scores.js";

/** Show an answer of `/model`. */
export function showModel(card) {
  const element = find("model").querySelector(".content");
  const isOpen = element.querySelector("details")?.open;
  element.replaceChildren(makeFacts(card), makeScores(card.metrics), makeLabels(card), makeOthers(card, isOpen));
}

function makeFacts(card) {
  const facts = {
    Version: card.version,
    Candidate: `${card.candidate} (${card.precision})`,
    Dataset: `${card.dataset}, ${sayCount(card.train_rows)} texts to train`,
    Made: sayMoment(card.created_at),
    Reads: `up to ${sayCount(card.max_tokens)} tokens`,
    Uncertain: card.uncertain_below > 0 ? `below ${sayShare(card.uncertain_below)}` : "never",
  };
  return make("dl", { class: "facts" }, Object.entries(facts).map(makePair));
}

function makePair([name, value]) {
  return make("div", {}, make("dt", {}, name), make("dd", {}, value));
}

function makeScores(metrics) {
  const known = Object.entries(SCORES).filter(([key]) => key in metrics);
  if (known.length === 0) return make("p", { class: "nothing" }, "The card of this model has no scores.");
  const rows = known.map(([key, [name, meaning, format]]) => {
    const head = make("th", { scope: "row" }, name, make("span", { class: "soft small" }, meaning));
    return make("tr", {}, head, make("td", { class: "number" }, format.format(metrics[key])));
  });
  const head = make(
    "tr",
    {},
    make("th", { scope: "col" }, "On texts it was not trained on"),
    make("th", { scope: "col", class: "number" }, "Score"),
  );
  return make("table", { class: "scores" }, make("thead", {}, head), make("tbody", {}, rows));
}

function makeLabels({ labels, metrics }) {
  if (readLabel(metrics, labels[0])[0] === undefined) return "";
  const rows = sortLabels(labels).map((label) => {
    const cells = readLabel(metrics, label).map((value) =>
      make("td", { class: "number" }, value === undefined ? "–" : sayShare(value)),
    );
    return make("tr", {}, make("th", { scope: "row" }, makeLabel(label)), cells);
  });
  const head = ["Label", "Precision", "Recall", "F1"].map((name, place) =>
    make("th", { scope: "col", class: place > 0 ? "number" : null }, name),
  );
  return make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows));
}

function makeOthers(card, isOpen) {
  const latencies = Object.entries(card.latency_ms).map(([name, value]) => [`latency ${name}`, sayMilliseconds(value)]);
  const more = [
    ...listOthers(card.metrics),
    ...latencies,
    ["size", `${(card.size_bytes / 1e6).toFixed(1)} MB`],
    ["encoder", card.encoder],
    ["digest", card.digest],
    ["dataset digest", card.dataset_digest],
    ["MLflow run", card.mlflow_run || "none"],
  ];
  const pairs = make("dl", { class: "facts" }, more.map(makePair));
  return make("details", { open: isOpen }, make("summary", {}, "Everything else on the card"), pairs);
}
