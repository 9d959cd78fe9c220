/** How long answers take, from the request to the answer. */

import { sayMilliseconds } from "../shared/format.js";
import { find } from "../shared/make.js";
import { clearChart, drawChart } from "./charts.js";
import { collect, layOut, sayWindow } from "./periods.js";

/** Show an answer of `/dashboard/latencies`. */
export function showLatencies(answer, hours) {
  const element = find("latencies").querySelector(".content");
  const latest = answer.rows.at(-1);
  if (!latest) {
    clearChart(element, `No text was answered in the last ${sayWindow(hours)}.`);
    return;
  }
  const laid = layOut(answer, hours);
  // Percentiles cannot be added up: of several the slowest is shown.
  const values = (name) =>
    collect(answer.rows, laid, (rows) => (rows.length > 0 ? Math.max(...rows.map((row) => row[name])) : null));
  const [half, most] = [sayMilliseconds(latest.p50_ms), sayMilliseconds(latest.p95_ms)];
  drawChart(element, {
    kind: "line",
    ...laid,
    series: [
      { name: "p95: 95 of 100 take less", colour: "--label-2", values: values("p95_ms"), dashed: true },
      { name: "p50: half take less", colour: "--accent", values: values("p50_ms") },
    ],
    said: `Lately half of the requests took less than ${half}, and 95 of 100 less than ${most}.`,
    write: sayMilliseconds,
  });
}
