/** Asking about many texts: in several requests, with progress, and again where the service asks to wait. */

import { Problem, ask } from "../shared/api.js";
import { sayCount, sayMany } from "../shared/format.js";
import { withKey } from "../shared/key.js";
import { find, make } from "../shared/make.js";
import { makeResults } from "./results.js";

const MAX_TEXTS = 10_000;
const TEXTS_PER_REQUEST = 64;
const CHARACTERS_PER_REQUEST = 200_000;
const TRIES = 6;
const RETRIED = [429, 503];

/** Ask about texts and show a table of the answers. Throws Problem when the service answers none. */
export async function askMany(texts, signal) {
  if (texts.length === 0) throw new Error("there is no text yet; write one per line, or open a file.");
  const stop = new AbortController();
  signal.addEventListener("abort", () => stop.abort());
  const asked = texts.slice(0, MAX_TEXTS);
  const progress = showProgress(asked.length, stop);
  const answers = [];
  let problem = null;
  try {
    await askInTurns(asked, answers, stop.signal, progress);
  } catch (error) {
    if (signal.aborted || answers.length === 0) throw error;
    problem = error.name === "AbortError" ? null : error;
  }
  const left = texts.length - answers.length;
  find("answer").replaceChildren(makeResults(asked.slice(0, answers.length), answers, left, problem));
  find("said").textContent = `${sayMany(answers.length, "text")} answered.`;
}

async function askInTurns(texts, answers, signal, progress) {
  let size = TEXTS_PER_REQUEST;
  while (answers.length < texts.length) {
    const turn = takeTurn(texts, answers.length, size);
    try {
      answers.push(...(await askPatiently(turn, signal)));
    } catch (problem) {
      if (problem.status !== 413) throw problem;
      if (turn.length === 1) answers.push({ error: problem });
      size = Math.max(1, Math.min(problem.code === "batch_too_large" ? problem.limit : Infinity, turn.length >> 1));
    }
    progress(answers.length);
  }
}

function takeTurn(texts, start, size) {
  const turn = [];
  let characters = 0;
  for (const text of texts.slice(start, start + size)) {
    characters += text.length;
    if (turn.length > 0 && characters > CHARACTERS_PER_REQUEST) break;
    turn.push(text);
  }
  return turn;
}

async function askPatiently(texts, signal) {
  for (let left = TRIES; ; left -= 1) {
    try {
      return (await withKey(() => ask("batch_predict", { texts }, { signal }))).predictions;
    } catch (problem) {
      if (!(problem instanceof Problem && RETRIED.includes(problem.status)) || left === 1) throw problem;
      await pause(1000 * Math.max(1, problem.retryAfter), signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
  });
}

function showProgress(count, stop) {
  const bar = make("progress", { max: count, value: 0, "aria-label": "Texts answered" });
  const said = make("p", {}, `0 of ${sayCount(count)}`);
  const button = make("button", { type: "button", onclick: () => stop.abort() }, "Stop");
  const head = make("div", { class: "head" }, said, button);
  find("answer").replaceChildren(make("div", { class: "card answer" }, head, bar));
  return (done) => {
    bar.value = done;
    said.textContent = `${sayCount(done)} of ${sayCount(count)}`;
  };
}
