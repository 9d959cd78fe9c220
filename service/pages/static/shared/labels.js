/** How labels look: a colour each, and a shape, so that colour is never all that tells them apart. */

import { make } from "./make.js";

const KNOWN = ["negative", "neutral", "positive"];
const OTHERS = ["--label-1", "--label-2", "--label-3", "--label-4"];
const seen = [];

/** Return the name of the CSS variable with the colour of a label. */
export function nameColour(label) {
  if (KNOWN.includes(label)) return `--${label}`;
  if (!seen.includes(label)) seen.push(label);
  return OTHERS[seen.indexOf(label) % OTHERS.length];
}

/** Return a label with its mark. */
export function makeLabel(label) {
  const element = make("span", { class: "label", "data-label": label }, label);
  element.style.setProperty("--label-colour", `var(${nameColour(label)})`);
  return element;
}

/** Return labels in the order from bad to good where they are known, others behind them by name. */
export function sortLabels(labels) {
  const place = (label) => (KNOWN.includes(label) ? KNOWN.indexOf(label) : KNOWN.length);
  return [...labels].sort((a, b) => place(a) - place(b) || a.localeCompare(b));
}

/** Return a list with a bar for each `[label, share, what to say of it]`; a share is from 0 to 1. */
export function makeShares(shares) {
  const rows = shares.map(([label, share, said]) => {
    const fill = make("div", { class: "fill" });
    fill.style.setProperty("--share", share);
    fill.style.setProperty("--label-colour", `var(${nameColour(label)})`);
    const track = make("div", { class: "track", "aria-hidden": "true" }, fill);
    return make("li", {}, makeLabel(label), track, make("span", { class: "value" }, said));
  });
  return make("ul", { class: "shares", role: "list" }, rows);
}
