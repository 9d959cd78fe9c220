/** The answer to one text: what the model says, how sure it is, and why. */

import { ask } from "../shared/api.js";
import { sayConfidence, sayCount, sayShare } from "../shared/format.js";
import { makeLabel, makeShares, sortLabels } from "../shared/labels.js";
import { find, make } from "../shared/make.js";
import { makeFeedback } from "./feedback.js";
import { makeReasons } from "./words.js";

const UNCERTAIN = "Uncertain: the model is less sure than it should be to be relied on. Take it as a guess.";

/** Ask about one text and show the answer. Throws Problem. */
export async function askOne(text, explained, signal) {
  const answer = await ask(explained ? "explain" : "predict", { text }, { signal });
  find("answer").replaceChildren(makeAnswer(answer, text));
  find("said").textContent = sayAnswer(answer);
}

/** Return the sentence that is announced. */
export function sayAnswer(answer) {
  const doubts = [answer.uncertain && "uncertain", answer.truncated && "only the beginning was read"].filter(Boolean);
  return [`${answer.label}, ${sayConfidence(answer.confidence)} sure`, ...doubts].join("; ") + ".";
}

function makeAnswer(answer, text) {
  const labels = sortLabels(Object.keys(answer.scores));
  const shares = labels.map((label) => [label, answer.scores[label], sayShare(answer.scores[label])]);
  const sure = make("span", { class: "soft" }, `${sayConfidence(answer.confidence)} sure`);
  return make(
    "div",
    { class: "card answer" },
    make("div", { class: "verdict" }, makeLabel(answer.label), sure),
    makeNotes(answer),
    makeShares(shares),
    answer.words && makeReasons(answer, text),
    makeFeedback(answer, labels),
    makeFacts(answer),
  );
}

function makeNotes(answer) {
  const read = `The text is too long for the model: only its first ${sayCount(answer.tokens)} tokens were read.`;
  const notes = [answer.uncertain && UNCERTAIN, answer.truncated && read].filter(Boolean);
  if (notes.length === 0) return null;
  const lines = notes.map((note) => make("p", { class: "note" }, note));
  return make("div", { class: "notes" }, lines);
}

function makeFacts(answer) {
  const facts = {
    Model: answer.model_version,
    Tokens: sayCount(answer.tokens),
    Request: answer.request_id,
    Prediction: answer.prediction_id,
  };
  const pairs = Object.entries(facts).map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, make("code", {}, value))),
  );
  return make("dl", { class: "facts part-facts" }, pairs);
}
