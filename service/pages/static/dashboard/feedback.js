/** What callers say of answers, and how models in the shadow agree: two labels against each other. */

import { sayCount, sayMany, sayShare } from "../shared/format.js";
import { makeLabel, sortLabels } from "../shared/labels.js";
import { find, make } from "../shared/make.js";
import { sayWindow, sum } from "./periods.js";

/** Return how many answers that callers judged there are, and how many of them were right. */
export function countRight(rows) {
  const right = rows.filter((row) => row.said === row.should_be);
  return { total: sum(rows, (row) => row.count), right: sum(right, (row) => row.count) };
}

/** Show an answer of `/dashboard/feedback`. */
export function showFeedback({ rows }, hours) {
  const element = find("feedback").querySelector(".content");
  const { total, right } = countRight(rows);
  if (total === 0) {
    const said = `No feedback in the last ${sayWindow(hours)}. It is given with POST /feedback, or on the first page.`;
    element.replaceChildren(make("p", { class: "nothing" }, said));
    return;
  }
  const share = sayShare(right / total);
  const said = `Of ${sayMany(total, "answer")} that callers judged, ${sayCount(right)} were right (${share}).`;
  const table = makePairs(
    "Down: what the model said. Across: what it should be.",
    rows.map((row) => [row.said, row.should_be, row.count]),
  );
  element.replaceChildren(make("p", { class: "soft small" }, said), table);
}

/** Show an answer of `/dashboard/agreement`, where there is one. */
export function showAgreement({ rows }) {
  find("agreement").hidden = rows.length === 0;
  const versions = [...new Set(rows.map((row) => row.model_version))];
  const parts = versions.map((version) => {
    const mine = rows.filter((row) => row.model_version === version);
    const agreed = mine.filter((row) => row.label === row.champion_label);
    const share = sum(agreed, (row) => row.count) / sum(mine, (row) => row.count);
    const said = `${version} agrees in ${sayShare(share)} of ${sayMany(sum(mine, (row) => row.count), "answer")}.`;
    const pairs = mine.map((row) => [row.champion_label, row.label, row.count]);
    const table = makePairs("Down: the model in service. Across: the one in the shadow.", pairs);
    return [make("p", { class: "soft small" }, said), table];
  });
  find("agreement").querySelector(".content").replaceChildren(...parts.flat());
}

/** Return a table with a row for each first and a column for each second label of `[first, second, count]`. */
function makePairs(said, pairs) {
  const labels = sortLabels(new Set(pairs.flatMap(([first, second]) => [first, second])));
  const count = (first, second) => pairs.find((pair) => pair[0] === first && pair[1] === second)?.[2] ?? 0;
  const head = labels.map((label) => make("th", { scope: "col" }, makeLabel(label)));
  const rows = labels.map((first) => {
    const cells = labels.map((second) =>
      make("td", { class: first === second ? "right" : null }, sayCount(count(first, second))),
    );
    return make("tr", {}, make("th", { scope: "row" }, makeLabel(first)), cells);
  });
  const body = [make("thead", {}, make("tr", {}, make("td"), head)), make("tbody", {}, rows)];
  const scroll = { class: "scroll", tabindex: "0", role: "region", "aria-label": said };
  return make("div", scroll, make("table", { class: "pairs" }, make("caption", {}, said), body));
}
