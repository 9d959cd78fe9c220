/** Charts over time: a picture, the same in a sentence and as a table. */

import { sayMinute } from "../shared/format.js";
import { make } from "../shared/make.js";

const UNITS = { 1: "minute", 24: "hour", 168: "day", 2160: "day" };
const FORMATS = { minute: "HH:mm", hour: "HH:mm", day: "MMM d" };
const charts = new Map();

/**
 * Draw a chart into an element, or change the one that is there.
 *
 * `series` are `{ name, colour, values, dashed }` with a value for each period, null where there is none; periods start
 * at `times` (milliseconds). `said` is the sentence below the title, `write` how a value is written, `top` the end of
 * the scale.
 */
export function drawChart(element, { kind, span, times, period, series, said, write, top }) {
  if (!charts.has(element)) charts.set(element, makeFigure(element));
  const drawn = charts.get(element);
  drawn.asked = { kind, span, times, period, series, write, top };
  drawn.caption.textContent = said;
  drawn.canvas.setAttribute("aria-label", `${said} The table below has the numbers.`);
  if (drawn.details.open) fillTable(drawn);
  drawPicture(drawn);
}

/** Put a sentence where a chart would be. */
export function clearChart(element, said) {
  charts.get(element)?.chart?.destroy();
  charts.delete(element);
  element.replaceChildren(make("p", { class: "nothing" }, said));
}

function makeFigure(element) {
  const title = element.parentElement.querySelector("h2").textContent;
  const drawn = {
    caption: make("figcaption"),
    canvas: make("canvas", { role: "img" }),
    table: make("table", { class: "small" }),
    chart: null,
  };
  const scroll = { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, as a table` };
  const body = make("div", scroll, drawn.table);
  drawn.details = make("details", { ontoggle: () => fillTable(drawn) }, make("summary", {}, "Show as a table"), body);
  const picture = make("div", { class: "chart" }, drawn.canvas);
  element.replaceChildren(make("figure", {}, drawn.caption, picture, drawn.details));
  return drawn;
}

function drawPicture(drawn) {
  const { kind, times, period, series } = drawn.asked;
  const datasets = series.map((one) => ({
    label: one.name,
    data: times.map((time, place) => ({ x: time + period / 2, y: one.values[place] })),
    ...style(one, kind),
  }));
  const options = makeOptions(drawn.asked);
  if (drawn.chart) {
    Object.assign(drawn.chart, { options });
    drawn.chart.data.datasets = datasets;
    drawn.chart.update("none");
  } else {
    drawn.chart = new window.Chart(drawn.canvas, { type: kind, data: { datasets }, options });
  }
}

function style(one, kind) {
  const colour = readColour(one.colour);
  const bar = { backgroundColor: colour, categoryPercentage: 0.86, barPercentage: 1, maxBarThickness: 48 };
  if (kind === "bar") return bar;
  const alone = ({ dataset, dataIndex: place }) => {
    const has = (at) => dataset.data[at]?.y !== null && dataset.data[at] !== undefined;
    return has(place - 1) || has(place + 1) ? 0 : 3;
  };
  return {
    borderColor: colour,
    backgroundColor: colour,
    borderDash: one.dashed ? [5, 4] : [],
    borderWidth: 2,
    pointRadius: alone,
    pointHoverRadius: 4,
    tension: 0.25,
    cubicInterpolationMode: "monotone",
  };
}

function makeOptions({ kind, span, times, period, write, top }) {
  const soft = readColour("--soft");
  const unit = UNITS[span.hours];
  const ticks = { color: soft, maxRotation: 0, autoSkipPadding: 16 };
  return {
    animation: false,
    maintainAspectRatio: false,
    interaction: { mode: "index", intersect: false },
    scales: {
      x: {
        type: "time",
        min: span.since,
        max: times.at(-1) + period,
        stacked: kind === "bar",
        offset: false,
        grid: { display: false },
        border: { color: readColour("--line") },
        time: { unit, displayFormats: FORMATS },
        ticks,
      },
      y: {
        beginAtZero: true,
        max: top,
        grace: top ? 0 : "5%",
        stacked: kind === "bar",
        grid: { color: readColour("--line"), drawTicks: false },
        border: { display: false },
        ticks: { ...ticks, maxTicksLimit: 5, padding: 8, precision: kind === "bar" ? 0 : undefined, callback: write },
      },
    },
    plugins: {
      legend: {
        position: "bottom",
        align: "start",
        labels: {
          color: soft,
          boxWidth: 12,
          boxHeight: 12,
          padding: 16,
          usePointStyle: kind === "line",
          pointStyle: "line",
          pointStyleWidth: 28,
        },
      },
      tooltip: {
        callbacks: {
          title: ([item]) => sayMinute(times[item.dataIndex]),
          label: ({ dataset, parsed }) => `${dataset.label}: ${write(parsed.y)}`,
        },
      },
    },
  };
}

function fillTable({ asked, table }) {
  const { times, series, write } = asked;
  const head = ["From", ...series.map((one) => one.name)].map((name, place) =>
    make("th", { scope: "col", class: place > 0 ? "number" : null }, name),
  );
  const rows = times
    .map((time, place) => [time, series.map((one) => one.values[place])])
    .filter(([, values]) => values.some((value) => value))
    .map(([time, values]) => {
      const cells = values.map((value) => make("td", { class: "number" }, value === null ? "–" : write(value)));
      return make("tr", {}, make("th", { scope: "row" }, sayMinute(time)), cells);
    })
    .reverse();
  table.replaceChildren(make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows));
}

function readColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(drawPicture));
