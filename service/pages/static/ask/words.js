/** Why an answer is what it is: the text with its words marked by what they add, and the same as a table. */

import { sayShare, sayWeight } from "../shared/format.js";
import { make } from "../shared/make.js";

const FAINT = 0.03;
const MOVES = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 };

/** Return the part of an answer that shows its reasons. */
export function makeReasons(answer, text) {
  const { base, confidence, label, words } = answer;
  const sum = `Without any word ${label} would have ${sayShare(base)}; the words bring it to ${sayShare(confidence)}.`;
  return make(
    "section",
    { class: "part", "aria-labelledby": "reasons" },
    make("h2", { id: "reasons" }, "Which words decide"),
    makeMarked(words, text, label),
    makeLegend(label),
    make("p", { class: "soft small" }, sum),
    makeTable(words),
  );
}

function makeMarked(words, text, label) {
  const strongest = Math.max(...words.map((word) => Math.abs(word.weight)), 1e-9);
  const hint = "Point at a word, or move with the arrow keys.";
  const detail = make("p", { class: "soft small", "aria-hidden": "true" }, hint);
  const buttons = words.map((word) => makeWord(word, strongest, label, detail));
  const marked = make("p", { class: "words", dir: "auto" }, weave(buttons, words, text));
  marked.addEventListener("keydown", (event) => moveFocus(event, buttons));
  if (buttons.length > 0) buttons[0].tabIndex = 0;
  return make("div", {}, marked, detail);
}

function makeWord(word, strongest, label, detail) {
  const strength = Math.abs(word.weight) / strongest;
  const side = strength < FAINT ? "" : word.weight > 0 ? "for" : "against";
  const said = `${sayWeight(word.weight)} points ${word.weight < 0 ? "away from" : "toward"} ${label}`;
  const tell = (event) => {
    for (const other of event.target.parentElement.querySelectorAll("[aria-current]")) {
      other.removeAttribute("aria-current");
    }
    event.target.setAttribute("aria-current", "true");
    detail.textContent = `${word.text}: ${said}`;
  };
  const button = make(
    "button",
    { type: "button", class: `word ${side}`, tabindex: "-1", onfocus: tell, onpointerenter: tell, onclick: tell },
    word.text,
    make("span", { class: "unseen" }, ` (${said})`),
  );
  button.style.setProperty("--strength", strength.toFixed(3));
  return button;
}

/** Return the words with what is between them; places count characters, not halves of them as JavaScript does. */
function weave(buttons, words, text) {
  const characters = Array.from(text);
  const found = (word) => characters.slice(word.start, word.end).join("") === word.text;
  if (!words.every(found)) return buttons.flatMap((button) => [button, " "]);
  const pieces = [];
  let place = 0;
  words.forEach((word, number) => {
    pieces.push(characters.slice(place, word.start).join(""), buttons[number]);
    place = word.end;
  });
  const rest = characters.slice(place).join("");
  pieces.push(rest.trim() ? make("span", { class: "unread" }, rest) : rest);
  return pieces;
}

function moveFocus(event, buttons) {
  const here = buttons.indexOf(document.activeElement);
  const ends = { Home: 0, End: buttons.length - 1 };
  const wanted = ends[event.key] ?? here + (MOVES[event.key] ?? NaN);
  const next = buttons[wanted];
  if (here < 0 || !next) return;
  event.preventDefault();
  buttons[here].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function makeLegend(label) {
  const sample = (side, said) => {
    const mark = make("span", { class: `word ${side}` }, said);
    mark.style.setProperty("--strength", "0.6");
    return mark;
  };
  return make(
    "p",
    { class: "legend small" },
    sample("for", `toward ${label}`),
    sample("against", `away from ${label}`),
  );
}

function makeTable(words) {
  const ordered = [...words].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const rows = ordered.map((word) =>
    make(
      "tr",
      {},
      make("td", { class: "text", dir: "auto" }, word.text),
      make("td", { class: "number" }, sayWeight(word.weight)),
    ),
  );
  const head = make("tr", {}, make("th", {}, "Word"), make("th", { class: "number" }, "Points"));
  return make(
    "details",
    {},
    make("summary", {}, "Show as a table"),
    make("table", {}, make("thead", {}, head), make("tbody", {}, rows)),
  );
}
