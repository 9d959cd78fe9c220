/** The page to try the model: what is typed or opened is asked about, one text or many. */

import { withKey } from "../shared/key.js";
import { find, make, showProblem } from "../shared/make.js";
import { askOne } from "./answer.js";
import { askMany } from "./many.js";
import { takeFiles } from "./source.js";
import { splitLines } from "./texts.js";

const EXAMPLES = [
  "I waited three weeks and it arrived broken. Never again.",
  "The best explanation I have seen, thank you so much!",
  "The acting was wonderful, but the story put me to sleep.",
];
const HINTS = {
  one: "Line breaks are part of the text.",
  many: "One text per line; or open, drop or paste a CSV or text file. It is read in this browser.",
};
const form = find("ask");
const field = find("text");
let opened = null;
let underWay = new AbortController();

function readMode() {
  return new FormData(form).get("mode");
}

function showMode() {
  const many = readMode() === "many";
  find("text-label").textContent = many ? "Texts, one per line" : "Text";
  find("hint").textContent = HINTS[readMode()];
  field.rows = many ? 9 : 5;
  find("explain-choice").hidden = many;
  find("open-file").hidden = !many;
  find("examples").hidden = many;
  find("typed").hidden = many && opened !== null;
  find("source").hidden = !(many && opened !== null);
}

function chooseMode(mode) {
  form.elements.mode.value = mode;
  showMode();
}

async function answer() {
  underWay.abort();
  underWay = new AbortController();
  const { signal } = underWay;
  find("empty").hidden = true;
  showProblem(find("problem"), null);
  form.setAttribute("aria-busy", "true");
  const many = readMode() === "many";
  document.querySelector(".ask-page").classList.toggle("wide", many);
  try {
    if (many) await askMany(opened ? opened.texts : splitLines(field.value), signal);
    else await withKey(() => askOne(field.value, find("explain").checked, signal));
    scrollToAnswer();
  } catch (problem) {
    if (problem.name === "AbortError") return;
    find("answer").replaceChildren();
    showProblem(find("problem"), problem);
  } finally {
    if (signal === underWay.signal) form.removeAttribute("aria-busy");
  }
}

/** Bring the answer into view where it lies below, as on a phone. */
function scrollToAnswer() {
  const result = find("result");
  if (result.getBoundingClientRect().top > 0.6 * innerHeight) result.scrollIntoView({ block: "start" });
}

function listen() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answer();
  });
  form.addEventListener("change", (event) => event.target.name === "mode" && showMode());
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    answer();
  });
  takeFiles((source) => {
    opened = source;
    chooseMode("many");
    if (!source) field.focus();
  });
}

function offerExamples() {
  for (const text of EXAMPLES) {
    const take = () => {
      field.value = text;
      answer();
    };
    find("examples").append(make("button", { type: "button", onclick: take }, text));
  }
}

find("shortcut").textContent = navigator.platform.startsWith("Mac") ? "⌘ Enter" : "Ctrl+Enter";
offerExamples();
listen();
showMode();
field.focus();
