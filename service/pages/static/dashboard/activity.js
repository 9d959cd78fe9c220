/** What was answered: how much, with which labels, how sure. */

import { sayCount, sayMany, sayShare } from "../shared/format.js";
import { makeShares, nameColour, sortLabels } from "../shared/labels.js";
import { find, make } from "../shared/make.js";
import { clearChart, drawChart } from "./charts.js";
import { collect, layOut, sayWindow, sum } from "./periods.js";

const countAll = (rows) => sum(rows, (row) => row.predictions);
const countUncertain = (rows) => sum(rows, (row) => row.uncertain);
const average = (rows) => sum(rows, (row) => row.predictions * row.mean_confidence) / countAll(rows);

/** Return what the tiles say of an answer of `/dashboard/activity`. */
export function sumUp({ rows }) {
  const total = countAll(rows);
  return { total, uncertain: countUncertain(rows) / total, confidence: average(rows) };
}

/** Show the charts of an answer of `/dashboard/activity`. */
export function showActivity(answer, hours) {
  const parts = ["predictions", "shares", "confidence"].map((id) => find(id).querySelector(".content"));
  const total = countAll(answer.rows);
  if (total === 0) {
    clearChart(parts[0], `No text was answered in the last ${sayWindow(hours)}. Choose a longer time, or try it on the first page.`);
    clearChart(parts[1], "Nothing to share out yet.");
    clearChart(parts[2], "Nothing was answered yet.");
    return;
  }
  const labels = sortLabels(new Set(answer.rows.map((row) => row.label)));
  const laid = layOut(answer, hours);
  drawPredictions(parts[0], answer.rows, labels, laid, hours);
  parts[1].replaceChildren(makeShares(shareOut(answer.rows, labels, total)), makeTruncated(answer.rows));
  drawConfidence(parts[2], answer.rows, laid);
}

function drawPredictions(element, rows, labels, laid, hours) {
  const values = (label) => collect(rows, laid, (found) => countAll(found.filter((row) => row.label === label)));
  drawChart(element, {
    kind: "bar",
    ...laid,
    series: labels.map((label) => ({ name: label, colour: nameColour(label), values: values(label) })),
    said: `${sayMany(countAll(rows), "text")} answered in the last ${sayWindow(hours)}.`,
    write: sayCount,
  });
}

function shareOut(rows, labels, total) {
  return labels.map((label) => {
    const share = countAll(rows.filter((row) => row.label === label)) / total;
    return [label, share, sayShare(share)];
  });
}

function makeTruncated(rows) {
  const cut = sum(rows, (row) => row.truncated);
  const said = cut === 0 ? "Every text was read to its end." : `${sayMany(cut, "text")} longer than the model reads.`;
  return make("p", { class: "soft small below" }, said);
}

function drawConfidence(element, rows, laid) {
  const share = (found) => (found.length > 0 ? countUncertain(found) / countAll(found) : null);
  const mean = (found) => (found.length > 0 ? average(found) : null);
  drawChart(element, {
    kind: "line",
    ...laid,
    series: [
      { name: "mean confidence", colour: "--accent", values: collect(rows, laid, mean) },
      { name: "uncertain share", colour: "--negative", values: collect(rows, laid, share), dashed: true },
    ],
    said: `Mean confidence ${sayShare(average(rows))}; ${sayShare(share(rows))} of the answers are uncertain.`,
    write: sayShare,
    top: 1,
  });
}
